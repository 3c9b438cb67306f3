"""One runtime for many callers: what they ask for at the same time is computed in one batch.

Shape legend: B batch, T feature frames, S output frames, F feature bins, V vocabulary.

An LSTM that reads eight rows at once reads its weights once for all of them, so a batch costs far less than its rows
one by one. Callers stay as they are, each in its own thread: one of those that wait takes the oldest request and those
nearest to it in length, computes them together, and hands every caller its own rows. Nobody waits for a batch to fill
up: it holds what came while the one before was computed.
"""

import threading
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from model.cancellation import CancelToken, check
from model.errors import OptionError
from model.runtime import Runtime
from model.runtime_names import RuntimeName

ASK_S = 0.05  # how often a caller that may be cancelled looks up while it waits


class BatchingRuntime:
    """Batches the calls of several threads.

    Args:
        runtime: what computes.
        most_rows: rows of the largest batch, unless one request alone has more.
        at_once: batches computed at the same time, each in a thread of its own.
    """

    def __init__(self, runtime: Runtime, *, most_rows: int = 8, at_once: int = 1) -> None:
        if min(most_rows, at_once) < 1:
            raise OptionError(f"{most_rows} rows and {at_once} batches at once were asked for; both must be at least 1")
        self._runtime = runtime
        self._most_rows = most_rows
        self._waiting: list[_Request] = []
        self._lock = threading.Lock()
        self._places = threading.Semaphore(at_once)

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

        Who cancels stops waiting; a batch that holds rows of others, or was begun for them, is finished all the same.
        """
        request = _Request(features_BTF, lengths_B, cancelled)
        with self._lock:
            self._waiting.append(request)
        while not request.finished.is_set():
            if not self._places.acquire(timeout=None if cancelled is None else ASK_S):
                self._ask(request)
                continue
            try:
                # Not necessarily with the request of this thread, which may have come too late for this batch.
                taken = [] if request.finished.is_set() else self._take()
                self._compute(taken)
            finally:
                self._places.release()
            while not taken and not request.finished.wait(None if cancelled is None else ASK_S):
                self._ask(request)  # another thread computes it
        check(cancelled)
        if request.error is not None:
            raise request.error
        assert request.result is not None
        return request.result

    def _ask(self, request: "_Request") -> None:
        """Leave the line if the request was cancelled."""
        if request.cancelled is not None and request.cancelled.is_cancelled:
            with self._lock:
                self._waiting = [other for other in self._waiting if other is not request]
            request.cancelled.check()

    def _take(self) -> "list[_Request]":
        with self._lock:
            if not self._waiting:
                return []
            oldest = self._waiting[0]
            taken: list[_Request] = []
            n_rows = 0
            for request in sorted(self._waiting, key=lambda other: abs(other.n_frames - oldest.n_frames)):
                if taken and n_rows + len(request.lengths_B) > self._most_rows:
                    break
                taken.append(request)
                n_rows += len(request.lengths_B)
            self._waiting = [request for request in self._waiting if request not in taken]
            return taken

    def _compute(self, requests: "list[_Request]") -> None:
        if not requests:
            return
        longest = max(request.n_frames for request in requests)
        try:
            padded = [nn.functional.pad(r.features_BTF, (0, 0, 0, longest - r.n_frames)) for r in requests]
            rows_B = torch.cat([r.lengths_B for r in requests])
            if len(requests) == 1 and requests[0].cancelled is not None:
                log_probs_BSV, lengths_B = self._runtime(torch.cat(padded), rows_B, requests[0].cancelled)
            else:
                log_probs_BSV, lengths_B = self._runtime(torch.cat(padded), rows_B)
            rows = [len(request.lengths_B) for request in requests]
            for request, part_BSV, part_B in zip(
                requests, torch.split(log_probs_BSV, rows), torch.split(lengths_B, rows), strict=True
            ):
                request.result = part_BSV[:, : int(part_B.max())], part_B
        except Exception as error:
            for request in requests:
                request.error = error
        finally:
            for request in requests:
                request.finished.set()


@dataclass(eq=False)
class _Request:
    features_BTF: Tensor
    lengths_B: Tensor
    cancelled: CancelToken | None = None
    finished: threading.Event = field(default_factory=threading.Event)
    result: tuple[Tensor, Tensor] | None = None
    error: Exception | None = None

    @property
    def n_frames(self) -> int:
        return int(self.features_BTF.shape[1])
