"""Signs that a run goes wrong without an error: a loss that explodes, a network that emits nothing but blanks."""

import math
from dataclasses import dataclass

DECAY = 0.98  # of the running mean of the loss: about 50 batches
BATCHES_TO_SETTLE = 50
EXPLODED = 3.0  # times the lowest running mean
SUSPECT = 2.0  # times the running mean: the mean follows an explosion by some batches
ODD_NATS = 20.0  # a batch counts no more than so: a single odd one is no explosion
HARMLESS_NATS = 6.0  # a unit; an untrained network has more only in its first batches
LEARNT_NATS = 2.0  # a network with less has begun to write; nothing but blanks costs about 3,
HARMLESS_ONCE_LEARNT_NATS = 2.5  # and is not harmless any more
BLANK_LOOKS = 10  # looks in a row that find only blanks before it is said


@dataclass
class Watch:
    """What has been seen so far; part of a run's checkpoint, so that a resumed run sees the same.

    Attributes:
        batches: losses seen.
        mean_nats: running mean of the loss, in nats a unit.
        lowest_nats: its lowest value once it had settled; infinite before.
        blank_looks: looks in a row at a batch that found only blanks.
        last_nats: of the last batch alone.
    """

    batches: int = 0
    mean_nats: float = 0.0
    lowest_nats: float = math.inf
    blank_looks: int = 0
    last_nats: float = 0.0

    def loss(self, nats: float) -> str:
        """Take note of a batch's loss in nats a unit; why training must stop, or nothing."""
        if not math.isfinite(nats):
            return f"the loss is {nats}"
        self.batches += 1
        self.last_nats = nats
        self.mean_nats += (min(nats, ODD_NATS) - self.mean_nats) * max(1 - DECAY, 1 / self.batches)
        if self.batches >= BATCHES_TO_SETTLE:
            self.lowest_nats = min(self.lowest_nats, self.mean_nats)
        if self.rises and self.mean_nats > EXPLODED * self.lowest_nats:
            return (
                f"the loss explodes: {self.mean_nats:.3g} nats a unit in the mean of the last {BATCHES_TO_SETTLE} "
                f"batches, {EXPLODED:g} times the lowest mean, {self.lowest_nats:.3g}"
            )
        return ""

    @property
    def rises(self) -> bool:
        """Whether the loss is on its way up: no checkpoint is written then, so that the last one is from before."""
        learnt = self.lowest_nats < LEARNT_NATS
        harmless_nats = HARMLESS_ONCE_LEARNT_NATS if learnt else HARMLESS_NATS
        return self.mean_nats > max(harmless_nats, 0.5 * EXPLODED * self.lowest_nats)

    @property
    def is_safe(self) -> bool:
        """Whether the network is worth a checkpoint in place of the one before: a collapse begins with blanks."""
        suspect = self.rises or self.last_nats > SUSPECT * self.mean_nats
        return not suspect and not (self.blank_looks and self.lowest_nats < LEARNT_NATS)

    def text(self, any_text: bool) -> str:
        """Take note of whether a batch, decoded greedily, has any text; a warning when it had none for too long."""
        self.blank_looks = 0 if any_text else self.blank_looks + 1
        if self.blank_looks % BLANK_LOOKS or not self.blank_looks:
            return ""
        return (
            f"the network has emitted nothing but blanks in {self.blank_looks} looks in a row, with a loss of "
            f"{self.mean_nats:.3g} nats a unit. Near the start this passes, at about 3 nats; if it stays, look at a "
            "higher optimizer.peak_lr, smaller batches, less augmentation, and whether transcripts belong to the audio"
        )
