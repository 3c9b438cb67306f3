"""Spoken numbers, dates and amounts of money as people write them: which words become what.

Numbers are found by text2num, which is told where somebody paused, so that "twenty, five" stays two numbers. On top of
that come rules for what numbers mean together:

    nineteen eighty four → 1984          may thirty first eighteen sixty three → May 31, 1863
    the third of may → the 3rd of May    twenty five dollars and thirty cents → $25.30
    two point five percent → 2.5%        five million dollars → $5 million
    five five five one two → 55512       twelve thousand → 12,000

Numbers below ten stay words where they stand alone, as newspapers have it, and so do years that could be two numbers.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from text_to_num import Occurence, find_numbers

MONTHS = (
    *("january", "february", "march", "april", "may", "june", "july"),
    *("august", "september", "october", "november", "december"),
)
CURRENCIES = {"dollar": "$", "dollars": "$", "euro": "€", "euros": "€"}  # a pound may be one of flour
MULTIPLES = ("million", "billion", "trillion")
SMALLEST_DIGITS = 10  # smaller numbers stay words where they stand alone
SMALLEST_GROUPED = 10_000  # 1800 may be a year
PAUSE_S = 0.35  # what is said after this long a pause is another number


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


def write_numbers(words: Sequence[Spoken]) -> list[Written]:
    """What becomes of the numbers among the words, in order; other words stand in none of them.

    Args:
        words: lower case, without punctuation.
    """
    texts = [word.text for word in words]
    found = [_Number(one, texts) for one in find_numbers([_Token(word) for word in words], "en", 0)]
    written: list[Written] = []
    at = 0
    while at < len(found):
        for rule in (_date, _money, _percent, _year, _digits, _plain):
            taken = rule(words, found, at)
            if taken is not None:
                n_numbers, result = taken
                written.append(result)
                at += n_numbers
                break
        else:
            at += 1
    return written


class _Token:
    """A word as text2num wants it (its protocol `Token`)."""

    def __init__(self, word: Spoken) -> None:
        self._word = word

    def text(self) -> str:
        return self._word.text

    def nt_separated(self, previous: object) -> bool:
        return self._word.after_pause

    def not_a_number_part(self) -> bool:
        return False


class _Number:
    """A number that text2num has found."""

    def __init__(self, occurence: Occurence, texts: Sequence[str]) -> None:
        self.first, self.end = occurence.start, occurence.end
        self.digits: str = re.sub(r"[a-z]+$", "", occurence.text)
        self.text: str = occurence.text
        self.value = float(occurence.value)
        self.is_ordinal = bool(occurence.is_ordinal)
        self.is_whole = "." not in self.digits
        self.last_word = texts[self.end - 1]

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


def _word(words: Sequence[Spoken], at: int) -> str:
    """The word at this place, empty where there is none or where a pause comes before it."""
    return words[at].text if 0 <= at < len(words) and not words[at].after_pause else ""


def _date(words: Sequence[Spoken], found: Sequence[_Number], at: int) -> Taken:
    """May 31, 1863; the 3rd of May; in May 1863."""
    number = found[at]
    month = words[number.first - 1].text if number.first else ""
    if not words[number.first].after_pause and month in MONTHS:
        year = _year_of(words, found, at)
        if year:
            return year[0], Written(number.first - 1, year[1], f"{month.title()} {year[2]}")
        if number.is_whole and 1 <= number.value <= 31:
            year = _year_of(words, found, at + 1) if at + 1 < len(found) else None
            if year and found[at + 1].first == number.end:
                end = f"{month.title()} {number.digits}, {year[2]}"
                return 1 + year[0], Written(number.first - 1, year[1], end)
            return 1, Written(number.first - 1, number.end, f"{month.title()} {number.digits}")
    if number.is_ordinal and number.value <= 31 and _word(words, number.end) == "of":
        month = _word(words, number.end + 1)
        if month in MONTHS:
            return 1, Written(number.first, number.end + 2, f"{number.text} of {month.title()}")
    return None


def _year_of(words: Sequence[Spoken], found: Sequence[_Number], at: int) -> tuple[int, int, str] | None:
    """A year that begins with this number: how many numbers it takes, where it ends, its digits."""
    number = found[at]
    after = found[at + 1] if at + 1 < len(found) else None
    # "nineteen oh five": "oh" is no number to text2num, "o" is a zero
    if number.is_between(11, 20) and after and not words[after.first].after_pause:
        oh = after.first == number.end + 1 and _word(words, number.end) == "oh"
        if after.is_between(10, 99) and after.first == number.end:
            return 2, after.end, f"{number.digits}{after.digits}"
        if (oh and after.is_between(1, 9)) or (after.first == number.end and re.fullmatch("0[1-9]", after.digits)):
            return 2, after.end, f"{number.digits}0{round(after.value)}"
    if number.is_between(1100, 2099):
        return 1, number.end, number.digits
    return None


def _year(words: Sequence[Spoken], found: Sequence[_Number], at: int) -> Taken:
    """1984, said as two numbers."""
    year = _year_of(words, found, at)
    return (2, Written(found[at].first, year[1], year[2])) if year and year[0] == 2 else None


def _money(words: Sequence[Spoken], found: Sequence[_Number], at: int) -> Taken:
    """$25, $25.30, $5 million."""
    number = found[at]
    sign = CURRENCIES.get(_word(words, number.end))
    if sign is None or number.is_ordinal:
        return None
    cents = found[at + 1] if at + 1 < len(found) else None
    if number.is_whole and cents and cents.is_between(1, 99) and _word(words, cents.end) in ("cent", "cents"):
        between = [_word(words, place) for place in range(number.end + 1, cents.first)]
        if between in ([], ["and"]) and not words[cents.first].after_pause:
            return 2, Written(number.first, cents.end + 1, f"{sign}{number.grouped}.{round(cents.value):02d}")
    return 1, Written(number.first, number.end + 1, sign + number.grouped)


def _percent(words: Sequence[Spoken], found: Sequence[_Number], at: int) -> Taken:
    """2.5%."""
    number = found[at]
    if number.is_ordinal:
        return None
    if _word(words, number.end) == "percent":
        return 1, Written(number.first, number.end + 1, f"{number.grouped}%")
    if (_word(words, number.end), _word(words, number.end + 1)) == ("per", "cent"):
        return 1, Written(number.first, number.end + 2, f"{number.grouped}%")
    return None


def _digits(words: Sequence[Spoken], found: Sequence[_Number], at: int) -> Taken:
    """Three digits or more, said one by one: a telephone number."""
    last = at
    while (
        last + 1 < len(found)
        and found[last + 1].first == found[last].end
        and not words[found[last].end].after_pause
        and all(len(one.text) == one.end - one.first == 1 for one in found[last : last + 2])
    ):
        last += 1
    if last - at < 2:
        return None
    run = found[at : last + 1]
    return len(run), Written(run[0].first, run[-1].end, "".join(one.text for one in run))


def _plain(words: Sequence[Spoken], found: Sequence[_Number], at: int) -> Taken:
    """A number for itself."""
    number = found[at]
    if number.is_whole and number.value < SMALLEST_DIGITS:
        return None
    return 1, Written(number.first, number.end, number.grouped)
