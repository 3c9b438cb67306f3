"""Paired differences against jiwer's error rates, and against cases small enough to count."""

import math

import jiwer
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.paired import compare_words

texts = st.lists(st.sampled_from("abcde"), max_size=12).map(" ".join)


def test_errors_that_both_make_are_no_difference() -> None:
    difference = compare_words(["one two three four"], ["one too three"], ["won too three"])
    assert (difference.words, difference.unequal) == (4, 1)
    assert difference.rate == pytest.approx(-1 / 4)
    assert difference.chance == pytest.approx(1 / 4)


def test_errors_that_cancel_out_are_chance_all_the_same() -> None:
    difference = compare_words(["one two", "three"], ["won two", "three and"], ["one too", "three"])
    assert difference.rate == pytest.approx(1 / 3)
    assert difference.chance == pytest.approx(math.sqrt(3) / 3)


@settings(deadline=None)
@given(st.lists(st.tuples(texts.filter(bool), texts, texts), min_size=1, max_size=4))
def test_the_rate_is_the_difference_of_the_error_rates(recordings: list[tuple[str, str, str]]) -> None:
    references, first, second = (list(column) for column in zip(*recordings, strict=True))
    difference = compare_words(references, first, second)
    assert difference.rate == pytest.approx(jiwer.wer(references, first) - jiwer.wer(references, second))
    assert compare_words(references, second, first).rate == pytest.approx(-difference.rate)
    assert difference.chance >= abs(difference.rate) / math.sqrt(max(1, difference.unequal)) - 1e-9
