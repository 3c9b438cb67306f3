"""A row's answer does not depend on the rows beside it, nor on what stands in its padding."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from model.acoustic_model import STRIDES, AcousticModel, AcousticModelConfig, subsampled_length
from model.errors import OptionError
from model.phones import N_PHONES

N_FEATURES = 20


@settings(deadline=None, max_examples=25)
@given(
    lengths=st.lists(st.integers(1, 90), min_size=1, max_size=5),
    garbage=st.sampled_from([0.0, 1e6, math.inf, math.nan]),
    utterance_mean=st.booleans(),
    extra_padding=st.integers(0, 9),
    subsampling=st.sampled_from(list(STRIDES)),
)
def test_an_utterance_gives_the_same_log_probs_alone_or_in_a_batch(
    lengths: list[int], garbage: float, utterance_mean: bool, extra_padding: int, subsampling: int
) -> None:
    model = small_model(utterance_mean=utterance_mean, subsampling=subsampling)
    features_BTF = random_features(lengths, garbage, extra_padding)
    batch_BSV, out_lengths_B = model(features_BTF, torch.tensor(lengths))
    assert out_lengths_B.tolist() == [subsampled_length(length, subsampling) for length in lengths]
    for row, length in enumerate(lengths):
        alone_BSV, alone_lengths_B = model(features_BTF[row : row + 1, :length], torch.tensor([length]))
        assert alone_BSV.shape[1] == alone_lengths_B.item() == out_lengths_B[row]
        assert_within(batch_BSV[row, : out_lengths_B[row]], alone_BSV[0], 1e-4)


def test_the_same_at_the_size_that_is_trained() -> None:
    torch.manual_seed(0)
    config = AcousticModelConfig()
    model = AcousticModel(config).eval()
    lengths = [1, 120, 37, 119]
    features_BTF = torch.randn(len(lengths), max(lengths), config.n_features)
    with torch.inference_mode():
        batch_BSV, out_lengths_B = model(features_BTF, torch.tensor(lengths))
        for row, length in enumerate(lengths):
            alone_BSV, _ = model(features_BTF[row : row + 1, :length], torch.tensor([length]))
            assert_within(batch_BSV[row, : out_lengths_B[row]], alone_BSV[0], 1e-4)


def test_probabilities_of_a_frame_sum_to_one() -> None:
    log_probs_BSV, _ = small_model()(torch.randn(3, 50, N_FEATURES), torch.tensor([50, 1, 23]))
    assert log_probs_BSV.dtype == torch.float32
    torch.testing.assert_close(log_probs_BSV.exp().sum(-1), torch.ones(log_probs_BSV.shape[:2]), rtol=0, atol=1e-5)


def test_padding_gets_no_gradient_and_gives_none() -> None:
    """Not even NaN in the padding reaches the gradient of a weight."""
    lengths, model = [30, 1, 17], small_model()
    features_BTF = random_features(lengths, math.nan).requires_grad_()
    log_probs_BSV, out_lengths_B = model(features_BTF, torch.tensor(lengths))
    valid_BS = torch.arange(log_probs_BSV.shape[1]) < out_lengths_B.unsqueeze(1)
    log_probs_BSV[valid_BS][:, 3].sum().backward()
    gradient_BTF = features_BTF.grad
    assert gradient_BTF is not None
    for row, length in enumerate(lengths):
        assert gradient_BTF[row, length:].count_nonzero() == 0
    assert gradient_BTF[0, :30].abs().sum(-1).count_nonzero() == 30  # every valid frame counts
    batch_gradients = {name: weight.grad for name, weight in model.named_parameters()}

    model.zero_grad(set_to_none=True)
    for row, length in enumerate(lengths):
        alone_BSV, _ = model(features_BTF[row : row + 1, :length].detach(), torch.tensor([length]))
        alone_BSV[0, :, 3].sum().backward()
    for name, weight in model.named_parameters():
        assert weight.grad is not None and batch_gradients[name] is not None
        torch.testing.assert_close(batch_gradients[name], weight.grad, rtol=1e-3, atol=1e-4)


def test_a_row_without_frames_disturbs_no_other() -> None:
    model = small_model()
    features_BTF = random_features([20, 0], math.nan)
    log_probs_BSV, out_lengths_B = model(features_BTF, torch.tensor([20, 0]))
    assert out_lengths_B.tolist() == [5, 0]
    assert_within(log_probs_BSV[:1], model(features_BTF[:1], torch.tensor([20]))[0], 1e-4)


def test_the_utterance_mean_takes_the_channel_out() -> None:
    """A constant added to each bin is what another microphone does to log-mel features."""
    features_BTF, channel_F, lengths_B = torch.randn(1, 40, N_FEATURES), torch.randn(N_FEATURES), torch.tensor([40])
    with_mean, without_mean = small_model(utterance_mean=True), small_model(utterance_mean=False)
    assert_within(with_mean(features_BTF + channel_F, lengths_B)[0], with_mean(features_BTF, lengths_B)[0], 1e-4)
    change = without_mean(features_BTF + channel_F, lengths_B)[0] - without_mean(features_BTF, lengths_B)[0]
    assert change.abs().max() > 0.01


def test_dropout_acts_in_training_only() -> None:
    features_BTF, lengths_B = torch.randn(1, 20, N_FEATURES), torch.tensor([20])
    model = small_model()
    assert torch.equal(model(features_BTF, lengths_B)[0], model(features_BTF, lengths_B)[0])
    model.train()
    assert not torch.equal(model(features_BTF, lengths_B)[0], model(features_BTF, lengths_B)[0])


@pytest.mark.parametrize("n_frames", [0, 1, 2, 3, 4, 5, 8, 9, 100])
def test_four_feature_frames_are_one_output_frame_rounded_up(n_frames: int) -> None:
    assert subsampled_length(n_frames) == math.ceil(n_frames / 4)
    assert subsampled_length(n_frames, 8) == math.ceil(n_frames / 8)


def test_without_layer_norm_louder_features_are_louder_inside() -> None:
    """The layers' input keeps its scale, which a norm takes out of it."""
    features_BTF, lengths_B = torch.randn(1, 40, N_FEATURES), torch.tensor([40])
    for layer_norm, grows in ((True, False), (False, True)):
        model = small_model(layer_norm=layer_norm, utterance_mean=False)
        heard: list[Tensor] = []
        model.head.register_forward_pre_hook(lambda _, inputs, heard=heard: heard.append(inputs[0]))
        model(features_BTF, lengths_B)
        model(100 * features_BTF, lengths_B)
        assert bool(heard[1].std() > 10 * heard[0].std()) is grows
        assert any("norm" in name for name in model.state_dict()) is layer_norm


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("n_features", 0),
        ("channels", 0),
        ("hidden_size", -1),
        ("n_layers", 0),
        ("vocabulary_size", 1),
        ("dropout", 1.0),
        ("dropout", -0.1),
        ("dropout", math.nan),
        ("subsampling", 3),
        ("n_phones", 40),
        ("spelling_layers", -1),
        ("spelling_layers", 2),  # without phones
        ("spelling_size", 0),
    ],
)
def test_an_option_out_of_range_is_named(option: str, value: float) -> None:
    with pytest.raises(OptionError, match=f"{option} is {value}"):
        AcousticModelConfig(**{option: value})  # type: ignore[arg-type]  # wrong on purpose


