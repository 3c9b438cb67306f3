"""Which utterances stand in which batch: a pure function of seed and epoch, so a resumed run sees the same batches."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from training.corpora import Utterance

LENGTH_STEP_S = 0.64  # batches are padded to a multiple: oneDNN and cuDNN prepare anew for every shape they meet


@dataclass(frozen=True)
class BatchPlan:
    """One batch, before anything is read.

    Attributes:
        items: indices into the list of utterances, with the speed at which each is played.
        seed: with an utterance's index, determines its random augmentation.
    """

    items: tuple[tuple[int, float], ...]
    seed: int

    def shard(self, rank: int, processes: int) -> "BatchPlan":
        """What one of several processes takes of the batch: every `processes`-th utterance, perhaps none."""
        return BatchPlan(self.items[rank::processes], self.seed)


def plan_epoch(
    utterances: Sequence[Utterance],
    *,
    seed: int,
    epoch: int,
    max_batch_s: float,
    speeds: Sequence[float] = (1.0,),
    shortest_first: bool = True,
) -> list[BatchPlan]:
    """Batches of utterances of about the same length, in random order; shortest first in epoch 0.

    Args:
        utterances: all of them with known durations.
        seed: with `epoch`, determines everything that is random.
        epoch: the pass, 0, 1, …
        max_batch_s: bound on a batch's seconds, padding included (`padded_s` of the longest × count). A single
            utterance longer than that makes a batch of its own; leave such out beforehand.
        shortest_first: epoch 0 goes from short to long, which takes an untrained network past its first plateau.
        speeds: speed perturbation, one of which is drawn for each utterance (Ko et al., Interspeech 2015).

    Returns:
        The plans, each utterance in exactly one of them.
    """
    rng = random.Random(f"{seed}/{epoch}")
    played = []
    for index, utterance in enumerate(utterances):
        speed = rng.choice(speeds)
        duration_s = utterance.duration_s / speed
        played.append((duration_s * rng.uniform(0.95, 1.05), duration_s, index, speed))  # jitter mixes the batches
    played.sort()
    batches: list[list[tuple[int, float]]] = [[]]
    longest_s = 0.0
    for _, duration_s, index, speed in played:
        longest_s = max(longest_s, padded_s(duration_s))
        if batches[-1] and longest_s * (len(batches[-1]) + 1) > max_batch_s:
            batches.append([])
            longest_s = padded_s(duration_s)
        batches[-1].append((index, speed))
    plans = [BatchPlan(tuple(items), rng.getrandbits(48)) for items in batches if items]
    if epoch > 0 or not shortest_first:
        rng.shuffle(plans)
    return plans


def padded_s(duration_s: float) -> float:
    """Seconds that every row has in a batch whose longest utterance has `duration_s`."""
    return math.ceil(duration_s / LENGTH_STEP_S) * LENGTH_STEP_S
