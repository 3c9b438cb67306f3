"""Sentences for a neural language model: word indices by frequency, a part held back, and batches of like lengths.

Shape legend: N words of the text, ends of sentences among them; B sentences of a batch, U words of the longest.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int
from numpy.typing import NDArray
from torch import Tensor

from model.neural_language_model import END, SPECIAL_WORDS, UNKNOWN
from training import ngram_text
from training.errors import CorpusError
from training.ngram_text import NgramText

BATCHES_IN_A_POOL = 100  # sentences for so many batches are sorted by length together


@dataclass(frozen=True)
class Sentences:
    """Some sentences of a text, as word indices.

    Attributes:
        words_N: the indices of the whole text, each sentence with its END; what is not these sentences' stands between.
        first_S: where each sentence begins.
        length_S: its words, END counted.
    """

    words_N: NDArray[np.int32]
    first_S: NDArray[np.int64]
    length_S: NDArray[np.int64]

    @property
    def n_words(self) -> int:
        """Words and ends of sentences."""
        return int(self.length_S.sum())

    def count(self, word: int) -> int:
        """How often a word index stands in the sentences."""
        before_N = np.concatenate([[0], np.cumsum(self.words_N == word)])
        return int((before_N[self.first_S + self.length_S] - before_N[self.first_S]).sum())

    def batch(self, which: NDArray[np.int64]) -> tuple[Int[Tensor, "B U"], Int[Tensor, "B"]]:
        """Sentences as the network takes them: padded with END, and their lengths."""
        length_B = self.length_S[which]
        at_BU = np.arange(length_B.max())
        inside_BU = at_BU < length_B[:, None]
        index_BU = np.where(inside_BU, self.first_S[which][:, None] + at_BU, 0)
        words_BU = np.where(inside_BU, self.words_N[index_BU], END)
        return torch.from_numpy(words_BU).long(), torch.from_numpy(length_B)

    def plan(self, batch_words: int, *, seed: int, epoch: int) -> Iterator[NDArray[np.int64]]:
        """The batches of a pass, each the numbers of its sentences: a function of seed and pass.

        A batch has sentences of like lengths, and with its padding at most `batch_words` words (or one sentence).
        """
        generator = np.random.default_rng((seed, epoch))
        shuffled = generator.permutation(len(self.length_S))
        in_a_pool = max(1, round(BATCHES_IN_A_POOL * batch_words / max(1.0, float(self.length_S.mean()))))
        for begin in range(0, len(shuffled), in_a_pool):
            pool = shuffled[begin : begin + in_a_pool]
            pool = pool[np.argsort(self.length_S[pool], kind="stable")]
            batches, first = [], 0
            for end in range(1, len(pool) + 1):
                longest = self.length_S[pool[end]] if end < len(pool) else np.inf
                if longest * (end + 1 - first) > batch_words:
                    batches.append(pool[first:end])
                    first = end
            yield from (batches[at] for at in generator.permutation(len(batches)))


def split(text: NgramText, *, longest: int, hold_back_every: int) -> tuple[tuple[str, ...], Sentences, Sentences]:
    """Vocabulary (most frequent first), the sentences to train on, and every N-th one, held back.

    Sentences of more than `longest` words are cut; what follows a cut is read as if it began a sentence, and the end of
    the part before it is a word, not END.

    Raises:
        CorpusError: the text has too few sentences to hold any back.
    """
    words = text.by_frequency()
    rank = {word: at for at, word in enumerate(words, len(SPECIAL_WORDS))}
    special = {ngram_text.UNKNOWN: UNKNOWN, ngram_text.BEGIN: END, ngram_text.END: END}
    index_V = np.array([special.get(at, rank.get(word, UNKNOWN)) for at, word in enumerate(text.words)], dtype=np.int32)
    words_N = index_V[text.tokens_N[text.tokens_N != ngram_text.BEGIN]]
    end_S = np.flatnonzero(words_N == END) + 1
    if len(end_S) < hold_back_every:
        raise CorpusError(
            f"the text has {len(end_S)} sentences; every {hold_back_every}. is to be held back, so it needs as many"
        )
    length_S = np.diff(end_S, prepend=0)
    held_back_S = np.arange(len(end_S)) % hold_back_every == hold_back_every - 1
    train, held_back = (
        _cut(words_N, end_S[part] - length_S[part], length_S[part], longest) for part in (~held_back_S, held_back_S)
    )
    return tuple(words), train, held_back


def _cut(
    words_N: NDArray[np.int32], first_S: NDArray[np.int64], length_S: NDArray[np.int64], longest: int
) -> Sentences:
    pieces_S = -(-length_S // longest)
    sentence_P = np.repeat(np.arange(len(first_S)), pieces_S)
    piece_P = np.arange(len(sentence_P)) - np.repeat(np.cumsum(pieces_S) - pieces_S, pieces_S)
    first_P = first_S[sentence_P] + piece_P * longest
    return Sentences(words_N, first_P, np.minimum(longest, first_S[sentence_P] + length_S[sentence_P] - first_P))
