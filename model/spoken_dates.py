"""Dates, years and times of day among spoken numbers: each rule says what becomes of the number at its place.

may thirty first eighteen sixty three → May 31, 1863          nineteen eighty four → 1984
the third of may → the 3rd of May                             the nineteen sixties → the 1960s
at ten thirty → at 10:30                                      five oh five p m → 5:05 p.m.

Two numbers may as well be a time without "at", or counts: "it is eleven thirty", "fifteen twenty minutes". Those stay.
"""

import re
from collections.abc import Sequence

from model.found_numbers import CURRENCIES, TENS, Number, Spoken, Taken, Written, follows, word_at, word_before
from model.spoken_digits import DIGITS, OH

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
# What may begin a time or a count as well: of years, only those from the century FIRST_PAIR on.
LATE_YEARS_BEGIN = ("after", "around", "before", "between", "by", "during", "from", "till", "to", "until")
TIMES_BEGIN = ("at", "until", "till")
PARTS_OF_DAYS = ("morning", "afternoon", "evening")
COUNTED = frozenset(  # what is no year and no time before these
    (
        *("second", "seconds", "minute", "minutes", "hour", "hours", "day", "days", "week", "weeks"),
        *("month", "months", "year", "years", "percent", "vision", "cent", "cents", *CURRENCIES),
    )
)
DECADES = {plural: 10 * number for number, plural in enumerate(TENS.values(), 2)}
FIRST_CENTURY = 13  # of years that nothing announces: "eleven thirty" is a time
FIRST_PAIR = 18  # of centuries before a neighbour: "fifteen twenty" are counts, "in nineteen twenty" is a year
LAST_CENTURY = 20


def date_at(words: Sequence[Spoken], found: Sequence[Number], at: int) -> Taken:
    """May 31, 1863; the 3rd of May; in May 1863."""
    number = found[at]
    month = words[number.first - 1].text if number.first else ""
    if not words[number.first].after_pause and month in MONTHS:
        before = word_before(words, number.first - 1)
        certain = month not in AMBIGUOUS_MONTHS or before in DATES_BEGIN
        is_day = number.is_whole and 1 <= number.value <= 31
        year = _year_of(words, found, at + 1, True) if is_day and follows(words, found, at) else None
        if year:  # asked for first: the day may look like a century, "november eleven nineteen eighteen"
            end = f"{month.title()} {number.digits}, {year[2]}"
            return 1 + year[0], Written(number.first - 1, year[1], end)
        year = _year_of(words, found, at, True)
        if year and certain:
            return year[0], Written(number.first - 1, year[1], f"{month.title()} {year[2]}")
        for day in (20, 30):  # june twenty, two thousand and six
            since_2000 = number.value - 1000 * (day + 2)
            if certain and number.is_between(22_001, 32_099) and 0 < since_2000 < 100:
                end = f"{month.title()} {day}, {2000 + round(since_2000)}"
                return 1, Written(number.first - 1, number.end, end)
        # In January three men came, by June one of them; nobody says "in January third" either.
        is_count = before == "in" or (not number.is_ordinal and word_at(words, number.end) == "of")
        if is_day and not is_count and (certain or (number.is_ordinal and not before)):
            return 1, Written(number.first - 1, number.end, f"{month.title()} {number.digits}")
    if number.is_ordinal and number.value <= 31 and word_at(words, number.end) == "of":
        month, end = word_at(words, number.end + 1), number.end + 2
        if month in MONTHS:
            date, after = f"{number.text} of {month.title()}", found[at + 1 : at + 2]
            year = _year_of(words, found, at + 1, True) if after and after[0].first == end else None
            if year and not words[end].after_pause:
                return 1 + year[0], Written(number.first, year[1], f"{date} {year[2]}")
            return 1, Written(number.first, end, date)
    return None


