"""What samples have to be for anything to be computed with them."""

import numpy as np

from features.errors import AudioParameterError, NonFiniteAudioError

LARGEST_SAMPLE = 2.0**31  # where full scale is 1: integers that somebody took for floats; their squares stay finite


def check_samples(block: np.ndarray, start_s: float, rate_hz: int) -> None:
    """Refuse what nothing can be computed with.

    Args:
        block: samples of floating point; the first dimension is time.
        start_s: time of the first one, for the message.
        rate_hz: their rate.

    Raises:
        NonFiniteAudioError: a sample is NaN or infinite.
        AudioParameterError: one is above `LARGEST_SAMPLE`, either way.
    """
    usable = np.abs(block) <= min(LARGEST_SAMPLE, float(np.finfo(block.dtype).max))
    if usable.all():
        return
    first = np.argwhere(~usable)[0]
    first_s, value = start_s + first[0] / rate_hz, block[tuple(first)]
    if np.isfinite(value):
        raise AudioParameterError(
            f"the sample at {first_s:.3f} s is {value:g}; full scale is 1, and {LARGEST_SAMPLE:g} is the most"
        )
    raise NonFiniteAudioError(f"the sample at {first_s:.3f} s is NaN or infinite; every sample has to be finite")
