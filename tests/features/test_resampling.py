"""Pieces of any size are resampled like the whole."""

import io

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from features.audio import decode_audio
from features.errors import AudioParameterError
from features.resampling import StreamingResampler


@settings(deadline=None, max_examples=40)
@given(rate_hz=st.sampled_from([8000, 16_000, 24_000, 44_100]), sizes=st.lists(st.integers(0, 3000), max_size=8))
def test_pieces_give_what_a_file_gives(rate_hz: int, sizes: list[int]) -> None:
    samples_N = (0.2 * np.random.default_rng(3).normal(size=6000)).astype(np.float32)
    file = io.BytesIO()
    soundfile.write(file, samples_N, rate_hz, format="WAV", subtype="FLOAT")
    expected_N = decode_audio(file.getvalue()).samples_N
    resampler = StreamingResampler(rate_hz)
    for _ in range(2):  # after flush it begins anew
        pieces = [resampler.feed(piece_N) for piece_N in np.split(samples_N, np.cumsum(sizes))]
        np.testing.assert_allclose(np.concatenate([*pieces, resampler.flush()]), expected_N, atol=1e-6)


@pytest.mark.parametrize("rate_hz", [0, 7999, 192_001])
def test_a_rate_out_of_range_is_refused(rate_hz: int) -> None:
    with pytest.raises(AudioParameterError, match=f"{rate_hz} Hz; 8000 to 192000 Hz"):
        StreamingResampler(rate_hz)
