"""The server's end: an open upload goes in, a stream of decoded samples comes out. No codec runs in this process."""

import contextlib
import json
import logging
import math
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from features import errors as audio_errors
from features.audio import SAMPLE_RATE_HZ
from features.errors import AudioError
from features.limits import CLAIM_SLACK_S, AudioLimits
from service.decoding.messages import (
    BEGUN,
    END,
    FAILED,
    HEADER,
    JOB_SOCKET,
    MAX_SAMPLES_BYTES,
    MAX_TEXT_BYTES,
    REFUSED,
    SAMPLES,
    TAKEN,
    Budget,
    Job,
)
from service.errors import DecoderUnavailableError, UndecodableAudioError

logger = logging.getLogger("cepstra.decoding")

SPARES = 2  # processes that wait for a job; one more is made whenever a job is taken
START_S = 30.0  # until a process has taken a job: a moment, but for the start and for a machine on its knees
TICK_S = 0.05  # how often somebody who waits is asked whether he still wants the answer

MiB = 1024 * 1024
DEFAULT_BUDGET = Budget(memory_bytes=128 * MiB, cpu_s=600, stall_s=30.0)

REFUSALS: dict[str, type[AudioError]] = {
    name: kind for name, kind in vars(audio_errors).items() if isinstance(kind, type) and issubclass(kind, AudioError)
}


