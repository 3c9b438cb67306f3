"""What the acoustic model writes with: characters, or pieces of words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

from model.errors import OptionError, UnknownCharacterError

BLANK_ID = 0  # CTC's blank; never a unit of text
WORD_BOUNDARY = " "
ENGLISH_CHARACTERS = " 'abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class CharacterTokenizer:
    """Text ↔ unit indices; index 0 is the CTC blank, index i + 1 is `characters[i]`.

    Attributes:
        characters: the units, each one character, no two the same. A space is the word boundary.
    """

    characters: str = ENGLISH_CHARACTERS

    def __post_init__(self) -> None:
        if not self.characters or len(set(self.characters)) != len(self.characters):
            raise OptionError(f"tokenizer characters are {self.characters!r}; they must be at least one, all different")

    @property
    def vocabulary_size(self) -> int:
        """Units and blank, V."""
        return len(self.characters) + 1

    def encode(self, text: str) -> list[int]:
        """Indices 1..V-1 of a text's characters.

        Raises:
            UnknownCharacterError: a character has no unit; the message names it and its position.
        """
        ids = []
        for position, character in enumerate(text):
            index = self.characters.find(character)
            if index < 0:
                raise _no_unit(character, position, text, self.characters)
            ids.append(index + 1)
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Text of unit indices.

        Raises:
            OptionError: an index is the blank or outside 1..V-1.
        """
        return _spell(self.characters, ids)


@dataclass(frozen=True)
class SubwordTokenizer:
    """Pieces of words as units, by byte-pair encoding: characters, and what neighbours are merged to.

    A word begins as its characters; the pair of neighbours that stands first in `merges` becomes one unit, again and
    again, until no pair of them is left. A space stays as it is, so that words never share a unit. Source: Sennrich,
    Haddow and Birch, "Neural machine translation of rare words with subword units", ACL 2016.

    Attributes:
        units: all different; index 0 is the CTC blank, index i + 1 is `units[i]`. Those of one character are what can
            be spelled.
        merges: pairs of units in the order in which they were learned; both together are a unit too.
    """

    units: tuple[str, ...]
    merges: tuple[tuple[str, str], ...]

    def __post_init__(self) -> None:
        known = set(self.units)
        if not all(self.units) or len(known) != len(self.units) or WORD_BOUNDARY not in known:
            raise OptionError(f"subword units are {self.units}; they must be all different, none empty, one a space")
        for pair in self.merges:
            if len(pair) != 2 or not {*pair, "".join(pair)} <= known or WORD_BOUNDARY in pair:
                raise OptionError(f"subword merge {pair} must be two units that make a third, and none of them a space")

    @cached_property
    def characters(self) -> str:
        """What can be spelled."""
        return "".join(unit for unit in self.units if len(unit) == 1)

    @property
    def vocabulary_size(self) -> int:
        """Units and blank, V."""
        return len(self.units) + 1

    def encode(self, text: str) -> list[int]:
        """Indices 1..V-1 of a text's units.

        Raises:
            UnknownCharacterError: a character has no unit; the message names it and its position.
        """
        for position, character in enumerate(text):
            if character not in self._ids:
                raise _no_unit(character, position, text, self.characters)
        units: list[str] = []
        for word in text.split(WORD_BOUNDARY):
            units += [WORD_BOUNDARY, *self._pieces(word)]
        return [self._ids[unit] for unit in units[1:]]

    def decode(self, ids: Sequence[int]) -> str:
        """Text of unit indices.

        Raises:
            OptionError: an index is the blank or outside 1..V-1.
        """
        return _spell(self.units, ids)

    def _pieces(self, word: str) -> list[str]:
        pieces = list(word)
        while ranked := [rank for pair in pairwise(pieces) if (rank := self._ranks.get(pair)) is not None]:
            first, second = self.merges[min(ranked)]
            at = 0
            while at < len(pieces) - 1:
                if pieces[at] == first and pieces[at + 1] == second:
                    pieces[at : at + 2] = [first + second]
                at += 1
        return pieces

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {unit: index for index, unit in enumerate(self.units, 1)}

    @cached_property
    def _ranks(self) -> dict[tuple[str, str], int]:
        return {pair: rank for rank, pair in reversed(list(enumerate(self.merges)))}


Tokenizer = CharacterTokenizer | SubwordTokenizer


def parse_tokenizer(values: Mapping[str, Any]) -> Tokenizer:
    """A tokenizer from its fields, as JSON gives them: of subwords where there are `merges`.

    Raises:
        OptionError: the units cannot be used.
        KeyError, TypeError: a value is missing, unknown or of the wrong type.
    """
    if "merges" not in values:
        return CharacterTokenizer(**values)
    merges = tuple(tuple(pair) for pair in values["merges"])
    options: dict[str, Any] = {**values, "units": tuple(values["units"]), "merges": merges}
    return SubwordTokenizer(**options)


def _no_unit(character: str, position: int, text: str, units: str) -> UnknownCharacterError:
    return UnknownCharacterError(
        f"character {character!r} at position {position} of {text!r} has no unit; the units are {units!r}"
    )


def _spell(units: Sequence[str], ids: Sequence[int]) -> str:
    for index in ids:
        if not 0 < index <= len(units):
            raise OptionError(f"unit index is {index}; it must lie in 1..{len(units)}")
    return "".join(units[index - 1] for index in ids)
