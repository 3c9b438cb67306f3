"""Mutation fuzzing of what strangers send: audio files, multipart bodies, WebSocket frames.

Without coverage as a guide: what could break here are libsndfile, FFmpeg and parsers in C, whose wheels report none.
The seeds are valid, so that mutations reach what lies behind the first check.

A target takes bytes and returns what is wrong with the outcome, or nothing. `make prove-fuzz` runs them for minutes,
the suite for a fixed number of mutations.
"""

import base64
import contextlib
import logging
import os
import random
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from tempfile import TemporaryFile
from urllib.parse import urlsplit

import numpy as np
from fastapi import FastAPI
from starlette.routing import WebSocketRoute

from features.errors import AudioError
from features.limits import AudioLimits
from service.decoding.decoders import Decoders
from service.errors import UndecodableAudioError
from tests.features.encoders import CONTAINERS, silent_flac

Target = Callable[[bytes], str]  # what is wrong; empty where nothing is

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


def fuzz(name: str, target: Target, seeds: Sequence[bytes], seed: int, goes_on: Callable[[int], bool]) -> list[Finding]:
    """Send mutations while `goes_on(how many were sent)`; returns what went wrong."""
    random_ = random.Random(seed)
    findings, sent = list[Finding](), 0
    while goes_on(sent):
        data = mutated(seeds, random_)
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


# --- WebSocket frames ------------------------------------------------------------------------------------------------


def websocket_paths(app: FastAPI) -> list[str]:
    """The paths at which the application takes WebSockets."""
    return [route.path for route in app.routes if isinstance(route, WebSocketRoute)]


def frame(opcode: int, payload: bytes, *, final: bool = True) -> bytes:
    """A frame as a client sends it, masked with zeros (RFC 6455)."""
    length = len(payload)
    if length < 126:
        sizes = bytes([0x80 | length])
    else:
        sizes = b"\xfe" + struct.pack(">H", length) if length < 65_536 else b"\xff" + struct.pack(">Q", length)
    return bytes([final << 7 | opcode]) + sizes + bytes(4) + payload


def frame_seeds() -> list[bytes]:
    """Text, audio, fragments, pings and a close, as clients of both protocols send them."""
    audio = base64.b64encode(bytes(960))
    texts = [
        b'{"type":"session.update","session":{"type":"transcription","audio":{"input":{"format":{"type":"audio/pcm"}}}}}',
        b'{"type":"input_audio_buffer.append","audio":"' + audio + b'"}',
        b'{"type":"input_audio_buffer.commit"}',
        b'{"type":"start","sample_rate":16000}',
        b'{"type":"end"}',
    ]
    conversation = b"".join(frame(1, text) for text in texts)
    fragments = frame(1, texts[0][:20], final=False) + frame(9, b"ping") + frame(0, texts[0][20:])
    return [conversation, fragments, frame(2, bytes(3200)) * 3 + frame(8, b"\x03\xe8"), frame(2, b"") + frame(10, b"x")]


def frames_target(url: str, path: str) -> Target:
    """Sends the bytes after a good handshake, and hangs up; the server has to stay, and to complain about nothing."""
    key = base64.b64encode(os.urandom(16)).decode()
    handshake = (
        f"GET {path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ).encode()

    def send(frames: bytes) -> str:
        answer = exchanged(url, handshake, then=frames)
        if not answer.startswith((b"HTTP/1.1 101 ", b"HTTP/1.1 4")):
            return f"the handshake was answered {answer[:300]!r}"
        alive = exchanged(url, b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        return "" if alive.startswith(b"HTTP/1.1 200 ") else f"afterwards /healthz answered {alive[:300]!r}"

    return send


def exchanged(url: str, first: bytes, *, then: bytes = b"") -> bytes:
    """What the server answers to `first`; where something is to follow, only what comes before it, else to the end."""
    address = urlsplit(url)
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=ANSWER_S) as connection:
        received = b""
        with contextlib.suppress(ConnectionError, TimeoutError):
            connection.sendall(first)
            while data := connection.recv(65_536):
                received += data
                if then:
                    connection.sendall(then)
                    break
        return received
