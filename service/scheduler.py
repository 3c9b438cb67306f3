"""Who may work, and when: a bounded waiting line in front of worker threads. Model work never runs on the event loop.

    live          speech as it is spoken, in small pieces: runs at once
    interactive   somebody waits for the answer: at most `workers` run, `max_waiting` more wait, one more is refused
    background    durable jobs: at most `background_workers` run; how many may wait is their owner's business

Who is still sending an upload has a place in the line once it lies on disk, so that what lies in /tmp is bounded as the
line is. Jobs that are being sent are as many at most, and are counted by themselves. Of smaller uploads, which are in
memory, `SENDERS_A_PLACE` times as many may be on their way.

Running means having a thread; the processor is shared by `model.turns`. A request that turns out to be long becomes
patient there and gives its place back here, so that long files never keep all places from short clips. Keys get free
places in turn: who sends many requests at once waits behind them himself.
"""

import asyncio
import contextvars
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar, cast

from model.turns import Rank, taking
from service.errors import QueueFullError
from service.scheduled import Job
from service.waiting_line import WaitingLine

T = TypeVar("T")
MAX_LIVE_THREADS = 64
SENDING_S = 10  # until some of the uploads that are on their way are there
SENDERS_A_PLACE = 4  # uploads that may be on their way for every place, of all and of a key with a limit


@dataclass(frozen=True, eq=False)
class Place:
    """Room for work whose upload is still to come.

    Attributes:
        rank: of the work.
        key: who sends it.
        hold: keep the room from here on, since what has come lies on disk; raises QueueFullError where there is none.
    """

    rank: Rank
    key: str | None
    hold: Callable[[], None]


@dataclass(frozen=True)
class Load:
    """What the scheduler has to do at one moment.

    Attributes:
        waiting: jobs without a thread, by rank.
        running: jobs with one, by rank.
        oldest_s: how long the oldest that waits has waited, seconds; 0 where none does.
    """

    waiting: dict[Rank, int]
    running: dict[Rank, int]
    oldest_s: float


