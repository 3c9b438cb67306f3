"""Stretches of frames that are searched at once, cut where nobody speaks.

Shape legend: S output frames.
"""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

LONGEST_STRETCH_FRAMES = 750  # 30 s; a beam remembers every frame, so this bounds its memory


def plan_stretches(
    blank_logprobs_S: Float[Tensor, " S"], longest: int = LONGEST_STRETCH_FRAMES
) -> Iterator[tuple[int, int]]:
    """Cut S frames into stretches of at most `longest`, each `(first, end)`, where the blank is surest.

    A cut is looked for in the second half of what may be taken, in the middle of the longest run of sure blanks.
    """
    first, n_frames = 0, len(blank_logprobs_S)
    while n_frames - first > longest:
        half = longest - longest // 2
        window = blank_logprobs_S[first + half : first + longest]
        sure = (window > torch.tensor(0.9).log()).tolist()
        run, best_run, best_at = 0, 0, int(window.argmax())
        for at, is_sure in enumerate(sure):
            run = run + 1 if is_sure else 0
            if run > best_run:
                best_run, best_at = run, at - run // 2
        cut = first + half + best_at
        yield first, cut
        first = cut
    if n_frames > first:
        yield first, n_frames
