"""Global cepstral mean and variance normalisation (CMVN).

Shape legend: B batch, T frames, F feature bins.
"""

from collections.abc import Iterable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


class GlobalCMVN(nn.Module):
    """Shift and scale every feature bin to zero mean and unit variance over a corpus.

    The statistics are estimated once, on training data, and travel with the weights.
    """

    def __init__(self, n_features: int) -> None:
        super().__init__()
        self.register_buffer("mean_F", torch.zeros(n_features))
        self.register_buffer("std_F", torch.ones(n_features))

    def forward(self, features_BTF: Float[Tensor, "B T F"], lengths_B: Int[Tensor, " B"]) -> Float[Tensor, "B T F"]:
        """Normalise; frames beyond each length become zero, the mean of the corpus."""
        normalized_BTF = (features_BTF - self.get_buffer("mean_F")) / self.get_buffer("std_F")
        in_row_BT = torch.arange(features_BTF.shape[1], device=features_BTF.device) < lengths_B.unsqueeze(1)
        return normalized_BTF.masked_fill(~in_row_BT.unsqueeze(-1), 0.0)

    @torch.no_grad()
    def estimate(self, batches: Iterable[tuple[Tensor, Tensor]]) -> int:
        """Estimate mean and standard deviation from `(features_BTF, lengths_B)` batches, in float64.

        Returns:
            The number of frames seen.

        Raises:
            ValueError: no frame at all was given.
        """
        count, total_F, square_F = 0, torch.zeros(0), torch.zeros(0)
        for features_BTF, lengths_B in batches:
            rows_MF = torch.cat([row[:length] for row, length in zip(features_BTF, lengths_B.tolist(), strict=True)])
            rows_MF = rows_MF.double().cpu()
            total_F = rows_MF.sum(0) + (total_F if count else 0.0)
            square_F = rows_MF.square().sum(0) + (square_F if count else 0.0)
            count += len(rows_MF)
        if count == 0:
            raise ValueError("CMVN needs at least one frame; 0 were given")
        mean_F = total_F / count
        variance_F = (square_F / count - mean_F.square()).clamp_min(1e-8)
        self.get_buffer("mean_F").copy_(mean_F)
        self.get_buffer("std_F").copy_(variance_F.sqrt())
        return count
