"""One runtime for many callers: what they ask for at the same time is computed in one batch.

Shape legend: B batch, T feature frames, S output frames, F feature bins, V vocabulary.

An LSTM that reads eight rows at once reads its weights once for all of them, so a batch costs less than its rows one by
one. Callers stay as they are, each in its own thread, and wait; a few computing threads take the most urgent request
(`model.turns`) and those near to it in length, and hand every caller its own rows.

Nobody waits for a batch to fill up while a processor is idle. While all of them compute, be it other batches or the
search (`model.house`), a batch that began would only slow those down: so requests gather until one is done, a batch is
full, or the oldest has waited for `GATHER_S`.

Patient requests have computing threads of their own, which leave a processor to the others, and which the operating
system lets run where the others leave theirs idle. So a batch of long windows that has begun does not hold up the clip
that comes next.
"""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from model.cancellation import CancelToken
from model.errors import OptionError
from model.house import HOUSE
from model.runtime import Runtime
from model.runtime_names import RuntimeName
from model.turns import Claim, Rank, Rota, current_turn

# A row joins a batch only where it is at least this long beside the longest: below, the padding would cost more than
# the row by itself. ONNX Runtime takes 1.4 ms for a second of a batch and 2.9 ms for each row (docs/experiments.md).
LEAST_LENGTH_SHARE = 0.7

GATHER_S = 0.2  # so long at most; only while all processors compute for others whose work is urgent

PATIENT_NICE = 10  # a tenth of the processor where others want it, all of it where nobody does


@dataclass(frozen=True)
class Batch:
    """What was computed at once.

    Attributes:
        rows: how many.
        frames: feature frames of all rows, without padding.
        padded_frames: with it.
        waited_s: how long the oldest of them had waited, seconds.
        took_s: how long the network took, seconds.
    """

    rows: int
    frames: int
    padded_frames: int
    waited_s: float
    took_s: float


