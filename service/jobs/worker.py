"""Takes jobs and transcribes them, keeps their leases alive, and hands them back when it is told to stop."""

import logging
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from features.errors import CepstraError
from model.cancellation import CancelToken
from model.transcript import Transcript
from service.errors import JobsUnavailableError, error_object, row_of
from service.jobs.leases import Lease, LeaseQueue
from service.jobs.loop import Loop
from service.jobs.retention import Retention
from service.recogniser import Progress
from service.schemas import TranscriptionOptions

logger = logging.getLogger("cepstra.jobs")

Recognise = Callable[[Path, TranscriptionOptions, Progress, CancelToken], Transcript]
"""Audio file, what is asked for, where to report the share of the work done, whether it is still wanted → transcript.

Raises anything, `model.errors.WorkCancelledError` for instance, once it is not wanted any more."""

POLL_S = 1.0  # how soon a job that another process took in is seen
MAX_BEAT_S = 2.0  # how old the progress that a client sees may be
BUSY_S = 2.0  # pause after the recogniser had no room
HANG_S = 3.0  # how long abandoned attempts may take to notice


class _Attempt:
    """An attempt that is going on.

    Attributes:
        lease: under which.
        progress: 0..1.
        lost: cancelled once its result is not wanted any more.
    """

    def __init__(self, lease: Lease) -> None:
        self.lease = lease
        self.progress = 0.0
        self.lost = CancelToken()

    def report(self, progress: float) -> None:
        self.progress = progress


class Worker:
    """Works on jobs in threads of its own.

    Args:
        queue: where they come from.
        audio_path: job → file.
        recognise: what is done with them.
        retention: told of every end.
        slots: how many at the same time.
        on_end: called when a job has ended, so that its message is sent without delay.
    """

    def __init__(
        self,
        queue: LeaseQueue,
        audio_path: Callable[[str], Path],
        recognise: Recognise,
        retention: Retention,
        *,
        slots: int,
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        self._queue = queue
        self._audio_path = audio_path
        self._recognise = recognise
        self._retention = retention
        self._on_end = on_end
        self._going: set[_Attempt] = set()
        self._lock = threading.Lock()
        self._draining = threading.Event()
        self._given_up = threading.Event()
        self._runners = [Loop(f"job-{number}", self._step, POLL_S) for number in range(slots)]
        self._heart = Loop("job-heartbeat", self._beat, min(queue.lease_s / 4, MAX_BEAT_S))

    def start(self) -> None:
        """Begin to take jobs."""
        for loop in (self._heart, *self._runners):
            loop.start()

    def wake(self) -> None:
        """There is a job."""
        for runner in self._runners:
            runner.wake()

    def abandon(self, job_id: str) -> None:
        """The job was cancelled: if it is worked on here, stop."""
        with self._lock:
            lost = [attempt for attempt in self._going if attempt.lease.job_id == job_id]
        for attempt in lost:
            attempt.lost.cancel()

    def drain(self) -> None:
        """Take no more jobs; those that run go on."""
        self._draining.set()
        for runner in self._runners:
            runner.stop()

    def stop(self, grace_s: float) -> None:
        """Let what runs finish within `grace_s`, and hand the rest back to others."""
        self.drain()
        deadline_s = time.monotonic() + grace_s
        if not all(runner.join(max(0.0, deadline_s - time.monotonic())) for runner in self._runners):
            self._give_up()
        self._heart.stop()
        deadline_s = time.monotonic() + HANG_S
        for loop in (*self._runners, self._heart):
            loop.join(max(0.0, deadline_s - time.monotonic()))

    def _give_up(self) -> None:
        self._given_up.set()
        with self._lock:
            left = list(self._going)
        for attempt in left:
            attempt.lost.cancel()
            # From here, not from its thread, which may need longer to notice than there is time.
            self._note(partial(self._queue.hand_back, attempt.lease))
            logger.info("%s was handed back at %.0f %%", attempt.lease.job_id, 100 * attempt.progress)

    def _step(self) -> bool:
        if self._draining.is_set() or not self._queue.database.exists:
            return False
        lease = self._queue.claim()
        if lease is None:
            return False
        if self._draining.is_set():  # it was told so while it was asking
            self._queue.hand_back(lease)
            return False
        attempt = _Attempt(lease)
        with self._lock:
            self._going.add(attempt)
        try:
            self._run(attempt)
        finally:
            with self._lock:
                self._going.discard(attempt)
        return True

    def _run(self, attempt: _Attempt) -> None:
        lease = attempt.lease
        started_s = time.monotonic()
        try:
            transcript = self._recognise(self._audio_path(lease.job_id), lease.options, attempt.report, attempt.lost)
        except Exception as error:
            if not attempt.lost.is_cancelled:
                self._failed(lease, error)
            return
        if self._note(lambda: self._queue.complete(lease, transcript)):
            self._ended(lease)
            logger.info("%s is done after %.1f s", lease.job_id, time.monotonic() - started_s)

    def _failed(self, lease: Lease, error: Exception) -> None:
        status = row_of(error).status if isinstance(error, CepstraError) else 500
        if status in (429, 503):  # no fault of the job's: there is no room, or no model yet
            self._note(lambda: self._queue.hand_back(lease, BUSY_S))
            return
        # Also logs what must not be shown.
        shown = error_object(error)["error"]
        assert isinstance(shown, dict)
        logger.info("%s failed in attempt %d: %s", lease.job_id, lease.attempt, shown["code"])
        if status < 500 or self._queue.is_last(lease):  # the audio's fault would be its fault again
            if self._note(lambda: self._queue.fail(lease, shown)):
                self._ended(lease)
        else:
            self._note(lambda: self._queue.retry(lease, 2.0 ** min(lease.attempt, 10)))

    def _ended(self, lease: Lease) -> None:
        self._on_end()
        self._retention.ended(lease.job_id)

    def _note(self, write: Callable[[], bool]) -> bool:
        """Write what has become of a job, however long the database is away: the work is not to be lost.

        Returns:
            Whether it was written; not where the lease was lost, or this worker has to end.
        """
        pause_s = 0.2
        while True:
            try:
                return write()
            except JobsUnavailableError:
                if self._given_up.wait(pause_s):
                    return False
                pause_s = min(2 * pause_s, 5.0)

    def _beat(self) -> bool:
        with self._lock:
            held = {attempt.lease: attempt.progress for attempt in self._going}
        if held:
            lost = self._queue.renew(held)
            with self._lock:
                late = [attempt for attempt in self._going if attempt.lease in lost]
            for attempt in late:  # not by the job's name: a second attempt at it may go on here by now
                attempt.lost.cancel()
        return False
