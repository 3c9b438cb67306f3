"""A command that starts itself anew with glibc's setting: once, as the same process, and not against the user."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from model.allocation import TUNABLES, VARIABLE

ROOT = Path(__file__).resolve().parent.parent.parent

PROGRAM = """
import os, sys
from model.allocation import restart_with_kept_memory
print("start", os.getpid(), flush=True)
restart_with_kept_memory()
print(os.getpid(), sys.argv[1:], os.environ["GLIBC_TUNABLES"])
"""


def run(**environment: str) -> list[str]:
    plain = {name: value for name, value in os.environ.items() if name != "GLIBC_TUNABLES"}
    command = [sys.executable, "-c", PROGRAM, "a file", "--greedy"]
    return subprocess.run(
        command, env=plain | environment, check=True, capture_output=True, text=True, timeout=120
    ).stdout.splitlines()


@pytest.mark.skipif(sys.platform != "linux", reason="the setting is glibc's")
def test_it_starts_anew_once_with_the_same_arguments_and_process() -> None:
    first, second, end = run()
    assert first == second  # two starts of one process
    assert end == f"{first.split()[1]} ['a file', '--greedy'] {TUNABLES}"


def test_what_the_user_has_set_is_left_alone() -> None:
    start, end = run(GLIBC_TUNABLES="glibc.malloc.arena_max=2")
    assert end == f"{start.split()[1]} ['a file', '--greedy'] glibc.malloc.arena_max=2"


def test_the_image_has_it_from_the_start() -> None:
    assert f"ENV {VARIABLE}={TUNABLES}" in (ROOT / "Dockerfile").read_text().splitlines()
