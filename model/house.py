"""Who is at work in this process, so that patient work makes room for urgent work.

A processor that computes for a long file cannot compute for a short clip, whatever the order of those who wait. So
where there are more at work than processors, patient work rests while urgent work is in the house, and goes on after a
while all the same, a little at a time: it is slowed down, not stopped. In the house is more than what computes: a clip
is decoded, waits for a batch and is searched in turn, and whatever began in between would be in its way.
"""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from model.cancellation import CancelToken, check

LINGER_S = 0.05  # urgent work counts for so long after it has left: clips come one after the other
REST_S = 0.25  # patient work rests so long at most,
WORK_S = 0.025  # and then works so long: a tenth of the time
ASK_S = 0.05  # how often who may be cancelled looks up while it rests


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


class House:
    """Counts who is at work, and who of the urgent ones computes at this moment. Safe between threads.

    Args:
        n_processors: what they share.
        clock: monotonic seconds.

    Attributes:
        changed: notified when an urgent one leaves, or no longer computes.
        computing: how many urgent ones compute.
        n_processors: as given.
    """

    def __init__(self, n_processors: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.changed = threading.Condition()
        self.computing = 0
        self.n_processors = n_processors
        self._clock = clock
        self._urgent = self._patient = 0
        self._left_s = float("-inf")  # when the last urgent one did

    def enter(self, *, patient: bool) -> None:
        """One more is at work."""
        with self.changed:
            self._count(patient, 1)

    def leave(self, *, patient: bool) -> None:
        """One is done."""
        with self.changed:
            self._count(patient, -1)

    def become_patient(self) -> None:
        """One that was urgent is so no longer."""
        with self.changed:
            self._count(False, -1)
            self._count(True, 1)

    @contextmanager
    def compute(self) -> Iterator[None]:
        """An urgent one computes meanwhile."""
        with self.changed:
            self.computing += 1
        try:
            yield
        finally:
            with self.changed:
                self.computing -= 1
                self.changed.notify_all()

    def is_crowded(self) -> bool:
        """Whether patient work is in the way of urgent work."""
        urgent = max(self._urgent, int(self._clock() < self._left_s + LINGER_S))
        return urgent > 0 and urgent + self._patient >= self.n_processors

    def rest(self, cancelled: CancelToken | None = None) -> None:
        """Wait until it is not crowded, at most `REST_S`.

        Raises:
            WorkCancelledError: `cancelled` was cancelled.
        """
        until_s = self._clock() + REST_S
        with self.changed:
            while self.is_crowded() and (left_s := until_s - self._clock()) > 0:
                check(cancelled)
                self.changed.wait(min(left_s, ASK_S))

    def _count(self, patient: bool, change: int) -> None:
        if patient:
            self._patient += change
            return
        self._urgent += change
        if change < 0:
            self._left_s = self._clock()
            self.changed.notify_all()


HOUSE = House(processors())  # a process has one, as it has its processors
