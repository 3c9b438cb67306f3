"""Characters as units of the acoustic model."""

from collections.abc import Sequence
from dataclasses import dataclass

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
                raise UnknownCharacterError(
                    f"character {character!r} at position {position} of {text!r} has no unit; "
                    f"the units are {self.characters!r}"
                )
            ids.append(index + 1)
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Text of unit indices.

        Raises:
            OptionError: an index is the blank or outside 1..V-1.
        """
        for index in ids:
            if not 0 < index < self.vocabulary_size:
                raise OptionError(f"unit index is {index}; it must lie in 1..{self.vocabulary_size - 1}")
        return "".join(self.characters[index - 1] for index in ids)
