"""Work stops at its next step after it was cancelled, wherever it is."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from features.audio import Waveform
from model.batching import BatchingRuntime
from model.beam_search import PIECE_FRAMES, BeamSearch
from model.cancellation import CancelToken
from model.checkpoint import Bundle
from model.chunking import ChunkingConfig
from model.errors import WorkCancelledError
from model.language_model import BeamSearchConfig, LanguageModel
from model.runtime import OnnxRuntime, TorchRuntime
from model.runtime_names import RuntimeName
from model.transcriber import Transcriber
from tests.arpa import arpa

RATE_HZ = 16_000
WINDOWS = ChunkingConfig(window_s=4.0, context_s=0.5)


class AfterSome(CancelToken):
    """Cancels itself when it is asked for the n-th time, and counts how often it is asked after that."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.left = n
        self.asked_again = 0

    def check(self) -> None:
        self.asked_again += self.is_cancelled
        self.left -= 1
        if self.left == 0:
            self.cancel()
        super().check()


@pytest.fixture(scope="module")
def led_bundle(tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The tiny bundle with a small language model."""
    letters = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    path = tmp_path_factory.mktemp("lm") / "lm.arpa"
    path.write_text(
        arpa({"<s>": -99.0, "</s>": -1.0, "<unk>": -2.0} | dict.fromkeys(letters, -1.4), {("A", "B"): -1.0})
    )
    return replace(tiny_bundle, language_model=LanguageModel(path, letters, BeamSearchConfig(beam_size=10)))


def noise(duration_s: float) -> Waveform:
    return Waveform(np.random.default_rng(1).normal(0, 0.1, round(duration_s * RATE_HZ)).astype(np.float32))


def test_it_is_asked_between_layers_and_pieces_and_stops_the_first_time_it_says_so(led_bundle: Bundle) -> None:
    transcriber = Transcriber(led_bundle, chunking=WINDOWS, detection=None)
    never = AfterSome(0)
    expected = transcriber.transcribe(noise(20), cancelled=never)
    assert expected == transcriber.transcribe(noise(20))
    n_layers, n_pieces = led_bundle.acoustic_model.config.n_layers, 20 / transcriber.frame_s / PIECE_FRAMES
    n_asked = -never.left
    assert n_asked > 20 / WINDOWS.window_s * n_layers + n_pieces
    for stop in {1, 2, 3, 7, n_asked // 2, n_asked - 1, n_asked}:
        token = AfterSome(stop)
        with pytest.raises(WorkCancelledError):
            transcriber.transcribe(noise(20), cancelled=token)
        assert token.asked_again <= 1  # a search that ends is the last to ask


def test_cancelled_from_another_thread(led_bundle: Bundle) -> None:
    transcriber = Transcriber(led_bundle, chunking=WINDOWS, detection=None)
    token, began = CancelToken(), threading.Event()

    def say(_: float) -> None:
        began.set()
        time.sleep(0.05)  # at most 20 windows a second, so that there is something to cancel

    with ThreadPoolExecutor(1) as pool:
        work = pool.submit(transcriber.transcribe, noise(600), progress=say, cancelled=token)
        assert began.wait(60)
        token.cancel()
        with pytest.raises(WorkCancelledError):
            work.result(60)


def test_what_was_cancelled_before_is_not_begun(led_bundle: Bundle, tmp_path: Path) -> None:
    token = CancelToken()
    token.cancel()
    token.cancel()
    with pytest.raises(WorkCancelledError):
        Transcriber(led_bundle).transcribe(tmp_path / "there is none", cancelled=token)


@pytest.mark.parametrize("make", [TorchRuntime, OnnxRuntime])
def test_a_runtime_stops_inside_the_network(
    tiny_bundle: Bundle, make: Callable[..., TorchRuntime | OnnxRuntime]
) -> None:
    if make is OnnxRuntime:
        pytest.importorskip("onnxruntime")
    runtime = make(tiny_bundle.acoustic_model)
    features_BTF, lengths_B = torch.randn(1, 100, 80), torch.tensor([100])
    token = CancelToken()
    expected, _ = runtime(features_BTF, lengths_B)
    torch.testing.assert_close(runtime(features_BTF, lengths_B, token)[0], expected)
    token.cancel()
    with pytest.raises(WorkCancelledError):
        runtime(features_BTF, lengths_B, token)


def test_an_error_of_the_runtime_itself_stays_what_it_is(tiny_bundle: Bundle) -> None:
    pytest.importorskip("onnxruntime")
    runtime = OnnxRuntime(tiny_bundle.acoustic_model)
    with pytest.raises(Exception, match=r"(?i)dimension|shape"):
        runtime(torch.randn(1, 100, 3), torch.tensor([100]), CancelToken())


class Held:
    """A runtime that computes when it is let go."""

    name: RuntimeName = "torch"

    def __init__(self) -> None:
        self.go, self.began = threading.Event(), threading.Event()
        self.batches: list[list[int]] = []

    def __call__(
        self, features_BTF: Tensor, lengths_B: Tensor, cancelled: CancelToken | None = None
    ) -> tuple[Tensor, Tensor]:
        self.batches.append(lengths_B.tolist())
        self.began.set()
        assert self.go.wait(60)
        return features_BTF, lengths_B


@pytest.fixture
def held() -> Iterator[Held]:
    runtime = Held()
    yield runtime
    runtime.go.set()


def test_who_waits_for_a_batch_leaves_the_line_when_cancelled(held: Held) -> None:
    batching, token = BatchingRuntime(held), CancelToken()
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(batching, torch.ones(1, 5, 2), torch.tensor([5]))
        assert held.began.wait(60)
        leaving = pool.submit(batching, torch.ones(1, 6, 2), torch.tensor([6]), token)
        staying = pool.submit(batching, torch.ones(1, 7, 2), torch.tensor([7]), CancelToken())
        token.cancel()
        with pytest.raises(WorkCancelledError):
            leaving.result(60)  # while the first batch is still held
        held.go.set()
        assert first.result(60)[1].tolist() == [5]
        assert staying.result(60)[1].tolist() == [7]
    assert held.batches == [[5], [7]]


def test_a_search_cut_into_pieces_is_the_search_of_the_whole(led_bundle: Bundle) -> None:
    """Against the same frames given to flashlight at once."""
    assert led_bundle.language_model is not None
    search = BeamSearch(led_bundle.tokenizer, led_bundle.language_model)
    log_probs_SV = torch.randn(3 * PIECE_FRAMES + 4, 29, generator=torch.Generator().manual_seed(2)).log_softmax(-1)
    in_pieces = search.n_best(log_probs_SV, 5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("model.beam_search.PIECE_FRAMES", 10_000)
        assert search.n_best(log_probs_SV, 5) == in_pieces


def test_callbacks_are_called_once_and_not_after_their_block() -> None:
    token, calls = CancelToken(), list[str]()
    with token.calling(lambda: calls.append("over")):
        pass
    with token.calling(lambda: calls.append("in time")):
        token.cancel()
        token.cancel()
    with token.calling(lambda: calls.append("late")):
        pass
    assert calls == ["in time", "late"]
