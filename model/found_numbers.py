"""Numbers among spoken words, as text2num finds them, and what stands beside them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from text_to_num import Occurence, find_numbers

from model.spoken_digits import OH

CURRENCIES = {"dollar": "$", "dollars": "$", "euro": "€", "euros": "€"}  # a pound may be one of flour
TENS = {
    **{"twenty": "twenties", "thirty": "thirties", "forty": "forties", "fifty": "fifties", "sixty": "sixties"},
    **{"seventy": "seventies", "eighty": "eighties", "ninety": "nineties"},
}
MULTIPLES = ("million", "billion", "trillion")
LONE_MULTIPLES = frozenset(  # without a number before them
    f"{multiple}{ending}" for multiple in ("hundred", "thousand", *MULTIPLES) for ending in ("", "s", "th", "ths")
)
PARTS = ("half", "third", "thirds", "quarter", "quarters", "fifth", "fifths", "tenth", "tenths")
PAUSE_S = 0.35  # what is said after this long a pause is another number
SMALLEST_GROUPED = 10_000  # 1800 may be a year
AFTER_SIGHS = ("boy", "dear", "god", "gosh", "lord", "my", "no", "well", "yeah", "yes")  # "oh" before them is no zero


@dataclass(frozen=True)
class Spoken:
    """A word and whether a pause comes before it."""

    text: str
    after_pause: bool = False


@dataclass(frozen=True)
class Written:
    """What is written in place of the words `first` to `end`, `end` excluded."""

    first: int
    end: int
    text: str


class Number:
    """A number that text2num has found.

    Attributes:
        first, end: its words, `end` excluded.
        begin: `first`, or the place of the article before it that the digits stand for too: "a hundred and one".
        lacks_count: whether it begins with "hundred" and the like, of which nothing says how many.
        is_divided: whether only a part of it is meant: "half a million", "a quarter of a million".
    """

    def __init__(self, occurence: Occurence, words: Sequence[Spoken]) -> None:
        self.first, self.end = occurence.start, occurence.end
        texts = [word.text for word in words[: self.end]]
        self.lacks_count = texts[self.first] in LONE_MULTIPLES
        self.is_divided = self.lacks_count and _is_divided(texts[max(0, self.first - 3) : self.first])
        article = self.lacks_count and word_at(words, self.first - 1) == "a" and not words[self.first].after_pause
        self.begin = self.first - 1 if article and not self.is_divided else self.first
        self.digits: str = re.sub(r"[a-z]+$", "", occurence.text)
        self.text: str = occurence.text
        self.value = float(occurence.value)
        self.is_ordinal = bool(occurence.is_ordinal)
        self.is_whole = "." not in self.digits
        self.first_word, self.last_word = texts[self.first], texts[-1]

    @property
    def grouped(self) -> str:
        """With commas between thousands, and millions as a word: 12,000, 5 million."""
        value = round(self.value)
        for power, name in enumerate(MULTIPLES, 2):
            if self.last_word == name and value % 1000**power == 0 and value // 1000**power < 1000:
                return f"{value // 1000**power} {name}"
        if self.is_whole and self.value >= SMALLEST_GROUPED and not self.digits.startswith("0"):
            return f"{value:,}" + self.text[len(self.digits) :]
        return self.text

    def is_between(self, least: int, most: int) -> bool:
        """Whether it is a whole number, no ordinal, in these bounds."""
        return not self.is_ordinal and self.is_whole and least <= self.value <= most and self.digits[0] != "0"


Taken = tuple[int, Written] | None  # how many numbers a rule took, and what becomes of them


def numbers_in(words: Sequence[Spoken]) -> list[Number]:
    """The numbers among the words, in order, one by one where nothing joins them."""
    texts = [word.text for word in words]
    for place in range(1, len(words)):  # two point oh five: "oh" is no number to text2num, "o" is a zero
        if texts[place] == "oh" and texts[place - 1] in ("point", "o") and _is_zero(words, place):
            texts[place] = "o"
    tokens = [_Token(text, word.after_pause) for text, word in zip(texts, words, strict=True)]
    return [Number(one, words) for one in find_numbers(tokens, "en", 0)]


def word_at(words: Sequence[Spoken], at: int) -> str:
    """The word at this place, empty where there is none or where a pause comes before it."""
    return words[at].text if 0 <= at < len(words) and not words[at].after_pause else ""


def word_before(words: Sequence[Spoken], at: int) -> str:
    """The word before this place, empty where a pause comes between or before."""
    return word_at(words, at - 1) if not words[at].after_pause else ""


def follows(words: Sequence[Spoken], found: Sequence[Number], at: int) -> bool:
    """Whether another number follows this one at once."""
    return at + 1 < len(found) and found[at + 1].first == found[at].end and not words[found[at + 1].first].after_pause


def _is_divided(before: Sequence[str]) -> bool:
    """Whether the three words before a number make a part of it, or many of it: "a multi million dollar house"."""
    if before[-1:] == ["a"]:
        return before[-2:-1] == ["half"] or (before[-2:-1] == ["of"] and before[0] in PARTS)
    return bool(before) and before[-1] in ("half", "multi", "quarter", "quarters")


def _is_zero(words: Sequence[Spoken], at: int) -> bool:
    """Whether what comes after this "oh" lets it be a digit, unlike that in "two point oh my god"."""
    while word_at(words, at + 1) in OH:
        at += 1
    return word_at(words, at + 1) not in AFTER_SIGHS


class _Token:
    """A word as text2num wants it (its protocol `Token`)."""

    def __init__(self, text: str, after_pause: bool) -> None:
        self._text, self._after_pause = text, after_pause

    def text(self) -> str:
        return self._text

    def nt_separated(self, previous: object) -> bool:
        return self._after_pause

    def not_a_number_part(self) -> bool:
        return False
