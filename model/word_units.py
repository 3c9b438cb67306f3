"""How the words of a lexicon are written in what the search goes through: letters, or sounds.

Shape legend: S output frames, O outputs of the acoustic model, U units and blank.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from jaxtyping import Float
from torch import Tensor

from model.phones import N_PHONES, PHONE_BOUNDARY_ID, Pronunciation
from model.tokenizer import WORD_BOUNDARY, Tokenizer


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
