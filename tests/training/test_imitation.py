"""What is imitated is made of what was heard, phone by phone."""

import random

import numpy as np
import pytest

from model.phones import N_PHONES
from training.heard import Heard, HeardUtterance
from training.imitation import LONGEST_FRAMES, Imitator


def make_heard(*utterances: tuple[tuple[int, ...], tuple[int, ...], int]) -> Heard:
    """Of phones, their starts and frames in all; frame n of all says n in its first column, its phone in the second."""
    rows, found, first_frame = [], [], 0
    for phones, starts, n_frames in utterances:
        of_frame = np.zeros(n_frames)
        for phone, start in zip(phones, starts, strict=True):
            of_frame[start:] = phone
        row_SP = np.zeros((n_frames, N_PHONES), np.float16)
        row_SP[:, 0], row_SP[:, 1] = first_frame + np.arange(n_frames), of_frame
        rows.append(row_SP)
        found.append(HeardUtterance((1,), phones, starts, first_frame, n_frames))
        first_frame += n_frames
    phones_NP = np.concatenate(rows)
    return Heard(phones_NP, phones_NP[:, :7], tuple(found))


def runs(values: np.ndarray) -> list[int]:
    return [int(value) for at, value in enumerate(values) if at == 0 or value != values[at - 1]]


HEARD = make_heard(
    ((5, 6, 7), (0, 4, 9), 12), ((6, 7, 5), (3, 5, 6), 10), ((7, 5, 6, 7), (0, 2, 4, 5), 200), ((5, 6, 7), (0, 1, 2), 3)
)


@pytest.mark.parametrize("seed", range(20))
def test_every_phone_is_heard_in_its_turn_and_ends_where_it_is_said_to(seed: int) -> None:
    phones = (5, 6, 7, 5, 5, 7, 6)
    imitated_SP, ends_U = Imitator(HEARD).imitate(phones, random.Random(seed))
    spoken = imitated_SP[imitated_SP[:, 1] > 0]
    assert runs(spoken[:, 1]) == [5, 6, 7, 5, 7, 6]  # the two of the same are side by side
    assert len(ends_U) == len(phones) and ends_U[-1] == len(imitated_SP)
    begins = [int((imitated_SP[:, 1] == 0).sum()), *ends_U[:-1].tolist()]
    for phone, begin, end in zip(phones, begins, ends_U.tolist(), strict=True):
        assert set(imitated_SP[begin:end, 1].tolist()) == {phone}
        assert end - begin <= LONGEST_FRAMES


def test_pieces_are_taken_from_between_the_same_neighbours_where_there_are_two() -> None:
    """5 between 7 and 6 was heard once only, 6 between 5 and 7 three times: only those are taken for it."""
    imitator, seen = Imitator(HEARD), set()
    for seed in range(200):
        imitated_SP, ends_U = imitator.imitate((5, 6, 7), random.Random(seed))
        seen.add(int(imitated_SP[ends_U[0], 0]))
    assert seen == {4, 26, 223}  # the beginnings of 6 in the first, third and fourth utterance


def test_what_follows_in_the_recording_mostly_follows() -> None:
    imitator, followed = Imitator(HEARD), 0
    for seed in range(300):
        imitated_SP, ends_U = imitator.imitate((5, 6, 7), random.Random(seed))
        followed += int(imitated_SP[ends_U[0], 0] == imitated_SP[ends_U[0] - 1, 0] + 1)
    assert 0.85 * 300 <= followed < 300  # also by chance


def test_what_was_never_heard_is_not_made_up() -> None:
    with pytest.raises(KeyError):
        Imitator(HEARD).imitate((5, 9), random.Random(0))
