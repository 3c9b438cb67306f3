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
    # A unit may follow another one directly, unless they are the same.
    skip_X = np.full(len(state_X), -np.inf)
    skip_X[3::2] = np.where(state_X[3::2] != state_X[1:-2:2], 0.0, -np.inf)
    emitted_SX = log_probs_SV.detach().double().cpu().numpy()[:, state_X]
    # Two impossible states before the first one, so that who came from where is a matter of views.
    score_SX = np.full((n_frames, len(state_X) + 2), -np.inf)
    score_SX[0, 2:4] = emitted_SX[0, :2]
    skipped_X = np.empty(len(state_X))
    for frame in range(1, n_frames):
        before_X, score_X = score_SX[frame - 1], score_SX[frame, 2:]
        np.maximum(before_X[2:], before_X[1:-1], out=score_X)
        np.add(before_X[:-2], skip_X, out=skipped_X)
        np.maximum(score_X, skipped_X, out=score_X)
        np.add(score_X, emitted_SX[frame], out=score_X)
    state = len(state_X) - 1 - int(score_SX[-1, -2] > score_SX[-1, -1])
    path = [int(state_X[state])]
    for before_X in score_SX[-2::-1]:
        stayed, moved, skipped = before_X[state + 2], before_X[state + 1], before_X[state] + skip_X[state]
        if stayed < moved or stayed < skipped:
            state -= 1 if moved >= skipped else 2
        path.append(int(state_X[state]))
    return units_along(path[::-1], log_probs_SV)
