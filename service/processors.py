"""How many processors a container may use: its limit is a share of time, which nothing else that counts them sees.

Source: Linux' documentation of control groups, admin-guide/cgroup-v2.rst (`cpu.max`) and scheduler/sched-bwc.rst.
"""

import math
from pathlib import Path

CONTROL_GROUPS = Path("/sys/fs/cgroup")


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
