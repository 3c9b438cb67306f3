"""What was heard instead of what: references and hypotheses side by side, unit by unit, and the pairs counted."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import jiwer

Kind = Literal["hit", "substitution", "deletion", "insertion"]


@dataclass(frozen=True)
class AlignedPair:
    """One place of an alignment.

    Attributes:
        reference: what was said there, a word or a character; empty for an insertion.
        hypothesis: what was recognised there; empty for a deletion.
    """

    reference: str
    hypothesis: str

    @property
    def kind(self) -> Kind:
        """Which of the four it is."""
        if not self.hypothesis:
            return "deletion"
        if not self.reference:
            return "insertion"
        return "hit" if self.reference == self.hypothesis else "substitution"


@dataclass(frozen=True)
class Confusions:
    """The errors of many alignments, counted. Each list is sorted, the most frequent first, ties by the alphabet.

    Attributes:
        substitutions: (reference, hypothesis) and how often.
        deletions: units of the references that were left out, and how often.
        insertions: units of the hypotheses that nobody said, and how often.
    """

    substitutions: tuple[tuple[tuple[str, str], int], ...]
    deletions: tuple[tuple[str, int], ...]
    insertions: tuple[tuple[str, int], ...]


def align_words(reference: str, hypothesis: str) -> tuple[AlignedPair, ...]:
    """The minimal alignment (Levenshtein, 1966) that `training.metrics.word_errors` counts, word by word."""
    return _align(reference, hypothesis, jiwer.process_words)


def align_characters(reference: str, hypothesis: str) -> tuple[AlignedPair, ...]:
    """The minimal alignment that `training.metrics.character_errors` counts, spaces being characters."""
    return _align(reference, hypothesis, jiwer.process_characters)


def count_confusions(alignments: Iterable[Iterable[AlignedPair]]) -> Confusions:
    """Count the errors of all alignments together."""
    pairs = Counter(pair for alignment in alignments for pair in alignment)
    by_kind: dict[Kind, Counter[AlignedPair]] = {
        "substitution": Counter(),
        "deletion": Counter(),
        "insertion": Counter(),
    }
    for pair, count in pairs.items():
        if pair.kind != "hit":
            by_kind[pair.kind][pair] = count

    def ranked(kind: Kind) -> list[tuple[AlignedPair, int]]:
        return sorted(by_kind[kind].items(), key=lambda item: (-item[1], item[0].reference, item[0].hypothesis))

    return Confusions(
        tuple(((pair.reference, pair.hypothesis), count) for pair, count in ranked("substitution")),
        tuple((pair.reference, count) for pair, count in ranked("deletion")),
        tuple((pair.hypothesis, count) for pair, count in ranked("insertion")),
    )


def _align(
    reference: str, hypothesis: str, process: Callable[[list[str], list[str]], jiwer.WordOutput | jiwer.CharacterOutput]
) -> tuple[AlignedPair, ...]:
    output = process([reference], [hypothesis])
    said, heard = output.references[0], output.hypotheses[0]
    pairs = []
    for chunk in output.alignments[0]:
        said_there = said[chunk.ref_start_idx : chunk.ref_end_idx]
        heard_there = heard[chunk.hyp_start_idx : chunk.hyp_end_idx]
        for place in range(max(len(said_there), len(heard_there))):  # equal lengths, or one of them is empty
            pairs.append(
                AlignedPair(
                    said_there[place] if said_there else "",
                    heard_there[place] if heard_there else "",
                )
            )
    return tuple(pairs)
