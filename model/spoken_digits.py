"""Digits said one by one: telephone numbers, room numbers, years of birth spelled out.

five five five one two → 55512                one eight hundred five five five one two one two → 1-800-555-1212
two oh five → 205                             two four six → somebody counts, and words stay
"""

from collections.abc import Sequence
from itertools import pairwise

DIGITS = {
    **{"zero": "0", "one": "1", "two": "2", "three": "3", "four": "4"},
    **{"five": "5", "six": "6", "seven": "7", "eight": "8", "nine": "9"},
}
OH = ("oh", "o")  # a zero between digits, otherwise a sigh
LEAST = 3  # digits that are written together
LOCAL = 7  # digits of a telephone number after its area code


def read_digits(texts: Sequence[str]) -> tuple[int, str] | None:
    """How many of the first words are digits said one by one, and how those are written; None where too few are.

    Args:
        texts: words without a pause between them.
    """
    end = 0
    while end < len(texts) and (texts[end] in DIGITS or texts[end] in OH):
        end += 1
    digits = [DIGITS.get(text, "0") for text in texts[:end]]
    local = texts[end + 1 : end + 1 + LOCAL]
    if texts[end : end + 1] == ["hundred"] and end <= 2 and len(local) == LOCAL:  # one eight hundred, and seven more
        if not all(text in DIGITS or text in OH for text in local):
            return None
        digits += ["0", "0", *(DIGITS.get(text, "0") for text in local)]
        end += 1 + LOCAL
    places = [place for place, text in enumerate(texts[:end]) if text in DIGITS]
    if not places or places[-1] - places[0] + 1 < LEAST:
        return None
    steps = {int(later) - int(earlier) for earlier, later in pairwise(digits)}
    if len(steps) == 1 and steps != {0}:
        return None
    return end, _grouped("".join(digits))


def _grouped(digits: str) -> str:
    """As telephone numbers of North America are written, where there are as many digits as those have."""
    if len(digits) == LOCAL + 4 and digits[0] == "1":
        return "1-" + _grouped(digits[1:])
    if len(digits) == LOCAL + 3:
        return f"{digits[:3]}-{_grouped(digits[3:])}"
    return f"{digits[:3]}-{digits[3:]}" if len(digits) == LOCAL else digits
