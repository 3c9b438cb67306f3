"""Augmentation: what the network hears is never twice the same.

Shape legend: B batch, N samples, T frames, F feature bins.
"""

from dataclasses import dataclass

import numpy as np
import soxr
import torch
from jaxtyping import Float, Int
from torch import Tensor

from training.errors import RecipeError


@dataclass(frozen=True)
class AugmentConfig:
    """How much to disturb the training data.

    Attributes:
        speeds: factors of speed perturbation, one drawn for each utterance and pass.
        gain_db: the waveform is made louder or softer by up to this many dB.
        spec_augment_from_epoch: first epoch (0, 1, …) with SpecAugment.
        freq_masks, freq_mask_bins: number of frequency masks, and the most bins each covers.
        time_masks, time_mask_share: number of time masks, and the largest share of the utterance each covers.
    """

    speeds: tuple[float, ...] = (0.9, 1.0, 1.1)
    gain_db: float = 6.0
    spec_augment_from_epoch: int = 0
    freq_masks: int = 2
    freq_mask_bins: int = 27
    time_masks: int = 5
    time_mask_share: float = 0.05

    def __post_init__(self) -> None:
        if not self.speeds or not all(0.5 <= speed <= 2.0 for speed in self.speeds):
            raise RecipeError(f"augment.speeds is {self.speeds}; it must be factors in 0.5..2")
        if not 0 <= self.time_mask_share <= 1:
            raise RecipeError(f"augment.time_mask_share is {self.time_mask_share}; it must lie in 0..1")
        for name in ("gain_db", "spec_augment_from_epoch", "freq_masks", "freq_mask_bins", "time_masks"):
            if getattr(self, name) < 0:
                raise RecipeError(f"augment.{name} is {getattr(self, name)}; it must not be negative")


def change_speed(samples_N: np.ndarray, speed: float, sample_rate_hz: int) -> np.ndarray:
    """Play samples `speed` times as fast, pitch included: Ko et al., "Audio augmentation", Interspeech 2015."""
    if speed == 1.0:
        return samples_N
    resampled_N: np.ndarray = soxr.resample(samples_N, sample_rate_hz * speed, sample_rate_hz, quality="LQ")
    return resampled_N


def spec_augment(
    features_BTF: Float[Tensor, "B T F"],
    lengths_B: Int[Tensor, " B"],
    config: AugmentConfig,
    generator: torch.Generator,
) -> Float[Tensor, "B T F"]:
    """Set random bands of frequency and stretches of time to zero, the mean of normalised features.

    Source: Park et al., "SpecAugment", Interspeech 2019; time masks are bounded by each utterance's own length.

    Args:
        features_BTF: normalised features.
        lengths_B: valid frames.
        config: number and size of the masks.
        generator: on the CPU; the only source of randomness.
    """
    n_rows, n_frames, n_bins = features_BTF.shape
    lengths_B1 = lengths_B.cpu().float().unsqueeze(1)
    most_bins = min(config.freq_mask_bins, n_bins)
    bins_BFm = _masks(
        torch.full((n_rows, 1), float(n_bins)),
        torch.full((n_rows, 1), float(most_bins)),
        n_bins,
        config.freq_masks,
        generator,
    )
    frames_BTm = _masks(lengths_B1, lengths_B1 * config.time_mask_share, n_frames, config.time_masks, generator)
    masked_BTF = bins_BFm.unsqueeze(1) | frames_BTm.unsqueeze(2)
    return features_BTF.masked_fill(masked_BTF.to(features_BTF.device), 0.0)


def _masks(extent_B1: Tensor, widest_B1: Tensor, size: int, count: int, generator: torch.Generator) -> Tensor:
    """(B, size), true where one of `count` random stretches of at most `widest` within `extent` lies."""
    shape = (len(extent_B1), count)
    width_BK = (torch.rand(shape, generator=generator) * (widest_B1 + 1)).floor()
    start_BK = (torch.rand(shape, generator=generator) * (extent_B1 - width_BK + 1).clamp_min(0)).floor()
    position = torch.arange(size)
    inside = (position >= start_BK.unsqueeze(-1)) & (position < (start_BK + width_BK).unsqueeze(-1))
    return inside.any(1)
