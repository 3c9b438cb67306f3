"""The speller against torch's own convolutions, and how far it looks."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from model.speller import Speller, TimeDelayLayer, delays

V, P, D = 6, 5, 8


def make_speller(n_layers: int, seed: int = 0) -> Speller:
    torch.manual_seed(seed)
    return Speller(V, P, D, n_layers).eval().requires_grad_(False)


def random_log_probs(*sizes: int, seed: int = 1) -> Tensor:
    return torch.randn(*sizes, generator=torch.Generator().manual_seed(seed)).log_softmax(-1)


def by_convolutions(speller: Speller, phones_SP: Tensor, letters_SV: Tensor | None) -> Tensor:
    """The same with `conv1d`: over pairs of frames with stride 2, then dilated ones, then a transposed one."""
    n_frames = len(phones_SP)
    heard_1PS = nn.functional.pad(phones_SP.exp().T[None], (0, n_frames % 2))
    kernel_DP2 = speller.inputs.weight.reshape(D, 2, P).transpose(1, 2)
    x_1DH = nn.functional.conv1d(heard_1PS, kernel_DP2, speller.inputs.bias, stride=2)
    for layer, delay in zip(speller.layers, delays(len(speller.layers)), strict=True):
        assert isinstance(layer, TimeDelayLayer)
        normed_1DH = nn.functional.layer_norm(x_1DH.mT, (D,), layer.norm.weight, layer.norm.bias).mT
        kernel_DD3 = layer.linear.weight.reshape(D, 3, D).transpose(1, 2)
        seen_1DH = nn.functional.conv1d(normed_1DH, kernel_DD3, layer.linear.bias, padding=delay, dilation=delay)
        x_1DH = x_1DH + seen_1DH.relu()
    normed_1DH = nn.functional.layer_norm(x_1DH.mT, (D,), speller.norm.weight, speller.norm.bias).mT
    kernel_DV2 = speller.head.weight.reshape(2, V, D).permute(2, 1, 0)
    bias_2V = speller.head.bias.reshape(2, V)
    logits_1VS = nn.functional.conv_transpose1d(normed_1DH, kernel_DV2, stride=2)
    logits_SV = logits_1VS[0].T + bias_2V.repeat(logits_1VS.shape[2] // 2, 1)
    logits_SV = logits_SV[:n_frames]
    return (logits_SV if letters_SV is None else logits_SV + speller.share * letters_SV).log_softmax(-1)


@pytest.mark.parametrize("with_letters", [True, False])
@pytest.mark.parametrize("n_frames", [1, 2, 3, 20, 41])
@pytest.mark.parametrize("n_layers", [1, 4])
def test_it_is_a_stack_of_dilated_convolutions(n_layers: int, n_frames: int, with_letters: bool) -> None:
    speller, phones_BSP = make_speller(n_layers), random_log_probs(1, n_frames, P)
    letters_BSV = random_log_probs(1, n_frames, V, seed=2) if with_letters else None
    spelled_BSV = speller(phones_BSP, torch.tensor([n_frames]), letters_BSV)
    assert spelled_BSV.shape == (1, n_frames, V)
    expected_SV = by_convolutions(speller, phones_BSP[0], None if letters_BSV is None else letters_BSV[0])
    torch.testing.assert_close(spelled_BSV[0], expected_SV, rtol=0, atol=1e-5)


@settings(deadline=None, max_examples=30)
@given(lengths=st.lists(st.integers(1, 30), min_size=2, max_size=4), garbage=st.floats(-50, 0))
def test_a_row_is_spelled_alone_as_in_a_batch(lengths: list[int], garbage: float) -> None:
    speller, lengths_B = make_speller(4), torch.tensor(lengths)
    phones_BSP = random_log_probs(len(lengths), max(lengths) + 3, P)
    letters_BSV = random_log_probs(len(lengths), max(lengths) + 3, V, seed=2)
    for row, length in enumerate(lengths):
        phones_BSP[row, length:] = garbage
    together_BSV = speller(phones_BSP, lengths_B, letters_BSV)
    for row, length in enumerate(lengths):
        alone_BSV = speller(
            phones_BSP[row : row + 1, :length], lengths_B[row : row + 1], letters_BSV[row : row + 1, :length]
        )
        torch.testing.assert_close(together_BSV[row, :length], alone_BSV[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("n_layers", [1, 2, 5, 6])
def test_no_frame_looks_further_than_the_reach_and_some_look_so_far(n_layers: int) -> None:
    speller = make_speller(n_layers)
    n_frames = 4 * speller.reach + 2
    phones_BSP = random_log_probs(1, n_frames, P)
    before_BSV = speller(phones_BSP, torch.tensor([n_frames]))
    farthest = 0
    for changed in (2 * speller.reach, 2 * speller.reach + 1):  # the two frames of a pair
        other_BSP = phones_BSP.clone()
        other_BSP[0, changed] = phones_BSP[0, changed].roll(1)
        differs_S = (speller(other_BSP, torch.tensor([n_frames])) != before_BSV).any(-1)[0]
        farthest = max(farthest, int((differs_S.nonzero()[:, 0] - changed).abs().max()))
    assert farthest == speller.reach


def test_the_six_layers_that_ship_see_a_second_to_either_side() -> None:
    assert delays(6) == [1, 1, 2, 2, 3, 3]
    assert make_speller(6).reach == 25
