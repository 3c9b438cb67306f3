"""Pronouncing dictionaries as files: read, completed by the letter-to-sound model, written."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from model.errors import OptionError, PronunciationError
from model.phones import Pronunciation, format_pronunciations, parse_pronunciations
from training.errors import CorpusError
from training.whole_files import store_file

Dictionary = Mapping[str, tuple[Pronunciation, ...]]  # the first pronunciation of a word first


class Pronouncer(Protocol):
    """What knows how letters sound: `model.letter_to_sound`, or `training.espeak`."""

    def encode(self, word: str) -> list[int]:
        """Raises OptionError for a word that it cannot read."""

    def pronounce(self, words: Sequence[str]) -> list[Pronunciation]:
        """A pronunciation for each word."""


@dataclass(frozen=True)
class PronouncedWords:
    """How the words of a list are pronounced.

    Attributes:
        dictionary: every word that could be pronounced, in the list's order.
        n_looked_up, n_by_model: how many of them a dictionary had, and how many the model pronounced.
        left_out: a sentence on each of the others, which begins with the word.
    """

    dictionary: Dictionary
    n_looked_up: int
    n_by_model: int
    left_out: tuple[str, ...]


def pronounce_words(words: Iterable[str], known: Dictionary, model: Pronouncer) -> PronouncedWords:
    """The pronunciations that a dictionary has, and the model's for words that it lacks.

    Args:
        words: in lower case; one that comes twice is taken once.
        known: is believed, also where the model could not read the word.
        model: what pronounces the others.
    """
    different = dict.fromkeys(words)
    guessed, left_out = [], []
    for word in different:
        if word in known:
            continue
        try:
            model.encode(word)
            guessed.append(word)
        except OptionError as error:
            left_out.append(str(error))
    ways: dict[str, tuple[Pronunciation, ...]] = {
        word: (way,) for word, way in zip(guessed, model.pronounce(guessed), strict=True)
    }
    ways |= {word: known[word] for word in different if word in known}
    in_order = {word: ways[word] for word in different if word in ways}
    return PronouncedWords(in_order, len(in_order) - len(guessed), len(guessed), tuple(left_out))


def read_dictionary(path: str | os.PathLike[str]) -> Dictionary:
    """A file in CMUdict's format (`model.phones`).

    Raises:
        PronunciationError: a line of it is none; the message names file, line and word.
        CorpusError: it is no UTF-8 text.
        OSError: it cannot be read.
    """
    try:
        return parse_pronunciations(_read_text(path))
    except PronunciationError as error:
        raise PronunciationError(f"{path}, {error}") from error


def read_words(path: str | os.PathLike[str]) -> list[str]:
    """The first word of each line of a file, in lower case; empty lines are passed over.

    Raises:
        CorpusError: it is no UTF-8 text.
        OSError: it cannot be read.
    """
    return [fields[0].lower() for line in _read_text(path).splitlines() if (fields := line.split())]


def write_dictionary(dictionary: Dictionary, path: str | os.PathLike[str]) -> None:
    """Write a dictionary in CMUdict's format, whole or not at all.

    Raises:
        StorageError: it could not be written; what was there before is kept.
    """
    store_file(Path(path), format_pronunciations(dictionary).encode())


def _read_text(path: str | os.PathLike[str]) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise CorpusError(f"{path} is no UTF-8 text: {error}") from error
