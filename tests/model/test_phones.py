"""Pronouncing dictionaries, read and written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.errors import PronunciationError
from model.phones import N_PHONES, PHONE_UNITS, PHONES, format_pronunciations, parse_pronunciations

DICTIONARY = """;;; an old comment
the DH AH0
the(2) DH AH1
the(3) DH IY0
CAT K AE1 T # an animal

o'clock AH0 K L AA1 K
"""


def spoken(pronunciation: tuple[int, ...]) -> str:
    return " ".join(PHONE_UNITS[phone - 1] for phone in pronunciation)


def test_a_word_has_each_of_its_pronunciations_once_without_stress() -> None:
    read = parse_pronunciations(DICTIONARY)
    ways = {word: [spoken(way) for way in ways] for word, ways in read.items()}
    assert ways == {"the": ["DH AH", "DH IY"], "cat": ["K AE T"], "o'clock": ["AH K L AA K"]}


def test_there_are_39_phones_a_boundary_and_a_blank() -> None:
    assert len(set(PHONES)) == 39
    assert N_PHONES == 41


@pytest.mark.parametrize(("line", "said"), [("cat K AX T", "'AX' is no phone"), ("cat # none", "'cat' has no phones")])
def test_a_line_that_is_none_is_named(line: str, said: str) -> None:
    with pytest.raises(PronunciationError, match=f"line 2: {said}"):
        parse_pronunciations(f"a AH0\n{line}\n")


_WAYS = st.lists(st.lists(st.integers(2, N_PHONES - 1), min_size=1).map(tuple), min_size=1, unique=True).map(tuple)


@given(st.dictionaries(st.text("abcdefghijklmnopqrstuvwxyz'", min_size=1), _WAYS))
def test_what_is_written_is_read_again(pronunciations: dict[str, tuple[tuple[int, ...], ...]]) -> None:
    assert parse_pronunciations(format_pronunciations(pronunciations)) == pronunciations
