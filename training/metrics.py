"""Word and character error rate, as counts that can be added up."""

from collections.abc import Sequence
from dataclasses import dataclass

import jiwer


@dataclass(frozen=True)
class ErrorCounts:
    """The errors of a minimal alignment of hypotheses with references (Levenshtein, 1966).

    Attributes:
        hits, substitutions, deletions, insertions: units of each kind.
    """

    hits: int = 0
    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0

    @property
    def reference_units(self) -> int:
        """Units in the references."""
        return self.hits + self.substitutions + self.deletions

    @property
    def rate(self) -> float:
        """Errors for each reference unit, as a fraction; it can exceed 1. 0 where there is nothing and no error."""
        errors = self.substitutions + self.deletions + self.insertions
        return errors / max(1, self.reference_units)

    def __add__(self, other: "ErrorCounts") -> "ErrorCounts":
        return ErrorCounts(
            self.hits + other.hits,
            self.substitutions + other.substitutions,
            self.deletions + other.deletions,
            self.insertions + other.insertions,
        )


def word_errors(references: Sequence[str], hypotheses: Sequence[str]) -> ErrorCounts:
    """Word errors of all pairs together; an empty reference counts its hypothesis as insertions."""
    return _sum(references, hypotheses, jiwer.process_words)


def character_errors(references: Sequence[str], hypotheses: Sequence[str]) -> ErrorCounts:
    """Character errors of all pairs together, spaces counted as characters."""
    return _sum(references, hypotheses, jiwer.process_characters)


def _sum(references: Sequence[str], hypotheses: Sequence[str], process: object) -> ErrorCounts:
    if len(references) != len(hypotheses):
        raise ValueError(f"{len(references)} references but {len(hypotheses)} hypotheses")
    if not references:
        return ErrorCounts()
    assert callable(process)
    result = process(list(references), list(hypotheses))
    return ErrorCounts(result.hits, result.substitutions, result.deletions, result.insertions)
