"""What machines speak: drawn, written once, and refused where nothing is said."""

import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from features.audio import SAMPLE_RATE_HZ, Waveform
from training.errors import CorpusError
from training.experiments.synthesise import (
    ESPEAK_ACCENTS,
    ESPEAK_VARIANTS,
    FLITE_VOICES,
    Manner,
    draw_manner,
    speak_by_program,
    synthesise,
)

TEXTS = ["one", "two words", "three more words"]


class Speaker:
    """A second of a tone for every sentence."""

    def __init__(self) -> None:
        self.spoken: list[tuple[Manner, str]] = []

    def __call__(self, manner: Manner, text: str) -> Waveform:
        self.spoken.append((manner, text))
        return Waveform(np.sin(np.arange(SAMPLE_RATE_HZ) / 5).astype(np.float32) / 100, SAMPLE_RATE_HZ)


def test_texts_are_spoken_in_turn_until_there_is_enough_and_what_is_there_is_not_spoken_again(tmp_path: Path) -> None:
    first, second, other = Speaker(), Speaker(), Speaker()
    utterances = list(synthesise(TEXTS, tmp_path, 7 / 3600, first))
    assert len(utterances) == len(first.spoken) == 7
    texts = [utterance.transcript for utterance in utterances]
    assert texts == [text for _, text in first.spoken]
    assert sorted(texts[:3]) == sorted(texts[3:6]) == sorted(TEXTS)
    samples_N, rate_hz = soundfile.read(utterances[0].path)
    assert rate_hz == SAMPLE_RATE_HZ and np.abs(samples_N).max() == pytest.approx(0.5, abs=1e-3)

    assert list(synthesise(TEXTS, tmp_path, 9 / 3600, second))[:7] == utterances
    assert len(second.spoken) == 2
    list(synthesise(TEXTS, tmp_path / "other", 7 / 3600, other, seed=2))
    assert other.spoken != first.spoken


def test_every_voice_is_drawn_at_some_pace_and_pitch() -> None:
    rng = random.Random(5)
    manners = [draw_manner(rng) for _ in range(3000)]
    voices = {(manner.program, manner.voice) for manner in manners}
    assert len(voices) == len(FLITE_VOICES) + len(ESPEAK_ACCENTS) * len(ESPEAK_VARIANTS)
    assert 1300 < sum(manner.program == "flite" for manner in manners) < 1700
    assert all(0.8 <= manner.pace <= 1.25 and 0 <= manner.pitch <= 1 for manner in manners)


def test_silence_and_nothing_to_say_are_refused(tmp_path: Path) -> None:
    def silent(manner: Manner, text: str) -> Waveform:
        return Waveform(np.zeros(100, np.float32), SAMPLE_RATE_HZ)

    with pytest.raises(CorpusError, match="says nothing as"):
        list(synthesise(TEXTS, tmp_path, 1.0, silent))
    with pytest.raises(CorpusError, match="there are 0 texts and 1 h to speak"):
        list(synthesise([], tmp_path, 1.0, silent))
    with pytest.raises(CorpusError, match="hal is not installed: apt-get install hal"):
        speak_by_program(Manner("hal", "9000", 1.0, 0.5), "good morning")


@pytest.mark.parametrize(("program", "voice"), [("espeak-ng", "en-gb+f2"), ("flite", "slt")])
def test_a_slower_pace_takes_longer(program: str, voice: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    fast, slow = (
        speak_by_program(Manner(program, voice, pace, 0.5), "a man said to the universe") for pace in (1.2, 0.8)
    )
    assert fast.sample_rate_hz == slow.sample_rate_hz == SAMPLE_RATE_HZ
    assert 1.0 < fast.duration_s < 0.85 * slow.duration_s < 5.0


def test_a_voice_that_is_not_there_is_said() -> None:
    if shutil.which("espeak-ng") is None:
        pytest.skip("espeak-ng is not installed")
    with pytest.raises(CorpusError, match=r"espeak-ng -v nobody .*failed: .*voice does not exist"):
        speak_by_program(Manner("espeak-ng", "nobody", 1.0, 0.5), "a man said")
