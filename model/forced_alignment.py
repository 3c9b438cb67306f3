"""Where in the audio a known text is spoken: the most probable CTC path that spells it.

Shape legend: S output frames, V vocabulary, U units, X = 2U + 1 states (blank, unit, blank, unit, …, blank).

Source: the Viterbi form of the forward recursion in Graves et al., "Connectionist temporal classification", ICML 2006,
section 4.1; as in Kürzinger et al., "CTC-segmentation of large corpora", SPECOM 2020.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from jaxtyping import Float
from torch import Tensor

from model.decoder import DecodedUnit, units_along
from model.errors import OptionError
from model.tokenizer import BLANK_ID


def force_align(log_probs_SV: Float[Tensor, "S V"], target_U: Sequence[int]) -> list[DecodedUnit]:
    """The units of `target_U`, each with the frames in which the best path that spells them passes it.

    Args:
        log_probs_SV: natural-log posteriors.
        target_U: unit indices, 1..V-1.

    Raises:
        OptionError: the frames are too few to spell the target, or a unit does not exist.
    """
    n_frames, vocabulary_size = log_probs_SV.shape
    if any(not 0 < unit < vocabulary_size or unit == BLANK_ID for unit in target_U):
        raise OptionError(f"the target has units outside 1..{vocabulary_size - 1}: {sorted(set(target_U))}")
    needed = len(target_U) + sum(a == b for a, b in pairwise(target_U))
    if needed > n_frames:
        raise OptionError(f"the target needs {needed} frames; there are {n_frames}")
    if not target_U:
        return []
    state_X = np.full(2 * len(target_U) + 1, BLANK_ID)
    state_X[1::2] = target_U
    skips_X = np.zeros(len(state_X), dtype=bool)  # a unit may follow another one directly, unless they are the same
    skips_X[3::2] = state_X[3::2] != state_X[1:-2:2]
    emitted_SX = log_probs_SV.detach().double().cpu().numpy()[:, state_X]
    score_X = np.full(len(state_X), -np.inf)
    score_X[:2] = emitted_SX[0, :2]
    came_SX = np.zeros((n_frames, len(state_X)), dtype=np.int8)  # states moved on: 0, 1 or 2
    for frame in range(1, n_frames):
        moves_3X = np.full((3, len(state_X)), -np.inf)
        moves_3X[0] = score_X
        moves_3X[1, 1:] = score_X[:-1]
        moves_3X[2, 2:] = np.where(skips_X[2:], score_X[:-2], -np.inf)
        came_SX[frame] = moves_3X.argmax(0)
        score_X = moves_3X.max(0) + emitted_SX[frame]
    state = len(state_X) - 1 - int(score_X[-2] > score_X[-1])
    path = []
    for frame in reversed(range(n_frames)):
        path.append(int(state_X[state]))
        state -= int(came_SX[frame, state])
    return units_along(path[::-1], log_probs_SV)
