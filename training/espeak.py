"""Pronunciations by espeak-ng's rules for American English, in the phones of CMUdict.

An installed program, not a library (`apt-get install espeak-ng`); it knows tens of thousands of exceptions by heart.
Its phoneme names are those of `espeak-ng -x`, https://github.com/espeak-ng/espeak-ng/blob/master/docs/phonemes.md.
"""

import re
import subprocess
import tempfile
from collections.abc import Sequence
from types import MappingProxyType

from model.errors import OptionError
from model.letter_to_sound import LONGEST_WORD
from model.phones import PHONE_UNITS, Pronunciation
from training.errors import CorpusError

PROGRAM = "espeak-ng"

# By the phoneme, without stress; a line for each phone that it begins with.
_TABLE = """
    0=AA A:=AA A@=AA-R A=AA a:=AA A~=AA
    a=AE aa=AE E~=AE
    @=AH @2=AH @5=AH @-=AH V=AH V2=AH a#=AH @L=AH-L n-=AH-N l-=AH-L m-=AH-M
    O:=AO O~=AO O=AO O2=AO o=AO o@=AO-R O@=AO-R
    aU=AW aU@=AW-ER aU3=AW-ER aI=AY aI2=AY aI@=AY-AH aI3=AY-ER ai=AY
    E=EH E2=EH E#=EH e=EH e@=EH-R 3=ER 3:=ER 3r=ER eI=EY e:=EY
    I=IH I2=IH I#=IH I2#=IH I@=IH-R i@3=IH-R i=IY i:=IY i2=IY i@=IY-AH i:@=IY-AH y=IY
    oU=OW o:=OW OI=OY U=UH U@=UH-R u:=UW u=UW y:=UW
    b=B tS=CH C=HH d=D d#=D D=DH f=F g=G Q=G h=HH h#=HH dZ=JH k=K x=K q=K l=L l#=L L=L m=M n=N N=NG n^=N-Y l^=L-Y p=P
    r=R r-=R R=R s=S s#=S S=SH t=T t2=T t#=T ts=T-S T=TH v=V v#=V w=W W=W j=Y J=Y z=Z z#=Z z2=Z Z=ZH
"""
# By the phoneme, without stress; a line for each phone that it begins with.
_PHONES = MappingProxyType(dict(entry.split("=") for entry in _TABLE.split()))
_STRESS = "',%="
_MARKS = re.compile(r"[',%=|:;?]+")  # of stress, length that stands alone, pauses and glottal stops
_IDS = {unit: index for index, unit in enumerate(PHONE_UNITS, 1)}
_SPELLED = re.compile(r"[a-z'][a-z']*")


class Espeak:
    """Pronounces as a letter-to-sound model does."""

    def encode(self, word: str) -> list[int]:
        """The word's characters as numbers, whatever for; what it refuses cannot be pronounced.

        Raises:
            OptionError: the word has anything but the letters a to z and apostrophes, or is too long.
        """
        if not _SPELLED.fullmatch(word) or not re.search("[a-z]", word) or len(word) > LONGEST_WORD:
            raise OptionError(f"{word[:LONGEST_WORD]!r} is no word of 1 to {LONGEST_WORD} letters and apostrophes")
        return [ord(letter) for letter in word]

    def pronounce(self, words: Sequence[str]) -> list[Pronunciation]:
        """A pronunciation for each word, of one phone at least.

        Raises:
            OptionError: a word that `encode` refuses, or that espeak-ng has no phones for.
            CorpusError: espeak-ng is not installed, or says something else than phonemes.
        """
        for word in words:
            self.encode(word)
        lines = _spoken(words)
        if len(lines) != len(words):  # it made one sentence of two words, or two of one
            lines = [" ".join(_spoken([word])) for word in words]
        return [_parse(word, line) for word, line in zip(words, lines, strict=True)]


def _spoken(words: Sequence[str]) -> list[str]:
    try:
        with tempfile.NamedTemporaryFile(
            "w", suffix=".txt"
        ) as file:  # of standard input it makes pieces that cut words
            file.write("".join(f"{word}.\n" for word in words))
            file.flush()
            command = [PROGRAM, "-v", "en-us", "-q", "-x", "--sep=_", "-f", file.name]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
    except FileNotFoundError as error:
        raise CorpusError(f"{PROGRAM} is not installed: apt-get install {PROGRAM}") from error
    except subprocess.CalledProcessError as error:
        raise CorpusError(f"{PROGRAM} ended with {error.returncode}: {error.stderr.strip()}") from error
    return [line.strip() for line in done.stdout.splitlines() if line.strip()]


def _parse(word: str, line: str) -> Pronunciation:
    phones: list[str] = []
    for phoneme in re.split(r"[_ ]+", line):
        name = phoneme.lstrip(_STRESS)
        name = name if name in _PHONES else _MARKS.sub("", name)
        if not name:
            continue
        if name not in _PHONES:
            raise CorpusError(f"{PROGRAM} pronounces {word!r} with {phoneme!r}, for which CMUdict has no phone: {line}")
        for phone in _PHONES[name].split("-"):
            doubled = phones and phone == phones[-1] and phone != "AH"
            if not doubled and not (phone == "R" and phones[-1:] == ["ER"]):
                phones.append(phone)
    if not phones:
        raise OptionError(f"{PROGRAM} has no phones for {word!r}")
    return tuple(_IDS[phone] for phone in phones)
