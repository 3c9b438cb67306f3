"""The windows of audio that arrives in pieces: every frame once, nothing of silence, and little remembered."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.front_end import FrontEndConfig
from features.speech_detection import SpeechDetectionConfig
from model.acoustic_model import SUBSAMPLING, subsampled_length
from model.chunking import ChunkingConfig, plan_windows
from model.windows import CutWindow, WindowCutter
from tests.sounds import RATE_HZ, SOUNDS

FRONT_END = FrontEndConfig()
SAMPLES_PER_FRAME = FRONT_END.hop_samples * SUBSAMPLING
SHORT = ChunkingConfig(window_s=3.0, context_s=0.5)


@settings(deadline=None, max_examples=60)
@given(n_samples=st.integers(0, 40 * RATE_HZ), size=st.integers(2_000, 200_000))
def test_every_frame_is_answered_for_once_and_sees_its_audio(n_samples: int, size: int) -> None:
    samples_N = np.arange(n_samples, dtype=np.float32)
    reached = 0
    for window in windows_of(samples_N, size, None):
        begin = int(window.samples_N[0])
        np.testing.assert_array_equal(window.samples_N, samples_N[begin : begin + len(window.samples_N)])
        assert window.first_frame == reached
        assert begin == (reached - window.skip_frames) * SAMPLES_PER_FRAME
        assert len(window.samples_N) <= SHORT.window_s * RATE_HZ
        frames = subsampled_length(FRONT_END.n_frames(len(window.samples_N)))
        reached += frames - window.skip_frames if window.keep_frames is None else window.keep_frames
    assert reached == subsampled_length(FRONT_END.n_frames(n_samples))


@pytest.mark.parametrize("duration_s", [0.4, 3.0, 4.1])
def test_short_audio_has_the_windows_of_a_known_length(duration_s: float) -> None:
    n_samples = round(duration_s * RATE_HZ)
    planned = plan_windows(n_samples, RATE_HZ, SAMPLES_PER_FRAME, SHORT)
    cut = windows_of(np.zeros(n_samples, np.float32), 10_000, None)
    assert [(w.skip_frames, w.keep_frames) for w in cut] == [(w.skip_frames, w.keep_frames) for w in planned]
    assert [len(w.samples_N) for w in cut] == [w.last_sample - w.first_sample for w in planned]


def test_silence_is_left_out_and_the_frames_keep_their_numbers() -> None:
    sound_N = SOUNDS["drums"](6.0)
    silence_N = np.zeros(60 * RATE_HZ, np.float32)
    windows = windows_of(np.concatenate([silence_N, sound_N, silence_N, sound_N]), 50_000, SpeechDetectionConfig())
    heard_s = sum(len(window.samples_N) for window in windows) / RATE_HZ
    assert 12 <= heard_s <= 12 + 2 * 3 + len(windows) * 2 * SHORT.context_s
    times_s = [window.first_frame * SAMPLES_PER_FRAME / RATE_HZ for window in windows]
    assert times_s == sorted(times_s)
    assert all(58 <= time_s <= 67 or 124 <= time_s <= 132 for time_s in times_s)


def test_audio_that_fits_is_left_whole_unless_it_is_silent() -> None:
    clip_N = np.concatenate([np.zeros(RATE_HZ, np.float32), SOUNDS["drums"](1.0)])
    (window,) = windows_of(clip_N, 3000, SpeechDetectionConfig())
    np.testing.assert_array_equal(window.samples_N, clip_N)
    assert windows_of(SOUNDS["tone"](2.0), 3000, SpeechDetectionConfig()) == []


@pytest.mark.parametrize(("silence_s", "is_whole"), [(2.0, True), (6.0, False)])
def test_long_silences_are_left_out_of_audio_that_fits_too(silence_s: float, is_whole: bool) -> None:
    drums_N, silence_N = SOUNDS["drums"](2.0), np.zeros(round(silence_s * RATE_HZ), np.float32)
    audio_N = np.concatenate([drums_N, silence_N, drums_N])
    cutter = WindowCutter(RATE_HZ, SAMPLES_PER_FRAME, ChunkingConfig(), SpeechDetectionConfig())
    windows = [*cutter.feed(audio_N), *cutter.flush()]
    assert (len(windows) == 1) == is_whole
    heard_s = sum(len(window.samples_N) for window in windows) / RATE_HZ
    assert heard_s == 6.0 if is_whole else 4.0 <= heard_s <= 8.0


@pytest.mark.parametrize("sound", ["drums", "digital silence", "tone"])
def test_little_is_remembered(sound: str) -> None:
    cutter = WindowCutter(RATE_HZ, SAMPLES_PER_FRAME, SHORT, SpeechDetectionConfig())
    piece_N = SOUNDS[sound](2.0)
    for _ in range(60):
        list(cutter.feed(piece_N))
        assert len(cutter._audio_N) <= 12 * RATE_HZ
        assert len(cutter._spans) == 0 or cutter.seen_samples <= SHORT.window_s * RATE_HZ


def windows_of(samples_N: np.ndarray, size: int, detection: SpeechDetectionConfig | None) -> list[CutWindow]:
    cutter = WindowCutter(RATE_HZ, SAMPLES_PER_FRAME, SHORT, detection)
    windows: list[CutWindow] = []
    for begin in range(0, len(samples_N), size):
        windows += cutter.feed(samples_N[begin : begin + size])
        assert 0 <= cutter.done_samples <= cutter.seen_samples
    windows += cutter.flush()
    assert cutter.done_samples == cutter.seen_samples == len(samples_N)
    return windows
