"""Waiting for what another thread or process does."""

import threading
from collections.abc import Callable

import pytest


def wait_until(condition: Callable[[], bool], limit_s: float = 60.0) -> None:
    """Wait until it holds; a limit only so that a failure is one."""
    pause = threading.Event()
    for _ in range(round(limit_s / 0.02)):
        if condition():
            return
        pause.wait(0.02)
    pytest.fail(f"did not happen within {limit_s:g} s")
