"""The parent of all decoding processes: `python -m service.decoding.parent JOBS SPARES`, started by the server.

Loads the codecs once and then forks: a process is there within a few milliseconds, shares the parent's memory, and is
used for one upload only, so that nothing of one upload is there for the next. The parent itself never sees an upload.
It ends when its standard input does, that is, with the server, whatever that dies of.
"""

import gc
import os
import select
import signal
import socket
import struct
import sys
import time

from features.audio import decode_audio
from service.decoding import child
from service.decoding.confinement import isolate

PID_BYTES = 4
MISCARRIED_PAUSE_S = 0.2  # after a process that ended without a job: forking as fast as possible would help nobody


def main(jobs_descriptor: int, spares: int) -> None:
    """Keep `spares` processes waiting for jobs until standard input ends."""
    jobs = socket.socket(fileno=jobs_descriptor)
    _use_every_library()
    isolated = isolate()
    for signal_ in (signal.SIGINT, signal.SIGTERM):  # meant for the server, which ends this process in its own time
        signal.signal(signal_, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    awake, wake = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(awake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    taken, take = os.pipe()
    gc.freeze()  # what is here stays shared with the children

    idle: set[int] = set()
    while True:
        while len(idle) < spares:
            if pid := os.fork():
                idle.add(pid)
            else:
                _become_child(jobs, take, isolated)
        readable, _, _ = select.select([sys.stdin.fileno(), taken, awake], [], [])
        if sys.stdin.fileno() in readable:
            break
        if taken in readable:
            idle.discard(int.from_bytes(os.read(taken, PID_BYTES), "little"))
        if awake in readable:
            os.read(awake, 4096)
            if _reap(idle):
                time.sleep(MISCARRIED_PAUSE_S)
    for pid in idle:
        os.kill(pid, signal.SIGKILL)


def _become_child(jobs: socket.socket, take: int, isolated: list[str]) -> None:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):  # codecs write what they think about a file to standard error
        os.dup2(nowhere, stream)
    child.run(jobs, take, isolated)


def _reap(idle: set[int]) -> bool:
    """Take note of the children that have ended; True where one did so before it had a job."""
    miscarried = False
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return miscarried
        if pid == 0:
            return miscarried
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) != signal.SIGKILL:  # that one is the server's own way
            name = signal.Signals(os.WTERMSIG(status)).name
            print(f"a decoding process died of {name}", file=sys.stderr, flush=True)
        if pid in idle:
            idle.discard(pid)
            miscarried = True


def _use_every_library() -> None:
    """Decode a moment of silence through libsndfile and through FFmpeg: what is loaded late could not be later on."""
    rate_hz, n_samples = 8_000, 800
    for data_bytes in (2 * n_samples, 0xFFFF_FFFF):  # the second one does not know its length, which FFmpeg reads
        form = struct.pack("<HHIIHH", 1, 1, rate_hz, 2 * rate_hz, 2, 16)
        header = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", data_bytes)
        riff = b"RIFF" + struct.pack("<I", min(len(header) + data_bytes, 0xFFFF_FFFF)) + header
        decode_audio(riff + bytes(2 * n_samples))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
