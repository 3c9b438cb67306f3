"""Speech that was recorded far too quietly, as it ships: what 16 bits still hold of it is heard."""

import numpy as np
import pytest

from features.audio import Waveform, decode_audio
from model.checkpoint import Bundle
from model.transcriber import Transcriber
from tests.conftest import SpokenClip
from training.corpora import normalize_transcript
from training.metrics import word_errors


@pytest.fixture(scope="module")
def transcriber(shipped_bundle: Bundle) -> Transcriber:
    return Transcriber(shipped_bundle)


@pytest.mark.parametrize("softer_db", [20, 40])
def test_synthetic_speech_keeps_its_words(
    transcriber: Transcriber, synthetic_clips: list[SpokenClip], softer_db: float
) -> None:
    assert lost_words(transcriber, synthetic_clips, softer_db) <= 2


@pytest.mark.parametrize("softer_db", [20, 40])
def test_recorded_speech_keeps_its_words(
    transcriber: Transcriber, dev_clean: list[SpokenClip], softer_db: float
) -> None:
    """As it is, four of five words are right; 40 dB softer and not raised, one of five was."""
    assert lost_words(transcriber, dev_clean[5::100], softer_db) <= 8  # of more than 150


def lost_words(transcriber: Transcriber, clips: list[SpokenClip], softer_db: float) -> int:
    """How many words more are wrong when the samples are made softer and rounded to 16 bits again."""
    references = [normalize_transcript(clip.transcript) for clip in clips]
    samples = [decode_audio(clip.path).samples_N for clip in clips]
    soft = [np.round(samples_N * 10 ** (-softer_db / 20) * 32768) / 32768 for samples_N in samples]
    wrong = []
    for waveforms in (samples, soft):
        texts = [transcriber.transcribe(Waveform(samples_N.astype(np.float32))).text for samples_N in waveforms]
        errors = word_errors(references, texts)
        wrong.append(errors.substitutions + errors.deletions + errors.insertions)
    print(wrong)  # shown where it fails
    return wrong[1] - wrong[0]
