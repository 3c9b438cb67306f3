"""A process in which the search need not wait for glibc's allocator.

The search makes some hundred small objects in every frame, the states of the language model, and frees them all at the
end of a stretch. Of every size glibc keeps seven freed pieces at hand for each thread; the others go through lists that
all threads share, which took more than a third of the search's time (docs/experiments.md). How many are kept is read
from the environment once, when a process starts, so the command is started anew with it: the same process id, and a
tenth of a second. Source: glibc's manual, "Memory Allocation Tunables".
"""

import os
import sys

VARIABLE = "GLIBC_TUNABLES"
KEPT = 100  # freed pieces of each size and thread, some 3 MB a thread at most; with 20 000 a server grew to gigabytes
TUNABLES = f"glibc.malloc.tcache_count={KEPT}"


def restart_with_kept_memory() -> None:
    """Start this command anew with `TUNABLES` in the environment; to be called before anything is read or written.

    Nothing happens where tunables are set already, by an earlier call or by the user, and where there is no glibc.
    """
    if VARIABLE in os.environ or not _has_glibc() or not sys.executable:
        return
    os.environ[VARIABLE] = TUNABLES
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _has_glibc() -> bool:
    if sys.platform != "linux":
        return False
    try:
        return (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc")
    except (OSError, ValueError):  # another C library
        return False
