"""A bounded waiting line in front of a few worker threads: model work never runs on the event loop."""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, TypeVar

from fastapi import Request

from service.errors import ClientGoneError, QueueFullError

T = TypeVar("T")
Progress = Callable[[float], None]


class WorkAbandonedError(Exception):
    """Ends the work of a job whose client has gone; raised inside it, at its next report of progress."""


class Job(Generic[T]):
    """One piece of work: waiting, running, or done. Belongs to the event loop; only `report` is called elsewhere.

    Attributes:
        finished: its result, as the event loop sees it.
        progress: share of the work done, 0..1.
    """

    def __init__(self) -> None:
        self.finished: asyncio.Future[T]
        self.progress = 0.0
        self._abandoned = threading.Event()

    def abandon(self) -> None:
        """Nobody wants the result: leave the line, or stop at the next report of progress."""
        self._abandoned.set()
        self.finished.cancel()

    def report(self, progress: float) -> None:
        """Called by the work as it goes on; raises WorkAbandonedError once nobody wants it."""
        if self._abandoned.is_set():
            raise WorkAbandonedError
        self.progress = progress

    async def finished_within(self, seconds: float) -> bool:
        """Wait for the end, at most `seconds`."""
        done, _ = await asyncio.wait({self.finished}, timeout=seconds)
        return bool(done)

    async def result_for(self, request: Request) -> T:
        """The result, or its exception; a client that hangs up meanwhile abandons the work.

        Raises:
            ClientGoneError: it hung up.
        """
        gone = asyncio.create_task(_disconnected(request))
        try:
            either: set[asyncio.Future[Any]] = {self.finished, gone}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not self.finished.done():
                raise ClientGoneError("The client closed the connection before the transcript was there.")
            return self.finished.result()
        finally:
            gone.cancel()
            self.abandon()  # does nothing to what is finished


class Scheduler:
    """Runs at most `workers` jobs at once and lets at most `max_waiting` more wait."""

    def __init__(self, workers: int, max_waiting: int) -> None:
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="transcribe")
        self._workers = workers
        self._max_waiting = max_waiting
        self._jobs: set[Job[Any]] = set()
        self._lock = threading.Lock()
        self._typical_s = 1.0

    def check_room(self) -> None:
        """Raise QueueFullError where one more job could not wait; spares reading an upload for nothing."""
        with self._lock:
            waiting = len(self._jobs) - self._workers
            if waiting >= self._max_waiting:
                # A place is free as soon as any running job ends.
                retry_after_s = min(60, max(1, round(self._typical_s)))
                raise QueueFullError(
                    f"{max(0, waiting)} requests are waiting, as many as may (CEPSTRA_MAX_WAITING="
                    f"{self._max_waiting}). Try again in {retry_after_s} s.",
                    retry_after_s=retry_after_s,
                )

    def submit(self, work: Callable[[Progress], T], release: Callable[[], None] = lambda: None) -> Job[T]:
        """Queue `work`, which is given a function to report its progress to.

        Args:
            work: runs in a worker thread.
            release: called exactly once when the job has ended in any way, also where it never ran.

        Raises:
            QueueFullError: too many are waiting already; `release` has been called.
        """
        try:
            self.check_room()
        except QueueFullError:
            release()
            raise
        job: Job[T] = Job()

        def timed() -> T:
            started_s = time.monotonic()
            job.report(0.0)
            try:
                return work(job.report)
            finally:
                with self._lock:
                    self._typical_s += 0.2 * (time.monotonic() - started_s - self._typical_s)

        def ended(_: Future[T]) -> None:
            with self._lock:
                self._jobs.discard(job)
            release()

        with self._lock:
            self._jobs.add(job)
        future = self._pool.submit(timed)
        future.add_done_callback(ended)
        job.finished = asyncio.wrap_future(future)
        return job

    async def close(self) -> None:
        """Abandon what is left and wait for the workers to end."""
        with self._lock:
            jobs = list(self._jobs)
        for job in jobs:
            job.abandon()
        await asyncio.to_thread(self._pool.shutdown)


async def _disconnected(request: Request) -> None:
    """Returns when the client has hung up; only to be awaited once the body has been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
