"""A waveform that arrives in pieces, at another sample rate.

Shape legend: N samples.
"""

import numpy as np
import soxr

from features.audio import SAMPLE_RATE_HZ
from features.errors import AudioParameterError
from features.limits import MAX_INPUT_RATE_HZ, MIN_INPUT_RATE_HZ


class StreamingResampler:
    """Samples at any rate → samples at 16 kHz, low-pass filtered first (soxr, "HQ") as `features.audio` does.

    How the samples were cut into pieces makes no difference to what comes out in all.

    Args:
        rate_hz: rate of what comes in, hertz.

    Raises:
        AudioParameterError: the rate is outside the supported range.
    """

    def __init__(self, rate_hz: int) -> None:
        if not MIN_INPUT_RATE_HZ <= rate_hz <= MAX_INPUT_RATE_HZ:
            raise AudioParameterError(
                f"sample rate is {rate_hz} Hz; {MIN_INPUT_RATE_HZ} to {MAX_INPUT_RATE_HZ} Hz are supported"
            )
        self._rate_hz = rate_hz
        self._stream = self._new()

    def _new(self) -> soxr.ResampleStream | None:
        if self._rate_hz == SAMPLE_RATE_HZ:
            return None
        return soxr.ResampleStream(self._rate_hz, SAMPLE_RATE_HZ, 1, dtype="float32", quality="HQ")

    def feed(self, samples_N: np.ndarray) -> np.ndarray:
        """Take float32 samples; return those at 16 kHz that are complete with them."""
        return samples_N if self._stream is None else np.asarray(self._stream.resample_chunk(samples_N))

    def flush(self) -> np.ndarray:
        """End of the waveform: return the rest, and be ready for the next."""
        if self._stream is None:
            return np.zeros(0, np.float32)
        rest_N = np.asarray(self._stream.resample_chunk(np.zeros(0, np.float32), last=True))
        self._stream = self._new()
        return rest_N
