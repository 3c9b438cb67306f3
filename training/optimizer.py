"""What moves the weights: AdamW, and for the LSTMs' matrices, where a recipe asks for it, Muon.

An LSTM's weight is four matrices, one a gate, that lie under one another. Muon makes the update of a matrix orthogonal,
so that all its directions move alike; done to all four at once, a gate with large gradients would leave little for the
others. Each gate is therefore a matrix of its own here.

Source: Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024, as `torch.optim.Muon` has it,
with the step sized as in Liu et al., "Muon is scalable for LLM training", 2025 (`match_rms_adamw`).
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from training.recipe import OptimizerConfig

GATES = 4  # input, forget, candidate, output: the order of torch's LSTM


class GateMuon(torch.optim.Muon):
    """`torch.optim.Muon` over each gate's block of LSTM weights.

    Args:
        weights: matrices of four gates each, (4 H, I). They are moved in place, so build this once they are on their
            device.
        lr: learning rate.
        weight_decay: decoupled, as AdamW's.
    """

    def __init__(self, weights: list[nn.Parameter], *, lr: float, weight_decay: float) -> None:
        self.weights = weights
        self.blocks = [[nn.Parameter(block) for block in weight.detach().chunk(GATES)] for weight in weights]
        blocks = [block for blocks in self.blocks for block in blocks]
        super().__init__(blocks, lr=lr, weight_decay=weight_decay, momentum=0.95, adjust_lr_fn="match_rms_adamw")

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step along the gradients of the weights; weights without gradient stay."""
        for weight, blocks in zip(self.weights, self.blocks, strict=True):
            gradients: Any = [None] * GATES if weight.grad is None else weight.grad.chunk(GATES)
            for block, gradient in zip(blocks, gradients, strict=True):
                block.grad = gradient
        return super().step(closure)  # type: ignore[no-untyped-call]  # torch.optim.Muon has no annotations

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients, those of the weights too."""
        super().zero_grad(set_to_none)
        for weight in self.weights:
            weight.grad = None


def build_optimizers(network: nn.Module, config: OptimizerConfig) -> list[torch.optim.Optimizer]:
    """The optimizers of a network that already lies on its device: AdamW first.

    AdamW decays matrices, but neither biases nor normalisation.
    """
    by_muon: list[nn.Parameter] = []
    if config.muon_lr:
        by_muon = [p for m in network.modules() if isinstance(m, nn.LSTM) for p in m.parameters() if p.ndim == 2]
    taken = set(map(id, by_muon))
    others = [p for p in network.parameters() if id(p) not in taken]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(
            [
                {"params": [p for p in others if p.ndim > 1], "weight_decay": config.weight_decay},
                {"params": [p for p in others if p.ndim <= 1], "weight_decay": 0.0},
            ],
            lr=0.0,
            betas=(0.9, 0.98),
        )
    ]
    if by_muon:
        optimizers.append(GateMuon(by_muon, lr=0.0, weight_decay=config.weight_decay))
    return optimizers


def set_rates(optimizers: list[torch.optim.Optimizer], config: OptimizerConfig, factor: float) -> None:
    """Give every optimizer `factor`, 0..1, of its highest rate."""
    for optimizer, peak in zip(optimizers, (config.peak_lr, config.muon_lr), strict=False):
        for group in optimizer.param_groups:
            group["lr"] = peak * factor