def year_at(words: Sequence[Spoken], found: Sequence[Number], at: int) -> Taken:
    """1984, said as two numbers, or the 1980s."""
    number = found[at]
    decade = DECADES.get(word_at(words, number.end))
    if decade is not None and number.is_between(11, LAST_CENTURY):
        return 1, Written(number.first, number.end + 1, f"{number.digits}{decade}s")
    is_announced = word_before(words, number.first) in YEARS_BEGIN
    if not is_announced and ((at and follows(words, found, at - 1)) or follows(words, found, at + 1)):
        return None  # ten twenty thirty
    is_late = number.value >= FIRST_PAIR and word_before(words, number.first) in LATE_YEARS_BEGIN
    year = _year_of(words, found, at, is_announced or is_late)
    return (2, Written(number.first, year[1], year[2])) if year and year[0] == 2 else None


def time_at(words: Sequence[Spoken], found: Sequence[Number], at: int) -> Taken:
    """10:30, where something says that it is a time; 10 a.m."""
    hour = found[at]
    if not (hour.is_between(1, 12) and hour.end - hour.first == 1):
        return None
    end, minutes, n_numbers = hour.end, "", 1
    rest = second_half(words, found, at)
    if rest and rest[1] < "60":
        end, minutes, n_numbers = rest[0], f":{rest[1]}", 2
    after = [word_at(words, place) for place in (end, end + 1, end + 2)]
    if after[:2] in (["a", "m"], ["p", "m"]):
        return n_numbers, Written(hour.first, end + 2, f"{hour.digits}{minutes} {after[0]}.m.")
    said = word_before(words, hour.first) in TIMES_BEGIN or (after[:2] == ["in", "the"] and after[2] in PARTS_OF_DAYS)
    if minutes and said and not _is_counted(words, end) and after[0] != "a":  # at two fifty a share
        return n_numbers, Written(hour.first, end, f"{hour.digits}{minutes}")
    return None


def second_half(words: Sequence[Spoken], found: Sequence[Number], at: int) -> tuple[int, str] | None:
    """What makes a year or a time of this number, where it ends and its digits: 30, or 05 for "oh five"."""
    number = found[at]
    after = found[at + 1] if at + 1 < len(found) else None
    if after is None or words[after.first].after_pause:
        return None
    # "oh" is no number to text2num, "o" is a zero
    oh = after.first == number.end + 1 and word_at(words, number.end) == "oh"
    if follows(words, found, at) and after.is_between(10, 99) and after.last_word != "tens":
        return after.end, after.digits
    if (oh and after.is_between(1, 9)) or (follows(words, found, at) and re.fullmatch("0[1-9]", after.digits)):
        more = word_at(words, after.end)  # five oh five five five one two
        return None if more in DIGITS or more in OH else (after.end, f"0{round(after.value)}")
    return None


def _is_counted(words: Sequence[Spoken], at: int) -> bool:
    """Whether the word at this place says that a count is before it."""
    return word_at(words, at) in COUNTED or (word_at(words, at), word_at(words, at + 1)) == ("per", "cent")


def _year_of(
    words: Sequence[Spoken], found: Sequence[Number], at: int, is_announced: bool
) -> tuple[int, int, str] | None:
    """A year that begins with this number: how many numbers it takes, where it ends, its digits."""
    number, rest = found[at], second_half(words, found, at)
    if number.is_between(11, LAST_CENTURY) and rest and not _is_counted(words, rest[0]):
        if _are_counts(number, found[at + 1]) and not (is_announced and number.value >= FIRST_PAIR):
            return None
        if is_announced or number.value >= FIRST_CENTURY:
            return 2, rest[0], f"{number.digits}{rest[1]}"
    if number.is_between(1100, 2099):
        return 1, number.end, number.digits
    return None


def _are_counts(one: Number, other: Number) -> bool:
    """Whether people say these one after the other who are not sure, or count."""
    if one.value == LAST_CENTURY or (one.value, other.value) == (19, 20):  # twenty twenty one, nineteen twenty: years
        return False
    return other.value == one.value + 1 or (one.value, other.value) == (15, 20)
