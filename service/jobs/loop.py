"""A thread that does the same step again and again, and goes on whatever a step raises."""

import logging
import threading
from collections.abc import Callable

from service.errors import JobsUnavailableError

logger = logging.getLogger("cepstra.jobs")

MAX_PAUSE_S = 5.0


class Loop:
    """One such thread.

    Args:
        name: of the thread.
        step: does one thing; returns whether there may be more to do at once.
        idle_s: pause where there is not, seconds; up to MAX_PAUSE_S while steps fail.
    """

    def __init__(self, name: str, step: Callable[[], bool], idle_s: float) -> None:
        self._step = step
        self._idle_s = idle_s
        self._wake = threading.Event()
        self._stopping = threading.Event()
        # A daemon, so that a step that hangs does not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wake(self) -> None:
        """There is something to do: end the pause."""
        self._wake.set()

    def stop(self) -> None:
        """No step is begun any more."""
        self._stopping.set()
        self._wake.set()

    def join(self, timeout_s: float) -> bool:
        """Wait for the end of the last step; whether it came within `timeout_s`. A loop not started has ended."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            self._wake.clear()  # before the step, so that what comes in during it is not missed
            more = False
            try:
                more = self._step()
                failures = 0
            except JobsUnavailableError as error:
                failures += 1
                logger.log(logging.WARNING if failures == 1 else logging.DEBUG, "%s: %s", self._thread.name, error)
            except Exception:
                failures += 1
                logger.exception("%s failed; it goes on", self._thread.name)
            if not more and not self._stopping.is_set():
                self._wake.wait(max(self._idle_s, min(self._idle_s * 2.0**failures, MAX_PAUSE_S)))
