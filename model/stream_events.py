"""What a streaming session says while audio arrives."""

from dataclasses import dataclass, field

from model.decoder import DecodedUnit
from model.transcript import Segment, Word


@dataclass(frozen=True)
class Partial:
    """What is known of the utterance that is going on; it takes the place of the one before.

    Attributes:
        utterance: 0, 1, 2 … in order of time.
        words: committed: every later `Partial` of the utterance and its `Final` begin with them.
        interim: heard after those, and still able to change. Both are empty where what was shown is taken back, which
            happens to interim words only.
    """

    utterance: int
    words: tuple[Word, ...]
    interim: tuple[Word, ...]


@dataclass(frozen=True)
class Final:
    """An utterance is over.

    Attributes:
        utterance: 0, 1, 2 … in order of time.
        segment: all of its words, with times and confidence as in a `Transcript`; its `id` is `utterance`.
        units: for each of them, the units that it was decoded as; what its confidence is fitted on
            (`training.calibration`).
    """

    utterance: int
    segment: Segment
    units: tuple[tuple[DecodedUnit, ...], ...] = field(default=(), repr=False, compare=False)


StreamEvent = Partial | Final
