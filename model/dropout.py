"""Dropout whose random bits cost little on a CPU.

Source: Srivastava et al., "Dropout: A simple way to prevent neural networks from overfitting", JMLR 15, 2014.
"""

import torch
from torch import Tensor, nn

LEVELS = 1 << 16  # a number is dropped or kept by 16 random bits


class Dropout(nn.Module):
    """`nn.Dropout`, but for the numbers that it happens to drop.

    On a CPU `nn.Dropout` asks the generator for a number of its own for each number of its input, which took a twelfth
    of a training step of the acoustic model; four numbers share one draw of 64 bits here, so that a share is kept to
    1 / 65 536. On a GPU it is `nn.Dropout`.

    Args:
        share: of the numbers that become 0 in training, 0..1, 1 excluded; the others grow by 1 / (1 - share).
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = min(round(share * LEVELS), LEVELS - 1) / LEVELS

    def forward(self, x: Tensor) -> Tensor:
        """Of any shape."""
        if not (self.training and self.share):
            return x
        if x.device.type != "cpu":
            return nn.functional.dropout(x, self.share)
        draws = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        bits = draws.view(torch.int16)[: x.numel()].view(x.shape)
        kept = torch.ge(bits, self.share * LEVELS - LEVELS // 2, out=torch.empty(x.shape, dtype=x.dtype))
        return x * kept.mul_(1 / (1 - self.share))

    def extra_repr(self) -> str:
        """What `print` says."""
        return f"share={self.share:g}"