class BatchingRuntime:
    """Batches the calls of several threads; `close` ends the threads that compute.

    A runtime in 8 bits is given its requests one by one: it shares one scale for the activations of a batch, and an
    answer must not depend on who else asked.

    Args:
        runtime: what computes.
        most_rows: rows of the largest batch, unless one request alone has more.
        at_once: batches computed at the same time, each in a thread of its own; patient ones beside them, one less, but
            at least one.
        on_batch: told of every batch, from the thread that computed it.
    """

    def __init__(
        self,
        runtime: Runtime,
        *,
        most_rows: int = 8,
        at_once: int = 1,
        on_batch: Callable[[Batch], None] = lambda batch: None,
    ) -> None:
        if min(most_rows, at_once) < 1:
            raise OptionError(f"{most_rows} rows and {at_once} batches at once were asked for; both must be at least 1")
        self._runtime = runtime
        self._most_rows = 1 if runtime.name == "onnx-int8" else most_rows
        self._most_threads = {False: at_once, True: max(1, at_once - 1)}  # of the patient under True
        self._on_batch = on_batch
        self._waiting: list[_Request] = []
        self._rota = Rota()
        self._changed = HOUSE.changed  # what gathers looks up when somebody else has computed
        self._closed = False
        self._threads: dict[bool, list[threading.Thread]] = {False: [], True: []}

    @property
    def name(self) -> RuntimeName:
        """Which runtime it is that computes."""
        return self._runtime.name

    def __call__(
        self,
        features_BTF: Float[Tensor, "B T F"],
        lengths_B: Int[Tensor, " B"],
        cancelled: CancelToken | None = None,
    ) -> tuple[Float[Tensor, "B S V"], Int[Tensor, " B"]]:
        """See `Runtime`; raises what the runtime raises, in every caller whose rows were in that batch.

        Who cancels stops waiting; a batch that holds rows of others is finished all the same.
        """
        current_turn().rest(cancelled)
        request = _Request(features_BTF, lengths_B, cancelled)
        with self._changed:
            assert not self._closed, "the runtime is closed"
            self._waiting.append(request)
            self._staff(request.patient)
            self._changed.notify_all()
        try:
            request.claim.wait(cancelled)
        finally:
            with self._changed:
                if request in self._waiting:  # nobody wants it any more
                    self._waiting.remove(request)
        request.claim.turn.attain(int(lengths_B.sum()))
        if request.error is not None:
            raise request.error
        assert request.result is not None
        return request.result

    def load(self) -> tuple[int, float]:
        """How many requests wait, and for how many seconds the oldest does."""
        with self._changed:
            since_s = min((request.claim.since_s for request in self._waiting), default=None)
            return len(self._waiting), 0.0 if since_s is None else time.monotonic() - since_s

    def close(self) -> None:
        """Finish what waits, and end the threads."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in (*self._threads[False], *self._threads[True]):
            thread.join()

    def _staff(self, patient: bool) -> None:
        """Start one more thread of that kind, while there are fewer than may be."""
        threads = self._threads[patient]
        if len(threads) < self._most_threads[patient]:
            name = "network-patient" if patient else "network"
            threads.append(threading.Thread(target=self._serve, args=(patient,), name=name, daemon=True))
            threads[-1].start()

    def _serve(self, patient: bool) -> None:
        torch.set_num_threads(1)  # of this thread
        if patient:
            _be_nice()
        while True:
            with self._changed:
                while not self._closed and (seconds := self._to_gather_s(patient)) != 0:
                    self._changed.wait(seconds)
                taken = self._take(patient)
            if not taken:
                return
            with contextlib.nullcontext() if patient else HOUSE.compute():
                self._compute(taken)

    def _to_gather_s(self, patient: bool) -> float | None:
        """For how many seconds a batch of that kind is to gather still; None where none of that kind waits."""
        waiting = [request for request in self._waiting if request.patient == patient]
        if not waiting:
            return None
        idle = HOUSE.computing < HOUSE.n_processors
        full = sum(len(request.lengths_B) for request in waiting) >= self._most_rows
        live = any(request.claim.turn.rank == Rank.LIVE for request in waiting)
        if idle or full or live or patient or self._closed:
            return 0.0
        return max(0.0, min(request.claim.since_s for request in waiting) + GATHER_S - time.monotonic())

    def _take(self, patient: bool) -> "list[_Request]":
        """The most urgent request and those that may join it; none where none of that kind waits."""
        now_s = time.monotonic()
        waiting = [request for request in self._waiting if request.patient == patient]
        if not waiting:
            return []
        first = min(waiting, key=lambda request: self._rota.order(request.claim, now_s))
        self._rota.serve(first.claim, [request.claim for request in waiting])
        taken, n_rows = [first], len(first.lengths_B)
        shortest = longest = first.n_frames
        for request in sorted(waiting, key=lambda other: abs(other.n_frames - first.n_frames)):
            n_frames = request.n_frames
            fits = min(shortest, n_frames) >= LEAST_LENGTH_SHARE * max(longest, n_frames)
            if request is first or not fits or n_rows + len(request.lengths_B) > self._most_rows:
                continue
            taken.append(request)
            n_rows += len(request.lengths_B)
            shortest, longest = min(shortest, n_frames), max(longest, n_frames)
        self._waiting = [request for request in self._waiting if request not in taken]
        return taken

    @torch.inference_mode()
    def _compute(self, requests: "list[_Request]") -> None:
        began_s = time.monotonic()
        longest = max(request.n_frames for request in requests)
        try:
            padded = [nn.functional.pad(r.features_BTF, (0, 0, 0, longest - r.n_frames)) for r in requests]
            features_BTF = torch.cat(padded) if len(padded) > 1 else padded[0]
            cancelled = requests[0].cancelled if len(requests) == 1 else None
            log_probs_BSV, lengths_B = self._runtime(
                features_BTF, torch.cat([r.lengths_B for r in requests]), cancelled
            )
            rows = [len(request.lengths_B) for request in requests]
            for request, part_BSV, part_B in zip(
                requests, torch.split(log_probs_BSV, rows), torch.split(lengths_B, rows), strict=True
            ):
                # A copy: a view would keep the rows of all others in memory.
                request.result = part_BSV[:, : int(part_B.max())].clone(), part_B.clone()
        except Exception as error:
            for request in requests:
                request.error = error
        took_s = time.monotonic() - began_s
        for request in requests:
            request.claim.granted.set()
        self._on_batch(
            Batch(
                rows=sum(len(request.lengths_B) for request in requests),
                frames=sum(int(request.lengths_B.sum()) for request in requests),
                padded_frames=longest * sum(len(request.lengths_B) for request in requests),
                waited_s=began_s - min(request.claim.since_s for request in requests),
                took_s=took_s,
            )
        )


class _Request:
    def __init__(self, features_BTF: Tensor, lengths_B: Tensor, cancelled: CancelToken | None) -> None:
        self.features_BTF, self.lengths_B, self.cancelled = features_BTF, lengths_B, cancelled
        self.claim = Claim(current_turn())
        self.patient = self.claim.turn.patient  # which threads it is for stays as it is
        self.result: tuple[Tensor, Tensor] | None = None
        self.error: Exception | None = None

    @property
    def n_frames(self) -> int:
        return int(self.features_BTF.shape[1])


def _be_nice() -> None:
    """Let this thread give way to others; where the system has no such thing for a thread, it does not."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), PATIENT_NICE)
