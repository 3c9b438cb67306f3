"""The same front end, fed in pieces.

Shape legend: N samples, T frames, F feature bins.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from features.front_end import FrontEnd


class StreamingFrontEnd:
    """Features of a waveform that arrives in pieces of any size.

    The frames of all `feed` calls and of `flush`, one after another, equal those of the whole waveform at once.
    The state is the samples that the next frame still needs, fewer than `n_fft`, so it never grows.
    """

    def __init__(self, front_end: FrontEnd) -> None:
        self._front_end = front_end
        self._rest_N = torch.zeros(0)
        self._any_frame = False

    def feed(self, samples_N: Float[Tensor, " N"]) -> Float[Tensor, "T F"]:
        """Take samples in about -1..1; return the frames that are complete with them, perhaps none."""
        config = self._front_end.config
        self._rest_N = torch.cat([self._rest_N, samples_N])
        n_frames = max(0, (len(self._rest_N) - config.n_fft) // config.hop_samples + 1)
        if n_frames == 0:
            return torch.zeros(0, config.n_features)
        features_TF = self._frames(self._rest_N[: config.padded_samples(n_frames)])
        self._rest_N = self._rest_N[n_frames * config.hop_samples :].clone()
        self._any_frame = True
        return features_TF

    def flush(self) -> Float[Tensor, "T F"]:
        """End of the waveform: return the last frame or frames and be ready for the next waveform."""
        config = self._front_end.config
        overlap = config.n_fft - config.hop_samples if self._any_frame else 0
        rest_N = self._rest_N
        self._rest_N, self._any_frame = torch.zeros(0), False
        if len(rest_N) <= overlap:  # every sample is inside a frame that was already given
            return torch.zeros(0, config.n_features)
        return self._frames(rest_N)

    def _frames(self, samples_N: Tensor) -> Tensor:
        features_BTF, _ = self._front_end(samples_N.unsqueeze(0), torch.tensor([len(samples_N)]))
        return torch.as_tensor(features_BTF[0])
