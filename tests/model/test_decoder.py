from itertools import groupby

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from model.decoder import decode_greedy
from model.tokenizer import BLANK_ID

VOCABULARY_SIZE = 5
paths = st.lists(st.integers(0, VOCABULARY_SIZE - 1), max_size=40)


@settings(deadline=None)
@given(path=paths, seed=st.integers(0, 1000))
def test_units_are_the_runs_of_the_best_path_without_blanks(path: list[int], seed: int) -> None:
    log_probs_SV = log_probs_along(path, seed)
    units = decode_greedy(log_probs_SV)
    runs = [list(run) for _, run in groupby(enumerate(path), key=lambda frame: frame[1])]
    expected = [run for run in runs if run[0][1] != BLANK_ID]
    assert [(u.id, u.first_frame, u.last_frame) for u in units] == [(r[0][1], r[0][0], r[-1][0]) for r in expected]
    for unit, run in zip(units, expected, strict=True):
        mean = sum(float(log_probs_SV[frame, index]) for frame, index in run) / len(run)
        assert unit.logprob == pytest.approx(mean, abs=1e-6)
        assert unit.logprob <= 0


@settings(deadline=None)
@given(path=paths)
def test_ctcs_collapse_reads_the_same(path: list[int]) -> None:
    """Once more in the words of the paper: take repeats out, then blanks."""
    collapsed = [index for index, _ in groupby(path) if index != BLANK_ID]
    assert [unit.id for unit in decode_greedy(log_probs_along(path, 0))] == collapsed


def test_a_blank_between_keeps_a_double_letter() -> None:
    assert [unit.id for unit in decode_greedy(log_probs_along([3, 3, 0, 3], 0))] == [3, 3]


def test_no_frames_and_only_blanks_give_no_units() -> None:
    assert decode_greedy(torch.zeros(0, VOCABULARY_SIZE)) == []
    assert decode_greedy(log_probs_along([BLANK_ID] * 4, 0)) == []


def log_probs_along(path: list[int], seed: int) -> Tensor:
    """Random posteriors in which `path` is the best unit of every frame."""
    logits_SV = torch.rand(len(path), VOCABULARY_SIZE, generator=torch.Generator().manual_seed(seed))
    logits_SV[torch.arange(len(path)), torch.tensor(path, dtype=torch.int64)] += 1.5
    return logits_SV.log_softmax(-1)
