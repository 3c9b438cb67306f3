from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.metrics import ErrorCounts, character_errors, word_errors

sentences = st.lists(st.sampled_from(["a", "bb", "ccc", "d"]), max_size=6).map(" ".join)


def distance(reference: tuple[str, ...], hypothesis: tuple[str, ...]) -> int:
    """Levenshtein distance by its recursive definition."""

    @cache
    def d(i: int, j: int) -> int:
        if i == 0 or j == 0:
            return i + j
        return min(d(i - 1, j) + 1, d(i, j - 1) + 1, d(i - 1, j - 1) + (reference[i - 1] != hypothesis[j - 1]))

    return d(len(reference), len(hypothesis))


@given(sentences, sentences)
def test_counts_are_a_minimal_alignment(reference: str, hypothesis: str) -> None:
    for counts, r, h in (
        (word_errors([reference], [hypothesis]), tuple(reference.split()), tuple(hypothesis.split())),
        (character_errors([reference], [hypothesis]), tuple(reference), tuple(hypothesis)),
    ):
        assert counts.substitutions + counts.deletions + counts.insertions == distance(r, h)
        assert counts.reference_units == len(r)
        assert counts.hits + counts.substitutions + counts.insertions == len(h)


def test_pairs_add_up() -> None:
    references, hypotheses = ["one two three", "four", ""], ["one too three", "", "extra"]
    together = word_errors(references, hypotheses)
    assert together == ErrorCounts(hits=2, substitutions=1, deletions=1, insertions=1)
    assert together.rate == pytest.approx(3 / 4)
    singles = (word_errors([r], [h]) for r, h in zip(references, hypotheses, strict=True))
    assert sum(singles, ErrorCounts()) == together


def test_nothing_at_all_is_no_error() -> None:
    assert word_errors([], []).rate == 0.0


def test_lists_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match="2 references but 1 hypotheses"):
        word_errors(["a", "b"], ["a"])
