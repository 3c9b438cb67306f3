"""The sum over all phone sequences, against every path written out."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from model.phones import N_PHONES, PHONE_BOUNDARY_ID
from training.denominator import N_LABELS, PhoneDenominator, phone_trigram

SPOKEN = ((5, 9, 5, 1, 9, 9), (9, 1, 5), (5, 5, 1, 9, 5))
FEW = (0, 1, 5, 9)  # the blank, the boundary and two phones: the others are made impossible


def log_probs_of_few(n_rows: int, n_frames: int, seed: int = 3) -> Tensor:
    """Rows of which all but `FEW` are as good as impossible, so that all paths can be counted."""
    generator = torch.Generator().manual_seed(seed)
    logits_RSP = torch.full((n_rows, n_frames, N_PHONES), -60.0)
    logits_RSP[..., list(FEW)] = torch.randn(n_rows, n_frames, len(FEW), generator=generator)
    return logits_RSP.log_softmax(-1)


def total_by_hand(log_probs_SP: Tensor, trigram_IJK: Tensor) -> Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for path in itertools.product(FEW, repeat=len(log_probs_SP)):
        heard = torch.stack([log_probs_SP[frame, unit] for frame, unit in enumerate(path)]).double().sum().exp()
        probability, before, last = 1.0, PHONE_BOUNDARY_ID, PHONE_BOUNDARY_ID
        for unit in (unit for unit, _ in itertools.groupby(path) if unit):
            probability *= float(trigram_IJK[before - 1, last - 1, unit - 1])
            before, last = last, unit
        total = total + probability * heard
    return total.log()


def test_a_phone_is_as_likely_as_witten_and_bell_say() -> None:
    trigram_IJK = phone_trigram(SPOKEN)
    torch.testing.assert_close(trigram_IJK.sum(-1), torch.ones(N_LABELS, N_LABELS))
    # Three kinds among 14 labels; what follows 5, and 5 at an utterance's beginning, where it is not an end.
    unigram = {label: (count + 3 / N_LABELS) / (14 + 3) for label, count in ((5, 6), (9, 5), (1, 3))}
    bigram = (1 + 3 * unigram[9]) / (4 + 3)  # 9 once, 1 twice, 5 once
    expected = (1 + 2 * bigram) / (2 + 2)  # 9 once, 5 once
    assert trigram_IJK[PHONE_BOUNDARY_ID - 1, 5 - 1, 9 - 1].item() == pytest.approx(expected, rel=1e-6)
    assert trigram_IJK[20, 21, 5 - 1].item() == pytest.approx(unigram[5], rel=1e-6)  # after what never occurred


def test_the_total_and_its_gradient_are_those_of_all_paths() -> None:
    trigram_IJK, lengths_R = phone_trigram(SPOKEN), torch.tensor([5, 3, 1])
    log_probs_RSP = log_probs_of_few(3, 5).requires_grad_()
    log_total_R = PhoneDenominator(trigram_IJK).log_total(log_probs_RSP, lengths_R)
    by_hand_RSP = log_probs_RSP.detach().clone().requires_grad_()
    expected_R = torch.stack(
        [total_by_hand(row_SP[:length], trigram_IJK) for row_SP, length in zip(by_hand_RSP, lengths_R, strict=True)]
    )
    torch.testing.assert_close(log_total_R.double(), expected_R, rtol=1e-5, atol=1e-6)
    torch.autograd.backward(log_total_R.sum())
    torch.autograd.backward(expected_R.sum())
    assert log_probs_RSP.grad is not None and by_hand_RSP.grad is not None
    torch.testing.assert_close(log_probs_RSP.grad, by_hand_RSP.grad, rtol=1e-4, atol=1e-6)
    assert not log_probs_RSP.grad[1, 3:].any()  # beyond a row's length


def test_of_one_frame_the_total_is_one_label_by_the_n_gram_or_a_blank() -> None:
    even_RSP = torch.full((1, 1, N_PHONES), -math.log(N_PHONES))
    log_total_R = PhoneDenominator(phone_trigram(SPOKEN)).log_total(even_RSP, torch.tensor([1]))
    assert log_total_R.item() == pytest.approx(math.log(2 / N_PHONES), rel=1e-6)


def test_long_rows_neither_underflow_nor_lose_share() -> None:
    log_probs_RSP = (5 * torch.randn(2, 600, N_PHONES, generator=torch.Generator().manual_seed(4))).log_softmax(-1)
    log_probs_RSP.requires_grad_()
    log_total_R = PhoneDenominator(phone_trigram(SPOKEN)).log_total(log_probs_RSP, torch.tensor([600, 450]))
    assert torch.isfinite(log_total_R).all() and (log_total_R < -100).all()
    torch.autograd.backward(log_total_R.sum())
    assert log_probs_RSP.grad is not None
    shares_RS = log_probs_RSP.grad.sum(-1)  # every frame has one unit
    torch.testing.assert_close(shares_RS[0], torch.ones(600), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(shares_RS[1, :450], torch.ones(450), rtol=1e-3, atol=1e-3)


def test_a_row_is_the_same_alone_and_beside_others() -> None:
    denominator, log_probs_RSP = PhoneDenominator(phone_trigram(SPOKEN)), log_probs_of_few(3, 7)
    lengths_R = torch.tensor([7, 4, 2])
    together_R = denominator.log_total(log_probs_RSP, lengths_R)
    for row, length in enumerate(lengths_R.tolist()):
        alone_R = denominator.log_total(log_probs_RSP[row : row + 1, :length], lengths_R[row : row + 1])
        torch.testing.assert_close(together_R[row : row + 1], alone_R)
