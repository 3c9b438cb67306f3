"""The way from a mouth to a recogniser: a room, noise, a narrower band and a codec, as augmentation.

Nothing here moves a sound in time or changes how long it lasts, so that alignments and targets stay right.

Shape legend: N samples, K samples of an impulse response.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from features.audio import SAMPLE_RATE_HZ, decode_audio
from features.errors import AudioError
from training.augment import AugmentConfig
from training.codec import recode
from training.corpora import read_corpus

SILENT_POWER = 1e-8  # mean square, −80 dB of full scale: boosting less than that would mix in rounding errors
TAIL_SHARE = 1e-6  # of an impulse response's energy: what comes after 60 dB of decay is cut off
FILTER_TAPS = 255  # of a low-pass: its edge is 220 Hz wide


class Channel:
    """Everything that is drawn for an utterance between speed and gain; without options it changes nothing.

    Args:
        config: how often, and how much; its manifests are read here.

    Raises:
        CorpusError: a manifest that is needed is not there, cannot be read, or lists nothing.
    """

    def __init__(self, config: AugmentConfig) -> None:
        self._config = config
        self._rooms = _listed(config.rooms) if config.room_probability else []
        self._noises = _listed(config.noises) if config.noise_probability else []

    def __call__(
        self, samples_N: np.ndarray, seed: Sequence[int], read: Callable[[Path], np.ndarray]
    ) -> tuple[np.ndarray, list[str]]:
        """Send an utterance through what its seed draws.

        Args:
            samples_N: shape (N,), float32 at 16 kHz.
            seed: the only source of randomness. Each step draws from a stream of its own: switching one on does not
                change what another draws.
            read: gives the samples of a noise file; it may keep them. Rooms are read anew each time.

        Returns:
            Samples of the same shape and type, and `path: reason` of noise and rooms that could not be read, which
            are left out.
        """
        config, unreadable = self._config, list[str]()
        room, noise, band, codec = (np.random.default_rng([*seed, step]) for step in (1, 2, 3, 4))
        if not len(samples_N):
            return samples_N, []

        def try_to_read(path: Path, how: Callable[[Path], np.ndarray]) -> np.ndarray | None:
            try:
                return how(path)
            except (AudioError, OSError) as error:
                unreadable.append(f"{path}: {error}")
                return None

        if room.random() < config.room_probability:
            impulse_K = try_to_read(self._rooms[room.integers(len(self._rooms))], lambda p: decode_audio(p).samples_N)
            samples_N = samples_N if impulse_K is None else reverberate(samples_N, impulse_K)
        if noise.random() < config.noise_probability:
            heard = try_to_read(self._noises[noise.integers(len(self._noises))], read)
            snr_db = noise.uniform(*config.noise_snr_db)
            samples_N = samples_N if heard is None else mix(samples_N, _stretch(heard, len(samples_N), noise), snr_db)
        if band.random() < config.low_pass_probability:
            samples_N = low_pass(samples_N, band.uniform(*config.low_pass_hz))
        if codec.random() < config.codec_probability:
            name = config.codecs[codec.integers(len(config.codecs))]
            samples_N = recode(samples_N, name, round(codec.uniform(*config.codec_kbps)))
        return samples_N, unreadable


def reverberate(samples_N: np.ndarray, impulse_K: np.ndarray) -> np.ndarray:
    """Speech as it sounds in a room, at the level that it had.

    The direct sound, the first sample of the response that reaches half of its peak, falls on time 0: what comes before
    it is cut off, and so is the tail after 60 dB of decay (Schroeder, "New method of measuring reverberation time",
    1965). Source: Ko et al., "A study on data augmentation of reverberant speech", ICASSP 2017.

    Args:
        samples_N: shape (N,), float32.
        impulse_K: the room's impulse response at the same rate, at any level. A silent one changes nothing.
    """
    magnitude_K = np.abs(impulse_K)
    heard_K = impulse_K[np.argmax(magnitude_K >= magnitude_K.max() / 2) :]
    left_K = np.cumsum(np.square(heard_K[::-1], dtype=np.float64))[::-1]  # energy from each sample on
    heard_K = heard_K[: np.count_nonzero(left_K > TAIL_SHARE * left_K[0])]
    if not len(heard_K):
        return samples_N
    wet_N = _convolve(samples_N, heard_K)
    wet_power = _power(wet_N)
    return wet_N * np.float32(np.sqrt(_power(samples_N) / wet_power)) if wet_power else samples_N


def mix(samples_N: np.ndarray, noise_N: np.ndarray, snr_db: float) -> np.ndarray:
    """Add noise at a signal-to-noise ratio, that of the mean powers of both in dB.

    Args:
        samples_N: shape (N,), float32.
        noise_N: the same. Where one of both is silent (below −80 dB of full scale), there is no such ratio, and nothing
            is added.
        snr_db: how much stronger the speech is.
    """
    power, noise_power = _power(samples_N), _power(noise_N)
    if min(power, noise_power) < SILENT_POWER:
        return samples_N
    return samples_N + noise_N * np.float32(np.sqrt(power / noise_power * 10 ** (-snr_db / 10)))


def low_pass(samples_N: np.ndarray, cutoff_hz: float) -> np.ndarray:
    """Keep what lies below a frequency, by a windowed-sinc filter whose delay is taken out.

    The cut-off is halved (−6 dB); from 110 Hz below it on everything passes, from 110 Hz above it on at most −50 dB.
    Source: Oppenheim and Schafer, "Discrete-time signal processing", on FIR filters by windowing (Hamming).

    Args:
        samples_N: shape (N,), float32 at 16 kHz.
        cutoff_hz: more than 0, at most 8000.
    """
    per_sample = 2 * cutoff_hz / SAMPLE_RATE_HZ
    tap_K = np.arange(FILTER_TAPS) - FILTER_TAPS // 2
    kernel_K = (per_sample * np.sinc(per_sample * tap_K) * np.hamming(FILTER_TAPS)).astype(np.float32)
    return _convolve(np.pad(samples_N, (0, FILTER_TAPS // 2)), kernel_K)[FILTER_TAPS // 2 :]


def _listed(manifest: str) -> list[Path]:
    return [utterance.path for utterance in read_corpus(manifest, transcribed=False)]


def _stretch(samples: np.ndarray, length: int, rng: np.random.Generator) -> np.ndarray:
    """`length` samples from a random place on; a recording that is shorter begins again."""
    if len(samples) >= length:
        start = rng.integers(len(samples) - length + 1)
        return samples[start : start + length]
    return np.resize(np.roll(samples, -rng.integers(len(samples))), length)


def _power(samples: np.ndarray) -> float:
    return float(np.mean(np.square(samples, dtype=np.float64)))


def _convolve(samples_N: np.ndarray, kernel_K: np.ndarray) -> np.ndarray:
    """The first N samples of the convolution, by overlap-add, whose short FFTs fit the cache."""
    size = max(4096, 2 << len(kernel_K).bit_length())
    hop = size - len(kernel_K) + 1  # more than half of `size`, so that a block reaches into the next one only
    blocks = torch.from_numpy(np.pad(samples_N, (0, -len(samples_N) % hop))).view(-1, hop)
    kernel = torch.from_numpy(np.pad(kernel_K, (0, hop - 1)))
    parts = torch.fft.irfft(torch.fft.rfft(blocks, size) * torch.fft.rfft(kernel), size)
    parts[1:, : size - hop] += parts[:-1, hop:]
    convolved_N: np.ndarray = parts[:, :hop].flatten()[: len(samples_N)].numpy()
    return convolved_N
