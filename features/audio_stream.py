"""Audio that is still being decoded, here or in another process: what `model.transcriber` takes beside whole files."""

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import numpy as np


@runtime_checkable  # the tests check arguments by their annotations
class AudioStream(Protocol):
    """Samples in pieces. `features.audio.AudioBlocks` is one."""

    @property
    def duration_s(self) -> float | None:
        """How long the file says it is; None where it does not say, and before the first block is there.

        A claim, in which what encoders add is counted; the samples may end earlier or go on.
        """

    @property
    def share_read(self) -> float:
        """How much of the file's bytes the decoder has passed, 0..1: tells the length before the end is reached."""

    def __iter__(self) -> Iterator[np.ndarray]:
        """Mono float32 at 16 kHz, a block (N,) at a time; to be taken once.

        What is wrong in the middle of the file is raised in the middle of the iteration.
        """
