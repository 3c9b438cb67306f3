"""What a decoding process cannot do any more, tried from inside one."""

import platform
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from service.decoding.confinement import AUDIT_ARCH, BPF_IF_BITS, BPF_IF_EQUAL, seccomp_program

ROOT = Path(__file__).resolve().parents[3]

TRY_EVERYTHING = """
import ctypes, mmap, os, socket, subprocess, sys
import numpy
from service.decoding.confinement import confine
ours, theirs = socket.socketpair()
reached = confine(64 << 20, 60)
attempts = {
    "open a file": lambda: open("/etc/passwd"),
    "write a file": lambda: open("stolen", "w"),
    "list a folder": lambda: os.listdir("/"),
    "make a socket": lambda: socket.socket(),
    "connect": lambda: ours.connect("/run/x"),
    "start a process": lambda: os.fork(),
    "run a program": lambda: os.execv("/bin/true", ["true"]),
    "signal another process": lambda: os.kill(os.getppid(), 0),
    "executable memory": lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC),
    "much memory": lambda: numpy.ones(100 << 20, numpy.uint8),
}
print(",".join(reached))
for name, attempt in attempts.items():
    try:
        attempt()
    except (OSError, MemoryError) as error:
        print(name, "|", type(error).__name__)
    else:
        print(name, "| done")
print("some memory |", len(numpy.ones(10 << 20, numpy.uint8)))
ours.sendall(b"x")
print("a socket that was there |", os.read(theirs.fileno(), 1))
sys.stdout.flush()
os._exit(0)
"""


@pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in AUDIT_ARCH, reason="seccomp is Linux's, on two architectures"
)
def test_a_confined_process_can_compute_and_answer_and_nothing_else() -> None:
    done = subprocess.run(
        [sys.executable, "-c", TRY_EVERYTHING], cwd=ROOT, capture_output=True, text=True, timeout=250, check=True
    )
    reached, *results = done.stdout.splitlines()
    assert "seccomp" in reached.split(",")
    outcome = dict(line.split(" | ") for line in results)
    assert outcome.pop("some memory") == str(10 << 20)
    assert outcome.pop("a socket that was there") == "b'x'"
    assert outcome.pop("much memory") == "MemoryError"
    assert len(outcome) == 9
    assert set(outcome.values()) <= {"PermissionError", "OSError"}, outcome


@pytest.mark.parametrize("machine", AUDIT_ARCH)
def test_every_jump_of_the_filter_lands_inside_it(machine: str) -> None:
    """The kernel checks this too, for the architecture that it runs on."""
    program = seccomp_program(machine)
    instructions = [struct.unpack_from("<HBBI", program, at) for at in range(0, len(program), 8)]
    for at, (code, if_true, if_false, _) in enumerate(instructions):
        if code in (BPF_IF_EQUAL, BPF_IF_BITS):
            assert at + 1 + max(if_true, if_false) < len(instructions)
