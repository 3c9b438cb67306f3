"""Speech that was recorded far too quietly, as it ships: what 16 bits still hold of it is heard."""

import numpy as np
import pytest

from features.audio import Waveform, decode_audio
from model.checkpoint import Bundle
from model.stream_events import Final
from model.transcriber import Transcriber
from tests.conftest import SpokenClip
from training.corpora import normalize_transcript
from training.metrics import word_errors


@pytest.fixture(scope="module")
def transcriber(shipped_bundle: Bundle) -> Transcriber:
    return Transcriber(shipped_bundle)


@pytest.mark.parametrize(("softer_db", "live"), [(20, False), (40, False), (30, True)])
def test_synthetic_speech_keeps_its_words(
    transcriber: Transcriber, synthetic_clips: list[SpokenClip], softer_db: float, live: bool
) -> None:
    assert lost_words(transcriber, synthetic_clips, softer_db, live) <= 2


@pytest.mark.parametrize("softer_db", [20, 40])
def test_recorded_speech_keeps_its_words(
    transcriber: Transcriber, dev_clean: list[SpokenClip], softer_db: float
) -> None:
    """As it is, four of five words are right; 40 dB softer and not raised, one of five was."""
    assert lost_words(transcriber, dev_clean[5::100], softer_db, live=False) <= 8  # of more than 150


def test_recorded_speech_keeps_its_words_live(transcriber: Transcriber, dev_clean: list[SpokenClip]) -> None:
    """Not raised, all but a few of them were lost."""
    assert lost_words(transcriber, dev_clean[5::200], 40, live=True) <= 6  # of 66


def test_words_are_heard_after_digital_silence_where_the_network_hears_all(
    shipped_bundle: Bundle, synthetic_clips: list[SpokenClip]
) -> None:
    """Raised as if the silence were quiet speech, they were all lost, for half a minute."""
    samples = [decode_audio(clip.path).samples_N for clip in synthetic_clips]
    text = text_of(
        Transcriber(shipped_bundle, detection=None), np.concatenate([np.zeros(30 * 16_000, np.float32), *samples]), True
    )
    assert len(text.split()) >= 25, text  # of 60


def lost_words(transcriber: Transcriber, clips: list[SpokenClip], softer_db: float, live: bool) -> int:
    """How many words more are wrong when the samples are made softer and rounded to 16 bits again."""
    references = [normalize_transcript(clip.transcript) for clip in clips]
    samples = [decode_audio(clip.path).samples_N for clip in clips]
    soft = [np.round(samples_N * 10 ** (-softer_db / 20) * 32768) / 32768 for samples_N in samples]
    wrong = []
    for waveforms in (samples, soft):
        texts = [text_of(transcriber, samples_N.astype(np.float32), live) for samples_N in waveforms]
        errors = word_errors(references, texts)
        wrong.append(errors.substitutions + errors.deletions + errors.insertions)
    print(wrong)  # shown where it fails
    return wrong[1] - wrong[0]


def text_of(transcriber: Transcriber, samples_N: np.ndarray, live: bool) -> str:
    if not live:
        return transcriber.transcribe(Waveform(samples_N)).text
    session = transcriber.stream()
    events = [*session.feed(samples_N), *session.flush()]
    return " ".join(event.segment.text for event in events if isinstance(event, Final))
