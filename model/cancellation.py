"""Work that is under way, and stops because nobody wants its result any more."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from model.errors import WorkCancelledError


class CancelToken:
    """Handed to work when it begins, and cancelled from anywhere, at any time, as often as one likes.

    The work asks between its steps (`check`); who waits for something that asks nobody is woken by `calling`.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._callbacks: list[Callable[[], None]] = []
        self._cancelled = False

    def cancel(self) -> None:
        """From now on `check` raises; what was registered by `calling` is called, in this thread."""
        with self._lock:
            self._cancelled = True
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()

    @property
    def is_cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._cancelled

    def check(self) -> None:
        """Go on, or not.

        Raises:
            WorkCancelledError: the token was cancelled.
        """
        if self._cancelled:
            raise WorkCancelledError("the work was cancelled before it was done")

    @contextmanager
    def calling(self, callback: Callable[[], None]) -> Iterator[None]:
        """While the block runs, `cancel` calls `callback`, which must be quick and raise nothing.

        If the token was cancelled before, the callback comes at once.
        """
        with self._lock:
            registered = not self._cancelled
            if registered:
                self._callbacks.append(callback)
        if not registered:
            callback()
        try:
            yield
        finally:
            with self._lock:
                if callback in self._callbacks:
                    self._callbacks.remove(callback)


def check(token: CancelToken | None) -> None:
    """`token.check()`, where there is one."""
    if token is not None:
        token.check()
