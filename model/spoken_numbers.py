"""Spoken numbers, dates and amounts of money as people write them: which words become what.

Numbers are found by text2num, which is told where somebody paused, so that "twenty, five" stays two numbers. On top of
that come rules for what numbers mean together:

    nineteen eighty four → 1984          may thirty first eighteen sixty three → May 31, 1863
    the third of may → the 3rd of May    twenty five dollars and thirty cents → $25.30
    two point oh five percent → 2.05%    five million dollars → $5 million
    five five five one two → 55512       twelve thousand → 12,000
    at ten thirty → at 10:30             the nineteen sixties → the 1960s

Numbers below ten stay words where they stand alone, as newspapers have it. So does whatever digits would get wrong, or
make worse than the words are: "thousands of men", "two to three hundred", "two and twenty", "twenty four seven", "a
thirty second pause".
"""

from collections.abc import Sequence

from model.found_numbers import (
    CURRENCIES,
    LONE_MULTIPLES,
    TENS,
    Number,
    Spoken,
    Taken,
    Written,
    follows,
    numbers_in,
    word_at,
    word_before,
)
from model.spoken_dates import MONTHS, date_at, second_half, time_at, year_at
from model.spoken_digits import DIGITS, OH, read_digits

TENTHS = frozenset(f"{ten[:-1]}ieth" for ten in TENS)  # twentieth to ninetieth
RANGES = ("or", "to", "and")  # between numbers, of which only the second may have what is meant of both
DURATIONS_BEGIN = ("a", "an", "another", "each", "every", "final", "first", "last", "next", "wait")
ORDERED = (  # what "thirty second" before them counts
    *("amendment", "anniversary", "avenue", "birthday", "century", "congress", "day", "floor", "infantry", "month"),
    *("of", "parallel", "president", "regiment", "state", "street", "week", "year"),
)
# After "the thirty second", where that is the 32nd: nothing at all, or what no duration goes before. A mark or a rule
# may be one of thirty seconds.
AFTER_ORDINALS = (
    *("", "and", "are", "as", "at", "because", "but", "by", "for", "from", "had", "has", "he", "i", "if", "in", "is"),
    *("it", "on", "or", "she", "so", "that", "the", "then", "there", "they", "to", "today", "until", "was", "we"),
    *("were", "when", "which", "who", "will", "with", "you", *MONTHS),
)
# After "five dollars fifty", with nothing at all; "people" would say that fifty are theirs.
AFTER_CENTS = ("", "a", "an", "and", "apiece", "at", "but", "each", "for", "from", "in", "is", "or", "per", "to", "was")
TRILLION = "trillion"  # no number to text2num
SMALLEST_DIGITS = 10  # smaller numbers stay words where they stand alone


def write_numbers(words: Sequence[Spoken]) -> list[Written]:
    """What becomes of the numbers among the words, in order; other words stand in none of them.

    Args:
        words: lower case, without punctuation.
    """
    found = numbers_in(words)
    written: list[Written] = []
    at = done = 0  # numbers, and words, that are dealt with
    while at < len(found):
        for rule in (date_at, _money, _percent, time_at, year_at, _digits, _plain):
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


def _money(words: Sequence[Spoken], found: Sequence[Number], at: int) -> Taken:
    """$25, $25.30, $1.50, $5 million."""
    number = found[at]
    currency = word_at(words, number.end)
    trillions = CURRENCIES.get(word_at(words, number.end + 1)) if currency == TRILLION else None
    if trillions and not number.is_ordinal and not _stays_words(words, found, at):
        return 1, Written(number.begin, number.end + 2, f"{trillions}{number.grouped} {TRILLION}")
    sign = CURRENCIES.get(currency)
    if sign is None or number.is_ordinal or number.is_divided or _stays_words(words, found, at):
        return None
    if number.lacks_count:  # of "a hundred dollar bill" the article stays
        if not currency.endswith("s"):
            return 1, Written(number.first, number.end + 1, sign + number.grouped)
        if number.begin == number.first:
            return None
    amount = number.grouped
    if len(amount.partition(".")[2]) == 1:  # one point five
        amount += "0"
    cents = _cents(words, found, at) if amount.replace(",", "").isdigit() else None
    if cents:
        return 2, Written(number.begin, cents[0], f"{sign}{amount}.{cents[1]}")
    return 1, Written(number.begin, number.end + 1, sign + amount)


