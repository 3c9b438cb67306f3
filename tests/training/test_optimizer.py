"""What Muon moves and what is left to AdamW; that a step of Muon follows all singular vectors of the gradient alike."""

import torch
from torch import nn

from model.acoustic_model import AcousticModel, AcousticModelConfig
from training.optimizer import build_optimizers, set_rates
from training.recipe import OptimizerConfig

WITH_MUON = OptimizerConfig(peak_lr=1e-3, muon_lr=3e-3, weight_decay=0.1)


def network() -> AcousticModel:
    torch.manual_seed(1)
    return AcousticModel(AcousticModelConfig(hidden_size=8, n_layers=2, channels=4))


def parameters(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    return [p for group in optimizer.param_groups for p in group["params"]]


def test_muon_has_the_matrices_of_the_lstms_and_adamw_all_else_once() -> None:
    model = network()
    adamw, muon = build_optimizers(model, WITH_MUON)
    lstm = {name for name, p in model.named_parameters() if ".lstm." in name and p.ndim == 2}
    assert len(lstm) == 2 * 2 * 2
    assert {id(p) for p in parameters(muon)} == {id(p) for name, p in model.named_parameters() if name in lstm}
    others = {id(p): p.ndim for name, p in model.named_parameters() if name not in lstm}
    assert sorted(map(id, parameters(adamw))) == sorted(others)
    decayed = {id(p) for group in adamw.param_groups if group["weight_decay"] for p in group["params"]}
    assert decayed == {name for name, ndim in others.items() if ndim > 1}


def test_without_muon_adamw_has_them_all() -> None:
    model = network()
    (adamw,) = build_optimizers(model, OptimizerConfig())
    assert sorted(map(id, parameters(adamw))) == sorted(map(id, model.parameters()))


def test_each_has_its_own_highest_rate() -> None:
    optimizers = build_optimizers(network(), WITH_MUON)
    set_rates(optimizers, WITH_MUON, 0.5)
    adamw, muon = ({group["lr"] for group in optimizer.param_groups} for optimizer in optimizers)
    assert adamw == {5e-4}
    assert muon == {1.5e-3}


def test_a_step_of_muon_is_as_long_along_every_singular_vector_of_the_gradient() -> None:
    config = OptimizerConfig(muon_lr=1e-2, weight_decay=0.0)
    _, muon = build_optimizers(network(), config)
    set_rates([muon], OptimizerConfig(peak_lr=1e-2), 1.0)
    before = [weight.detach().clone() for weight in parameters(muon)]
    for weight in parameters(muon):
        weight.grad = torch.randn(weight.shape) * torch.linspace(0.1, 1, weight.shape[1])
    muon.step()
    for weight, old in zip(parameters(muon), before, strict=True):
        assert weight.grad is not None
        left, values, right = torch.linalg.svd(weight.grad, full_matrices=False)
        assert values.max() > 4 * values.min()
        along = torch.diag(left.T @ (old - weight.detach()) @ right.T) / (1e-2 * 0.2 * max(weight.shape) ** 0.5)
        assert along.min() > 0.5
        assert along.max() < 1.3