def test_a_phone_head_stands_beside_that_of_characters_and_changes_nothing_of_it() -> None:
    features_BTF, lengths_B = torch.randn(2, 50, N_FEATURES), torch.tensor([50, 23])
    plain = small_model()
    both = AcousticModel(replace(plain.config, n_phones=N_PHONES)).eval()
    both.load_state_dict(plain.state_dict(), strict=False)
    log_probs_BSO, out_lengths_B = both(features_BTF, lengths_B)
    assert log_probs_BSO.shape[-1] == both.config.n_outputs == 7 + N_PHONES
    expected_BSV, expected_lengths_B = plain(features_BTF, lengths_B)
    assert torch.equal(log_probs_BSO[..., :7], expected_BSV)
    assert torch.equal(out_lengths_B, expected_lengths_B)
    sums_BS = log_probs_BSO[..., 7:].exp().sum(-1)
    torch.testing.assert_close(sums_BS, torch.ones_like(sums_BS), rtol=0, atol=1e-5)
    x_BSD = both.encode(features_BTF, lengths_B)[0][-1]
    by_hand_BSP = (nn.functional.layer_norm(x_BSD, (16,)) @ both.phone_head.weight.T + both.phone_head.bias).softmax(-1)
    torch.testing.assert_close(log_probs_BSO[..., 7:].exp(), by_hand_BSP, rtol=1e-4, atol=1e-5)


def test_a_speller_adds_its_characters_and_leaves_the_rest() -> None:
    features_BTF, lengths_B = torch.randn(2, 50, N_FEATURES), torch.tensor([50, 23])
    plain = AcousticModel(replace(small_model().config, n_phones=N_PHONES)).eval()
    spelling = AcousticModel(replace(plain.config, spelling_layers=2, spelling_size=12)).eval()
    spelling.load_state_dict(plain.state_dict(), strict=False)
    heard_BSO, out_lengths_B = plain(features_BTF, lengths_B)
    log_probs_BSO, _ = spelling(features_BTF, lengths_B)
    assert log_probs_BSO.shape[-1] == spelling.config.n_outputs == 7 + 7 + N_PHONES
    heard, spelled, phones = spelling.config.columns
    assert (heard, spelled, phones) == (slice(0, 7), slice(7, 14), slice(14, 14 + N_PHONES))
    assert spelling.config.written == spelled and plain.config.written == slice(0, 7)
    assert torch.equal(log_probs_BSO[..., heard], heard_BSO[..., :7])
    assert torch.equal(log_probs_BSO[..., phones], heard_BSO[..., 7:])
    expected_BSV = spelling.speller(heard_BSO[..., 7:], out_lengths_B, heard_BSO[..., :7])
    assert torch.equal(log_probs_BSO[..., spelled], expected_BSV)
    without = spelling.without_speller()
    assert without.config == replace(spelling.config, spelling_layers=0) and not without.training
    assert torch.equal(without(features_BTF, lengths_B)[0], heard_BSO)
    assert without.head.weight.data_ptr() == spelling.head.weight.data_ptr()  # nothing is there twice
    assert plain.without_speller() is plain


def small_model(*, utterance_mean: bool = True, subsampling: int = 4, layer_norm: bool = True) -> AcousticModel:
    torch.manual_seed(0)
    config = AcousticModelConfig(
        N_FEATURES,
        vocabulary_size=7,
        channels=4,
        hidden_size=8,
        n_layers=2,
        utterance_mean=utterance_mean,
        subsampling=subsampling,
        layer_norm=layer_norm,
    )
    return AcousticModel(config).eval()


def random_features(lengths: list[int], garbage: float, extra_padding: int = 0) -> Tensor:
    """Random frames with `garbage` beyond each row's length."""
    torch.manual_seed(sum(lengths))
    features_BTF = torch.full((len(lengths), max(lengths) + extra_padding, N_FEATURES), garbage)
    for row, length in enumerate(lengths):
        features_BTF[row, :length] = torch.randn(length, N_FEATURES)
    return features_BTF


def assert_within(actual: Tensor, expected: Tensor, limit: float) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=limit)