def _cents(words: Sequence[Spoken], found: Sequence[Number], at: int) -> tuple[int, str] | None:
    """Where the cents after these dollars end, and their digits: "and thirty cents", or "fifty" alone."""
    start, cents = found[at].end + 1, found[at + 1] if at + 1 < len(found) else None
    if cents is None or not cents.is_between(1, 99) or words[cents.first].after_pause:
        return None
    between = [word_at(words, place) for place in range(start, cents.first)]
    if between in ([], ["and"]) and word_at(words, cents.end) in ("cent", "cents"):
        return cents.end + 1, f"{round(cents.value):02d}"
    if between or cents.value < SMALLEST_DIGITS or word_at(words, cents.end) not in AFTER_CENTS:
        return None
    return cents.end, cents.digits


def _percent(words: Sequence[Spoken], found: Sequence[Number], at: int) -> Taken:
    """2.5%."""
    number = found[at]
    if number.is_ordinal or (number.lacks_count and number.begin == number.first) or _stays_words(words, found, at):
        return None
    if word_at(words, number.end) == "percent":
        return 1, Written(number.begin, number.end + 1, f"{number.grouped}%")
    if (word_at(words, number.end), word_at(words, number.end + 1)) == ("per", "cent"):
        return 1, Written(number.begin, number.end + 2, f"{number.grouped}%")
    return None


def _digits(words: Sequence[Spoken], found: Sequence[Number], at: int) -> Taken:
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


def _plain(words: Sequence[Spoken], found: Sequence[Number], at: int) -> Taken:
    """A number for itself."""
    number = found[at]
    if (number.is_whole and number.value < SMALLEST_DIGITS) or _stays_words(words, found, at):
        return None
    if not number.is_whole and number.value < 2 and word_before(words, number.first) == "at":  # at one point two men
        return None
    if number.lacks_count and (number.begin == number.first or number.end - number.first == 1):
        return None
    if word_before(words, number.first) in CURRENCIES:  # a dollar fifty
        return None
    if follows(words, found, at) or second_half(words, found, at):  # seven thirty, ten oh five
        return None
    return 1, Written(number.begin, number.end, number.grouped)


def _stays_words(words: Sequence[Spoken], found: Sequence[Number], at: int) -> bool:
    """Whether digits would say something else than the words."""
    number = found[at]
    said = [word.text for word in words[number.first : number.end]]
    if any(text in ("tens", *LONE_MULTIPLES) and text.endswith("s") for text in said):  # hundreds of thousands
        return True
    if said[0] in ("zero", "o") and said[1:2] and said[1] in LONE_MULTIPLES:  # zero hundred hours, to text2num 0100
        return True
    before, after = word_before(words, number.first), word_at(words, number.end)
    if before == TRILLION:  # two trillion five hundred million
        return True
    if number.is_ordinal and (said[0] == "one" or (before in ("a", "an") and after == "of")):  # a tenth of a second
        return True
    if before in ("point", *OH):  # point five percent
        return True
    if said[-1] == "second" and not _is_second(words, number):  # a thirty second pause
        return True
    if at and not found[at - 1].is_ordinal and follows(words, found, at - 1):  # twenty four seven
        return True
    for first, second in ((at - 1, at), (at, at + 1)):
        if first < 0 or second >= len(found) or found[first].end + 1 != found[second].begin:
            continue
        between, one, other = word_at(words, found[first].end), found[first], found[second]
        if between in RANGES and word_at(words, other.end) in CURRENCIES:
            return True  # ten to twenty dollars
        elliptical = other.last_word in LONE_MULTIPLES and one.last_word not in LONE_MULTIPLES
        if elliptical and (between == "or" or (between in RANGES and one.value < other.value / 100)):
            return True  # two or three hundred, but 50 to 100
        if between == "and" and one.value < SMALLEST_DIGITS and other.first_word in (*TENS, *TENTHS):
            second_word = word_at(words, other.first + 1) if other.end - other.first > 1 else ""
            if second_word not in DIGITS:
                return True  # two and twenty
    return False


def _is_second(words: Sequence[Spoken], number: Number) -> bool:
    """Whether "thirty second" is the 32nd, and surely no duration."""
    before, after = word_before(words, number.first), word_at(words, number.end)
    if before == "the" and after in AFTER_ORDINALS:
        return True
    return after in ORDERED and before not in DURATIONS_BEGIN
