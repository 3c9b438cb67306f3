"""Stretches of frames that are searched at once, cut where nobody speaks.

Shape legend: S output frames.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from jaxtyping import Float
from torch import Tensor

LONGEST_S = 30.0  # a beam remembers every frame, so this bounds its memory
# A pause mostly ends a phrase, and a beam that begins anew has room for other words: docs/experiments.md.
PAUSE_S = 0.24
SURE = math.log(0.9)  # from here on, a frame's blank is sure


@dataclass(frozen=True)
class StretchConfig:
    """How long a stretch may be, and what ends it sooner.

    Attributes:
        longest: frames of a stretch at most.
        pause: frames of a pause at least.
    """

    longest: int = 750
    pause: int = 6

    @classmethod
    def of(cls, frame_s: float) -> "StretchConfig":
        """30 s and 0.24 s in frames that are `frame_s` seconds apart; as many as the defaults where that is 0.04."""
        return cls(max(1, round(LONGEST_S / frame_s)), max(1, round(PAUSE_S / frame_s)))


STRETCHES = StretchConfig()


def plan_stretches(
    blank_logprobs_S: Float[Tensor, " S"], config: StretchConfig = STRETCHES
) -> Iterator[tuple[int, int]]:
    """Cut S frames into stretches of at most `config.longest`, each `(first, end)`.

    Cut is in the middle of every pause, a run of at least `config.pause` sure blanks between other frames. Where there
    is none for too long, a cut is made in the second half of what may be taken, in the middle of the longest run of
    sure blanks, or else where the blank is surest. A stretch depends on no more than `longest` frames from its first.
    """
    blanks = blank_logprobs_S.tolist()
    first = 0
    while first < len(blanks):
        window = blanks[first : first + config.longest]
        cut = _first_pause(window, config.pause)
        if cut is None:
            cut = len(window) if first + config.longest >= len(blanks) else _forced_cut(window)
        yield first, first + cut
        first += cut


def _first_pause(blanks: Sequence[float], least: int) -> int | None:
    for start, end in _sure_runs(blanks):
        if end - start >= least and start > 0 and end < len(blanks):
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
