"""Calls from many threads come back as if each had been alone."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
import torch
from torch import Tensor

from model import batching as batching_module
from model.batching import Batch, BatchingRuntime
from model.cancellation import CancelToken
from model.checkpoint import Bundle
from model.errors import OptionError, WorkCancelledError
from model.house import House
from model.runtime import OnnxRuntime, Runtime, TorchRuntime
from model.runtime_names import RuntimeName
from model.turns import PATIENT_AFTER_FRAMES, Rank, Turn, taking
from tests.waiting import wait_until


class Recording:
    """A runtime that remembers its batches; the first waits until it is let go."""

    name: RuntimeName = "torch"

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.go = threading.Event()
        self.began = threading.Event()
        self.error: Exception | None = None

    def __call__(
        self, features_BTF: Tensor, lengths_B: Tensor, cancelled: CancelToken | None = None
    ) -> tuple[Tensor, Tensor]:
        self.batches.append(lengths_B.tolist())
        self.began.set()
        assert self.go.wait(120)
        if self.error is not None and len(self.batches) == 2:
            raise self.error
        return features_BTF[:, :, :2], lengths_B


@pytest.fixture
def batched() -> Iterator[Callable[..., BatchingRuntime]]:
    """Makes runtimes that are closed at the end."""
    with ExitStack() as stack:

        def make(runtime: Runtime, **options: object) -> BatchingRuntime:
            made = BatchingRuntime(runtime, **options)  # type: ignore[arg-type]  # whatever the test wants
            stack.callback(made.close)
            return made

        yield make


def ask(batching: BatchingRuntime, n_frames: int, turn: Turn | None = None) -> tuple[Tensor, Tensor]:
    with taking(turn or Turn()):
        return batching(torch.full((1, n_frames, 3), float(n_frames)), torch.tensor([n_frames]))


def test_every_caller_gets_its_own_rows(tiny_bundle: Bundle, batched: Callable[..., BatchingRuntime]) -> None:
    alone = TorchRuntime(tiny_bundle.acoustic_model)
    together = batched(alone, most_rows=4, at_once=2)
    inputs = [(torch.randn(1 + index % 2, 8 + 5 * index, 80), 8 + 5 * index) for index in range(16)]
    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(together, features_BTF, torch.full((len(features_BTF),), n)) for features_BTF, n in inputs]
        for call, (features_BTF, n) in zip(calls, inputs, strict=True):
            actual_BSV, actual_B = call.result(120)
            expected_BSV, expected_B = alone(features_BTF, torch.full((len(features_BTF),), n))
            assert actual_B.tolist() == expected_B.tolist()
            torch.testing.assert_close(actual_BSV, expected_BSV, rtol=0, atol=1e-4)


def test_the_oldest_goes_first_with_those_near_in_length(batched: Callable[..., BatchingRuntime]) -> None:
    recording, told = Recording(), list[Batch]()
    batching = batched(recording, most_rows=2, on_batch=told.append)
    lengths = (10, 90, 12, 80, 40)
    with ThreadPoolExecutor(6) as pool:
        calls = [pool.submit(ask, batching, 7)]
        assert recording.began.wait(120)
        for waiting, n_frames in enumerate(lengths, 1):
            calls.append(pool.submit(ask, batching, n_frames))
            wait_until(lambda n=waiting: batching.load()[0] == n)  # type: ignore[misc]  # mypy has no type for it
        assert batching.load()[1] > 0
        recording.go.set()
        results = [call.result(120) for call in calls]
    assert recording.batches == [[7], [10, 12], [90, 80], [40]]
    assert [tuple(result.shape) for result, _ in results] == [(1, n, 2) for n in (7, *lengths)]
    assert [float(result[0, 0, 0]) for result, _ in results[1:]] == list(lengths)
    wait_until(lambda: len(told) == 4)
    assert [(batch.rows, batch.frames, batch.padded_frames) for batch in told[1:3]] == [(2, 22, 24), (2, 170, 180)]
    assert batching.load() == (0, 0.0)


def test_an_error_reaches_those_whose_rows_it_met_and_nobody_else(batched: Callable[..., BatchingRuntime]) -> None:
    recording = Recording()
    recording.error = MemoryError("too long")
    batching = batched(recording, most_rows=2)
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(ask, batching, 7)]
        assert recording.began.wait(120)
        for waiting, n_frames in enumerate((10, 11, 30), 1):
            calls.append(pool.submit(ask, batching, n_frames))
            wait_until(lambda n=waiting: batching.load()[0] == n)  # type: ignore[misc]  # mypy has no type for it
        recording.go.set()
        errors = [call.exception(120) for call in calls]
    assert [type(error) for error in errors] == [type(None), MemoryError, MemoryError, type(None)]


def test_a_long_file_does_not_hold_up_a_short_clip(batched: Callable[..., BatchingRuntime]) -> None:
    """While windows of a long file are computed and wait, the clip's is computed: it has another thread."""
    recording = Recording()
    batching = batched(recording, most_rows=1)
    long = Turn(attained_frames=PATIENT_AFTER_FRAMES)
    with ThreadPoolExecutor(3) as pool:
        calls = [pool.submit(ask, batching, 3000, long)]
        assert recording.began.wait(120)
        calls.append(pool.submit(ask, batching, 3001, long))
        wait_until(lambda: batching.load()[0] == 1)
        calls.append(pool.submit(ask, batching, 500))
        wait_until(lambda: recording.batches == [[3000], [500]])
        recording.go.set()
        for call in calls:
            call.result(120)
    assert long.attained_frames == PATIENT_AFTER_FRAMES + 6001


