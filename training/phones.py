"""What an utterance sounds like, by a pronouncing dictionary: targets of the phone head."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from model.tokenizer import Tokenizer
from training.errors import RecipeError

# The phones of CMUdict (ARPAbet without stress); index 0 is CTC's blank, index i + 1 is PHONES[i].
_ARPABET = "AA AE AH AO AW AY B CH D DH EH ER EY F G HH IH IY JH K L M N NG OW OY P R S SH T TH UH UW V W Y Z ZH"
PHONES = tuple(_ARPABET.split())
PHONE_VOCABULARY_SIZE = len(PHONES) + 1
SHOWN_WORDS = 5


class PhoneTargets:
    """From the units of a transcript to the phones that it is spoken with.

    Args:
        pronunciations: phone indices of lower-case words, as `read_pronunciations` gives them.
        tokenizer: what the units mean.
    """

    def __init__(self, pronunciations: Mapping[str, tuple[int, ...]], tokenizer: Tokenizer) -> None:
        self._pronunciations, self._tokenizer = pronunciations, tokenizer

    def of(self, target: Sequence[int]) -> tuple[int, ...] | None:
        """Phone indices, words joined without a mark between them; None where a word has no pronunciation."""
        phones: list[int] = []
        for word in self._tokenizer.decode(target).split():
            if word not in self._pronunciations:
                return None
            phones.extend(self._pronunciations[word])
        return tuple(phones)

    def coverage(self, targets: Sequence[Sequence[int]]) -> str:
        """A sentence on how many of a corpus's utterances have phones, and what the others lack.

        Raises:
            RecipeError: none of them has.
        """
        missing: Counter[str] = Counter()
        without = 0
        for target in targets:
            lacking = {word for word in self._tokenizer.decode(target).split() if word not in self._pronunciations}
            missing.update(lacking)
            without += bool(lacking)
        words = ", ".join(word for word, _ in missing.most_common(SHOWN_WORDS))
        if without == len(targets):
            raise RecipeError(
                f"objective.phone_dictionary pronounces none of the {len(targets)} utterances; it lacks {words}"
            )
        if not without:
            return f"all {len(targets)} utterances have a phone loss"
        return (
            f"{without} of {len(targets)} utterances have no phone loss; {len(missing)} words lack a pronunciation, "
            f"most often {words}"
        )


def read_pronunciations(path: str | os.PathLike[str]) -> dict[str, tuple[int, ...]]:
    """The first pronunciation of every word of a dictionary in CMUdict's format, stress left out.

    A line is a word and its phones with blanks between; `#` begins a comment, as does `;;;` at the beginning of a line.
    Further pronunciations are written `word(2)`.

    Raises:
        RecipeError: the file cannot be read, a line has no phones or one that is not among `PHONES`.
    """
    indices = {phone: index for index, phone in enumerate(PHONES, 1)}
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"objective.phone_dictionary {str(path)!r} cannot be read: {error}") from error
    pronunciations: dict[str, tuple[int, ...]] = {}
    for number, line in enumerate(lines, 1):
        if line.startswith(";;;") or not (fields := line.partition("#")[0].split()):
            continue
        word, phones = fields[0], [phone.rstrip("012") for phone in fields[1:]]
        if unknown := [phone for phone in phones if phone not in indices]:
            raise RecipeError(f"{path}, line {number}: {unknown[0]!r} is no phone of CMUdict: {_ARPABET}")
        if not phones:
            raise RecipeError(f"{path}, line {number}: {word!r} has no phones")
        if word.endswith(")") and "(" in word[1:]:
            continue
        pronunciations.setdefault(word.lower(), tuple(indices[phone] for phone in phones))
    return pronunciations
