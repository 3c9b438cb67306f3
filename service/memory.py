"""Keep the process's memory flat: few heaps, however many threads there are.

glibc gives threads heaps of their own, eight for each processor, and what one thread has freed serves no other. Work
that wanders over dozens of threads then grows each heap to its own peak. Two heaps are enough where most of the work
is done by a few computing threads.
"""

import contextlib
import ctypes
import sys

_M_TRIM_THRESHOLD, _M_ARENA_MAX = -1, -8  # <malloc.h>
MOST_HEAPS = 2
KEPT_BYTES = 64 * 1024 * 1024  # of freed memory at the top of a heap; fetching it anew costs more than keeping it


def keep_flat() -> None:
    """To be called before threads are started; where the C library is another one, nothing happens."""
    if sys.platform != "linux":
        return
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_ARENA_MAX, MOST_HEAPS)
        mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)