class Decoders:
    """Decodes uploads in other processes. Safe between threads.

    Started by the first upload or by `start`; whoever makes one closes it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._parent: subprocess.Popen[bytes] | None = None
        self._jobs: socket.socket | None = None
        self._described = False

    def start(self) -> None:
        """Begin to load the codecs, in the background."""
        self._jobs_socket()

    def close(self) -> None:
        """End all processes; an upload that is being decoded fails."""
        with self._lock:
            self._end()

    @contextlib.contextmanager
    def open(
        self,
        file: BinaryIO,
        limits: AudioLimits,
        budget: Budget = DEFAULT_BUDGET,
        *,
        while_waiting: Callable[[], None] = lambda: None,
    ) -> Iterator["DecodedStream"]:
        """Decode `file` in a process of its own, `with` that process alive.

        Args:
            file: a real file, open for reading; its position plays no part and stays.
            limits: what of the audio is refused.
            budget: what decoding may take of the machine.
            while_waiting: called every 0.05 s while samples are waited for; what it raises ends the decoding.

        Raises:
            DecoderUnavailableError: there is no process to decode, through no fault of the upload. What the upload is
                to blame for is raised while iterating.
        """
        stream = self._opened(file, limits, budget, while_waiting)
        try:
            yield stream
        finally:
            stream.close()

    def _opened(
        self, file: BinaryIO, limits: AudioLimits, budget: Budget, while_waiting: Callable[[], None]
    ) -> "DecodedStream":
        job = Job(limits, budget.memory_bytes, budget.cpu_s).to_bytes()
        for _ in range(2):  # where the parent has died since the last upload, a new one is asked
            upload = _read_only(file)
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
            stream = DecodedStream(ours, limits, budget, while_waiting)
            jobs = None
            try:
                jobs = self._jobs_socket()
                socket.send_fds(jobs, [job], [upload, theirs.fileno()])
                theirs.close()
                confined = stream.begin()
            except (OSError, UndecodableAudioError) as error:
                stream.close()
                logger.error("the decoding processes do not answer and are started anew: %r", error)
                with self._lock:
                    if self._jobs is jobs:  # otherwise somebody else has started them anew meanwhile
                        self._end()
            except BaseException:
                stream.close()
                raise
            else:
                if not self._described:
                    self._described = True
                    logger.info("uploads are decoded in processes of their own: %s", ", ".join(confined) or "rlimits")
                return stream
            finally:
                theirs.close()
                os.close(upload)
        raise DecoderUnavailableError(
            "Audio cannot be decoded at the moment; try again in a few seconds.", retry_after_s=5
        )

    def _jobs_socket(self) -> socket.socket:
        """Where jobs are sent; starts the parent where there is none."""
        with self._lock:
            if self._parent is not None and self._parent.poll() is not None:
                self._end()
            if self._jobs is None:
                ours, theirs = socket.socketpair(socket.AF_UNIX, JOB_SOCKET)
                with theirs:
                    self._parent = _start_parent(theirs)
                self._jobs = ours
            return self._jobs

    def _end(self) -> None:
        if self._parent is not None:
            assert self._parent.stdin
            self._parent.stdin.close()
            try:
                self._parent.wait(2)
            except subprocess.TimeoutExpired:
                self._parent.kill()
                self._parent.wait()
        if self._jobs is not None:
            self._jobs.close()
        self._parent = self._jobs = None


class DecodedStream:
    """A `features.audio_stream.AudioStream` whose samples come from another process.

    What comes is checked: a process that a file has taken over can send wrong samples, and nothing else.
    """

    def __init__(
        self, answers: socket.socket, limits: AudioLimits, budget: Budget, while_waiting: Callable[[], None]
    ) -> None:
        answers.settimeout(TICK_S)
        self._answers = answers
        self._budget = budget
        self._while_waiting = while_waiting
        self._most_samples = math.inf
        if limits.max_duration_s is not None:
            self._most_samples = (limits.max_duration_s + CLAIM_SLACK_S) * SAMPLE_RATE_HZ
        self._process: int | None = None  # a descriptor of it
        self._ended = False
        self.duration_s: float | None = None
        self.share_read = 0.0

    def begin(self) -> list[str]:
        """Wait until a process has taken the job; returns what it has given up."""
        deadline = time.monotonic() + START_S
        self._answers.settimeout(START_S)
        header, descriptors, _, _ = socket.recv_fds(self._answers, HEADER.size, 1)
        if descriptors:
            self._process = descriptors[0]
        self._answers.settimeout(TICK_S)
        header += self._bytes(HEADER.size - len(header), deadline)
        taken, _, _, nothing = HEADER.unpack(header)
        kind, _, _, count = HEADER.unpack(self._bytes(HEADER.size, deadline))
        if (taken, nothing, kind) != (TAKEN, 0, BEGUN) or count > MAX_TEXT_BYTES:
            raise self._undecodable(f"it began with {count} bytes of {kind!r}")
        begun = self._json(self._bytes(count, deadline))
        if self._process is None:
            with contextlib.suppress(AttributeError, OSError):
                self._process = os.pidfd_open(begun["pid"])
        return [str(word) for word in begun["confined"]]

    def __iter__(self) -> Iterator[np.ndarray]:
        """Blocks of mono float32 at 16 kHz.

        Raises:
            features.errors.AudioError: as decoding here would have raised it.
            UndecodableAudioError: the process died, or took too much time or memory.
        """
        n_samples = 0
        while True:
            deadline = time.monotonic() + self._budget.stall_s
            kind, share, claimed_s, count = HEADER.unpack(self._bytes(HEADER.size, deadline))
            if kind == SAMPLES and count <= MAX_SAMPLES_BYTES and count % 4 == 0:
                block_N = np.frombuffer(self._bytes(count, deadline), np.float32)
                n_samples += len(block_N)
                if not np.isfinite(block_N).all() or n_samples > self._most_samples:
                    raise self._undecodable("its samples are not what a decoder gives")
                self.share_read = min(1.0, max(0.0, share)) if math.isfinite(share) else 0.0
                self.duration_s = claimed_s if math.isfinite(claimed_s) and claimed_s >= 0 else None
                yield block_N
            elif kind == END:
                self._ended = True
                self.share_read = 1.0
                return
            elif kind in (REFUSED, FAILED) and count <= MAX_TEXT_BYTES:
                self._ended = True
                raise self._error(kind, self._bytes(count, deadline))
            else:
                raise self._undecodable(f"it sent {count} bytes of {kind!r}")

    def close(self) -> None:
        """Hang up, and end the process where it has not ended by itself."""
        self._answers.close()
        if self._process is not None:
            if not self._ended:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    signal.pidfd_send_signal(self._process, signal.SIGKILL)
            os.close(self._process)
            self._process = None

    def _bytes(self, count: int, deadline: float) -> bytearray:
        """Exactly `count` bytes of what the process sends."""
        received = bytearray(count)
        rest = memoryview(received)
        while rest:
            try:
                n = self._answers.recv_into(rest)
            except TimeoutError:
                self._while_waiting()
                if time.monotonic() > deadline:
                    raise self._undecodable("it does not answer") from None
                continue
            if n == 0:
                raise self._undecodable("it died")
            rest = rest[n:]
        return received

    def _json(self, text: bytearray) -> Any:
        try:
            return json.loads(text)
        except ValueError:
            raise self._undecodable("what it says cannot be read") from None

    def _error(self, kind: bytes, text: bytearray) -> Exception:
        said = self._json(text)
        if kind == REFUSED and isinstance(said, list) and len(said) == 2 and said[0] in REFUSALS:
            return REFUSALS[said[0]](str(said[1]))
        return self._undecodable(f"it says {said!r}")

    def _undecodable(self, why: str) -> UndecodableAudioError:
        logger.warning("a decoding process gave up: %s", why)
        budget = self._budget
        return UndecodableAudioError(
            "The audio could not be decoded, so the file is probably damaged: the decoder died, or needed more than "
            f"{budget.memory_bytes} bytes of memory (CEPSTRA_DECODER_MEMORY_BYTES), {budget.cpu_s} s of processor time "
            f"(CEPSTRA_DECODER_CPU_S) or {budget.stall_s:g} s for the next samples (CEPSTRA_DECODER_STALL_S)."
        )


def _read_only(file: BinaryIO) -> int:
    """A descriptor of the same file that can only be read, with a position of its own."""
    descriptor = file.fileno()
    file.flush()
    try:
        return os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:  # no /proc
        copy = os.dup(descriptor)
        os.lseek(copy, 0, os.SEEK_SET)
        return copy


def _start_parent(jobs: socket.socket) -> "subprocess.Popen[bytes]":
    # Nothing of this process's environment, which may hold keys. One thread for numpy: with more, nobody should fork.
    environment = {"PYTHONPATH": str(Path(__file__).resolve().parents[2]), "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "service.decoding.parent", str(jobs.fileno()), str(SPARES)],
        stdin=subprocess.PIPE,
        pass_fds=[jobs.fileno()],
        env=environment,
        start_new_session=True,  # Ctrl+C is the server's
    )
