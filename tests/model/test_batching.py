"""Calls from many threads come back as if each had been alone."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor

from model.batching import BatchingRuntime
from model.checkpoint import Bundle
from model.errors import OptionError
from model.runtime import TorchRuntime
from model.runtime_names import RuntimeName


class Recording:
    """A runtime that remembers its batches; the first waits until it is let go."""

    name: RuntimeName = "torch"

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.go = threading.Event()
        self.began = threading.Event()
        self.error: Exception | None = None

    def __call__(self, features_BTF: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        self.batches.append(lengths_B.tolist())
        self.began.set()
        assert self.go.wait(120)
        if self.error is not None and len(self.batches) == 2:
            raise self.error
        return features_BTF[:, :, :2], lengths_B


def test_every_caller_gets_its_own_rows(tiny_bundle: Bundle) -> None:
    alone = TorchRuntime(tiny_bundle.acoustic_model)
    together = BatchingRuntime(alone, most_rows=4, at_once=2)
    inputs = [(torch.randn(1 + index % 2, 8 + 5 * index, 80), 8 + 5 * index) for index in range(16)]
    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(together, features_BTF, torch.full((len(features_BTF),), n)) for features_BTF, n in inputs]
        for call, (features_BTF, n) in zip(calls, inputs, strict=True):
            actual_BSV, actual_B = call.result(120)
            expected_BSV, expected_B = alone(features_BTF, torch.full((len(features_BTF),), n))
            assert actual_B.tolist() == expected_B.tolist()
            torch.testing.assert_close(actual_BSV, expected_BSV, rtol=0, atol=1e-4)


def test_the_oldest_goes_first_with_those_nearest_in_length() -> None:
    recording = Recording()
    batching = BatchingRuntime(recording, most_rows=2)
    with ThreadPoolExecutor(5) as pool:
        calls = [pool.submit(batching, torch.ones(1, 7, 3), torch.tensor([7]))]
        assert recording.began.wait(120)
        for waiting, n_frames in enumerate((10, 90, 12, 80), 1):
            calls.append(pool.submit(batching, torch.full((1, n_frames, 3), float(n_frames)), torch.tensor([n_frames])))
            while len(batching._waiting) < waiting:
                time.sleep(0.002)
        recording.go.set()
        results = [call.result(120) for call in calls]
    assert recording.batches == [[7], [10, 12], [90, 80]]
    assert [tuple(result.shape) for result, _ in results] == [(1, n, 2) for n in (7, 10, 90, 12, 80)]
    assert [float(result[0, 0, 0]) for result, _ in results[1:]] == [10, 90, 12, 80]


def test_an_error_reaches_those_whose_rows_it_met_and_nobody_else() -> None:
    recording = Recording()
    recording.error = MemoryError("too long")
    batching = BatchingRuntime(recording, most_rows=2)
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(batching, torch.ones(1, 7, 3), torch.tensor([7]))]
        assert recording.began.wait(120)
        for waiting, n_frames in enumerate((10, 11, 30), 1):
            calls.append(pool.submit(batching, torch.ones(1, n_frames, 3), torch.tensor([n_frames])))
            while len(batching._waiting) < waiting:
                time.sleep(0.002)
        recording.go.set()
        errors = [call.exception(120) for call in calls]
    assert [type(error) for error in errors] == [type(None), MemoryError, MemoryError, type(None)]


def test_options_out_of_range_are_named() -> None:
    for options in ({"most_rows": 0}, {"at_once": 0}):
        with pytest.raises(OptionError, match="both must be at least 1"):
            BatchingRuntime(Recording(), **options)
