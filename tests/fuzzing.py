"""Mutation fuzzing of what strangers send: audio files and multipart bodies; WebSockets in `fuzzing_sockets`.

Without coverage as a guide: what could break here are libsndfile, FFmpeg and parsers in C, whose wheels report none.
The seeds are valid, so that mutations reach what lies behind the first check.

A target takes bytes and returns what is wrong with the outcome, or nothing. `make prove-fuzz` runs them for minutes,
the suite for a fixed number of mutations.
"""

import contextlib
import logging
import random
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from tempfile import TemporaryFile
from urllib.parse import urlsplit

import numpy as np

from features.errors import AudioError
from features.limits import AudioLimits
from service.decoding.decoders import Decoders
from service.errors import UndecodableAudioError
from tests.features.encoders import CONTAINERS, silent_flac

Target = Callable[[bytes], str]  # what is wrong; empty where nothing is
Mutation = Callable[[random.Random], bytes]  # the next input

SOUND_N = (0.1 * np.random.default_rng(0).standard_normal(8_000)).astype(np.float32)
INTERESTING = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF)
ANSWER_S = 60.0  # nothing that is sent here takes longer, also on a busy machine


@dataclass(frozen=True)
class Finding:
    """One input that went wrong.

    Attributes:
        target: name of what it was sent to.
        data: the bytes.
        problem: what happened.
    """

    target: str
    data: bytes
    problem: str


def mutated(seeds: Sequence[bytes], random_: random.Random) -> bytes:
    """One of the seeds with one to eight changes; half of them near the beginning, where headers are."""
    data = bytearray(random_.choice(seeds))
    for _ in range(random_.randint(1, 8)):
        reach = min(len(data), random_.choice((64, 1024, 1 << 30)))
        at = random_.randrange(reach) if reach else 0
        length = random_.choice((1, 2, 4, 16, 200))
        match random_.randrange(7):
            case 0:
                data[at : at + 1] = bytes([random_.randrange(256)])
            case 1:
                order, form = random_.choice("<>"), random_.choice("BHI")
                value = random_.choice(INTERESTING) & (1 << 8 * struct.calcsize(form)) - 1
                data[at : at + struct.calcsize(form)] = struct.pack(order + form, value)
            case 2:
                del data[at : at + length]
            case 3:
                data[at:at] = random_.randbytes(length)
            case 4:
                data[at:at] = data[at : at + length] * random_.randint(1, 20)
            case 5:
                other = random_.choice(seeds)
                start = random_.randrange(len(other) + 1)
                data[at : at + length] = other[start : start + length]
            case 6:
                del data[random_.randrange(len(data) + 1) :]
    return bytes(data)


def mutations_of(seeds: Sequence[bytes]) -> Mutation:
    """Mutations of the bytes of these."""
    return partial(mutated, seeds)


def fuzz(name: str, target: Target, mutation: Mutation, seed: int, goes_on: Callable[[int], bool]) -> list[Finding]:
    """Send mutations while `goes_on(how many were sent)`; returns what went wrong."""
    random_ = random.Random(seed)
    findings, sent = list[Finding](), 0
    while goes_on(sent):
        data = mutation(random_)
        if problem := target(data):
            findings.append(Finding(name, data, problem))
        sent += 1
    print(f"{name}: {sent} mutations, {len(findings)} went wrong", flush=True)
    return findings


@contextlib.contextmanager
def errors_logged() -> Iterator[list[str]]:
    """What the server complains about meanwhile: an error in its log is a finding, whatever was answered."""
    complaints: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            complaints.append(self.format(record))

    listener = Listener(logging.ERROR)
    logging.getLogger().addHandler(listener)
    try:
        yield complaints
    finally:
        logging.getLogger().removeHandler(listener)


# --- decoding --------------------------------------------------------------------------------------------------------


def audio_seeds() -> list[bytes]:
    """A short file of every container."""
    return [*(encode(SOUND_N) for encode in CONTAINERS.values()), silent_flac(2, header_tells=False, channels=2)]


def decoding_target(decoders: Decoders) -> Target:
    """Decodes as the server does; samples and typed errors are right, a decoder that dies is not."""
    limits = AudioLimits(max_duration_s=60, max_decoded_bytes=100_000_000)

    def decode(data: bytes) -> str:
        with TemporaryFile() as file:
            file.write(data)
            try:
                with decoders.open(file, limits) as stream:
                    seconds = sum(map(len, stream)) / 16_000
            except UndecodableAudioError as error:
                return f"the decoder died, hung or failed: {error}"
            except AudioError:
                return ""
            return "" if 0 < seconds <= 60.1 else f"{seconds} s"

    return decode


# --- multipart -------------------------------------------------------------------------------------------------------


def form_seeds() -> list[bytes]:
    """Bodies of the transcription form, boundary `b`: the usual one, with many fields, with odd headers."""
    audio = CONTAINERS["flac"](SOUND_N)
    file = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.flac"\r\n\r\n' + audio + b"\r\n"
    model = b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\ndefault\r\n'
    field = b'--b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n'
    fields = [(b"language", b"en"), (b"temperature", b"0.5"), (b"response_format", b"verbose_json"), (b"prompt", b"x")]
    fields += [(b"timestamp_granularities[]", b"word"), (b"include[]", b"logprobs"), (b"stream", b"true")]
    many = b"".join(field % pair for pair in fields)
    odd = b"--b\r\nContent-Disposition: form-data; name*=utf-8''model\r\nContent-Type: text/plain; charset=utf-16\r\n"
    odd += b"\r\nd\r\n"
    return [model + file + b"--b--\r\n", many + model + file + b"--b--\r\n", odd + file + b"--b--\r\n"]


def form_target(url: str, path: str = "/v1/audio/transcriptions") -> Target:
    """Posts the bytes as a body; every answer below 500 is right, and that there is one."""

    def post(body: bytes) -> str:
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}\r\n"
        answer = exchanged(url, f"{head}Content-Type: multipart/form-data; boundary=b\r\n\r\n".encode() + body)
        status = answer[9:12]
        return "" if answer.startswith(b"HTTP/1.1 ") and status[:1] in b"24" else f"answered {answer[:300]!r}"

    return post


def connected(url: str) -> socket.socket:
    """A connection to the server."""
    address = urlsplit(url)
    return socket.create_connection((address.hostname or "", address.port or 0), timeout=ANSWER_S)


def exchanged(url: str, request: bytes) -> bytes:
    """All that the server answers."""
    received = b""
    with connected(url) as connection, contextlib.suppress(ConnectionError, TimeoutError):
        connection.sendall(request)
        while data := connection.recv(65_536):
            received += data
    return received
