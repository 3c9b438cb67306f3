"""What the detector takes for possible speech, and that it does not matter in which pieces the audio comes."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.audio import decode_audio
from features.speech_detection import SpeechDetectionConfig, SpeechDetectionConfigError, SpeechDetector
from tests.conftest import SpokenClip
from tests.sounds import RATE_HZ, SOUNDS, coloured_noise

STEADY = [
    "digital silence", "a constant", "white noise", "loud white noise", "faint white noise", "pink noise",
    "tone", "low tone", "high tone", "hum",
]  # fmt: skip


@pytest.mark.parametrize("name", STEADY)
def test_what_is_steady_is_no_speech(name: str) -> None:
    assert not speech_in(SOUNDS[name](7.3), [])


def test_speech_is_found_whole(synthetic_clips: list[SpokenClip]) -> None:
    for clip in synthetic_clips:
        samples_N = decode_audio(clip.path).samples_N
        assert speech_in(samples_N, []) == [(0, len(samples_N))]


@pytest.mark.parametrize("gain", [1.0, 0.01])
def test_speech_is_found_between_silences_and_between_noise(synthetic_clips: list[SpokenClip], gain: float) -> None:
    """Noise as loud as the speech does not hide it; how loud both are makes no difference."""
    speech_N = decode_audio(synthetic_clips[0].path).samples_N
    level_db = 10 * np.log10(np.mean(speech_N**2))
    for background_N in (
        np.zeros(len(speech_N) + 20 * RATE_HZ),
        coloured_noise(len(speech_N) / RATE_HZ + 20, 0.0, level_db),
    ):
        samples_N = background_N[: len(speech_N) + 20 * RATE_HZ].astype(np.float32)
        samples_N[10 * RATE_HZ : 10 * RATE_HZ + len(speech_N)] += speech_N
        ((first, last),) = speech_in(gain * samples_N, [])
        assert 8.0 <= first / RATE_HZ <= 10.0 + 0.3  # the clip begins with some silence of its own
        assert len(speech_N) / RATE_HZ + 9.7 <= last / RATE_HZ <= len(speech_N) / RATE_HZ + 12.0


@settings(deadline=None, max_examples=40)
@given(
    pattern=st.lists(st.tuples(st.sampled_from([0.0, 1e-3, 0.3]), st.integers(1, 40_000)), max_size=8),
    sizes=st.lists(st.integers(0, 50_000), max_size=12),
)
def test_spans_cover_the_audio_in_pieces_as_at_once(pattern: list[tuple[float, int]], sizes: list[int]) -> None:
    rng = np.random.default_rng(0)
    parts = [gain * rng.normal(size=length) for gain, length in pattern]
    samples_N = np.concatenate([np.zeros(0), *parts]).astype(np.float32)
    assert speech_in(samples_N, sizes) == speech_in(samples_N, [])


def test_after_flush_the_next_audio_starts_fresh() -> None:
    detector = SpeechDetector()
    detector.feed(SOUNDS["drums"](4.0))
    detector.flush()
    spans = [*detector.feed(SOUNDS["tone"](4.0)), *detector.flush()]
    assert [span.speech for span in spans] == [False] * len(spans)
    assert spans[-1].last_sample == 4 * RATE_HZ


def test_the_state_never_grows() -> None:
    detector = SpeechDetector()
    for sound in ("drums", "digital silence", "melody"):
        detector.feed(SOUNDS[sound](30.0))
        assert len(detector._rest_N) < detector.config.window_samples
        assert len(detector._power_TK) < 2 * detector.config.step_frames


@pytest.mark.parametrize(
    "options",
    [
        {"band_edges_hz": (200.0,)},
        {"band_edges_hz": (800.0, 200.0)},
        {"band_edges_hz": (200.0, 9000.0)},
        {"hop_ms": 0.0},
        {"smooth_frames": 25},
        {"padding_s": -1.0},
        {"shortest_silence_s": 0.0},
    ],
)
def test_options_out_of_range_are_named(options: dict[str, object]) -> None:
    with pytest.raises(SpeechDetectionConfigError, match=r"\d"):
        SpeechDetectionConfig(**options)  # type: ignore[arg-type]  # wrong on purpose


def speech_in(samples_N: np.ndarray, sizes: Sequence[int]) -> list[tuple[int, int]]:
    """Where speech may be, neighbours joined; the spans have to cover everything."""
    detector = SpeechDetector()
    spans, rest_N = [], samples_N
    for size in sizes:
        spans += detector.feed(rest_N[:size])
        rest_N = rest_N[size:]
    spans += [*detector.feed(rest_N), *detector.flush()]
    found: list[tuple[int, int]] = []
    reached = 0
    for span in spans:
        assert reached == span.first_sample < span.last_sample
        reached = span.last_sample
        if span.speech and found and found[-1][1] == span.first_sample:
            found[-1] = (found[-1][0], span.last_sample)
        elif span.speech:
            found.append((span.first_sample, span.last_sample))
    assert reached == len(samples_N)
    return found
