"""The windows of long audio, as a plan and through the whole model."""

import math
from itertools import accumulate

import jiwer
import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from features.audio import Waveform, decode_audio
from features.front_end import FrontEndConfig
from model.acoustic_model import SUBSAMPLING, subsampled_length
from model.checkpoint import Bundle
from model.chunking import ChunkingConfig, Window, plan_windows
from model.decoder import decode_greedy
from model.errors import OptionError
from model.transcriber import Transcriber
from tests.conftest import SpokenClip
from tests.model.conftest import BundleMaker

RATE_HZ = 16_000
FRONT_END = FrontEndConfig()
SAMPLES_PER_FRAME = FRONT_END.hop_samples * SUBSAMPLING
configs = st.sampled_from(
    [
        ChunkingConfig(),
        ChunkingConfig(window_s=8.0, context_s=1.0),
        ChunkingConfig(window_s=1.0, context_s=0.13),
        ChunkingConfig(window_s=0.99, context_s=0.0),
        ChunkingConfig(window_s=0.2, context_s=0.08),  # one frame of five is not context
    ]
)


@settings(deadline=None, max_examples=300)
@given(n_samples=st.integers(1, 100 * RATE_HZ), config=configs)
@example(n_samples=30 * RATE_HZ, config=ChunkingConfig())
@example(n_samples=30 * RATE_HZ + 1, config=ChunkingConfig())
def test_windows_answer_for_every_frame_exactly_once(n_samples: int, config: ChunkingConfig) -> None:
    windows = plan_windows(n_samples, RATE_HZ, SAMPLES_PER_FRAME, config)
    next_frame = 0
    for window in windows:
        assert 0 <= window.first_sample < window.last_sample <= n_samples
        assert window.last_sample - window.first_sample <= config.window_s * RATE_HZ
        assert window.first_sample % SAMPLES_PER_FRAME == 0
        assert window.first_sample // SAMPLES_PER_FRAME + window.skip_frames == next_frame
        given_frames = frames_of(window.last_sample - window.first_sample) - window.skip_frames
        if window.keep_frames is None:
            assert window is windows[-1]
            next_frame += given_frames
        else:
            assert 0 < window.keep_frames <= given_frames
            next_frame += window.keep_frames
    assert windows[-1].keep_frames is None
    assert next_frame == frames_of(n_samples)


@settings(deadline=None)
@given(n_samples=st.integers(1, 100 * RATE_HZ), config=configs)
def test_inner_edges_have_their_context(n_samples: int, config: ChunkingConfig) -> None:
    windows = plan_windows(n_samples, RATE_HZ, SAMPLES_PER_FRAME, config)
    context_samples = config.context_s * RATE_HZ
    for window in windows:
        answered = window.first_sample + window.skip_frames * SAMPLES_PER_FRAME
        assert window.first_sample <= max(0, answered - context_samples)
        if window.keep_frames is not None:
            end = answered + window.keep_frames * SAMPLES_PER_FRAME
            assert window.last_sample >= min(n_samples, end + context_samples)


@pytest.mark.parametrize("n_samples", [1, 512, 480_000])
def test_audio_that_fits_is_one_window(n_samples: int) -> None:
    assert plan_windows(n_samples, RATE_HZ, SAMPLES_PER_FRAME, ChunkingConfig()) == [Window(0, n_samples, 0, None)]


def test_no_audio_is_no_window() -> None:
    assert plan_windows(0, RATE_HZ, SAMPLES_PER_FRAME, ChunkingConfig()) == []


