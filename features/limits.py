"""How much decoding a file may take: seconds, bytes, channels and sample rate, counted exactly while it is decoded."""

import math
from dataclasses import dataclass
from fractions import Fraction

from features.errors import AudioParameterError, AudioTooLargeError, AudioTooLongError

MIN_INPUT_RATE_HZ = 8_000
MAX_INPUT_RATE_HZ = 192_000
MAX_INPUT_CHANNELS = 8
SAMPLE_BYTES = 4  # of one decoded sample: float32

# What a file says of its own length may count what an encoder put before and after the sound. So much is forgiven
# until the sound itself is counted.
CLAIM_SLACK_S = 1


@dataclass(frozen=True)
class AudioLimits:
    """What is refused.

    Attributes:
        max_duration_s: the most seconds, above 0; None for no limit.
        max_decoded_bytes: the most bytes of decoded samples, above 0: all channels, at the file's own sample rate, as
            float32, which is what decoding takes time for. None for no limit. They are never in memory at once.
        max_channels: 1 to 8.
        max_sample_rate_hz: 8000 to 192000.

    Raises:
        AudioParameterError: a limit outside these ranges.
    """

    max_duration_s: float | None = None
    max_decoded_bytes: int | None = None
    max_channels: int = MAX_INPUT_CHANNELS
    max_sample_rate_hz: int = MAX_INPUT_RATE_HZ

    def __post_init__(self) -> None:
        for name in ("max_duration_s", "max_decoded_bytes"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise AudioParameterError(f"{name} is {value}; it has to be positive, or None for no limit")
        if not 1 <= self.max_channels <= MAX_INPUT_CHANNELS:
            raise AudioParameterError(f"max_channels is {self.max_channels}; it has to be 1 to {MAX_INPUT_CHANNELS}")
        if not MIN_INPUT_RATE_HZ <= (most_hz := self.max_sample_rate_hz) <= MAX_INPUT_RATE_HZ:
            raise AudioParameterError(
                f"max_sample_rate_hz is {most_hz}; it has to be {MIN_INPUT_RATE_HZ} to {MAX_INPUT_RATE_HZ}"
            )


class AudioMeter:
    """Counts what is decoded of one file, and refuses what goes past the limits.

    Args:
        limits: what is refused.

    Attributes:
        claimed_s: how many seconds the file says it has; None where it does not say.
        decoded_s: seconds counted so far, exact: audio of just the length that is allowed has to pass.
    """

    def __init__(self, limits: AudioLimits) -> None:
        self._limits = limits
        self._decoded_bytes = 0
        self.claimed_s: float | None = None
        self.decoded_s = Fraction(0)

    def claim(self, duration_s: Fraction, rate_hz: int = 0, channels: int = 0) -> None:
        """Note what the file says of itself; refuses what is too much without decoding any of it.

        Raises:
            AudioTooLongError, AudioTooLargeError: past the limits by more than encoders may add.
        """
        self.claimed_s = float(duration_s)
        certain_s = max(Fraction(0), duration_s - CLAIM_SLACK_S)
        self._check(certain_s, math.floor(certain_s * rate_hz) * channels * SAMPLE_BYTES)

    def check_form(self, rate_hz: int, channels: int) -> None:
        """Raise AudioParameterError for a sample rate or a number of channels outside the limits."""
        most_hz, most_channels = self._limits.max_sample_rate_hz, self._limits.max_channels
        if not MIN_INPUT_RATE_HZ <= rate_hz <= most_hz:
            raise AudioParameterError(
                f"the sample rate is {rate_hz} Hz; {MIN_INPUT_RATE_HZ} to {most_hz} Hz are supported"
            )
        if not 1 <= channels <= most_channels:
            raise AudioParameterError(f"the audio has {channels} channels; 1 to {most_channels} are supported")

    def count(self, frames: int, rate_hz: int, channels: int) -> None:
        """Add `frames` samples of each channel.

        Raises:
            AudioParameterError: as `check_form`.
            AudioTooLongError, AudioTooLargeError: past the limits.
        """
        self.check_form(rate_hz, channels)
        self.decoded_s += Fraction(frames, rate_hz)
        self._decoded_bytes += frames * channels * SAMPLE_BYTES
        self._check(self.decoded_s, self._decoded_bytes)

    def _check(self, duration_s: Fraction, decoded_bytes: int) -> None:
        most_s, most_bytes = self._limits.max_duration_s, self._limits.max_decoded_bytes
        if most_s is not None and duration_s > most_s:
            raise AudioTooLongError(f"the audio is longer than the limit of {most_s:g} s; send it in parts")
        if most_bytes is not None and decoded_bytes > most_bytes:
            raise AudioTooLargeError(
                f"the audio decodes to more than the limit of {most_bytes} bytes; send it in parts, with fewer "
                "channels or at a lower sample rate"
            )
