"""How loud audio is, block by block: a thousandth of the audio's size, so that all of it can be remembered.

Shape legend: N samples, L blocks of 10 ms.
"""

import math

import numpy as np
from jaxtyping import Float

BLOCKS_PER_S = 100
QUIETEST_DB = -120.0  # of full scale; nothing is told apart below
STEP_DB = 0.5  # levels are remembered in a byte each: to +7.5 dB


class LoudnessMeter:
    """Takes samples in pieces and remembers the level of every 10 ms: 1 MB for three hours.

    Args:
        sample_rate_hz: of what is fed.
        keep_s: at least the last so many seconds are remembered, and at most twice as many; None for all.
    """

    def __init__(self, sample_rate_hz: int, *, keep_s: float = math.inf) -> None:
        self._block = sample_rate_hz // BLOCKS_PER_S
        self._levels = bytearray()
        self._forgotten = 0
        self._keep = keep_s * BLOCKS_PER_S
        self._left_N = np.zeros(0, dtype=np.float32)

    def feed(self, samples_N: Float[np.ndarray, " N"]) -> None:
        """Take the samples that follow those fed before; full scale is ±1."""
        samples_N = np.concatenate([self._left_N, samples_N])
        whole = len(samples_N) // self._block * self._block
        self._left_N = samples_N[whole:].copy()
        power_L = np.square(samples_N[:whole].reshape(-1, self._block), dtype=np.float32).mean(axis=1)
        level_L = 10 * np.log10(np.maximum(power_L, 10 ** (QUIETEST_DB / 10)))
        self._levels += np.clip((level_L - QUIETEST_DB) / STEP_DB + 0.5, 0, 255).astype(np.uint8).tobytes()
        if len(self._levels) > 2 * self._keep:
            forgotten = len(self._levels) - math.ceil(self._keep)
            del self._levels[:forgotten]
            self._forgotten += forgotten

    @property
    def first_s(self) -> float:
        """Where what is remembered begins, seconds from the first sample."""
        return self._forgotten / BLOCKS_PER_S

    def levels_db(self) -> Float[np.ndarray, " L"]:
        """Level of each whole block that is remembered, dB of full scale, in steps of 0.5 from -120."""
        return QUIETEST_DB + STEP_DB * np.frombuffer(bytes(self._levels), dtype=np.uint8).astype(np.float32)
