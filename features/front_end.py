"""The front end: waveform → log-mel energies or MFCC.

Shape legend: B batch, N samples, T frames, F feature bins.

Frame t covers the `n_fft` samples that begin at `t * hop`; the signal is continued with zeros so that the last samples
are covered too. A signal therefore gives the same frames alone, zero-padded in a batch, or fed in pieces.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from features.errors import CepstraError
from features.torchaudio_cpu import import_torchaudio

LONGEST_WINDOW_MS = 1000


class FrontEndConfigError(CepstraError):
    """A front-end option outside its range."""


@dataclass(frozen=True)
class FrontEndConfig:
    """What the front end computes.

    Attributes:
        kind: `"log_mel"` (natural logarithm of mel-band power) or `"mfcc"` (DCT-II, orthonormal, of that).
        sample_rate_hz: rate of the waveform.
        window_ms: length of the Hann window.
        hop_ms: distance between frames.
        n_fft: length of the Fourier transform in samples; the window is centred in it.
        n_mels: mel bands (Slaney's scale and area normalisation, librosa's default).
        n_mfcc: cepstral coefficients kept, for `"mfcc"` only.
        f_min_hz, f_max_hz: band that the mel filters cover.
        power_floor: band power below which everything counts as silence (full scale is 1.0).
    """

    kind: Literal["log_mel", "mfcc"] = "log_mel"
    sample_rate_hz: int = 16_000
    window_ms: float = 25.0
    hop_ms: float = 10.0
    n_fft: int = 512
    n_mels: int = 80
    n_mfcc: int = 40
    f_min_hz: float = 20.0
    f_max_hz: float = 8_000.0
    power_floor: float = 1e-7

    def __post_init__(self) -> None:
        if self.kind not in ("log_mel", "mfcc"):
            raise FrontEndConfigError(f"front end kind is {self.kind!r}; it must be 'log_mel' or 'mfcc'")
        if not 0 < self.hop_ms <= self.window_ms <= LONGEST_WINDOW_MS:
            raise FrontEndConfigError(
                f"hop is {self.hop_ms} ms; it must lie in (0, window = {self.window_ms} ms], and that below "
                f"{LONGEST_WINDOW_MS} ms"
            )
        if self.hop_samples < 1:
            raise FrontEndConfigError(f"hop is {self.hop_ms} ms; it must be at least one sample")
        if self.window_samples > self.n_fft:
            raise FrontEndConfigError(f"window is {self.window_samples} samples; n_fft allows at most {self.n_fft}")
        if not 0 <= self.f_min_hz < self.f_max_hz <= self.sample_rate_hz / 2:
            raise FrontEndConfigError(
                f"mel band is {self.f_min_hz}..{self.f_max_hz} Hz; it must lie in 0..{self.sample_rate_hz / 2} Hz"
            )
        if self.n_mels < 1:
            raise FrontEndConfigError(f"n_mels is {self.n_mels}; it must be at least 1")
        if not 1 <= self.n_mfcc <= self.n_mels and self.kind == "mfcc":
            raise FrontEndConfigError(f"n_mfcc is {self.n_mfcc}; it must lie in 1..n_mels = {self.n_mels}")
        if not 0 < self.power_floor < math.inf:
            raise FrontEndConfigError(f"power_floor is {self.power_floor}; it must be above 0 and finite")

    @property
    def window_samples(self) -> int:
        """Window length in samples."""
        return round(self.window_ms * self.sample_rate_hz / 1000)

    @property
    def hop_samples(self) -> int:
        """Hop in samples."""
        return round(self.hop_ms * self.sample_rate_hz / 1000)

    @property
    def n_features(self) -> int:
        """Feature bins per frame, F."""
        return self.n_mels if self.kind == "log_mel" else self.n_mfcc

    def n_frames(self, n_samples: int) -> int:
        """Frames that `n_samples` samples give: 0 for none, otherwise at least 1."""
        if n_samples <= 0:
            return 0
        return 1 + math.ceil(max(0, n_samples - self.n_fft) / self.hop_samples)

    def padded_samples(self, n_frames: int) -> int:
        """Samples that `n_frames` frames span, the zeros of the last one included."""
        return 0 if n_frames == 0 else (n_frames - 1) * self.hop_samples + self.n_fft


class FrontEnd(nn.Module):
    """Log-mel or MFCC features of a batch of waveforms.

    Source: Davis and Mermelstein, "Comparison of parametric representations for monosyllabic word recognition in
    continuously spoken sentences", IEEE TASSP 28(4), 1980. The cosine transform comes from torchaudio.
    """

    def __init__(self, config: FrontEndConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("window", torch.hann_window(config.window_samples), persistent=False)
        self.register_buffer("filters_SF", _mel_filters(config).float(), persistent=False)
        dct_FC = import_torchaudio("functional").create_dct(config.n_mfcc, config.n_mels, norm="ortho")
        self.register_buffer("dct_FC", dct_FC, persistent=False)

    def forward(
        self, samples_BN: Float[Tensor, "B N"], lengths_B: Int[Tensor, " B"]
    ) -> tuple[Float[Tensor, "B T F"], Int[Tensor, " B"]]:
        """Compute features.

        Args:
            samples_BN: waveforms in about -1..1, float32; what stands beyond each length is taken as zero.
            lengths_B: valid samples of each row, 0..N.

        Returns:
            features_BTF: natural-log power (log-mel) or cepstra; zero beyond each row's frames.
            frame_lengths_B: valid frames of each row, `FrontEndConfig.n_frames` of its length.
        """
        frame_lengths = [self.config.n_frames(int(length)) for length in lengths_B.tolist()]
        n_frames = max(frame_lengths, default=0)
        if n_frames == 0:
            return samples_BN.new_zeros(len(samples_BN), 0, self.config.n_features), torch.zeros_like(lengths_B)
        in_row_BN = torch.arange(samples_BN.shape[1], device=samples_BN.device) < lengths_B.unsqueeze(1)
        samples_BN = samples_BN.masked_fill(~in_row_BN, 0.0)
        samples_BN = nn.functional.pad(samples_BN, (0, self.config.padded_samples(n_frames) - samples_BN.shape[1]))
        features_BTF = self._transform(samples_BN)
        frame_lengths_B = torch.tensor(frame_lengths, dtype=lengths_B.dtype, device=lengths_B.device)
        in_row_BT = torch.arange(n_frames, device=samples_BN.device) < frame_lengths_B.unsqueeze(1)
        return features_BTF.masked_fill(~in_row_BT.unsqueeze(-1), 0.0), frame_lengths_B

    def raised_by(self, factor: float) -> Float[Tensor, " F"]:
        """What every frame's features grow by where the samples are multiplied, and no band is below the floor.

        Args:
            factor: above 0.
        """
        grown_F = torch.full((self.config.n_mels,), 2 * math.log(factor))
        return grown_F if self.config.kind == "log_mel" else grown_F @ self.get_buffer("dct_FC")

    def least(self) -> Float[Tensor, " F"]:
        """What no feature falls below: the floor's logarithm. Cepstra, which are sums of bands, have no such bound."""
        least = math.log(self.config.power_floor) if self.config.kind == "log_mel" else -math.inf
        return torch.full((self.config.n_features,), least)

    def _transform(self, samples_BN: Tensor) -> Tensor:
        """Frames of exactly the given samples, without padding of any kind."""
        config = self.config
        spectrum_BST = torch.stft(
            samples_BN,
            n_fft=config.n_fft,
            hop_length=config.hop_samples,
            win_length=config.window_samples,
            window=self.get_buffer("window"),
            center=False,
            return_complex=True,
        )
        parts_BST2 = torch.view_as_real(spectrum_BST).square()
        power_BTS = (parts_BST2[..., 0] + parts_BST2[..., 1]).transpose(1, 2)  # five times as fast as sum(-1)
        log_mel_BTF = (power_BTS @ self.get_buffer("filters_SF")).clamp_min(config.power_floor).log()
        if config.kind == "log_mel":
            return log_mel_BTF
        return log_mel_BTF @ self.get_buffer("dct_FC")


