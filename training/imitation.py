"""What a network would hear of a text that nobody has spoken: pieces of what it heard of others, one a phone.

Shape legend: S frames, P phones, U phones of the text, N frames that were heard in all.

As concatenative synthesis does with sounds: every phone of the text is a piece, in the frames from its beginning to
that of the next, that was heard of this phone between the same two others, or next to one of them where there is none;
and where the piece that follows in the recording fits too, that is mostly taken. Source of the idea: Hunt and Black,
"Unit selection in a concatenative speech synthesis system", ICASSP 1996.
"""

import random
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from model.phones import N_PHONES
from training.heard import Heard

GOES_ON = 0.85  # how often the piece that follows in the recording is taken, where it fits
LONGEST_FRAMES = 40  # of a piece: pauses


class Imitator:
    """Pieces by their phones.

    Args:
        heard: what they are cut from.
    """

    def __init__(self, heard: Heard) -> None:
        self._phones_NP = heard.phones_NP
        firsts: list[int] = []
        lengths: list[int] = []
        phones: list[int] = []
        before: list[int] = []
        after: list[int] = []
        self._beginnings: list[tuple[int, int]] = []  # frames before an utterance's first phone
        for utterance in heard.utterances:
            if utterance.starts[0]:
                self._beginnings.append((utterance.first_frame, utterance.starts[0]))
            ends = (*utterance.starts[1:], utterance.n_frames)
            firsts += [utterance.first_frame + start for start in utterance.starts]
            lengths += [min(end - start, LONGEST_FRAMES) for start, end in zip(utterance.starts, ends, strict=True)]
            phones += utterance.phones
            before += (0, *utterance.phones[:-1])
            after += (*utterance.phones[1:], 0)
        self._first, self._length = np.array(firsts), np.array(lengths)
        phone, left, right = np.array(phones), np.array(before), np.array(after)
        self._key = (left * N_PHONES + phone) * N_PHONES + right  # of a phone between two others
        self._between = _group(self._key)
        self._after_left, self._before_right = _group(self._key // N_PHONES), _group(self._key % N_PHONES**2)
        self._of_phone = _group(phone)

    def imitate(self, phones: Sequence[int], rng: random.Random) -> tuple[Float[np.ndarray, "S P"], NDArray[np.int64]]:
        """Log-probs as a network might hear these phones, and the frame in which each of them ends.

        Args:
            phones: indices with boundaries between words.
            rng: draws the pieces.

        Raises:
            KeyError: a phone was never heard.
        """
        frames, ends, n_frames, piece = [], [], 0, -1
        if self._beginnings:
            first, length = self._beginnings[int(rng.random() * len(self._beginnings))]
            frames.append(np.arange(first, first + length))
            n_frames = length
        around = (0, *phones, 0)
        for left, phone, right in zip(around, phones, around[2:], strict=False):
            piece = self._choose(piece + 1, left, phone, right, rng)
            first, length = self._first[piece], self._length[piece]
            frames.append(np.arange(first, first + length))
            n_frames += int(length)
            ends.append(n_frames)
        return self._phones_NP[np.concatenate(frames)], np.array(ends)

    def _choose(self, following: int, left: int, phone: int, right: int, rng: random.Random) -> int:
        key = (left * N_PHONES + phone) * N_PHONES + right
        if following and following < len(self._key) and self._key[following] == key and rng.random() < GOES_ON:
            return following
        pieces = self._between.get(key)
        if pieces is None or len(pieces) < 2:
            one_side = self._before_right if rng.random() < 0.5 else self._after_left
            pieces = one_side.get(key % N_PHONES**2 if one_side is self._before_right else key // N_PHONES)
        if pieces is None:
            pieces = self._of_phone[phone]
        return int(pieces[int(rng.random() * len(pieces))])


def _group(keys: NDArray[np.int64]) -> dict[int, NDArray[np.int64]]:
    """Which pieces have a key, for every key."""
    order = np.argsort(keys, kind="stable")
    values, begins = np.unique(keys[order], return_index=True)
    return dict(zip(values.tolist(), np.split(order, begins[1:]), strict=True))
