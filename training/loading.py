"""Loading: which batches a run is to see, and how they come to the device.

The batches of a pass are planned before anything is read (`training.sampler`), so a run that was killed goes on with
those that were still to come. Audio is decoded and disturbed by `training.dataset`, in processes of their own where the
recipe asks for some; these go on from pass to pass, so that nobody waits for them to start in between.

Shape legend: B batch, N samples.
"""

import random
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from lightning.fabric import Fabric
from torch import Tensor
from torch.utils.data import DataLoader

from features.front_end import FrontEnd
from training.channel import Channel
from training.corpora import Utterance
from training.dataset import Batch, SpeechDataset
from training.recipe import Recipe
from training.sampler import BatchPlan, Row, join_speakers, plan_epoch
from training.selection import fit_speeds, row_fits

CMVN_UTTERANCES = 500  # the statistics have converged long before


class TrainingLoader:
    """The batches of a run, pass by pass.

    Args:
        recipe: says how they are made up and disturbed.
        utterances: all of them with known durations.
        targets: unit indices of each.
        boundary: the unit between two utterances of a row.
        cache_dir: where decoded audio is kept, or None to decode every time.

    Raises:
        CorpusError: noise or rooms that the recipe names cannot be read.
    """

    def __init__(
        self,
        recipe: Recipe,
        utterances: Sequence[Utterance],
        targets: Sequence[Sequence[int]],
        boundary: int,
        cache_dir: Path | None,
    ) -> None:
        self._recipe, self._utterances, self._targets, self._boundary = recipe, utterances, targets, boundary
        self._dataset = SpeechDataset(
            utterances,
            targets,
            gain_db=recipe.augment.gain_db,
            channel=Channel(recipe.augment),
            cache_dir=cache_dir,
            boundary=boundary,
        )

    def plans(self, epoch: int) -> list[BatchPlan]:
        """The plans of a pass, of all processes together."""
        data, augment = self._recipe.data, self._recipe.augment
        plans = plan_epoch(
            self._utterances,
            seed=self._recipe.seed,
            epoch=epoch,
            max_batch_s=data.max_batch_s,
            speeds=augment.speeds,
            shortest_first=data.shortest_first,
            join=self._join if augment.join_probability else None,
        )
        return [fit_speeds(plan, self._utterances, self._targets, self._boundary, self._recipe) for plan in plans]

    def batches(self, fabric: Fabric, epoch: int, batch: int) -> Iterator[tuple[float, Batch]]:
        """What is left of the run, for this process: batches on the device, each with the seconds spent waiting for it.

        Args:
            fabric: knows the device, and which process this is.
            epoch: the pass in which they begin.
            batch: the number of the first of them in it.
        """
        return _load(fabric, self._dataset, self._rest(fabric, epoch, batch), self._recipe.data.workers)

    def _rest(self, fabric: Fabric, epoch: int, batch: int) -> Iterator[BatchPlan]:
        while epoch < self._recipe.optimizer.epochs:
            yield from (plan.shard(fabric.global_rank, fabric.world_size) for plan in self.plans(epoch)[batch:])
            epoch, batch = epoch + 1, 0

    def _join(self, rng: random.Random) -> list[Row]:
        return join_speakers(
            self._utterances,
            probability=self._recipe.augment.join_probability,
            longest_s=self._recipe.data.max_utterance_s,
            fits=lambda row: row_fits(row, self._utterances, self._targets, self._boundary, self._recipe),
            rng=rng,
        )


def sample_features(
    front_end: FrontEnd, dataset: SpeechDataset, plans: Sequence[BatchPlan]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Features of random batches, until `CMVN_UTTERANCES` have been seen."""
    seen = 0
    for index in torch.randperm(len(plans), generator=torch.Generator().manual_seed(0)).tolist():
        batch = dataset[plans[index]]
        if batch.ids:
            yield front_end(batch.samples_BN, batch.lengths_B)
        seen += len(batch.ids)
        if seen >= CMVN_UTTERANCES:
            return


def _load(
    fabric: Fabric, dataset: SpeechDataset, plans: Iterable[BatchPlan], workers: int
) -> Iterator[tuple[float, Batch]]:
    """A batch for every plan, on the device, each with the seconds that were spent waiting for it.

    A generator of its own keeps the run's random state untouched.
    """
    loader = DataLoader(dataset, batch_size=None, sampler=plans, num_workers=workers, generator=torch.Generator())
    loaded = iter(loader)
    while True:
        asked = time.monotonic()
        batch = next(loaded, None)
        if batch is None:
            return
        tensors = {name: fabric.to_device(value) for name, value in vars(batch).items() if isinstance(value, Tensor)}
        yield time.monotonic() - asked, replace(batch, **tensors)
