"""The sounds of English: what the phone head of the acoustic model writes with, and how words are pronounced.

A pronouncing dictionary has CMUdict's format: a line is a word and its phones with blanks between; `#` begins a
comment, as does `;;;` at the beginning of a line. Further pronunciations are written `word(2)`.
"""

import re
from collections.abc import Iterable, Mapping

from model.errors import PronunciationError
from model.tokenizer import WORD_BOUNDARY

# The phones of CMUdict (ARPAbet without stress).
_ARPABET = "AA AE AH AO AW AY B CH D DH EH ER EY F G HH IH IY JH K L M N NG OW OY P R S SH T TH UH UW V W Y Z ZH"
PHONES = tuple(_ARPABET.split())
# What the phone head writes: index 0 is CTC's blank, index i + 1 is PHONE_UNITS[i].
PHONE_UNITS = (WORD_BOUNDARY, *PHONES)
PHONE_BOUNDARY_ID = 1
N_PHONES = len(PHONE_UNITS) + 1

Pronunciation = tuple[int, ...]  # indices of phones, 2..N_PHONES - 1

_IDS = {phone + stress: index for index, phone in enumerate(PHONES, 2) for stress in ("", "0", "1", "2")}
_FURTHER = re.compile(r"\(\d+\)$")


def parse_pronunciations(text: str) -> dict[str, tuple[Pronunciation, ...]]:
    """Every word's pronunciations, the first one first, none twice; words in lower case, stress left out.

    Raises:
        PronunciationError: a line has no phones or one that is not among `PHONES`; the message names line and word.
    """
    found: dict[str, tuple[Pronunciation, ...]] = {}
    has_remarks, id_of = "#" in text, _IDS.__getitem__
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith(";;;") or not (fields := (line.partition("#")[0] if has_remarks else line).split()):
            continue
        word, *phones = fields
        if not phones:
            raise PronunciationError(f"line {number}: {word!r} has no phones")
        try:
            pronunciation = tuple(map(id_of, phones))
        except KeyError as error:
            raise PronunciationError(
                f"line {number}: {error.args[0]!r} is no phone of CMUdict: {' '.join(PHONES)}"
            ) from error
        plain = (_FURTHER.sub("", word) if word.endswith(")") else word).lower()
        if (ways := found.get(plain)) is None:
            found[plain] = (pronunciation,)
        elif pronunciation not in ways:
            found[plain] = (*ways, pronunciation)
    return found


def format_pronunciations(pronunciations: Mapping[str, Iterable[Pronunciation]]) -> str:
    """The same as text, a pronunciation a line."""
    lines = []
    for word, ways in pronunciations.items():
        for number, way in enumerate(ways, 1):
            name = word if number == 1 else f"{word}({number})"
            lines.append(f"{name} {' '.join(PHONE_UNITS[phone - 1] for phone in way)}\n")
    return "".join(lines)