def _mel_filters(config: FrontEndConfig) -> Tensor:
    """Triangles (S, F) over the spectrum's bins S, evenly spaced on Slaney's mel scale and of equal area.

    In float64, because edges rounded to float32 (torchaudio's) misplace the foot of a filter enough to change a quiet
    band beside a loud one by more than 1e-3. Scale and area: Slaney, "Auditory Toolbox", 1998, as in librosa.
    """
    bin_hz = config.sample_rate_hz / config.n_fft
    bins_S1 = torch.arange(config.n_fft // 2 + 1, dtype=torch.float64).unsqueeze(1) * bin_hz
    edges = _mel_edges(config)
    low_F, centre_F, high_F = edges[:-2], edges[1:-1], edges[2:]
    rising_SF = (bins_S1 - low_F) / (centre_F - low_F)
    falling_SF = (high_F - bins_S1) / (high_F - centre_F)
    return torch.minimum(rising_SF, falling_SF).clamp_min(0.0) * 2.0 / (high_F - low_F)


def mel_centres(config: FrontEndConfig) -> Float[Tensor, " F"]:
    """Where each mel band is loudest, hertz, float64."""
    return _mel_edges(config)[1:-1]


def _mel_edges(config: FrontEndConfig) -> Tensor:
    lowest, highest = _mel(config.f_min_hz), _mel(config.f_max_hz)
    return _hz(torch.linspace(lowest, highest, config.n_mels + 2, dtype=torch.float64))


# Slaney's scale: 15 mel to 1000 Hz evenly, then 27 more for every factor of 6.4.
def _mel(frequency_hz: float) -> float:
    return 0.015 * frequency_hz if frequency_hz < 1000 else 15 + 27 * math.log(frequency_hz / 1000) / math.log(6.4)


def _hz(mel: Tensor) -> Tensor:
    return torch.where(mel < 15, mel / 0.015, 1000 * torch.exp((mel - 15) * math.log(6.4) / 27))
