"""What a speller learns from: a text with what would be heard of it, and the corpus as it was heard, in batches.

Shape legend: B rows, S output frames, V characters, P phones, U units, N running words.
"""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor, nn

from model.phones import PHONE_BOUNDARY_ID, Pronunciation
from model.tokenizer import Tokenizer
from training.errors import CorpusError
from training.heard import Heard, HeardUtterance
from training.imitation import Imitator
from training.ngram_text import SPECIAL_WORDS, NgramText
from training.speller_recipe import ROW_S, SpellerRecipe

WORDS_A_SECOND = 3.2  # more than anyone reads, so that a row is full
LEAST_FULL = 0.6  # of a row that was heard
SHORT_ROWS = 0.6  # share of the batches whose rows are short


@dataclass(frozen=True)
class SpellerBatch:
    """What a step learns from.

    Attributes:
        phones_BSP: natural-log posteriors, heard or imitated.
        lengths_B: valid frames.
        targets_BU, target_lengths_B: the characters.
        letters_BSV: natural-log posteriors of what was heard; None for a text, and where they are withheld.
        kind: `text`, `heard`, or `phones` for what was heard without its characters: losses of a kind can be compared.
    """

    phones_BSP: Float[Tensor, "B S P"]
    lengths_B: Int[Tensor, " B"]
    targets_BU: Int[Tensor, "B U"]
    target_lengths_B: Int[Tensor, " B"]
    letters_BSV: Float[Tensor, "B S V"] | None
    kind: str


class SpelledText:
    """A text as words that can be both pronounced and spelled.

    Args:
        text: the running words.
        pronunciations: of lower-case words, the commonest first; what lacks one is left out of the text.
        tokenizer: what words are spelled with.

    Attributes:
        words_N: indices of the running words that are left.
        phones, units: of every word.
        missing: share of the running words that was left out.

    Raises:
        CorpusError: nothing is left.
    """

    def __init__(
        self, text: NgramText, pronunciations: Mapping[str, Sequence[Pronunciation]], tokenizer: Tokenizer
    ) -> None:
        known = [index >= len(SPECIAL_WORDS) and word in pronunciations for index, word in enumerate(text.words)]
        self.words_N = text.tokens_N[np.array(known)[text.tokens_N]]
        if not len(self.words_N):
            raise CorpusError("none of the text's words is in objective.phone_dictionary")
        self.missing = 1 - len(self.words_N) / text.n_words
        self.phones = [
            pronunciations[word][0] if is_known else () for word, is_known in zip(text.words, known, strict=True)
        ]
        self.units = [
            tuple(tokenizer.encode(word)) if is_known else () for word, is_known in zip(text.words, known, strict=True)
        ]

    def excerpt(self, n_words: int, rng: random.Random) -> list[int]:
        """Words that follow each other somewhere."""
        n_words = min(n_words, len(self.words_N))
        first = int(rng.random() * (len(self.words_N) - n_words + 1))
        return [int(word) for word in self.words_N[first : first + n_words]]


class SpellerBatches:
    """The rows of every step.

    Args:
        text: what is imitated.
        heard: what was heard.
        recipe: how much of which.
        boundary: the unit between two words.
        frame_s: seconds from one frame to the next.
    """

    def __init__(self, text: SpelledText, heard: Heard, recipe: SpellerRecipe, boundary: int, frame_s: float) -> None:
        self._text, self._heard, self._recipe, self._boundary, self._frame_s = text, heard, recipe, boundary, frame_s
        self._imitator = Imitator(heard)
        self._sizes = [round(seconds / frame_s) for seconds in ROW_S]
        self._fitting = [
            [u for u in heard.utterances if LEAST_FULL * most <= u.n_frames <= most]
            or [u for u in heard.utterances if u.n_frames <= most]
            for most in self._sizes
        ]

    def batch(self, step: int, rank: int = 0, n_ranks: int = 1) -> SpellerBatch:
        """One process' share of a step's rows; the shares of all processes are the rows of one."""
        recipe = self._recipe
        of_step = random.Random(f"{recipe.seed} {step}")
        which = int(of_step.random() >= SHORT_ROWS)
        is_heard = of_step.random() < recipe.heard_share and bool(self._fitting[which])
        with_letters = is_heard and of_step.random() < recipe.letters_share
        n_frames = self._sizes[which]
        n_rows = max(n_ranks, int(recipe.batch_s / (n_frames * self._frame_s)))
        rows = []
        for number in range(rank, n_rows, n_ranks):
            rng = random.Random(f"{recipe.seed} {step} {number}")
            rows.append(self._heard_row(self._fitting[which], rng) if is_heard else self._text_row(n_frames, rng))
        pad = nn.utils.rnn.pad_sequence
        frames = [torch.from_numpy(np.array(phones_SP)) for phones_SP, _, _ in rows]
        letters = [torch.from_numpy(np.array(letters_SV)) for _, letters_SV, _ in rows] if with_letters else []
        targets = [torch.tensor(units, dtype=torch.long) for _, _, units in rows]
        return SpellerBatch(
            _pad(frames, n_frames),
            torch.tensor([len(phones_SP) for phones_SP in frames]),
            pad(targets, batch_first=True),
            torch.tensor([len(units) for units in targets]),
            _pad(letters, n_frames) if letters else None,
            "text" if not is_heard else "heard" if letters else "phones",
        )

    def _heard_row(self, utterances: Sequence[HeardUtterance], rng: random.Random) -> "_Row":
        utterance = utterances[int(rng.random() * len(utterances))]
        frames = slice(utterance.first_frame, utterance.first_frame + utterance.n_frames)
        return self._heard.phones_NP[frames], self._heard.letters_NV[frames], utterance.units

    def _text_row(self, n_frames: int, rng: random.Random) -> "_Row":
        """As many words as the row has room for."""
        words = self._text.excerpt(math.ceil(n_frames * self._frame_s * WORDS_A_SECOND), rng)
        phones: list[int] = []
        last_phone = []  # of each word, the boundary behind it not counted
        for word in words:
            phones += ([PHONE_BOUNDARY_ID] if phones else []) + list(self._text.phones[word])
            last_phone.append(len(phones) - 1)
        phones_SP, ends_U = self._imitator.imitate(phones, rng)
        n_words = max(1, sum(int(ends_U[phone]) <= n_frames for phone in last_phone))
        units: list[int] = []
        for word in words[:n_words]:
            units += ([self._boundary] if units else []) + list(self._text.units[word])
        return phones_SP[: min(n_frames, int(ends_U[last_phone[n_words - 1]]))], None, tuple(units)


_Row = tuple[NDArray[np.float16], NDArray[np.float16] | None, tuple[int, ...]]


def _pad(rows: list[Tensor], n_frames: int) -> Tensor:
    """(B, n_frames, ·), float32."""
    padded = nn.utils.rnn.pad_sequence(rows, batch_first=True)
    return nn.functional.pad(padded, (0, 0, 0, n_frames - padded.shape[1])).float()
