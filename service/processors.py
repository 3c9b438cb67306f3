"""How many processors there are to compute with, and how much is computed on them at the same time.

A container's limit is a share of time, which nothing else that counts processors sees.

Source: Linux' documentation of control groups, admin-guide/cgroup-v2.rst (`cpu.max`) and scheduler/sched-bwc.rst.
"""

import math
from pathlib import Path

from model.house import processors

CONTROL_GROUPS = Path("/sys/fs/cgroup")
WORKERS_A_PROCESSOR = 2  # one decodes or waits for the search's turn while the other computes
FEWEST_WORKERS = 4


def usable_processors() -> int:
    """Processors of this process, or what its container's limit amounts to where that is less."""
    return min(processors(), processor_limit() or processors())


def default_workers() -> int:
    """Transcriptions that run at the same time where no setting says how many.

    More of them have no more throughput and keep the event loop waiting for Python's lock (docs/experiments.md).
    """
    return max(FEWEST_WORKERS, WORKERS_A_PROCESSOR * usable_processors())


def processor_limit(control_groups: Path = CONTROL_GROUPS) -> int | None:
    """Processors that the limit of this container amounts to, rounded up, at least 1; None without a limit.

    Threads beyond it would have the same time in more pieces: all of them stop as soon as the share is used up.

    Args:
        control_groups: where the kernel shows them; in a container, its own.
    """
    quota, period = _quota(control_groups)
    return max(1, math.ceil(quota / period)) if quota > 0 and period > 0 else None


def _quota(folder: Path) -> tuple[int, int]:
    """Microseconds of processor time in each period, and the period's; (0, 0) without a limit."""
    try:
        if (folder / "cpu.max").exists():  # version 2: "max 100000" or "150000 100000"
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota, period = ((folder / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return int(quota), int(period)
    except (OSError, ValueError):  # not Linux, no such controller, or "max"
        return 0, 0
