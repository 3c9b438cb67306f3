from pathlib import Path

import numpy as np
import pytest

from features.audio import decode_audio
from training.codec import MAX_KBPS, MIN_KBPS, Codec, recode

CODECS: list[Codec] = ["mp3", "opus"]


@pytest.fixture(scope="module")
def speech_N(clips_folder: Path) -> np.ndarray:  # noqa: N802 – the name carries the shape
    return decode_audio(clips_folder / "river.flac").samples_N


def lag_and_likeness(one_N: np.ndarray, other_N: np.ndarray) -> tuple[int, float]:
    """By how many samples `other_N` is late, and the normalised cross-correlation there."""
    correlation = np.correlate(np.pad(other_N, 2000), one_N, "valid") / np.sqrt((one_N @ one_N) * (other_N @ other_N))
    return int(correlation.argmax()) - 2000, float(correlation.max())


@pytest.mark.parametrize("kbps", [MIN_KBPS, 13, 24, MAX_KBPS])
@pytest.mark.parametrize("codec", CODECS)
def test_speech_stays_where_it_is_from_beginning_to_end(speech_N: np.ndarray, codec: Codec, kbps: int) -> None:
    out_N = recode(speech_N, codec, kbps)
    assert out_N.dtype == np.float32 and out_N.shape == speech_N.shape
    for part in (slice(None), slice(0, 16_000), slice(-16_000, None)):
        lag, likeness = lag_and_likeness(speech_N[part], out_N[part])
        assert abs(lag) <= 0.005 * 16_000
        assert likeness > 0.8
    assert np.sum(out_N**2) == pytest.approx(np.sum(speech_N**2), rel=0.3)


@pytest.mark.parametrize("codec", CODECS)
def test_a_lower_rate_loses_more(speech_N: np.ndarray, codec: Codec) -> None:
    likeness = [lag_and_likeness(speech_N, recode(speech_N, codec, kbps))[1] for kbps in (8, 24)]
    assert 1e-4 < 1 - likeness[1] < 1 - likeness[0]


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("length", [1, 575, 577, 2881, 16_001])
def test_any_length_is_kept(speech_N: np.ndarray, codec: Codec, length: int) -> None:
    once_N = recode(speech_N[20_000 : 20_000 + length], codec, 16)
    assert once_N.shape == (length,)
    assert np.isfinite(once_N).all()


@pytest.mark.parametrize("codec", CODECS)
def test_the_same_goes_in_and_the_same_comes_out(speech_N: np.ndarray, codec: Codec) -> None:
    np.testing.assert_array_equal(recode(speech_N, codec, 12), recode(speech_N, codec, 12))


@pytest.mark.parametrize("codec", CODECS)
def test_samples_beyond_full_scale_and_silence_survive(codec: Codec) -> None:
    tone_N = (3 * np.sin(np.arange(16_000) * 0.2)).astype(np.float32)
    assert np.isfinite(recode(tone_N, codec, 16)).all()
    assert np.abs(recode(np.zeros(16_000, np.float32), codec, 16)).max() < 1e-3
