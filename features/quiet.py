"""How much quiet audio is raised before the front end, whose floor would swallow it.

Shape legend: N samples, L blocks of 20 ms.

A network that takes the mean out of its features hears no difference between levels, until the quiet parts of speech
fall below the floor of the log power (`FrontEndConfig.power_floor`), and then more of it with every decibel. So a
recording whose loudest parts are below a level of ordinary speech is multiplied until they reach it; one that is louder
stays as it is, to the bit. A stream is raised by what was heard of it so far; whoever remembers features of it has to
know when that changes.
"""

from collections import deque

import numpy as np
from jaxtyping import Float

BLOCK_S = 0.02
LOUD_SHARE = 0.05  # of a window's blocks, as much as a few syllables
LEAST_DB = -30.0  # of full scale: what the loud blocks are raised to; those of dev-clean lie between -30.1 and -11
MOST_GAIN_DB = 50.0  # below -80 dB, 16 bits hold no more than their last three
REMEMBERED_S = 30.0  # of a stream: as much as the longest window of a recording
LEAST_POWER = 10 ** ((LEAST_DB - MOST_GAIN_DB) / 10)  # a stream's blocks below it are silence
STEP_DB = 3.0  # a stream's gain stays where it is for less


class QuietGain:
    """The gain of each window of a recording, in order of time.

    The loudest window so far decides, so that a pause in an ordinary recording is not raised to the level of speech.

    Args:
        sample_rate_hz: of the windows.
    """

    def __init__(self, sample_rate_hz: int) -> None:
        self._block = round(BLOCK_S * sample_rate_hz)
        self._loudest_db = -np.inf

    def next(self, samples_N: Float[np.ndarray, " N"]) -> float:
        """The factor, 1 to 316, for the window that follows those before; full scale is ±1."""
        self._loudest_db = max(self._loudest_db, loud_level_db(samples_N, self._block))
        return float(10 ** (_gain_db(self._loudest_db) / 20))


class LiveGain:
    """The gain of a stream, piece by piece: what would raise the last half minute of it to the least level.

    Remembered are the powers of that half minute's blocks, so that a slammed door does not count for ever. A piece that
    is louder by itself has a gain of its own: who speaks after half a minute of soft noise is not raised like it. What
    is softer than the largest gain could raise to that level is not counted: silence says nothing of how loud somebody
    will speak, and raised before it is known, the first words would be far too loud.

    Args:
        sample_rate_hz: of the pieces.

    Attributes:
        gain: the factor of the last piece; 1 before the first one.
    """

    def __init__(self, sample_rate_hz: int) -> None:
        self._block = round(BLOCK_S * sample_rate_hz)
        self._powers: deque[float] = deque(maxlen=round(REMEMBERED_S / BLOCK_S))
        self.gain = 1.0

    def next(self, samples_N: Float[np.ndarray, " N"]) -> float:
        """The factor, 1 to 316, for the piece that follows those before; full scale is ±1."""
        power_L = block_powers(samples_N, self._block)
        self._powers += power_L[power_L > LEAST_POWER].tolist()
        if self._powers:
            gain_db = _gain_db(max(_exceeded_db(np.array(self._powers)), _exceeded_db(power_L)))
            if abs(gain_db - 20 * np.log10(self.gain)) >= STEP_DB:
                self.gain = 10 ** (gain_db / 20)
        return self.gain


def loud_level_db(samples_N: Float[np.ndarray, " N"], block: int) -> float:
    """The level that one block in twenty exceeds, dB of full scale; minus infinity of silence and of nothing.

    Args:
        samples_N: full scale is ±1.
        block: samples of a block; what is left over behind the last whole one counts only where there is none.
    """
    return _exceeded_db(block_powers(samples_N, block))


def block_powers(samples_N: Float[np.ndarray, " N"], block: int) -> Float[np.ndarray, " L"]:
    """The power of every block, as `loud_level_db` takes them; none of no samples."""
    whole = len(samples_N) // block * block
    blocks_LN = samples_N[:whole].reshape(-1, block) if whole else samples_N.reshape(1, -1)
    return np.square(blocks_LN, dtype=np.float32).mean(axis=1) if samples_N.size else np.zeros(0, np.float32)


def _exceeded_db(power_L: np.ndarray) -> float:
    power = float(np.percentile(power_L, 100 * (1 - LOUD_SHARE))) if power_L.size else 0.0
    return 10 * float(np.log10(power)) if power > 0 else -np.inf


def _gain_db(level_db: float) -> float:
    return min(max(LEAST_DB - level_db, 0.0), MOST_GAIN_DB)
