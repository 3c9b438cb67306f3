from itertools import groupby, product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model.errors import OptionError
from model.forced_alignment import force_align


def collapse(path: tuple[int, ...]) -> list[int]:
    return [unit for unit, _ in groupby(path) if unit]


@given(st.integers(1, 7), st.integers(2, 4), st.lists(st.integers(1, 3), min_size=1, max_size=3), st.integers(0, 99))
def test_no_path_that_spells_the_target_is_more_probable(
    n_frames: int, vocabulary_size: int, target: list[int], seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    log_probs_SV = (2 * torch.randn(n_frames, vocabulary_size, generator=generator)).log_softmax(-1)
    scores = [
        sum(float(log_probs_SV[frame, unit]) for frame, unit in enumerate(path))
        for path in product(range(vocabulary_size), repeat=n_frames)
        if collapse(path) == target
    ]
    if not scores:
        with pytest.raises(OptionError):
            force_align(log_probs_SV, target)
        return
    units = force_align(log_probs_SV, target)
    assert [unit.id for unit in units] == target
    path = [0] * n_frames
    for unit in units:
        path[unit.first_frame : unit.last_frame + 1] = [unit.id] * (unit.last_frame - unit.first_frame + 1)
    assert collapse(tuple(path)) == target
    found = sum(float(log_probs_SV[frame, unit]) for frame, unit in enumerate(path))
    assert found == pytest.approx(max(scores), abs=1e-5)


def test_what_cannot_be_spelled_is_refused_with_its_numbers() -> None:
    log_probs_SV = torch.zeros(4, 5).log_softmax(-1)
    with pytest.raises(OptionError, match="needs 5 frames; there are 4"):
        force_align(log_probs_SV, [1, 1, 1])
    with pytest.raises(OptionError, match=r"outside 1\.\.4: \[1, 5\]"):
        force_align(log_probs_SV, [5, 1])
    assert force_align(log_probs_SV, []) == []
