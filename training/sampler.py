"""Which utterances stand in which batch: a pure function of seed and epoch, so a resumed run sees the same batches."""

import math
import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from training.corpora import Utterance

Row = tuple[int, ...]  # utterances that are heard one after the other, as one: nearly always a single one

LENGTH_STEP_S = 0.48  # batches are padded to a multiple: oneDNN and cuDNN prepare anew for every shape they meet


@dataclass(frozen=True)
class BatchPlan:
    """One batch, before anything is read.

    Attributes:
        items: the rows, each by indices into the list of utterances, with the speed at which it is played.
        seed: with a row's first index, determines its random augmentation.
    """

    items: tuple[tuple[Row, float], ...]
    seed: int

    def shard(self, rank: int, processes: int) -> "BatchPlan":
        """What one of several processes takes of the batch: every `processes`-th row, perhaps none."""
        return BatchPlan(self.items[rank::processes], self.seed)


def plan_epoch(
    utterances: Sequence[Utterance],
    *,
    seed: int,
    epoch: int,
    max_batch_s: float,
    speeds: Sequence[float] = (1.0,),
    shortest_first: bool = True,
    join: Callable[[random.Random], list[Row]] | None = None,
) -> list[BatchPlan]:
    """Batches of rows of about the same length, in random order; shortest first in epoch 0.

    Args:
        utterances: all of them with known durations.
        seed: with `epoch`, determines everything that is random.
        epoch: the pass, 0, 1, …
        max_batch_s: bound on a batch's seconds, padding included (`padded_s` of the longest × count). A single
            utterance longer than that makes a batch of its own; leave such out beforehand.
        shortest_first: epoch 0 goes from short to long, which takes an untrained network past its first plateau.
        speeds: speed perturbation, one of which is drawn for each row (Ko et al., Interspeech 2015).
        join: the pass's rows; None has every utterance in a row of its own. See `join_speakers`.

    Returns:
        The plans, each row in exactly one of them.
    """
    rng = random.Random(f"{seed}/{epoch}")
    played = []
    for row in join(rng) if join else [(index,) for index in range(len(utterances))]:
        speed = rng.choice(speeds)
        duration_s = sum(utterances[index].duration_s for index in row) / speed
        played.append((duration_s * rng.uniform(0.95, 1.05), duration_s, row, speed))  # jitter mixes the batches
    played.sort()
    batches: list[list[tuple[Row, float]]] = [[]]
    longest_s = 0.0
    for _, duration_s, row, speed in played:
        longest_s = max(longest_s, padded_s(duration_s))
        if batches[-1] and longest_s * (len(batches[-1]) + 1) > max_batch_s:
            batches.append([])
            longest_s = padded_s(duration_s)
        batches[-1].append((row, speed))
    plans = [BatchPlan(tuple(items), rng.getrandbits(48)) for items in batches if items]
    if epoch > 0 or not shortest_first:
        rng.shuffle(plans)
    return plans


def join_speakers(
    utterances: Sequence[Utterance],
    *,
    probability: float,
    longest_s: float,
    fits: Callable[[Row], bool],
    rng: random.Random,
) -> list[Row]:
    """Rows in which an utterance may be followed by others of its speaker, so that long recordings are heard too.

    Args:
        utterances: all of them; one without a speaker has a row of its own.
        probability: how likely a row goes on with another utterance, after each, as long as there is one that fits.
        longest_s: bound on a row's seconds.
        fits: whether a row can be trained on.
        rng: what is random.

    Returns:
        The rows, each utterance in exactly one of them.
    """
    spoken: defaultdict[str, list[int]] = defaultdict(list)
    for index in rng.sample(range(len(utterances)), len(utterances)):
        spoken[utterances[index].speaker or f"/{index}"].append(index)
    rows = []
    for indices in spoken.values():
        row: Row = ()
        for index in indices:
            longer = (*row, index)
            seconds = sum(utterances[i].duration_s for i in longer)
            if row and not (rng.random() < probability and seconds <= longest_s and fits(longer)):
                rows.append(row)
                longer = (index,)
            row = longer
        rows.append(row)
    return rows


def join_targets(targets: Sequence[Sequence[int]], boundary: int) -> list[int]:
    """The units of what is said one after the other, with `boundary` between."""
    joined = list(targets[0])
    for target in targets[1:]:
        joined += [boundary, *target]
    return joined


def padded_s(duration_s: float) -> float:
    """Seconds that every row has in a batch whose longest utterance has `duration_s`."""
    return math.ceil(duration_s / LENGTH_STEP_S) * LENGTH_STEP_S
