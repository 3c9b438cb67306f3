"""Spoken numbers, dates and amounts of money as people write them: which words become what.

Numbers are found by text2num, which is told where somebody paused, so that "twenty, five" stays two numbers. On top of
that come rules for what numbers mean together:

    nineteen eighty four → 1984          may thirty first eighteen sixty three → May 31, 1863
    the third of may → the 3rd of May    twenty five dollars and thirty cents → $25.30
    two point five percent → 2.5%        five million dollars → $5 million
    five five five one two → 55512       twelve thousand → 12,000
    at ten thirty → at 10:30             the nineteen sixties → the 1960s

Numbers below ten stay words where they stand alone, as newspapers have it. So does whatever digits would get wrong, or
make worse than the words are: "thousands of men", "two or three hundred", "two and twenty", "twenty four seven".
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from text_to_num import Occurence, find_numbers

from model.spoken_digits import DIGITS, OH, read_digits

MONTHS = (
    *("january", "february", "march", "april", "may", "june", "july"),
    *("august", "september", "october", "november", "december"),
)
AMBIGUOUS_MONTHS = ("march", "may")  # somebody may march
DATES_BEGIN = (
    *("about", "after", "and", "around", "before", "between", "by", "early", "from", "in", "last", "late", "next"),
    *("of", "on", "since", "this", "through", "till", "to", "until"),
    *("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"),
)
YEARS_BEGIN = ("in", "of", "since", "year")
TIMES_BEGIN = ("at", "until", "till")
PARTS_OF_DAYS = ("morning", "afternoon", "evening")
CURRENCIES = {"dollar": "$", "dollars": "$", "euro": "€", "euros": "€"}  # a pound may be one of flour
COUNTED = frozenset(  # what is no year and no time before these
    (
        *("second", "seconds", "minute", "minutes", "hour", "hours", "day", "days", "week", "weeks"),
        *("month", "months", "year", "years", "cent", "cents", *CURRENCIES),
    )
)
MULTIPLES = ("million", "billion", "trillion")
LONE_MULTIPLES = frozenset(  # without a number before them
    f"{multiple}{ending}" for multiple in ("hundred", "thousand", *MULTIPLES) for ending in ("", "s", "th", "ths")
)
TENS = {
    **{"twenty": "twenties", "thirty": "thirties", "forty": "forties", "fifty": "fifties", "sixty": "sixties"},
    **{"seventy": "seventies", "eighty": "eighties", "ninety": "nineties"},
}
DECADES = {plural: 10 * number for number, plural in enumerate(TENS.values(), 2)}
TENTHS = frozenset(f"{ten[:-1]}ieth" for ten in TENS)  # twentieth to ninetieth
FIRST_CENTURY = 13  # of years that nothing announces: "eleven thirty" is a time
FIRST_PAIR = 18  # of centuries before a neighbour: "fifteen twenty" are counts, "in nineteen twenty" is a year
LAST_CENTURY = 20
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
    found = [_Number(one, words) for one in find_numbers([_Token(word) for word in words], "en", 0)]
    written: list[Written] = []
    at = done = 0  # numbers, and words, that are dealt with
    while at < len(found):
        for rule in (_date, _money, _percent, _clock, _year, _digits, _plain):
            taken = rule(words, found, at)
            if taken is not None and taken[1].first >= done:
                n_numbers, result = taken
                written.append(result)
                done = result.end
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
    """A number that text2num has found.

    Attributes:
        first, end: its words, `end` excluded.
        begin: `first`, or the place of the article before it that the digits stand for too: "a hundred and one".
        lacks_count: whether it begins with "hundred" and the like, of which nothing says how many.
    """

    def __init__(self, occurence: Occurence, words: Sequence[Spoken]) -> None:
        self.first, self.end = occurence.start, occurence.end
        texts = [word.text for word in words[: self.end]]
        self.lacks_count = texts[self.first] in LONE_MULTIPLES
        half = texts[max(0, self.first - 2) : self.first] == ["half", "a"]
        article = self.lacks_count and _word(words, self.first - 1) == "a" and not words[self.first].after_pause
        self.begin = self.first - 1 if article and not half else self.first
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


def _word(words: Sequence[Spoken], at: int) -> str:
    """The word at this place, empty where there is none or where a pause comes before it."""
    return words[at].text if 0 <= at < len(words) and not words[at].after_pause else ""


def _before(words: Sequence[Spoken], at: int) -> str:
    """The word before this place, empty where a pause comes between or before."""
    return _word(words, at - 1) if not words[at].after_pause else ""


def _date(words: Sequence[Spoken], found: Sequence[_Number], at: int) -> Taken:
    """May 31, 1863; the 3rd of May; in May 1863."""
    number = found[at]
    month = words[number.first - 1].text if number.first else ""
    if not words[number.first].after_pause and month in MONTHS:
        before = _before(words, number.first - 1)
        certain = month not in AMBIGUOUS_MONTHS or before in DATES_BEGIN
        is_day = number.is_whole and 1 <= number.value <= 31
        year = _year_of(words, found, at + 1, True) if is_day and _follows(words, found, at) else None
        if year:  # asked for first: the day may look like a century, "november eleven nineteen eighteen"
            end = f"{month.title()} {number.digits}, {year[2]}"
            return 1 + year[0], Written(number.first - 1, year[1], end)
        year = _year_of(words, found, at, True)
        if year and certain:
            return year[0], Written(number.first - 1, year[1], f"{month.title()} {year[2]}")
        if is_day and (certain or (number.is_ordinal and not before)):
            return 1, Written(number.first - 1, number.end, f"{month.title()} {number.digits}")
    if number.is_ordinal and number.value <= 31 and _word(words, number.end) == "of":
        month, end = _word(words, number.end + 1), number.end + 2
        if month in MONTHS:
            date, after = f"{number.text} of {month.title()}", found[at + 1 : at + 2]
            year = _year_of(words, found, at + 1, True) if after and after[0].first == end else None
            if year and not words[end].after_pause:
                return 1 + year[0], Written(number.first, year[1], f"{date} {year[2]}")
            return 1, Written(number.first, end, date)
    return None


def _year_of(
    words: Sequence[Spoken], found: Sequence[_Number], at: int, is_announced: bool
) -> tuple[int, int, str] | None:
    """A year that begins with this number: how many numbers it takes, where it ends, its digits."""
    number, rest = found[at], _second_half(words, found, at)
    if number.is_between(11, LAST_CENTURY) and rest and not _is_counted(words, rest[0]):
        if _are_counts(words, found, at) and not (is_announced and number.value >= FIRST_PAIR):
            return None
        if is_announced or number.value >= FIRST_CENTURY:
            return 2, rest[0], f"{number.digits}{rest[1]}"
    if number.is_between(1100, 2099):
        return 1, number.end, number.digits
    return None


def _second_half(words: Sequence[Spoken], found: Sequence[_Number], at: int) -> tuple[int, str] | None:
    """What makes a year or a time of this number, where it ends and its digits: 30, or 05 for "oh five"."""
    number = found[at]
    after = found[at + 1] if at + 1 < len(found) else None
    if after is None or words[after.first].after_pause:
        return None
    # "oh" is no number to text2num, "o" is a zero
    follows, oh = after.first == number.end, after.first == number.end + 1 and _word(words, number.end) == "oh"
    if follows and after.is_between(10, 99):
        return after.end, after.digits
    if (oh and after.is_between(1, 9)) or (follows and re.fullmatch("0[1-9]", after.digits)):
        more = _word(words, after.end)  # five oh five five five one two
        return None if more in DIGITS or more in OH else (after.end, f"0{round(after.value)}")
    return None


def _are_counts(words: Sequence[Spoken], found: Sequence[_Number], at: int) -> bool:
    """Whether this number and the next, or the one before, are such as people count on with."""
    before = found[at - 1].value if at and _follows(words, found, at - 1) else None
    here, after = found[at].value, found[at + 1].value
    if here == LAST_CENTURY:  # "twenty twenty one" is a year
        return before in (15, 19)
    return before == here - 1 or after == here + 1 or (here, after) == (15, 20)


def _is_counted(words: Sequence[Spoken], at: int) -> bool:
    """Whether the word at this place says that a count is before it."""
    return _word(words, at) in COUNTED or _after_percent(words, at) > at


def _year(words: Sequence[Spoken], found: Sequence[_Number], at: int) -> Taken:
    """1984, said as two numbers, or the 1980s."""
    number = found[at]
    decade = DECADES.get(_word(words, number.end))
    if decade is not None and number.is_between(11, LAST_CENTURY):
        return 1, Written(number.first, number.end + 1, f"{number.digits}{decade}s")
    year = _year_of(words, found, at, _before(words, number.first) in YEARS_BEGIN)
    return (2, Written(number.first, year[1], year[2])) if year and year[0] == 2 else None


def _clock(words: Sequence[Spoken], found: Sequence[_Number], at: int) -> Taken:
    """10:30, where something says that it is a time; 10 a.m."""
    hour = found[at]
    if not (hour.is_between(1, 12) and hour.end - hour.first == 1):
        return None
    end, minutes, n_numbers = hour.end, "", 1
    rest = _second_half(words, found, at)
    if rest and rest[1] < "60":
        end, minutes, n_numbers = rest[0], f":{rest[1]}", 2
    after = [_word(words, place) for place in (end, end + 1, end + 2)]
    if after[:2] in (["a", "m"], ["p", "m"]):
        return n_numbers, Written(hour.first, end + 2, f"{hour.digits}{minutes} {after[0]}.m.")
    said = _before(words, hour.first) in TIMES_BEGIN or (after[:2] == ["in", "the"] and after[2] in PARTS_OF_DAYS)
    if minutes and said and not _is_counted(words, end):
        return n_numbers, Written(hour.first, end, f"{hour.digits}{minutes}")
    return None


def _money(words: Sequence[Spoken], found: Sequence[_Number], at: int) -> Taken:
    """$25, $25.30, $5 million."""
    number = found[at]
    currency = _word(words, number.end)
    sign = CURRENCIES.get(currency)
    if sign is None or number.is_ordinal or _stays_words(words, found, at):
        return None
    if number.lacks_count:  # of "a hundred dollar bill" the article stays
        if not currency.endswith("s"):
            return 1, Written(number.first, number.end + 1, sign + number.grouped)
        if number.begin == number.first:
            return None
    cents = found[at + 1] if at + 1 < len(found) else None
    if number.is_whole and cents and cents.is_between(1, 99) and _word(words, cents.end) in ("cent", "cents"):
        between = [_word(words, place) for place in range(number.end + 1, cents.first)]
        if between in ([], ["and"]) and not words[cents.first].after_pause:
            return 2, Written(number.begin, cents.end + 1, f"{sign}{number.grouped}.{round(cents.value):02d}")
    return 1, Written(number.begin, number.end + 1, sign + number.grouped)


def _percent(words: Sequence[Spoken], found: Sequence[_Number], at: int) -> Taken:
    """2.5%."""
    number = found[at]
    if number.is_ordinal or (number.lacks_count and number.begin == number.first) or _stays_words(words, found, at):
        return None
    end = _after_percent(words, number.end)
    return (1, Written(number.begin, end, f"{number.grouped}%")) if end > number.end else None


def _after_percent(words: Sequence[Spoken], at: int) -> int:
    """The place after "percent" or "per cent" at this one, and this one where neither is."""
    if _word(words, at) == "percent":
        return at + 1
    return at + 2 if (_word(words, at), _word(words, at + 1)) == ("per", "cent") else at


def _digits(words: Sequence[Spoken], found: Sequence[_Number], at: int) -> Taken:
    """Digits said one by one (`model.spoken_digits`)."""
    first = found[at].first
    while first and words[first - 1].text in OH and not words[first].after_pause:
        first -= 1
    pauses = (place for place in range(first + 1, len(words)) if words[place].after_pause)
    read = read_digits([word.text for word in words[first : next(pauses, len(words))]])
    if read is None or first + read[0] <= found[at].first:
        return None
    end = first + read[0]
    if any(number.first < end < number.end for number in found):  # "one two three hundred"
        return None
    return sum(first <= number.first < end for number in found), Written(first, end, read[1])


def _plain(words: Sequence[Spoken], found: Sequence[_Number], at: int) -> Taken:
    """A number for itself."""
    number = found[at]
    if (number.is_whole and number.value < SMALLEST_DIGITS) or _stays_words(words, found, at):
        return None
    if number.lacks_count and (number.begin == number.first or number.end - number.first == 1):
        return None
    if _follows(words, found, at) or _second_half(words, found, at):  # seven thirty, ten oh five
        return None
    return 1, Written(number.begin, number.end, number.grouped)


def _stays_words(words: Sequence[Spoken], found: Sequence[_Number], at: int) -> bool:
    """Whether digits would say something else than the words."""
    number = found[at]
    said = [word.text for word in words[number.first : number.end]]
    if any(text in LONE_MULTIPLES and text.endswith("s") for text in said):  # hundreds of thousands
        return True
    if number.is_ordinal and said[0] == "one":  # one hundredth of a second
        return True
    if _before(words, number.first) in ("point", *OH):  # point five percent
        return True
    if at and not found[at - 1].is_ordinal and _follows(words, found, at - 1):  # twenty four seven
        return True
    for first, second in ((at - 1, at), (at, at + 1)):
        if first < 0 or second >= len(found) or found[first].end + 1 != found[second].first:
            continue
        between, one, other = _word(words, found[first].end), found[first], found[second]
        if between == "or" and other.last_word in LONE_MULTIPLES and one.last_word not in LONE_MULTIPLES:
            return True  # two or three hundred
        if between == "and" and one.value < SMALLEST_DIGITS and other.first_word in (*TENS, *TENTHS):
            second_word = _word(words, other.first + 1) if other.end - other.first > 1 else ""
            if second_word not in DIGITS:
                return True  # two and twenty
    return False


def _follows(words: Sequence[Spoken], found: Sequence[_Number], at: int) -> bool:
    """Whether another number follows this one at once."""
    return at + 1 < len(found) and found[at + 1].first == found[at].end and not words[found[at + 1].first].after_pause
