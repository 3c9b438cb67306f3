"""Words that a caller expects, names above all: the search prefers them, also where its lexicon lacks them."""

import math
import unicodedata
from dataclasses import dataclass

from model.errors import HotWordError
from model.tokenizer import WORD_BOUNDARY, Tokenizer

MOST_TERMS = 100
LONGEST_TERM = 60  # characters
LARGEST_BOOST = 20.0
DEFAULT_BOOST = 5.0  # the most that costs nothing elsewhere: `python -m benchmarks.hot_words`

_APOSTROPHES = str.maketrans(dict.fromkeys("’‘ʼ`´", "'"))  # the characters that people type for it
_BETWEEN_WORDS = str.maketrans(dict.fromkeys('-‐‑–—._,;:!?"“”/', " "))  # hyphens and dashes as they come


@dataclass(frozen=True)
class HotWords:
    """Terms and how much they are preferred.

    Attributes:
        terms: words, or several that follow each other ("Birket Foster"), which are preferred only together; at most
            `MOST_TERMS` of at most `LONGEST_TERM` characters. Case, accents and punctuation do not matter.
        boost: added to the search's score for every word of a term that is found, natural logarithms, from
            0 to `LARGEST_BOOST`: 5 makes a word as likely as one that is e⁵ ≈ 150 times as frequent.

    Raises:
        HotWordError: too many terms, a term that is empty or too long, or a boost outside its range.
    """

    terms: tuple[str, ...]
    boost: float = DEFAULT_BOOST

    def __post_init__(self) -> None:
        if not (math.isfinite(self.boost) and 0 <= self.boost <= LARGEST_BOOST):
            raise HotWordError(f"the boost of hot words is {self.boost:g}; 0 to {LARGEST_BOOST:g} is possible")
        if len(self.terms) > MOST_TERMS:
            raise HotWordError(f"{len(self.terms)} hot words are given; {MOST_TERMS} are possible")
        for term in self.terms:
            if len(term) > LONGEST_TERM:
                raise HotWordError(
                    f"the hot word {term[:LONGEST_TERM]!r}… has {len(term)} characters; {LONGEST_TERM} are possible"
                )
            if not term.strip():
                raise HotWordError("a hot word is empty")


def plain_words(term: str) -> tuple[str, ...]:
    """The words of a term in lower case, accents and quotes around it dropped, hyphens and dots taken for spaces."""
    plain = (
        unicodedata.normalize("NFKD", term.translate(_APOSTROPHES)).translate(_APOSTROPHES).translate(_BETWEEN_WORDS)
    ).strip()
    if plain.startswith("'") and plain.endswith("'"):  # not those of 'tis and of dogs'
        plain = plain.strip("'")
    return tuple("".join(character for character in plain.casefold() if not unicodedata.combining(character)).split())


def spell(term: str, tokenizer: Tokenizer) -> tuple[str, ...]:
    """The words of a term (`plain_words`), each of which the tokenizer can spell.

    Raises:
        HotWordError: a character that is not spelled so, a digit for example.
    """
    words = plain_words(term)
    for character in "".join(words):
        if character not in tokenizer.characters or character == WORD_BOUNDARY:
            raise HotWordError(
                f"the hot word {term!r} has {character!r}, which the model cannot spell; write it as it is spoken"
            )
    if not words:
        raise HotWordError(f"the hot word {term!r} has no letters")
    return words
