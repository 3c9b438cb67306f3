"""Units in order of time → the words that they spell.

Shape legend: U units.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import groupby

from model.decoder import DecodedUnit
from model.tokenizer import WORD_BOUNDARY, Tokenizer


@dataclass(frozen=True)
class SpelledWord:
    """A word's units and the word boundaries beside it.

    Attributes:
        units: its letters or subwords, one at least.
        before: the last boundary before it; None where it is the first thing that was heard.
        after: the first boundary after it; None where none was heard yet.
    """

    units: tuple[DecodedUnit, ...]
    before: DecodedUnit | None = None
    after: DecodedUnit | None = None

    @property
    def first_frame(self) -> int:
        """The frame in which its first unit begins."""
        return self.units[0].first_frame

    @property
    def end_frame(self) -> int:
        """The frame after its last unit."""
        return self.units[-1].last_frame + 1

    def text(self, tokenizer: Tokenizer) -> str:
        """What the units spell."""
        return tokenizer.decode([unit.id for unit in self.units])


def split_words(units: Iterable[DecodedUnit], tokenizer: Tokenizer) -> list[SpelledWord]:
    """The words that units spell, in order.

    Args:
        units: in order of time; boundaries may come first, last, and several in a row.
        tokenizer: says which unit is the word boundary.
    """
    words: list[SpelledWord] = []
    before: DecodedUnit | None = None
    for is_boundary, run in groupby(units, lambda unit: tokenizer.decode([unit.id]) == WORD_BOUNDARY):
        if not is_boundary:
            words.append(SpelledWord(tuple(run), before))
            continue
        boundaries = list(run)
        before = boundaries[-1]
        if words:
            words[-1] = replace(words[-1], after=boundaries[0])
    return words
