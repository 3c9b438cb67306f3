"""Muon over an LSTM's gates, against singular vectors; and what is left to AdamW."""

import torch
from torch import Tensor, nn

from model.acoustic_model import AcousticModel, AcousticModelConfig
from training.optimizer import GATES, GateMuon, build_optimizers, set_rates
from training.recipe import OptimizerConfig

HIDDEN, INPUTS, RATE = 6, 10, 0.01
WITH_MUON = OptimizerConfig(peak_lr=1e-3, muon_lr=3e-3, weight_decay=0.1)


def loss(lstm: nn.LSTM) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    output: Tensor = lstm(torch.randn(7, INPUTS, generator=generator))[0]
    return output.square().sum()


def test_each_gate_moves_alike_along_all_singular_vectors_of_its_gradient() -> None:
    torch.manual_seed(1)
    lstm = nn.LSTM(INPUTS, HIDDEN)
    weight = lstm.get_parameter("weight_ih_l0")
    before = weight.detach().clone()
    muon = GateMuon([weight], lr=RATE, weight_decay=0.0)
    torch.autograd.backward(loss(lstm))
    assert weight.grad is not None
    gradients = weight.grad.clone().chunk(GATES)
    muon.step()
    norms = torch.stack([gradient.norm() for gradient in gradients])
    assert norms.max() > 1.5 * norms.min()  # otherwise the whole matrix at once would do
    size = RATE * 0.2 * max(HIDDEN, INPUTS) ** 0.5
    for moved, gradient in zip((before - weight.detach()).chunk(GATES), gradients, strict=True):
        left, values, right = torch.linalg.svd(gradient, full_matrices=False)
        along = torch.diag(left.T @ moved @ right.T) / size
        kept = values > 0.05 * values.max()  # five iterations do not lift what is smaller
        assert kept.sum() >= 3
        assert along[kept].min() > 0.5
        assert along.max() < 1.3


def test_weight_decay_is_apart_from_the_gradient() -> None:
    lstm = nn.LSTM(INPUTS, HIDDEN)
    weights = [lstm.get_parameter("weight_ih_l0"), lstm.get_parameter("weight_hh_l0")]
    before = [weight.detach().clone() for weight in weights]
    muon = GateMuon(weights, lr=RATE, weight_decay=0.5)
    for weight in weights:
        weight.grad = torch.zeros_like(weight)
    muon.step()
    for weight, old in zip(weights, before, strict=True):
        assert torch.allclose(weight, old * (1 - RATE * 0.5), atol=1e-7)


def test_without_gradient_nothing_moves_and_zero_grad_reaches_the_weights() -> None:
    lstm = nn.LSTM(INPUTS, HIDDEN)
    before = lstm.get_parameter("weight_ih_l0").detach().clone()
    muon = GateMuon([lstm.get_parameter("weight_ih_l0")], lr=RATE, weight_decay=0.5)
    muon.step()
    assert torch.equal(lstm.get_parameter("weight_ih_l0"), before)
    torch.autograd.backward(loss(lstm))
    muon.zero_grad()
    assert lstm.get_parameter("weight_ih_l0").grad is None


def test_muon_has_the_matrices_of_the_lstms_and_adamw_all_else_once() -> None:
    network = AcousticModel(AcousticModelConfig(hidden_size=8, n_layers=2, channels=4))
    adamw, muon = build_optimizers(network, WITH_MUON)
    assert isinstance(muon, GateMuon)
    lstm = {name for name, p in network.named_parameters() if ".lstm." in name and p.ndim == 2}
    assert {id(p) for p in muon.weights} == {id(p) for name, p in network.named_parameters() if name in lstm}
    by_adamw = [id(p) for group in adamw.param_groups for p in group["params"]]
    assert sorted(by_adamw) == sorted(id(p) for name, p in network.named_parameters() if name not in lstm)
    decayed = {id(p) for p in adamw.param_groups[0]["params"]}
    assert all((p.ndim > 1) == (id(p) in decayed) for name, p in network.named_parameters() if name not in lstm)


def test_without_muon_adamw_has_them_all() -> None:
    network = AcousticModel(AcousticModelConfig(hidden_size=8, n_layers=2, channels=4))
    (adamw,) = build_optimizers(network, OptimizerConfig())
    assert sum(len(group["params"]) for group in adamw.param_groups) == len(list(network.parameters()))


def test_each_has_its_own_highest_rate() -> None:
    network = AcousticModel(AcousticModelConfig(hidden_size=8, n_layers=1, channels=4))
    optimizers = build_optimizers(network, WITH_MUON)
    set_rates(optimizers, WITH_MUON, 0.5)
    adamw, muon = ({group["lr"] for group in optimizer.param_groups} for optimizer in optimizers)
    assert adamw == {5e-4}
    assert muon == {1.5e-3}
