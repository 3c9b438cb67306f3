"""What an utterance sounds like, by a pronouncing dictionary: targets of the phone head."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from model.errors import PronunciationError
from model.phones import PHONE_BOUNDARY_ID, Pronunciation, parse_pronunciations
from model.tokenizer import Tokenizer
from training.errors import RecipeError

SHOWN_WORDS = 5


class PhoneTargets:
    """From the units of a transcript to the phones that it is spoken with.

    Args:
        pronunciations: of lower-case words, the commonest first, as `read_pronunciations` gives them.
        tokenizer: what the units mean.
    """

    def __init__(self, pronunciations: Mapping[str, Sequence[Pronunciation]], tokenizer: Tokenizer) -> None:
        self._pronunciations, self._tokenizer = pronunciations, tokenizer

    def of(self, target: Sequence[int]) -> tuple[int, ...] | None:
        """Each word's first pronunciation, boundaries between them; None where a word has none."""
        phones: list[int] = []
        for word in self._tokenizer.decode(target).split():
            if word not in self._pronunciations:
                return None
            phones += [PHONE_BOUNDARY_ID, *self._pronunciations[word][0]]
        return tuple(phones[1:])

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


def read_pronunciations(path: str | os.PathLike[str]) -> dict[str, tuple[Pronunciation, ...]]:
    """The pronunciations of every word of a dictionary in CMUdict's format (`model.phones`).

    Raises:
        RecipeError: the file cannot be read, or a line is none.
    """
    try:
        return parse_pronunciations(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"objective.phone_dictionary {str(path)!r} cannot be read: {error}") from error
    except PronunciationError as error:
        raise RecipeError(f"{path}, {error}") from error
