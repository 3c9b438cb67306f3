"""How much a quiet recording is raised before the front end, whose floor would swallow it.

Shape legend: N samples, L blocks of 20 ms.

A network that takes the mean out of its features hears no difference between levels, until the quiet parts of speech
fall below the floor of the log power (`FrontEndConfig.power_floor`), and then more of it with every decibel. So a
recording whose loudest parts are below a level of ordinary speech is multiplied until they reach it; one that is louder
stays as it is, to the bit.
"""

import numpy as np
from jaxtyping import Float

BLOCK_S = 0.02
LOUD_SHARE = 0.05  # of a window's blocks, as much as a few syllables
LEAST_DB = -30.0  # of full scale: what the loud blocks are raised to; those of dev-clean lie between -30.1 and -11
MOST_GAIN_DB = 50.0  # below -80 dB, 16 bits hold no more than their last three


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
        return float(10 ** (min(max(LEAST_DB - self._loudest_db, 0.0), MOST_GAIN_DB) / 20))


def loud_level_db(samples_N: Float[np.ndarray, " N"], block: int) -> float:
    """The level that one block in twenty exceeds, dB of full scale; minus infinity of silence and of nothing.

    Args:
        samples_N: full scale is ±1.
        block: samples of a block; what is left over behind the last whole one counts only where there is none.
    """
    whole = len(samples_N) // block * block
    blocks_LN = samples_N[:whole].reshape(-1, block) if whole else samples_N.reshape(1, -1)
    if not samples_N.size:
        return -np.inf
    power_L = np.square(blocks_LN, dtype=np.float32).mean(axis=1)
    power = float(np.percentile(power_L, 100 * (1 - LOUD_SHARE)))
    return 10 * float(np.log10(power)) if power > 0 else -np.inf
