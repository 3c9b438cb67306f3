"""espeak-ng's phonemes as CMUdict's phones; the program is one of those that development needs."""

import shutil
import subprocess

import pytest

from model.errors import OptionError
from model.phones import PHONE_UNITS
from training import espeak
from training.errors import CorpusError
from training.espeak import Espeak

needs_espeak = pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")


def spoken(word: str) -> str:
    return " ".join(PHONE_UNITS[phone - 1] for phone in Espeak().pronounce([word])[0])


@needs_espeak
@pytest.mark.parametrize(
    ("word", "phones"),
    [
        ("hello", "HH AH L OW"),
        ("waistcoat", "W EY S T K OW T"),
        ("endeavoured", "EH N D EH V ER D"),
        ("o'er", "AO R"),
        ("judge", "JH AH JH"),
        ("thinking", "TH IH NG K IH NG"),
    ],
)
def test_words_are_pronounced_as_cmudict_would(word: str, phones: str) -> None:
    assert spoken(word) == phones


@needs_espeak
def test_many_words_at_once_are_pronounced_as_each_alone() -> None:
    words = ["i", "a", "mister", "dr", "st", "ii", "etc", "peyrol", "'tis", "o'er", "eg", "zwei", "xlviii"]
    assert Espeak().pronounce(words) == [Espeak().pronounce([word])[0] for word in words]
    assert Espeak().pronounce([]) == []


@pytest.mark.parametrize("word", ["", "two words", "x-ray", "naïve", "7up", "Capital", "'", "a" * 101])
def test_what_is_no_word_is_refused_by_name(word: str) -> None:
    with pytest.raises(OptionError, match="is no word"):
        Espeak().pronounce([word])


def test_a_missing_program_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(espeak, "PROGRAM", "espeak-of-nowhere")
    with pytest.raises(CorpusError, match="espeak-of-nowhere is not installed"):
        Espeak().pronounce(["a"])


def test_a_phoneme_without_a_phone_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    said = subprocess.CompletedProcess([], 0, stdout="h_'@_XX\n", stderr="")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: said)
    with pytest.raises(CorpusError, match="pronounces 'hex' with 'XX'"):
        Espeak().pronounce(["hex"])
