"""A decoding process: takes one job, confines itself, decodes, and ends.

It also ends where the server is gone: while it waits because no more jobs can come, later because nobody takes samples.
"""

import json
import os
import socket
from typing import NoReturn

from features.audio import open_audio
from features.errors import AudioError
from service.decoding.confinement import confine
from service.decoding.messages import (
    BEGUN,
    END,
    FAILED,
    MAX_JOB_BYTES,
    MAX_TEXT_BYTES,
    REFUSED,
    SAMPLES,
    TAKEN,
    Job,
    answer,
)

SLICE_SAMPLES = 65_536  # sent at a time


def run(jobs: socket.socket, taken: int, isolated: list[str]) -> NoReturn:
    """Wait for a job, do it, and end the process.

    Args:
        jobs: where jobs come from; shared with the other idle processes.
        taken: a pipe to the parent, told as soon as a job is taken, so that it can make the next process.
        isolated: what the parent has given up for its children.
    """
    status = 1
    try:
        data, descriptors, _, _ = socket.recv_fds(jobs, MAX_JOB_BYTES, 2)
        if data and len(descriptors) == 2:
            os.write(taken, os.getpid().to_bytes(4, "little"))
            for descriptor in (jobs.detach(), taken):
                os.close(descriptor)
            _work(Job.from_bytes(data), descriptors[0], socket.socket(fileno=descriptors[1]), isolated)
        status = 0
    except OSError:  # the server has hung up: nobody wants the samples
        status = 0
    finally:
        os._exit(status)  # without the interpreter's end, which would run what the parent has registered


def _work(job: Job, upload: int, answers: socket.socket, isolated: list[str]) -> None:
    # Before anything is given up: who may open no file may not send one either, as long as another is on its way.
    socket.send_fds(answers, [answer(TAKEN)], _handle_of_itself())
    confined = isolated + confine(job.memory_bytes, job.cpu_s)
    answers.sendall(answer(BEGUN, json.dumps({"pid": os.getpid(), "confined": confined}).encode()))
    # From here on the bytes of a stranger are looked at.
    try:
        with open_audio(upload, job.limits) as blocks:
            for block_N in blocks:
                for start in range(0, len(block_N), SLICE_SAMPLES):
                    samples = block_N[start : start + SLICE_SAMPLES].tobytes()
                    answers.sendall(answer(SAMPLES, samples, blocks.share_read, blocks.duration_s))
    except OSError as error:
        if isinstance(error, ConnectionError):
            raise
        answers.sendall(_error(FAILED, error))
    except AudioError as error:
        answers.sendall(_error(REFUSED, error))
    except Exception as error:
        answers.sendall(_error(FAILED, error))
    else:
        answers.sendall(answer(END))


def _handle_of_itself() -> list[int]:
    """A descriptor by which the server can end this process and no other one that has got its number since."""
    try:
        return [os.pidfd_open(os.getpid())]
    except (AttributeError, OSError):  # not Linux, or not allowed
        return []


def _error(kind: bytes, error: Exception) -> bytes:
    message = str(error).encode(errors="replace")[: MAX_TEXT_BYTES // 8].decode(errors="replace")
    return answer(kind, json.dumps([type(error).__name__, message]).encode())