def test_stitched_log_probs_are_those_of_one_pass(make_bundle: BundleMaker) -> None:
    """Through the network itself: no frame is lost, doubled or moved at a seam, and two seconds of context are enough.

    Without the utterance mean, which by its nature is another for a window than for the whole.
    """
    bundle = make_bundle(0, utterance_mean=False)
    waveform = changing_noise(70.3)
    whole_SV = Transcriber(bundle, chunking=ChunkingConfig(window_s=100.0)).log_probs(waveform)
    stitched_SV = Transcriber(bundle, chunking=ChunkingConfig(window_s=10.0)).log_probs(waveform)
    assert len(plan_windows(len(waveform.samples_N), RATE_HZ, SAMPLES_PER_FRAME, ChunkingConfig(10.0))) == 12
    assert len(whole_SV) == frames_of(len(waveform.samples_N))
    assert len(set(whole_SV.argmax(-1).tolist())) > 5  # a text that changes, or the comparison would show little
    torch.testing.assert_close(stitched_SV, whole_SV, rtol=0, atol=1e-3)


def test_long_speech_reads_in_windows_as_in_one_pass(shipped_bundle: Bundle, dev_clean: list[SpokenClip]) -> None:
    """A reader's first minute. Each window has its own utterance mean, so some frames may differ; errors may not."""
    reached_s = accumulate(clip.duration_s for clip in dev_clean)
    clips = [clip for clip, end_s in zip(dev_clean, reached_s, strict=False) if end_s < 80]
    waveform = Waveform(np.concatenate([decode_audio(clip.path).samples_N for clip in clips]))
    assert waveform.duration_s > 65
    assert len({clip.path.parent for clip in clips}) == 1
    windows = Transcriber(shipped_bundle, greedy=True)
    whole = Transcriber(shipped_bundle, greedy=True, chunking=ChunkingConfig(window_s=200.0))
    windows_SV, whole_SV = windows.log_probs(waveform), whole.log_probs(waveform)
    assert len(windows_SV) == len(whole_SV) == frames_of(len(waveform.samples_N), shipped_bundle.front_end.config)
    heard, spelled, phones = shipped_bundle.acoustic_model.config.columns
    # What is spelled may move by a frame, with all characters before it.
    for columns, least in ((heard, 0.97), (spelled, 0.93), (phones, 0.97)):
        agree_S = windows_SV[:, columns].argmax(-1) == whole_SV[:, columns].argmax(-1)
        assert agree_S.float().mean() > least

    def errors(letters_SV: Tensor) -> float:
        text = shipped_bundle.tokenizer.decode([unit.id for unit in decode_greedy(letters_SV)])
        return float(jiwer.cer(" ".join(clip.transcript.lower() for clip in clips), text))

    for letters in (heard, spelled):
        assert errors(windows_SV[:, letters]) <= errors(whole_SV[:, letters]) + 0.02


@pytest.mark.parametrize("options", [{"window_s": 4.0, "context_s": 2.0}, {"context_s": -1.0}, {"window_s": math.nan}])
def test_context_that_fills_the_window_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(OptionError, match="context is 2 ×"):
        ChunkingConfig(**options)


def test_a_window_without_a_frame_beside_its_context_is_refused() -> None:
    with pytest.raises(OptionError, match=r"window of 0.11 s is 2 output frames, of which 2 × 2 are context"):
        plan_windows(RATE_HZ, RATE_HZ, SAMPLES_PER_FRAME, ChunkingConfig(window_s=0.11, context_s=0.05))


def frames_of(n_samples: int, config: FrontEndConfig = FRONT_END) -> int:
    """Output frames of a whole pass over so many samples."""
    return subsampled_length(config.n_frames(n_samples))


def changing_noise(duration_s: float) -> Waveform:
    """Noise whose loudness and colour change a few times a second, as speech's do."""
    rng = np.random.default_rng(0)
    n_samples = round(duration_s * RATE_HZ)
    white_N = rng.normal(size=n_samples)
    steps_N = np.repeat(rng.uniform(0, 1, size=n_samples // 2000 + 1), 2000)[:n_samples]
    coloured_N = steps_N * white_N + (1 - steps_N) * np.convolve(white_N, np.ones(9) / 3, mode="same")
    loudness_N = 10 ** np.repeat(rng.uniform(-3, 0, size=n_samples // 3000 + 1), 3000)[:n_samples]
    return Waveform((0.1 * loudness_N * coloured_N).astype(np.float32))
