"""Stretches of frames that are searched at once, cut where nobody speaks.

Shape legend: S output frames.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import groupby

from jaxtyping import Float
from torch import Tensor

LONGEST_STRETCH_FRAMES = 750  # 30 s; a beam remembers every frame, so this bounds its memory
# 0.24 s. A pause mostly ends a phrase, and a beam that begins anew has room for other words: docs/experiments.md.
PAUSE_FRAMES = 6
SURE = math.log(0.9)  # from here on, a frame's blank is sure


def plan_stretches(
    blank_logprobs_S: Float[Tensor, " S"], longest: int = LONGEST_STRETCH_FRAMES
) -> Iterator[tuple[int, int]]:
    """Cut S frames into stretches of at most `longest`, each `(first, end)`.

    Cut is in the middle of every pause, a run of at least `PAUSE_FRAMES` sure blanks between other frames. Where there
    is none for too long, a cut is made in the second half of what may be taken, in the middle of the longest run of
    sure blanks, or else where the blank is surest. A stretch depends on no more than `longest` frames from its first.
    """
    blanks = blank_logprobs_S.tolist()
    first = 0
    while first < len(blanks):
        window = blanks[first : first + longest]
        cut = _first_pause(window)
        if cut is None:
            cut = len(window) if first + longest >= len(blanks) else _forced_cut(window)
        yield first, first + cut
        first += cut


def _first_pause(blanks: Sequence[float]) -> int | None:
    for start, end in _sure_runs(blanks):
        if end - start >= PAUSE_FRAMES and start > 0 and end < len(blanks):
            return (start + end) // 2
    return None


def _forced_cut(blanks: Sequence[float]) -> int:
    half = len(blanks) - len(blanks) // 2
    later = blanks[half:]
    runs = list(_sure_runs(later))
    if not runs:
        return half + later.index(max(later))
    start, end = max(runs, key=lambda run: run[1] - run[0])
    return half + (start + end) // 2


def _sure_runs(blanks: Sequence[float]) -> Iterator[tuple[int, int]]:
    """Every run of sure blanks, `(first, end)`, in order."""
    at = 0
    for sure, run in groupby(blanks, lambda blank: blank > SURE):
        end = at + sum(1 for _ in run)
        if sure:
            yield at, end
        at = end
