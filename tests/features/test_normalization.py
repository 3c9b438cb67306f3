import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from features.normalization import GlobalCMVN

N_FEATURES = 5
batch_lengths = st.lists(st.lists(st.integers(0, 12), min_size=1, max_size=4), min_size=1, max_size=4)


@settings(deadline=None)
@given(lengths=batch_lengths.filter(lambda lengths: sum(map(sum, lengths)) > 1), seed=st.integers(0, 99))
def test_statistics_are_numpys_over_the_valid_frames(lengths: list[list[int]], seed: int) -> None:
    batches, frames_MF = random_batches(lengths, seed)
    cmvn = GlobalCMVN(N_FEATURES)
    assert cmvn.estimate(batches) == len(frames_MF)
    mean_F, std_F = frames_MF.mean(axis=0), frames_MF.std(axis=0)
    np.testing.assert_allclose(cmvn.get_buffer("mean_F").numpy(), mean_F, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(cmvn.get_buffer("std_F").numpy(), np.maximum(std_F, 1e-4), rtol=1e-5, atol=1e-6)


def test_the_sums_are_kept_in_float64() -> None:
    """A mean of -11 beside a deviation of 0.01, over as many frames as an hour has: float32 sums would lose it."""
    rng = np.random.default_rng(0)
    frames_MF = rng.normal(-11, 0.01, size=(360_000, 2)).astype(np.float32)
    cmvn = GlobalCMVN(2)
    cmvn.estimate((torch.from_numpy(part).unsqueeze(0), torch.tensor([len(part)])) for part in np.split(frames_MF, 100))
    exact = frames_MF.astype(np.float64)
    np.testing.assert_allclose(cmvn.get_buffer("mean_F").numpy(), exact.mean(axis=0), rtol=1e-7)
    np.testing.assert_allclose(cmvn.get_buffer("std_F").numpy(), exact.std(axis=0), rtol=1e-5)


def test_normalised_data_has_zero_mean_and_unit_variance() -> None:
    batches, _ = random_batches([[40, 0, 3], [17, 29, 40]], seed=1)
    cmvn = GlobalCMVN(N_FEATURES)
    cmvn.estimate(batches)
    normalized_MF = np.concatenate(
        [
            cmvn(features_BTF, lengths_B)[row, :length].double().numpy()
            for features_BTF, lengths_B in batches
            for row, length in enumerate(lengths_B.tolist())
        ]
    )
    np.testing.assert_allclose(normalized_MF.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(normalized_MF.var(axis=0), 1, atol=1e-5)


def test_padding_becomes_zero_whatever_stood_there() -> None:
    features_BTF = torch.full((2, 4, N_FEATURES), torch.nan)
    features_BTF[0, :3] = 2.0
    cmvn = GlobalCMVN(N_FEATURES)
    cmvn.get_buffer("mean_F").fill_(1.0)
    cmvn.get_buffer("std_F").fill_(0.5)
    expected_BTF = torch.zeros_like(features_BTF)
    expected_BTF[0, :3] = 2.0
    assert torch.equal(cmvn(features_BTF, torch.tensor([3, 0])), expected_BTF)


def test_a_bin_that_never_changes_stays_finite() -> None:
    cmvn = GlobalCMVN(2)
    cmvn.estimate([(torch.full((1, 9, 2), 3.0), torch.tensor([9]))])
    assert cmvn(torch.full((1, 1, 2), 3.0), torch.tensor([1])).tolist() == [[[0.0, 0.0]]]


def test_a_new_one_changes_nothing_and_its_statistics_travel() -> None:
    batches, _ = random_batches([[20]], seed=2)
    cmvn, copy = GlobalCMVN(N_FEATURES), GlobalCMVN(N_FEATURES)
    features_BTF, lengths_B = batches[0][0][:, :20], batches[0][1]
    assert torch.equal(cmvn(features_BTF, lengths_B), features_BTF)
    cmvn.estimate(batches)
    copy.load_state_dict(cmvn.state_dict())
    assert torch.equal(copy(features_BTF, lengths_B), cmvn(features_BTF, lengths_B))
    assert not torch.equal(copy(features_BTF, lengths_B), features_BTF)


@pytest.mark.parametrize("batches", [[], [(torch.zeros(2, 3, N_FEATURES), torch.tensor([0, 0]))]])
def test_no_frames_are_refused(batches: list[tuple[Tensor, Tensor]]) -> None:
    with pytest.raises(ValueError, match="at least one frame; 0 were given"):
        GlobalCMVN(N_FEATURES).estimate(batches)


def random_batches(lengths: list[list[int]], seed: int) -> tuple[list[tuple[Tensor, Tensor]], np.ndarray]:
    """Batches with NaN in their padding, and all their valid frames in float64."""
    rng = np.random.default_rng(seed)
    batches, rows = [], []
    for row_lengths in lengths:
        features_BTF = np.full((len(row_lengths), max(row_lengths) + 1, N_FEATURES), np.nan, np.float32)
        for row, length in enumerate(row_lengths):
            features_BTF[row, :length] = rng.normal(-8, 3, size=(length, N_FEATURES))
            rows.append(features_BTF[row, :length])
        batches.append((torch.from_numpy(features_BTF), torch.tensor(row_lengths)))
    return batches, np.concatenate(rows).astype(np.float64)
