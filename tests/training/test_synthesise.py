"""What machines speak: drawn, written once, and refused where nothing is said."""

import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

import cli
from features.audio import SAMPLE_RATE_HZ, Waveform
from training.corpora import read_corpus
from training.errors import CorpusError
from training.synthesise import (
    ESPEAK_ACCENTS,
    ESPEAK_VARIANTS,
    FEWEST_WORDS,
    FLITE_VOICES,
    MOST_WORDS,
    Manner,
    choose_sentences,
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
    again = list(synthesise(TEXTS, tmp_path, 7 / 3600, other, seed=2))  # in the same folder
    assert [text for _, text in other.spoken] == [utterance.transcript for utterance in again]
    assert other.spoken != first.spoken and not {one.path for one in again} & {one.path for one in utterances}


def test_other_texts_are_not_paired_with_the_audio_of_those_before(tmp_path: Path) -> None:
    speaker = Speaker()
    before = list(synthesise(["good morning"], tmp_path, 1 / 3600, speaker))
    after = list(synthesise(["good night"], tmp_path, 1 / 3600, speaker))
    assert [text for _, text in speaker.spoken] == ["good morning", "good night"]
    assert before[0].path != after[0].path


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
    for endless in (float("nan"), float("inf")):
        with pytest.raises(CorpusError, match=f"{endless:g} h to speak"):
            list(synthesise(TEXTS, tmp_path, endless, silent))
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


def test_sentences_of_a_book_are_cut_to_stretches_of_words_that_are_allowed() -> None:
    words = [f"w{number}" for number in range(40)]
    chosen = choose_sentences([words, words[:4], words[:5], ["odd", *words[:6]], words[3:18]], allowed=set(words))
    assert [len(text.split()) for text in chosen] == [MOST_WORDS, FEWEST_WORDS, MOST_WORDS]
    assert chosen[0] in " ".join(words)
    starts = {choose_sentences([words], seed=seed)[0].split()[0] for seed in range(200)}
    assert {"w0", "w25"} <= starts  # the first and the last that leave room
    assert choose_sentences([["odd", *words[:6]]]) == ["odd w0 w1 w2 w3 w4 w5"]


def test_the_command_says_a_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.synthesise.speak_by_program", Speaker())
    (tmp_path / "book.txt").write_text("A man said to the universe.\nToo short.\nSir, I exist at last, xyzzy said.\n")
    (tmp_path / "words.txt").write_text("a\nman\nsaid\nto\nthe\nuniverse\nsir\ni\nexist\nat\nlast\n")
    output = tmp_path / "spoken.tsv"
    words = ["data", "synthesise", str(tmp_path / "book.txt"), str(output), "--hours", str(3 / 3600)]
    done = CliRunner().invoke(cli.app, [*words, "--limit-vocab", str(tmp_path / "words.txt")])
    assert done.exit_code == 0, done.output
    assert "spoken.tsv: 3 utterances" in done.output
    assert {utterance.transcript for utterance in read_corpus(output)} == {"a man said to the universe"}
    refused = CliRunner().invoke(cli.app, [*words[:-1], "0"])
    assert refused.exit_code == 1 and "more than 0 are needed" in refused.output
