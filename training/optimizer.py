"""What moves the weights: AdamW, and for the LSTMs' matrices, where a recipe asks for it, Muon.

Source: Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024, as `torch.optim.Muon` has it,
with steps sized like AdamW's as in Liu et al., "Muon is scalable for LLM training", 2025 (`match_rms_adamw`).

An LSTM's weight is four matrices, one a gate, under one another. To make the update of each orthogonal instead of
that of the whole changes nothing: docs/experiments.md.
"""

import math
from collections.abc import Sequence

import torch
from lightning.fabric import Fabric
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


def clip_gradients(
    fabric: Fabric, network: nn.Module, optimizers: Sequence[torch.optim.Optimizer], config: OptimizerConfig
) -> float:
    """Scale AdamW's gradients down to `clip_norm`; returns the norm of all gradients before, which may be no number.

    Muon's are measured alone: its steps are as long whatever the size of its gradients.

    Args:
        fabric: what trains.
        network: as set up by it.
        optimizers: those of `build_optimizers`, set up by it.
        config: the recipe's.
    """
    norms = [
        fabric.clip_gradients(network, optimizer, max_norm=most, error_if_nonfinite=False)
        for optimizer, most in zip(optimizers, (config.clip_norm, math.inf), strict=False)
    ]
    return math.hypot(*(float(norm) for norm in norms if norm is not None))