def test_a_request_that_nobody_wants_any_more_is_not_computed(batched: Callable[..., BatchingRuntime]) -> None:
    recording = Recording()
    batching = batched(recording)
    gone = CancelToken()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(ask, batching, 7)
        assert recording.began.wait(120)
        second = pool.submit(batching, torch.ones(1, 8, 3), torch.tensor([8]), gone)
        wait_until(lambda: batching.load()[0] == 1)
        gone.cancel()
        assert isinstance(second.exception(120), WorkCancelledError)  # while the first is still being computed
        assert batching.load()[0] == 0
        recording.go.set()
        first.result(120)
    assert recording.batches == [[7]]


def test_in_8_bits_nothing_depends_on_who_else_asks(
    tiny_bundle: Bundle, batched: Callable[..., BatchingRuntime]
) -> None:
    """Such a batch would share one scale, so there is none."""
    alone = OnnxRuntime(tiny_bundle.acoustic_model, int8=True, threads=1)
    told = list[Batch]()
    together = batched(alone, most_rows=8, on_batch=told.append)
    rows = [(10.0**index) * torch.randn(1, 40, 80) for index in range(6)]
    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(lambda row: together(row, torch.tensor([40])), rows))
    for row, (log_probs_BSV, _) in zip(rows, results, strict=True):
        assert torch.equal(log_probs_BSV, alone(row, torch.tensor([40]))[0])
    wait_until(lambda: len(told) == 6)
    assert {batch.rows for batch in told} == {1}


@pytest.fixture
def busy_house(monkeypatch: pytest.MonkeyPatch) -> House:
    """One processor, which computes something else as long as a test says so."""
    house = House(1)
    monkeypatch.setattr(batching_module, "HOUSE", house)
    monkeypatch.setattr(batching_module, "GATHER_S", 3600.0)
    return house


def test_requests_gather_while_all_processors_compute(
    batched: Callable[..., BatchingRuntime], busy_house: House
) -> None:
    recording = Recording()
    recording.go.set()
    batching = batched(recording)
    with ThreadPoolExecutor(2) as pool:
        with busy_house.compute():  # the search of somebody else
            calls = []
            for waiting, n_frames in enumerate((10, 12), 1):
                calls.append(pool.submit(ask, batching, n_frames))
                wait_until(lambda n=waiting: batching.load()[0] == n)  # type: ignore[misc]  # mypy has no type for it
            time.sleep(0.1)
            assert recording.batches == []
        for call in calls:
            call.result(120)
    assert recording.batches == [[10, 12]]
    wait_until(lambda: busy_house.computing == 0)


def test_a_full_batch_a_live_request_and_a_long_wait_go_at_once(
    batched: Callable[..., BatchingRuntime], busy_house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording = Recording()
    recording.go.set()
    batching = batched(recording, most_rows=2)
    with busy_house.compute(), ThreadPoolExecutor(2) as pool:
        for call in [pool.submit(ask, batching, n_frames) for n_frames in (10, 11)]:
            call.result(120)
        pool.submit(ask, batching, 12, Turn(Rank.LIVE)).result(120)
        monkeypatch.setattr(batching_module, "GATHER_S", 0.05)
        pool.submit(ask, batching, 13).result(120)
    assert [sorted(batch) for batch in recording.batches] == [[10, 11], [12], [13]]


def test_owners_are_served_in_turn(batched: Callable[..., BatchingRuntime]) -> None:
    recording = Recording()
    batching = batched(recording, most_rows=1)
    with ThreadPoolExecutor(5) as pool:
        calls = [pool.submit(ask, batching, 7)]
        assert recording.began.wait(120)
        for waiting, (owner, n_frames) in enumerate([("ann", 10), ("ann", 11), ("ann", 12), ("bob", 90)], 1):
            calls.append(pool.submit(ask, batching, n_frames, Turn(owner=owner)))
            wait_until(lambda n=waiting: batching.load()[0] == n)  # type: ignore[misc]  # mypy has no type for it
        recording.go.set()
        for call in calls:
            call.result(120)
    assert recording.batches == [[7], [10], [90], [11], [12]]


def test_options_out_of_range_are_named() -> None:
    for most_rows, at_once in ((0, 1), (1, 0)):
        with pytest.raises(OptionError, match="both must be at least 1"):
            BatchingRuntime(Recording(), most_rows=most_rows, at_once=at_once)
