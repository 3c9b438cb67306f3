"""How the words of a lexicon are written in what the search goes through: letters, or sounds.

Shape legend: S output frames, O outputs of the acoustic model, U units and blank.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol, runtime_checkable

from flashlight.lib.text.decoder import SmearingMode, Trie
from jaxtyping import Float
from torch import Tensor

from model.phones import N_PHONES, PHONE_BOUNDARY_ID, Pronunciation
from model.tokenizer import WORD_BOUNDARY, Tokenizer

MOST_ALIKE = 6  # words with the same units that flashlight's trie can tell


@runtime_checkable  # the shape checks of the tests ask
class WordUnits(Protocol):
    """Units of words, 1..U-1; index 0 is CTC's blank, and `boundary` stands between words."""

    n_units: int
    boundary: int

    def columns(self, log_probs_SO: Float[Tensor, "S O"]) -> Float[Tensor, "S U"]:
        """What the acoustic model says of these units."""

    def ways(self, word: str) -> Sequence[Sequence[int]]:
        """Every way to write a word, the commonest first, without boundaries; none where there is no way."""


class Letters:
    """Words as the tokenizer spells them."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._known = set(tokenizer.characters)
        self.n_units = tokenizer.vocabulary_size
        self.boundary = tokenizer.encode(WORD_BOUNDARY)[0]

    def columns(self, log_probs_SO: Float[Tensor, "S O"]) -> Float[Tensor, "S U"]:
        """The first columns."""
        return log_probs_SO[:, : self.n_units]

    def ways(self, word: str) -> Sequence[Sequence[int]]:
        """The one spelling."""
        return [self._tokenizer.encode(word)] if set(word) <= self._known else []


class Sounds:
    """Words as they are pronounced.

    Args:
        pronunciations: of every word that may be found, in lower case.
    """

    n_units = N_PHONES
    boundary = PHONE_BOUNDARY_ID

    def __init__(self, pronunciations: Mapping[str, Sequence[Pronunciation]]) -> None:
        self._pronunciations = pronunciations

    def columns(self, log_probs_SO: Float[Tensor, "S O"]) -> Float[Tensor, "S U"]:
        """The last columns."""
        return log_probs_SO[:, -N_PHONES:]

    def ways(self, word: str) -> Sequence[Sequence[int]]:
        """Its pronunciations."""
        return self._pronunciations.get(word, ())


def grow_trie(units: WordUnits, words: Iterable[tuple[str, float]]) -> Trie:
    """The lexicon as the search goes through it, a path for every way to write a word, with a boundary at its end.

    Args:
        units: how the words are written.
        words: each with the log10 probability that is looked ahead to; the n-th has label n. Of words with the same
            units only the first `MOST_ALIKE` are found.
    """
    trie = Trie(units.n_units, units.boundary)
    alike: dict[tuple[int, ...], int] = {}
    boundary = units.boundary
    for label, (word, log10prob) in enumerate(words):
        for way in units.ways(word):
            key = tuple(way)
            alike[key] = count = alike.get(key, 0) + 1
            if count <= MOST_ALIKE:
                trie.insert([*way, boundary], label, log10prob)
    trie.smear(SmearingMode.MAX)
    return trie
