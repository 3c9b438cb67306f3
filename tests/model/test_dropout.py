"""Dropout against `nn.Dropout`: the same in all but which numbers are dropped."""

import pytest
import torch
from torch import nn

from model.dropout import Dropout


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_share_is_dropped_and_the_others_grow_as_torchs_do(share: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x = torch.full((100, 1001, 10), 3.0, dtype=dtype)
    ours, theirs = Dropout(share)(x), nn.functional.dropout(x, share)
    assert ours.dtype == dtype
    assert (ours == 0).float().mean().item() == pytest.approx(share, abs=0.003)  # 6 standard deviations at 0.5
    torch.testing.assert_close(ours.max(), theirs.max(), rtol=1e-4 if dtype == torch.float32 else 0.01, atol=0)
    assert len(ours.unique()) == 2


def test_places_are_dropped_on_their_own() -> None:
    """Four numbers share a draw; neither they, nor rows, nor columns are dropped together."""
    torch.manual_seed(0)
    dropped = (Dropout(0.5)(torch.ones(4000, 64)) == 0).float()
    correlations = torch.corrcoef(dropped.T) - torch.eye(64)
    assert correlations.abs().max().item() < 0.09  # 2016 pairs, standard deviation 0.016
    assert torch.corrcoef(torch.stack([dropped[:-1].flatten(), dropped[1:].flatten()]))[0, 1].abs().item() < 0.012


def test_the_gradient_passes_where_numbers_are_kept() -> None:
    torch.manual_seed(0)
    x = torch.randn(7, 9, 3, requires_grad=True)
    y = Dropout(0.25)(x)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(gradient, torch.where(y == 0, 0.0, torch.tensor(4 / 3)), rtol=1e-6, atol=0)


def test_the_generators_state_says_what_is_dropped() -> None:
    """So a run that is resumed drops what it would have dropped."""
    x = torch.ones(5, 13)
    state = torch.get_rng_state()
    first, second = Dropout(0.5)(x), Dropout(0.5)(x)
    assert not torch.equal(first, second)
    torch.set_rng_state(state)
    assert torch.equal(Dropout(0.5)(x), first)


def test_nothing_is_dropped_outside_training_or_with_a_share_of_0() -> None:
    x = torch.randn(3, 4)
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.0)(x) is x


def test_a_share_next_to_1_keeps_something_to_learn_from() -> None:
    torch.manual_seed(0)
    y = Dropout(0.999999)(torch.ones(1000, 1000))
    assert y.isfinite().all()
    assert 1 <= int((y != 0).sum()) <= 40  # 15 in the mean


def test_an_empty_batch_stays_empty() -> None:
    assert Dropout(0.5)(torch.zeros(0, 4)).shape == (0, 4)
