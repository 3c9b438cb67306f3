"""The latency-controlled model against the model itself."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from model.acoustic_model import AcousticModel, ResidualBiLSTM
from model.checkpoint import Bundle
from model.errors import OptionError
from model.latency_control import LatencyControlledModel, RunningMean
from tests.model.conftest import BundleMaker

N_FEATURES = 80
sizes = st.lists(st.integers(0, 60), min_size=1, max_size=12).filter(any)


@settings(deadline=None, max_examples=10)
@given(sizes=sizes)
def test_with_all_the_future_it_is_the_model_itself(tiny_bundle: Bundle, sizes: list[int]) -> None:
    features_TF = random_features(sum(sizes))
    streaming = LatencyControlledModel(tiny_bundle.acoustic_model, right_frames=1000, mean=plain_mean())
    settled_SV = feed(streaming, features_TF, sizes)
    torch.testing.assert_close(settled_SV, offline(tiny_bundle.acoustic_model, features_TF), rtol=0, atol=1e-4)


@settings(deadline=None, max_examples=10)
@given(
    sizes=sizes,
    right_frames=st.integers(1, 8),
    subsampling=st.sampled_from([2, 4, 8]),
    n_phones=st.sampled_from([0, 41]),
)
def test_the_past_is_never_forgotten(
    make_bundle: BundleMaker, sizes: list[int], right_frames: int, subsampling: int, n_phones: int
) -> None:
    """Where the future does not count, any cut and any right context give what the whole gives."""
    model = make_bundle(1, utterance_mean=False, subsampling=subsampling, n_phones=n_phones).acoustic_model
    _forget_the_future(model)
    features_TF = random_features(sum(sizes))
    streaming = LatencyControlledModel(model, right_frames=right_frames, mean=plain_mean())
    for _ in range(2):  # flush leaves nothing behind
        settled_SV = feed(streaming, features_TF, sizes)
        torch.testing.assert_close(settled_SV, offline(model, features_TF), rtol=0, atol=1e-4)


@settings(deadline=None, max_examples=10)
@given(sizes=sizes, beyond=st.integers(0, 3), spelling_layers=st.integers(1, 4))
def test_a_speller_with_its_reach_of_right_context_spells_as_offline(
    make_bundle: BundleMaker, sizes: list[int], beyond: int, spelling_layers: int
) -> None:
    """Both ways: it looks back to what was settled calls ago, and no further ahead than its reach."""
    options = {"utterance_mean": False, "n_phones": 41, "spelling_layers": spelling_layers, "spelling_size": 16}
    model = make_bundle(1, **options).acoustic_model
    _forget_the_future(model)
    features_TF = random_features(sum(sizes))
    streaming = LatencyControlledModel(model, right_frames=model.speller.reach + beyond, mean=plain_mean())
    for _ in range(2):
        settled_SV = feed(streaming, features_TF, sizes)
        torch.testing.assert_close(settled_SV, offline(model, features_TF), rtol=0, atol=1e-4)
    streaming.feed(random_features(400))
    assert model.speller.reach <= len(streaming._heard_SP) <= model.speller.reach + 1
    assert streaming._heard_SP.untyped_storage().nbytes() == streaming._heard_SP.nbytes


def _forget_the_future(model: AcousticModel) -> None:
    for layer in model.layers:
        assert isinstance(layer, ResidualBiLSTM)
        for weights in layer.lstm.backward_lstm.parameters():
            weights.data.zero_()


def test_a_frame_is_settled_once_it_has_its_right_context(tiny_bundle: Bundle) -> None:
    streaming = LatencyControlledModel(tiny_bundle.acoustic_model, right_frames=5, mean=plain_mean())
    sizes = []
    for _ in range(6):
        settled_SV, outlook_SV = streaming.feed(random_features(10))
        sizes.append((len(settled_SV), len(outlook_SV)))
    assert sizes == [(0, 2), (0, 5), (2, 5), (3, 5), (2, 5), (3, 5)]
    assert len(streaming.flush()) == 5


def test_the_outlook_is_what_ending_here_would_give(tiny_bundle: Bundle) -> None:
    streaming = LatencyControlledModel(tiny_bundle.acoustic_model, right_frames=5, mean=plain_mean())
    features_TF = random_features(80)
    settled_SV, outlook_SV = streaming.feed(features_TF)
    both_SV = torch.cat([settled_SV, outlook_SV])
    torch.testing.assert_close(both_SV, offline(tiny_bundle.acoustic_model, features_TF), rtol=0, atol=1e-4)


def test_the_state_never_grows(tiny_bundle: Bundle) -> None:
    streaming = LatencyControlledModel(tiny_bundle.acoustic_model, right_frames=5, mean=plain_mean())
    for size in (0, 7, 1000, 3, 64):
        streaming.feed(random_features(size))
        kept_TF = streaming._features_TF
        assert len(kept_TF) < 4 * (1 + 5 + 1)
        assert kept_TF.untyped_storage().nbytes() == kept_TF.nbytes  # no view of something larger


def test_the_mean_begins_with_the_corpus_and_forgets() -> None:
    mean = RunningMean(2, prior_frames=10, memory_frames=40)
    assert mean.estimate().tolist() == [0, 0]
    mean.feed(torch.tensor([[1.0, -2.0]]).expand(10, 2))
    torch.testing.assert_close(mean.estimate(), torch.tensor([0.5, -1.0]))
    mean.feed(torch.tensor([[4.0, 0.0]]).expand(1000, 2))
    assert 3.8 < float(mean.estimate()[0]) < 4


def test_a_shifted_mean_is_that_of_frames_that_were_larger() -> None:
    """But for the corpus, whose mean stays where it is."""
    frames_TF, by_F = torch.randn(90, 2, generator=torch.Generator().manual_seed(0)), torch.tensor([3.0, -1.0])
    shifted, larger = (RunningMean(2, prior_frames=10, memory_frames=40) for _ in range(2))
    for piece_TF in torch.split(frames_TF, 30):  # from the second on, some is forgotten
        shifted.feed(piece_TF)
        larger.feed(piece_TF + by_F)
    shifted.shift(by_F, torch.full((2,), -10.0))
    torch.testing.assert_close(shifted.estimate(), larger.estimate())


def test_a_mean_is_shifted_to_no_less_than_the_least() -> None:
    mean = RunningMean(2, prior_frames=10, memory_frames=40)
    mean.shift(torch.tensor([5.0, 5.0]), torch.zeros(2))  # nothing was heard
    assert mean.estimate().tolist() == [0, 0]
    mean.feed(torch.tensor([[4.0, 4.0]]).expand(30, 2))
    mean.shift(torch.tensor([-3.0, -9.0]), torch.tensor([-1.0, -1.0]))
    torch.testing.assert_close(mean.estimate(), torch.tensor([30 * 1.0, 30 * -1.0]) / 40)


def test_shifted_features_are_those_that_were_larger(make_bundle: BundleMaker) -> None:
    model = make_bundle(1, utterance_mean=True).acoustic_model
    features_TF, by_F = random_features(90), torch.linspace(-1, 1, N_FEATURES)
    streaming = LatencyControlledModel(model, right_frames=1000, mean=plain_mean())
    streaming.feed(features_TF[:50])
    streaming.shift(by_F, torch.full((N_FEATURES,), -1e9))
    streaming.feed(features_TF[50:] + by_F)
    torch.testing.assert_close(streaming.flush(), offline(model, features_TF + by_F), rtol=0, atol=1e-4)


@pytest.mark.parametrize("options", [(-1, 10), (20, 10), (0, 0.5), (float("nan"), 10)])
def test_a_mean_out_of_range_is_refused(options: tuple[float, float]) -> None:
    with pytest.raises(OptionError, match="the mean begins with"):
        RunningMean(2, prior_frames=options[0], memory_frames=options[1])


def test_a_negative_right_context_is_refused(tiny_bundle: Bundle) -> None:
    with pytest.raises(OptionError, match="right context is -1 frames"):
        LatencyControlledModel(tiny_bundle.acoustic_model, right_frames=-1, mean=plain_mean())


def plain_mean() -> RunningMean:
    """Of all that was heard, as the model itself takes it."""
    return RunningMean(N_FEATURES, prior_frames=0, memory_frames=1e9)


def feed(streaming: LatencyControlledModel, features_TF: Tensor, sizes: list[int]) -> Tensor:
    settled = [streaming.feed(piece_TF)[0] for piece_TF in torch.split(features_TF, sizes)]
    return torch.cat([*settled, streaming.flush()])


@torch.inference_mode()
def offline(model: AcousticModel, features_TF: Tensor) -> Tensor:
    log_probs_BSV, _ = model(features_TF.unsqueeze(0), torch.tensor([len(features_TF)]))
    return torch.as_tensor(log_probs_BSV[0])


def random_features(n_frames: int) -> Tensor:
    return torch.randn(n_frames, N_FEATURES, generator=torch.Generator().manual_seed(n_frames))
