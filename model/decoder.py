"""Greedy CTC decoding: the best unit of every frame, repeats merged, blanks dropped.

Shape legend: S output frames, V vocabulary, U units.

Source: "best path decoding" in Graves et al., "Connectionist temporal classification", ICML 2006, section 3.2.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from model.tokenizer import BLANK_ID
from model.transcript import Alternative


@dataclass(frozen=True, slots=True)
class Sound:
    """A phone on the path by which a word was found.

    Attributes:
        id: index of the phone, or of the boundary behind the word (`model.phones`).
        first, last: the frames in which the path passes it, both inclusive, counted from the first frame of the word's
            first character; below 0 where it is heard before.
    """

    id: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class WordEvidence:
    """What speaks for one word of the best hypothesis.

    Attributes:
        log10prob: of the word after those before it, by the n-gram model, at most 0.
        next_log10prob: of what follows, a word or the sentence's end, after it.
        share: of the hypotheses that have it, 0..1.
        alternatives: what the others have there, the largest share first; all shares add up to 1 at most.
        sounds: how it was heard, where it was searched by its sounds.
    """

    log10prob: float
    next_log10prob: float
    share: float
    alternatives: tuple[Alternative, ...]
    sounds: tuple[Sound, ...] = ()


@dataclass(frozen=True)
class DecodedUnit:
    """One unit of the best path.

    Attributes:
        id: unit index, 1..V-1.
        first_frame, last_frame: the frames in which the path passes it, both inclusive.
        logprob: mean natural-log posterior over those frames, at most 0.
        evidence: of a word's first unit, what else a search knows of the word; None for other units, and where nothing
            was searched.
    """

    id: int
    first_frame: int
    last_frame: int
    logprob: float
    evidence: WordEvidence | None = field(default=None, compare=False)  # two are equal if their path is


def decode_greedy(log_probs_SV: Float[Tensor, "S V"]) -> list[DecodedUnit]:
    """The best path's units, in order of time."""
    return units_along(log_probs_SV.argmax(dim=-1).tolist(), log_probs_SV)


def units_along(
    path_S: Sequence[int], log_probs_SV: Float[Tensor, "S V"], *, first_frame: int = 0
) -> list[DecodedUnit]:
    """The units of a path through the frames: repeats merged, blanks dropped.

    Args:
        path_S: a unit index, or the blank, for each frame.
        log_probs_SV: natural-log posteriors of the same frames.
        first_frame: number of the first of them.
    """
    chosen_S = log_probs_SV.gather(1, torch.tensor(path_S, dtype=torch.long).view(-1, 1)).squeeze(1).tolist()
    units: list[DecodedUnit] = []
    begin = 0
    for frame in range(1, len(path_S) + 1):
        if frame < len(path_S) and path_S[frame] == path_S[begin]:
            continue
        if path_S[begin] != BLANK_ID:
            mean_logprob = sum(chosen_S[begin:frame]) / (frame - begin)
            first, last = first_frame + begin, first_frame + frame - 1
            units.append(DecodedUnit(path_S[begin], first, last, min(mean_logprob, 0.0)))
        begin = frame
    return units


def append_stretch(units: list[DecodedUnit], stretch: Sequence[DecodedUnit], boundary: int) -> None:
    """Add the units of the next stretch, each of which was searched as whole words, to those before.

    Where neither side has a word boundary, one that costs nothing is put between: a search ends its last word without
    asking for a frame of it, and two words would become one.
    """
    if units and stretch and boundary not in (units[-1].id, stretch[0].id):
        at = units[-1].last_frame
        units.append(DecodedUnit(boundary, at, at, 0.0))
    units.extend(stretch)
