"""Two ways to recognise the same speech, compared word by word: which is better, and how much of that is chance.

Two error rates of one corpus mostly come from the same words, so their difference is known far better than either of
them; and where many words are undecided, two equally good ways still differ by chance. Source: Gillick and Cox, "Some
statistical issues in the comparison of speech recognition algorithms", ICASSP 1989, section 3 (matched pairs), with
single words of the reference as the pairs.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from training.confusions import align_words


@dataclass(frozen=True)
class PairedDifference:
    """Errors of the first way less those of the second.

    Attributes:
        words: of the reference.
        rate: difference of the word error rates, as a fraction; above 0 where the first has more errors.
        chance: standard error of `rate`, if words go wrong independently of each other.
        unequal: words of the reference on which the two have unequal numbers of errors.
    """

    words: int
    rate: float
    chance: float
    unequal: int


def compare_words(references: Sequence[str], first: Sequence[str], second: Sequence[str]) -> PairedDifference:
    """Compare two ways to recognise the same recordings.

    Args:
        references: what was said in each.
        first: what one way heard, of as many.
        second: what the other did.
    """
    differences = [
        one - other
        for reference, heard, heard_otherwise in zip(references, first, second, strict=True)
        for one, other in zip(_errors(reference, heard), _errors(reference, heard_otherwise), strict=True)
    ]
    words = len(differences) - len(references)
    rate = sum(differences) / max(1, words)
    chance = math.sqrt(sum(difference**2 for difference in differences)) / max(1, words)
    return PairedDifference(words, rate, chance, sum(difference != 0 for difference in differences))


def _errors(reference: str, heard: str) -> list[int]:
    """Of each word of the reference, with what was inserted after it; first what was inserted before all of them."""
    errors = [0]
    for pair in align_words(reference, heard):
        if pair.kind == "insertion":
            errors[-1] += 1
        else:
            errors.append(int(pair.kind != "hit"))
    return errors
