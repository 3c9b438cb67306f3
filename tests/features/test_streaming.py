"""Pieces of any size give the frames of the whole."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from features.front_end import FrontEnd, FrontEndConfig
from features.streaming import StreamingFrontEnd

CONFIGS = [
    FrontEndConfig(),
    FrontEndConfig(kind="mfcc", n_mfcc=13),
    FrontEndConfig(window_ms=32.0, hop_ms=32.0),  # frames that touch, without overlap
    FrontEndConfig(window_ms=20.0, hop_ms=12.5, n_fft=400, n_mels=20),
]
FRONT_ENDS = [FrontEnd(config) for config in CONFIGS]
EDGES = [0, 1, 160, 399, 400, 511, 512, 513, 671, 672, 673, 1024]  # around one frame, two, and one without overlap
front_ends = st.sampled_from(FRONT_ENDS)
lengths = st.one_of(st.sampled_from(EDGES), st.integers(0, 4000))


@settings(deadline=None, max_examples=150)
@given(front_end=front_ends, length=lengths, sizes=st.lists(st.integers(0, 2000), max_size=12))
def test_pieces_give_the_frames_of_the_whole(front_end: FrontEnd, length: int, sizes: list[int]) -> None:
    samples_N = noise(length)
    pieces = pieces_of(samples_N, sizes)
    assert_equal(stream(StreamingFrontEnd(front_end), pieces), offline(front_end, samples_N))


@pytest.mark.parametrize("length", EDGES)
@pytest.mark.parametrize("size", [1, 159, 160, 161, 512, 5000])
def test_pieces_of_one_size(length: int, size: int) -> None:
    samples_N = noise(length)
    pieces = pieces_of(samples_N, [size] * (length // size))
    assert_equal(stream(StreamingFrontEnd(FRONT_ENDS[0]), pieces), offline(FRONT_ENDS[0], samples_N))


@settings(deadline=None, max_examples=60)
@given(front_end=front_ends, several=st.lists(lengths, min_size=2, max_size=3), size=st.integers(50, 1500))
def test_after_flush_the_next_waveform_starts_fresh(front_end: FrontEnd, several: list[int], size: int) -> None:
    streaming = StreamingFrontEnd(front_end)
    for length in several:
        samples_N = noise(length)
        pieces = pieces_of(samples_N, [size] * (length // size))
        assert_equal(stream(streaming, pieces), offline(front_end, samples_N))


def test_frames_come_as_soon_as_they_are_complete() -> None:
    streaming = StreamingFrontEnd(FRONT_ENDS[0])
    n_frames = [len(streaming.feed(noise(size))) for size in (511, 1, 159, 1, 320)]
    assert n_frames == [0, 1, 0, 1, 2]


def test_the_state_never_grows() -> None:
    streaming = StreamingFrontEnd(FRONT_ENDS[0])
    for size in (100, 10_000, 1, 511, 513, 40_000):
        streaming.feed(noise(size))
        assert len(streaming._rest_N) < CONFIGS[0].n_fft
        assert streaming._rest_N.untyped_storage().nbytes() < 4 * CONFIGS[0].n_fft  # no view of something larger


def stream(streaming: StreamingFrontEnd, pieces: list[Tensor]) -> Tensor:
    return torch.cat([*(streaming.feed(piece) for piece in pieces), streaming.flush()])


def offline(front_end: FrontEnd, samples_N: Tensor) -> Tensor:
    features_BTF, _ = front_end(samples_N.unsqueeze(0), torch.tensor([len(samples_N)]))
    return torch.as_tensor(features_BTF[0])


def pieces_of(samples_N: Tensor, sizes: list[int]) -> list[Tensor]:
    """Cut where the sizes say, as far as the samples go; the rest is one more piece."""
    pieces = []
    for size in sizes:
        pieces.append(samples_N[:size])
        samples_N = samples_N[size:]
    return [*pieces, samples_N]


def noise(length: int) -> Tensor:
    return torch.randn(length, generator=torch.Generator().manual_seed(length)) * 0.1


def assert_equal(actual: Tensor, expected: Tensor) -> None:
    assert actual.shape == expected.shape
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-4)
