"""What the server and a decoding process say to each other.

A job goes to whichever process is free: one datagram of JSON with two file descriptors, the upload's and that of the
socket for answers. Answers are a header each and what it announces:

    taken      a descriptor of the process itself comes with it, where the kernel has such
    begun      JSON {"pid", "confined"}: from here on the upload is looked at
    samples    float32, mono, 16 kHz
    end        nothing
    refused    JSON [name of an AudioError, message]
    failed     JSON [name of any other exception, message]
"""

import json
import math
import socket
import struct
import sys
from dataclasses import asdict, dataclass

from features.limits import AudioLimits

# Datagrams, so that a job is taken by one process whole. Only Linux tells a reader that the other end is gone.
JOB_SOCKET = socket.SOCK_SEQPACKET if sys.platform == "linux" else socket.SOCK_DGRAM
MAX_JOB_BYTES = 4096

HEADER = struct.Struct("<cfdI")  # kind, share of the file read, claimed seconds (NaN: none), bytes that follow
TAKEN, BEGUN, SAMPLES, END, REFUSED, FAILED = b"t", b"b", b"s", b"e", b"r", b"f"
MAX_TEXT_BYTES = 16 * 1024
MAX_SAMPLES_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True)
class Budget:
    """What decoding one upload may take of the machine.

    Attributes:
        memory_bytes: address space beyond what the decoder has before it sees the upload.
        cpu_s: seconds of processor time.
        stall_s: seconds without a sample, while one is waited for.
    """

    memory_bytes: int
    cpu_s: int
    stall_s: float


@dataclass(frozen=True)
class Job:
    """What a decoding process is told about an upload, beside its bytes."""

    limits: AudioLimits
    memory_bytes: int
    cpu_s: int

    def to_bytes(self) -> bytes:
        """The job's datagram."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> "Job":
        """The job that `to_bytes` wrote."""
        fields = json.loads(data)
        return cls(AudioLimits(**fields["limits"]), fields["memory_bytes"], fields["cpu_s"])


def answer(kind: bytes, payload: bytes = b"", share: float = 0.0, claimed_s: float | None = None) -> bytes:
    """One answer, header and payload."""
    return HEADER.pack(kind, share, math.nan if claimed_s is None else claimed_s, len(payload)) + payload
