"""What moves the weights: AdamW, and for the LSTMs' matrices, where a recipe asks for it, Muon.

Source: Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024, as `torch.optim.Muon` has it,
with steps sized like AdamW's as in Liu et al., "Muon is scalable for LLM training", 2025 (`match_rms_adamw`).

An LSTM's weight is four matrices, one a gate, under one another. To make the update of each orthogonal instead of
that of the whole changes nothing: docs/experiments.md.
"""

import torch
from torch import nn

from training.recipe import OptimizerConfig


def build_optimizers(network: nn.Module, config: OptimizerConfig) -> list[torch.optim.Optimizer]:
    """The optimizers of a network, AdamW first. AdamW decays matrices, but neither biases nor normalisation."""
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
        muon = torch.optim.Muon(by_muon, lr=0.0, weight_decay=config.weight_decay, adjust_lr_fn="match_rms_adamw")
        optimizers.append(muon)
    return optimizers


def set_rates(optimizers: list[torch.optim.Optimizer], config: OptimizerConfig, factor: float) -> None:
    """Give every optimizer `factor`, 0..1, of its highest rate."""
    for optimizer, peak in zip(optimizers, (config.peak_lr, config.muon_lr), strict=False):
        for group in optimizer.param_groups:
            group["lr"] = peak * factor
