"""Sounds in which nobody speaks, as files of several kinds and as a stream: no words, hot ones neither.

That no format of the service writes any is tested in tests/service/test_silence.py.
"""

import io

import numpy as np
import pytest
import soundfile
import soxr

from model.checkpoint import Bundle
from model.hot_words import LARGEST_BOOST, HotWords
from model.transcriber import Transcriber
from tests.sounds import RATE_HZ, SOUNDS

DURATION_S = 4.0
N_SAMPLES = round(DURATION_S * RATE_HZ)
HOT = HotWords(("McKay", "O'Brien", "Birket Foster"), LARGEST_BOOST)


def sounds() -> dict[str, np.ndarray]:
    """All there are, and what recorders make of silence."""
    random = np.random.default_rng(5)
    click = np.zeros(N_SAMPLES)
    click[N_SAMPLES // 2] = 1
    hum, pink = SOUNDS["hum"](DURATION_S), SOUNDS["pink noise"](DURATION_S)
    return {
        **{name: sound(DURATION_S) for name, sound in SOUNDS.items()},
        "an offset with the faintest noise": 0.2 + random.normal(0, 1e-4, N_SAMPLES),
        "noise around an offset": np.clip(0.5 + 0.5 * pink, -1, 1),
        "one click": click,
        "hum and noise": 0.7 * hum + 0.01 * pink,
        "the lowest bit": random.integers(-1, 2, N_SAMPLES) / 2**15,
        "a tune far too loud": np.sign(SOUNDS["melody"](DURATION_S)),
    }


@pytest.fixture(scope="module")
def greedy(shipped_bundle: Bundle) -> Transcriber:
    return Transcriber(shipped_bundle, greedy=True)


@pytest.mark.parametrize(("name", "samples_N"), sounds().items(), ids=sounds())
def test_files_of_any_rate_and_channels(
    shipped_transcriber: Transcriber, greedy: Transcriber, name: str, samples_N: np.ndarray
) -> None:
    stereo = wav(np.stack([samples_N, 0.5 * samples_N], axis=1), 48_000)
    assert shipped_transcriber.transcribe(stereo, hot_words=HOT).text == "", name
    assert greedy.transcribe(wav(samples_N, 8_000)).text == "", name


@pytest.mark.parametrize("name", ["telephone", "music", "a tune far too loud", "noise around an offset"])
def test_a_stream_with_hot_words(shipped_transcriber: Transcriber, name: str) -> None:
    session = shipped_transcriber.stream(hot_words=HOT)
    assert [*session.feed(sounds()[name].astype(np.float32)), *session.flush()] == []


def wav(samples: np.ndarray, rate_hz: int) -> bytes:
    """Of another rate than they have."""
    file = io.BytesIO()
    soundfile.write(file, np.clip(soxr.resample(samples, RATE_HZ, rate_hz), -1, 1), rate_hz, format="WAV")
    return file.getvalue()