class Scheduler:
    """Gives jobs threads.

    Args:
        workers: interactive jobs that run at once, those that have become patient not counted.
        max_waiting: interactive jobs that may wait for a place, those that are still being sent among them.
        background_workers: background jobs that run at once.
        max_per_key: interactive jobs of a key without a limit of its own, running and waiting, and all that it sends;
            None for no limit.
    """

    def __init__(
        self, workers: int, max_waiting: int, *, background_workers: int = 1, max_per_key: int | None = None
    ) -> None:
        self._places = {Rank.LIVE: MAX_LIVE_THREADS, Rank.INTERACTIVE: workers, Rank.BACKGROUND: background_workers}
        self._max_in_house = workers + max_waiting
        self._max_waiting = max_waiting
        self._max_per_key = max_per_key
        n_threads = MAX_LIVE_THREADS + self._max_in_house + background_workers
        self._pool = ThreadPoolExecutor(n_threads, thread_name_prefix="transcribe")
        self._lock = threading.Lock()
        self._waiting: dict[Rank, WaitingLine[Job[Any]]] = {rank: WaitingLine() for rank in Rank}
        self._runs: dict[Job[Any], Callable[[], None]] = {}  # of those that wait
        self._running: dict[Rank, set[Job[Any]]] = {rank: set() for rank in Rank}
        self._patient: set[Job[Any]] = set()  # of the running ones, those that have given their place back
        self._sending: set[Place] = set()
        self._reserved: set[Place] = set()  # those of them that are held
        self._of_key: Counter[str] = Counter()
        self._typical_s = 1.0

    @contextmanager
    def reserve(
        self, key: str | None = None, max_of_key: int | None = None, *, rank: Rank = Rank.INTERACTIVE
    ) -> Iterator[Place]:
        """A place for an upload that comes: once it is held, to the end of the `with`, or until `submit` is given it.

        What is small, or comes slowly, is not counted before all of it is there; otherwise a few clients who send a
        byte now and then could have all the places.

        Args:
            key: who sends it.
            max_of_key: the key's own limit, in place of `max_per_key`.
            rank: of the work to come; INTERACTIVE, or BACKGROUND for a durable job.

        Raises:
            QueueFullError: one more could not wait; there is no need to read the upload.
        """

        def hold() -> None:
            with self._lock:
                if place not in self._reserved:
                    self._check_room(rank, key, max_of_key)
                    self._reserved.add(place)
                    if key is not None:
                        self._of_key[key] += 1

        place = Place(rank, key, hold)
        with self._lock:
            self._check_room(rank, key, max_of_key)
            self._check_senders(key, max_of_key)
            self._sending.add(place)
        try:
            yield place
        finally:
            with self._lock:
                self._sending.discard(place)
                self._give_up(place)

    def submit(
        self,
        work: Callable[[Job[T]], T],
        *,
        priority: Rank = Rank.INTERACTIVE,
        key: str | None = None,
        max_of_key: int | None = None,
        place: Place | None = None,
        release: Callable[[], None] = lambda: None,
    ) -> Job[T]:
        """Queue `work`, which is given its job: to report progress to, and to ask whether it is still wanted.

        Args:
            work: runs in a thread, in which the model's work is done with the job's turn.
            priority: its class.
            key: who sent it.
            max_of_key: the key's own limit, in place of `max_per_key`.
            place: of this work, which takes it over; if it is held, the work is not refused.
            release: called exactly once when the job has ended in any way, also where it never ran; from any thread.

        Raises:
            QueueFullError: it is interactive, and too many are waiting, or of that key; `release` has been called.
        """
        job: Job[T] = Job(priority, key)
        job.turn.on_patient = lambda: self._give_place_back(job)

        # The thread goes on with what is known of the request: its id for the log, its trace.
        context = contextvars.copy_context()

        def run() -> None:
            if not job.future.set_running_or_notify_cancel():
                return
            started_s = time.monotonic()
            result, error = None, None
            try:
                job.cancelled.check()
                with taking(job.turn):
                    result = work(job)
                self._learn(priority, time.monotonic() - started_s)
            except BaseException as raised:
                error = raised
            self._ended(job, release)  # before anybody hears of it, who may then count on the place being free
            if error is not None:
                job.future.set_exception(error)
            else:
                job.future.set_result(cast(T, result))

        try:
            with self._lock:
                if place is not None and place in self._reserved:
                    self._give_up(place)
                elif priority == Rank.INTERACTIVE:
                    self._check_room(priority, key, max_of_key)
                if key is not None:
                    self._of_key[key] += 1
                self._waiting[priority].add(job, key)
                self._runs[job] = partial(context.run, run)
        except QueueFullError:
            release()
            raise
        job.future.add_done_callback(lambda future: self._ended(job, release) if future.cancelled() else None)
        self._start()
        return job

    async def run(self, work: Callable[[], T], *, priority: Rank = Rank.LIVE) -> T:
        """Run `work` in a thread and wait for it; for pieces of a second or so, such as those of a live stream."""
        job = self.submit(lambda _: work(), priority=priority)
        try:
            return await job.finished
        finally:
            job.abandon()

    def load(self) -> Load:
        """What there is to do now."""
        with self._lock:
            waiting = {rank: len(line) for rank, line in self._waiting.items()}
            running = {rank: len(jobs) for rank, jobs in self._running.items()}
            since_s = min((job.submitted_s for job in self._runs), default=None)
        return Load(waiting, running, 0.0 if since_s is None else time.monotonic() - since_s)

    async def close(self) -> None:
        """Abandon what is left and wait for the threads to end."""
        with self._lock:
            jobs = [job for jobs in self._running.values() for job in jobs]
            jobs += self._runs
        for job in jobs:
            job.abandon()
        await asyncio.to_thread(self._pool.shutdown)

    def _check_room(self, rank: Rank, key: str | None, max_of_key: int | None) -> None:
        in_house = sum(place.rank == rank for place in self._reserved)
        if rank == Rank.INTERACTIVE:
            in_house += len(self._waiting[rank]) + len(self._running[rank])
        workers = self._places[Rank.INTERACTIVE]
        # A place is free as soon as one of those that run has ended.
        retry_after_s = min(60, max(1, round(self._typical_s / workers)))
        if in_house >= self._max_in_house:
            if rank == Rank.INTERACTIVE:
                what = f"{max(0, in_house - workers)} requests are waiting, as many as may"
            else:
                what = f"{in_house} jobs are being sent, as many as may be beside {workers} workers"
            raise QueueFullError(
                f"{what} (CEPSTRA_MAX_WAITING={self._max_waiting}). Try again in {retry_after_s} s.",
                retry_after_s=retry_after_s,
            )
        limit = max_of_key or self._max_per_key
        if key is not None and limit is not None and self._of_key[key] >= limit:
            whose = "its own limit" if max_of_key else "CEPSTRA_MAX_PER_KEY"
            raise QueueFullError(
                f"{limit} requests of the key '{key}' are in work already ({whose}); wait until one of them "
                "is answered.",
                code="concurrency_limit",
                retry_after_s=min(60, max(1, round(self._typical_s))),
            )

    def _check_senders(self, key: str | None, max_of_key: int | None) -> None:
        limit = max_of_key or self._max_per_key
        of_key = sum(place.key == key for place in self._sending)
        beyond_key = key is not None and limit is not None and of_key >= SENDERS_A_PLACE * limit
        if beyond_key or len(self._sending) >= SENDERS_A_PLACE * self._max_in_house:
            raise QueueFullError(
                f"{of_key if beyond_key else len(self._sending)} uploads are being sent, as many as may. Try again in "
                f"{SENDING_S} s.",
                code="concurrency_limit" if beyond_key else "queue_full",
                retry_after_s=SENDING_S,
            )

    def _give_up(self, place: Place) -> None:
        if place in self._reserved:
            self._reserved.discard(place)
            self._forget(place.key)

    def _forget(self, key: str | None) -> None:
        if key is not None:
            self._of_key[key] -= 1
            self._of_key += Counter()  # forgets those at zero

    def _start(self) -> None:
        """Give free places to those who wait."""
        with self._lock:
            for rank, line in self._waiting.items():
                while line and len(self._running[rank] - self._patient) < self._places[rank]:
                    job = line.pop()
                    self._running[rank].add(job)
                    self._pool.submit(self._runs.pop(job))

    def _give_place_back(self, job: Job[Any]) -> None:
        if job.turn.rank == Rank.INTERACTIVE:
            with self._lock:
                self._patient.add(job)
            self._start()

    def _ended(self, job: Job[Any], release: Callable[[], None]) -> None:
        with self._lock:
            rank = job.turn.rank
            self._running[rank].discard(job)
            self._patient.discard(job)
            self._waiting[rank].remove(job)
            self._runs.pop(job, None)
            self._forget(job.key)
        release()
        self._start()

    def _learn(self, rank: Rank, took_s: float) -> None:
        if rank == Rank.INTERACTIVE:
            with self._lock:
                self._typical_s += 0.2 * (took_s - self._typical_s)
