"""Greedy CTC decoding: the best unit of every frame, repeats merged, blanks dropped.

Shape legend: S output frames, V vocabulary, U units.

Source: "best path decoding" in Graves et al., "Connectionist temporal classification", ICML 2006, section 3.2.
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from model.tokenizer import BLANK_ID


@dataclass(frozen=True)
class DecodedUnit:
    """One unit of the best path.

    Attributes:
        id: unit index, 1..V-1.
        first_frame, last_frame: the frames in which it was the best unit, both inclusive.
        logprob: mean natural-log posterior over those frames, at most 0.
    """

    id: int
    first_frame: int
    last_frame: int
    logprob: float


def decode_greedy(log_probs_SV: Float[Tensor, "S V"]) -> list[DecodedUnit]:
    """The best path's units, in order of time."""
    best_logprobs_S, best_ids_S = log_probs_SV.max(dim=-1)
    ids, logprobs = best_ids_S.tolist(), best_logprobs_S.tolist()
    units: list[DecodedUnit] = []
    first = 0
    for frame in range(1, len(ids) + 1):
        if frame < len(ids) and ids[frame] == ids[first]:
            continue
        if ids[first] != BLANK_ID:
            mean_logprob = sum(logprobs[first:frame]) / (frame - first)
            units.append(DecodedUnit(ids[first], first, frame - 1, min(mean_logprob, 0.0)))
        first = frame
    return units
