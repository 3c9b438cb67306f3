"""Augmentation: what the network hears is never twice the same.

Shape legend: B batch, N samples, T frames, F feature bins.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import soxr
import torch
from jaxtyping import Float, Int
from torch import Tensor

from features.audio import SAMPLE_RATE_HZ
from training.codec import CODECS, MAX_KBPS, MIN_KBPS, Codec
from training.errors import RecipeError

WIDEST_WARP = 0.3
WARP_KNEE = 0.8  # share of the band up to which frequencies are moved in proportion
_WARP_SEED = 0x5BD1E995  # added to a row's seed, so that warp and masks are drawn independently


@dataclass(frozen=True)
class AugmentConfig:
    """How much to disturb the training data.

    Attributes:
        speeds: factors of speed perturbation, one drawn for each utterance and pass.
        join_probability: how likely an utterance is followed by another one of its speaker, as if both were one; and so
            on, up to `data.max_utterance_s`. A network that has heard nothing but short pieces writes long recordings
            worse.
        gain_db: the waveform is made louder or softer by up to this many dB.
        frequency_warp: by up to this share formants are moved up or down, 0..0.3, and neither pitch nor tempo: another
            length of the vocal tract, drawn for each utterance, view and pass. Log-mel features only.
        spec_augment_from_epoch: first epoch (0, 1, …) with SpecAugment.
        freq_masks, freq_mask_bins: number of frequency masks, and the most bins each covers.
        time_masks, time_mask_share: number of time masks, and the largest share of the utterance each covers.
        room_probability, rooms: how likely an utterance is heard in a room; a manifest of impulse responses.
        noise_probability, noises, noise_snr_db: how likely noise is mixed in; a manifest of recordings; the range, in
            -20..60 dB, that the signal-to-noise ratio over the whole utterance is drawn from.
        low_pass_probability, low_pass_hz: how likely the highs are lost; the range, in 500..8000 Hz, that the cut-off
            is drawn from.
        codec_probability, codecs, codec_kbps: how likely an utterance is encoded and decoded again; by one of which
            codecs (`mp3`, `opus`); the range, in 6..64 kbit/s, that the bit rate is drawn from.

    Manifests are corpora whose transcripts do not matter (see `training.corpora.read_corpus`); relative paths are
    relative to the working directory. What is done to an utterance is in `training.channel`.
    """

    speeds: tuple[float, ...] = (0.9, 1.0, 1.1)
    join_probability: float = 0.0
    gain_db: float = 6.0
    frequency_warp: float = 0.0
    spec_augment_from_epoch: int = 0
    freq_masks: int = 2
    freq_mask_bins: int = 27
    time_masks: int = 5
    time_mask_share: float = 0.05
    room_probability: float = 0.0
    rooms: str = ""
    noise_probability: float = 0.0
    noises: str = ""
    noise_snr_db: tuple[float, float] = (5.0, 30.0)
    low_pass_probability: float = 0.0
    low_pass_hz: tuple[float, float] = (2500.0, 7500.0)
    codec_probability: float = 0.0
    codecs: tuple[Codec, ...] = ("mp3", "opus")
    codec_kbps: tuple[float, float] = (8.0, 32.0)

    def __post_init__(self) -> None:
        if not self.speeds or not all(0.5 <= speed <= 2.0 for speed in self.speeds):
            raise RecipeError(f"augment.speeds is {self.speeds}; it must be factors in 0.5..2")
        if not 0 <= self.frequency_warp <= WIDEST_WARP:
            raise RecipeError(f"augment.frequency_warp is {self.frequency_warp}; it must lie in 0..{WIDEST_WARP}")
        if not 0 <= self.time_mask_share <= 1:
            raise RecipeError(f"augment.time_mask_share is {self.time_mask_share}; it must lie in 0..1")
        for name in ("gain_db", "spec_augment_from_epoch", "freq_masks", "freq_mask_bins", "time_masks"):
            if getattr(self, name) < 0:
                raise RecipeError(f"augment.{name} is {getattr(self, name)}; it must not be negative")
        for name in (
            "join_probability",
            "room_probability",
            "noise_probability",
            "low_pass_probability",
            "codec_probability",
        ):
            if not 0 <= getattr(self, name) <= 1:
                raise RecipeError(f"augment.{name} is {getattr(self, name)}; it must lie in 0..1")
        for probability, manifest in (("room_probability", "rooms"), ("noise_probability", "noises")):
            if getattr(self, probability) and not getattr(self, manifest):
                raise RecipeError(
                    f"augment.{probability} is {getattr(self, probability)}, but augment.{manifest} names no manifest"
                )
        if not self.codecs or not set(self.codecs) <= set(CODECS):
            raise RecipeError(f"augment.codecs is {self.codecs!r}; it must be a list of {', '.join(CODECS)}")
        self._check_range("noise_snr_db", -20, 60)
        self._check_range("low_pass_hz", 500, SAMPLE_RATE_HZ / 2)
        self._check_range("codec_kbps", MIN_KBPS, MAX_KBPS)

    def _check_range(self, name: str, least: float, most: float) -> None:
        match getattr(self, name):
            case (int() | float() as start, int() | float() as end) if least <= start <= end <= most:
                return
            case value:
                raise RecipeError(f"augment.{name} is {value}; it must be a list [from, to] within {least:g}..{most:g}")


def change_speed(samples_N: np.ndarray, speed: float, sample_rate_hz: int) -> np.ndarray:
    """Play samples `speed` times as fast, pitch included: Ko et al., "Audio augmentation", Interspeech 2015."""
    if speed == 1.0:
        return samples_N
    resampled_N: np.ndarray = soxr.resample(samples_N, sample_rate_hz * speed, sample_rate_hz, quality="LQ")
    return resampled_N


def warp_frequencies(
    features_BTF: Float[Tensor, "B T F"], centres_F: Float[Tensor, " F"], widest: float, seeds: Sequence[int]
) -> Float[Tensor, "B T F"]:
    """Move what is at a frequency to another one, as a longer or shorter vocal tract does.

    A band hears what was at its centre times a factor that is drawn from 1 ± `widest`; towards the upper end of the
    band, from `WARP_KNEE` on, less and less, so that the highest band stays where it is. Between bands the logarithms
    are interpolated. Source: Jaitly and Hinton, "Vocal tract length perturbation (VTLP) improves speech recognition",
    ICML workshop 2013.

    Args:
        features_BTF: log-mel features, as the front end gives them.
        centres_F: frequency of each band, hertz, ascending.
        widest: the largest change, as a share.
        seeds: one a row, the only source of randomness.
    """
    highest = float(centres_F[-1])
    below, share = [], []
    for seed in seeds:
        generator = torch.Generator().manual_seed((seed + _WARP_SEED) % 2**63)
        factor = 1 + widest * (2 * float(torch.rand((), generator=generator)) - 1)
        knee = WARP_KNEE * highest * min(factor, 1.0) / factor
        heard_F = np.interp(centres_F, [0.0, knee, highest], [0.0, factor * knee, highest])
        position_F = np.interp(heard_F, centres_F, np.arange(len(centres_F)))
        below.append(np.minimum(position_F.astype(np.int64), len(centres_F) - 2))
        share.append(position_F - below[-1])
    below_BTF = torch.from_numpy(np.stack(below)).to(features_BTF.device).unsqueeze(1).expand_as(features_BTF)
    share_B1F = torch.from_numpy(np.stack(share)).to(features_BTF).unsqueeze(1)
    return torch.lerp(features_BTF.gather(2, below_BTF), features_BTF.gather(2, below_BTF + 1), share_B1F)


def spec_augment(
    features_BTF: Float[Tensor, "B T F"], lengths_B: Int[Tensor, " B"], config: AugmentConfig, seeds: Sequence[int]
) -> Float[Tensor, "B T F"]:
    """Set random bands of frequency and stretches of time to zero, the mean of normalised features.

    Source: Park et al., "SpecAugment", Interspeech 2019; time masks are bounded by each utterance's own length.

    Args:
        features_BTF: normalised features.
        lengths_B: valid frames.
        config: number and size of the masks.
        seeds: one a row, the only source of randomness, so that a row's masks do not depend on its batch.
    """
    _, n_frames, n_bins = features_BTF.shape
    masked = []
    for length, seed in zip(lengths_B.tolist(), seeds, strict=True):
        generator = torch.Generator().manual_seed(seed)
        bins_F = _masks(n_bins, n_bins, min(config.freq_mask_bins, n_bins), config.freq_masks, generator)
        frames_T = _masks(n_frames, length, length * config.time_mask_share, config.time_masks, generator)
        masked.append(bins_F.unsqueeze(0) | frames_T.unsqueeze(1))
    return features_BTF.masked_fill(torch.stack(masked).to(features_BTF.device), 0.0)


def _masks(size: int, extent: int, widest: float, count: int, generator: torch.Generator) -> Tensor:
    """(size,), true where one of `count` random stretches of at most `widest` within the first `extent` lies."""
    width_K1 = (torch.rand(count, 1, generator=generator) * (widest + 1)).floor()
    start_K1 = (torch.rand(count, 1, generator=generator) * (extent - width_K1 + 1)).floor()
    position = torch.arange(size)
    return ((position >= start_K1) & (position < start_K1 + width_K1)).any(0)
