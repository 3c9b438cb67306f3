"""Memory that training frees and asks for again in every step stays with the process.

glibc gives large blocks back to the system as soon as they are freed, and the system clears every page again when they
are next asked for. A training step asks for a gigabyte in blocks of some ten megabytes: on a CPU that costs a third of
its time (docs/experiments.md). Huge pages, where the system allows them, save most of the rest.
"""

import ctypes
import os
import sys

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4  # names and numbers of malloc.h
_TOP_PAD_BYTES = 256 << 20


def keep_freed_memory() -> bool:
    """Tell glibc to keep what is freed; call it before tensors are made. False where there is no glibc.

    Whatever the user has set in the environment (`GLIBC_TUNABLES`, `MALLOC_…`) is left as it is.
    """
    if sys.platform != "linux" or any(name in os.environ for name in ("GLIBC_TUNABLES", "MALLOC_MMAP_MAX_")):
        return False
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # read by torch at its first large allocation
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # another C library
        return False
    wanted = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1), (_M_TOP_PAD, _TOP_PAD_BYTES))
    return bool(sum(mallopt(parameter, value) for parameter, value in wanted) == len(wanted))
