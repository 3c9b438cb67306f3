"""Mutation fuzzing of WebSockets, at three depths: the handshake, the frames, and the messages in good frames.

Bytes that were mutated seldom come as far as a handler: most break a frame or the JSON in it. So messages are mutated
as what they mean, a value here and a name there, and framed as they should be.
"""

import base64
import copy
import json
import random
import struct
from collections.abc import Iterator
from typing import Any

from tests.fuzzing import ANSWER_S, Target, connected, exchanged

QUERIES = {"/v1/realtime": "intent=transcription", "/v1/stream": "rate=16000"}  # with which a path lets one in
QUIET_S = 0.3  # after which a server that was sent broken frames says nothing more

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
CLOSE_INTERNAL = 1011


def websocket_paths(router: Any) -> list[str]:
    """The paths at which an application takes WebSockets; FastAPI nests included routers."""
    paths: list[str] = []
    for route in router.routes:
        if nested := getattr(route, "original_router", None):
            paths += websocket_paths(nested)
        elif not hasattr(route, "methods"):
            paths.append(route.path)
    return sorted(paths)


# --- what is sent ----------------------------------------------------------------------------------------------------


def handshake(path: str, query: str, *headers: str) -> bytes:
    """A request that opens a WebSocket."""
    lines = (
        f"GET {path}?{query} HTTP/1.1",
        "Host: x",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
        *headers,
    )
    return "\r\n".join((*lines, "", "")).encode()


def handshake_seeds() -> list[bytes]:
    """With everything that a query and the headers may say."""
    key = "Sec-WebSocket-Protocol: realtime, openai-insecure-api-key.abc"
    stream = "rate=8000&encoding=mulaw&model=default&session=st_abc&seq=0"
    return [
        handshake("/v1/stream", stream, "Authorization: Bearer abc"),
        handshake("/v1/stream", "rate=16000", "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"),
        handshake("/v1/realtime", "intent=transcription&model=whisper-1", key, "Origin: http://x"),
    ]


def frame(opcode: int, payload: bytes, *, final: bool = True) -> bytes:
    """A frame as a client sends it, masked with zeros (RFC 6455)."""
    length = len(payload)
    if length < 126:
        sizes = bytes([0x80 | length])
    else:
        sizes = b"\xfe" + struct.pack(">H", length) if length < 65_536 else b"\xff" + struct.pack(">Q", length)
    return bytes([final << 7 | opcode]) + sizes + bytes(4) + payload


SPEECH = base64.b64encode(b"\x00\x20" * 12_000).decode()  # half a second at 24 kHz
SILENCE = base64.b64encode(bytes(24_000)).decode()
LOGPROBS = "item.input_audio_transcription.logprobs"
INPUT = {
    "format": {"type": "audio/pcm", "rate": 24_000},
    "noise_reduction": {"type": "near_field"},
    "transcription": {"model": "whisper-1", "language": "en", "languages": ["en"], "prompt": "x"},
    "turn_detection": {"type": "server_vad", "threshold": 0.5, "prefix_padding_ms": 300, "silence_duration_ms": 500},
}
BETA = {
    "input_audio_format": "g711_ulaw",
    "input_audio_transcription": {"model": "whisper-1", "language": "en"},
    "input_audio_noise_reduction": None,
    "turn_detection": None,
    "include": [LOGPROBS],
}
EVENTS: list[dict[str, Any]] = [
    {"type": "session.update", "session": {"type": "transcription", "audio": {"input": INPUT}, "include": [LOGPROBS]}},
    {"type": "session.update", "session": {"type": "transcription", "audio": {"input": {"turn_detection": None}}}},
    {"type": "transcription_session.update", "session": BETA},
    {"type": "input_audio_buffer.append", "audio": SPEECH, "event_id": "mine"},
    {"type": "input_audio_buffer.append", "audio": SILENCE},
    {"type": "input_audio_buffer.commit"},
    {"type": "input_audio_buffer.clear"},
    {"type": "end"},
]
ODD: tuple[Any, ...] = (
    *(None, True, 0, -1, 3, 0.5, 1e308, float("nan"), float("inf"), 10**400, 1 << 63),
    *("", "en", "default", "server_vad", "audio/pcma", "g711_alaw", "\ud800", "\x00", "x" * 5_000, SPEECH, SPEECH[:-3]),
    *([], {}, [[]], ["en"], {"type": {}}, [None, {}, "x"], {"": {"": []}}),
)
# Answered with an error that names it, or with the end of the stream.
LAST = b'{"type":"no such event","event_id":"last"}'
LAST_ANSWER = b'"event_id":"last"'
NESTED = '{"type":' + "[" * 20_000 + "]" * 20_000 + "}"  # deeper than Python's stack


def mutated_event(random_: random.Random) -> str:
    """One of the events as JSON, as it is or with up to four of its values or names changed."""
    event = copy.deepcopy(random_.choice(EVENTS))
    for _ in range(random_.choice((0, 0, 1, 1, 2, 4))):
        holder, key = random_.choice(list(_places(event)))
        match random_.randrange(5):
            case 0 | 1:
                holder[key] = copy.deepcopy(random_.choice(ODD))
            case 2:
                del holder[key]
            case 3:
                other, place = random_.choice(list(_places(random_.choice(EVENTS))))
                holder[key] = copy.deepcopy(other[place])
            case 4 if isinstance(holder, dict):
                holder[random_.choice(("type", "session", "audio", "extra", ""))] = holder.pop(key)
        if not event:
            break
    return json.dumps(event)


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key or index) below a JSON value."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])


def mutated_messages(random_: random.Random) -> bytes:
    """A conversation of one to eight messages, each well framed, and `LAST`.

    No close at its end: uvicorn reads that together with the rest, and tells the handlers that the client is gone.
    """
    frames = []
    for _ in range(random_.randint(1, 8)):
        match random_.randrange(8):
            case 0:
                data = bytes([random_.randrange(256)]) * random_.choice((0, 1, 2, 3, 3_200, 70_001))
                frames.append(frame(BINARY, data))
            case 1:
                text = random_.choice(("", "{", "null", "[1]", '"end"', NESTED, "1" * 5_000, "\ufeff{}"))
                frames.append(frame(TEXT, text.encode()))
            case 2:  # in two fragments, a ping between them
                event = mutated_event(random_).encode()
                cut = random_.randrange(len(event))
                frames += [frame(TEXT, event[:cut], final=False), frame(PING, b"?"), frame(0, event[cut:])]
            case _:
                frames.append(frame(TEXT, mutated_event(random_).encode()))
    return b"".join((*frames, frame(TEXT, LAST)))


def frame_seeds() -> list[bytes]:
    """Conversations as clients of both protocols have them: text, audio, fragments, pings and a close."""
    texts = [json.dumps(event).encode() for event in EVENTS]
    fragments = frame(TEXT, texts[0][:20], final=False) + frame(PING, b"ping") + frame(0, texts[0][20:])
    return [
        b"".join(frame(TEXT, text) for text in (texts[0], texts[3], texts[4], texts[5])),
        fragments + frame(TEXT, texts[6]),
        frame(BINARY, bytes(3200)) * 3 + frame(TEXT, b'{"type":"end"}'),
        frame(BINARY, b"") + frame(PONG, b"x") + frame(CLOSE, b"\x03\xe8"),
    ]


# --- where it is sent ------------------------------------------------------------------------------------------------


def handshake_target(url: str) -> Target:
    """Sends the bytes; what is answered, if anything, is a WebSocket or a refusal."""

    def send(request: bytes) -> str:
        answer, _ = _talked(url, request, frame(CLOSE, b"\x03\xe8"), opening_s=QUIET_S, rest_s=QUIET_S)
        if answer and not answer.startswith((b"HTTP/1.1 101 ", b"HTTP/1.1 2", b"HTTP/1.1 4")):
            return f"answered {answer[:300]!r}"
        return _alive(url)

    return send


def frames_target(url: str, path: str) -> Target:
    """Sends the bytes after a good handshake; the server may close, but not because of a fault of its own."""
    return _socket_target(url, path, QUIET_S)


def messages_target(url: str, path: str) -> Target:
    """The same with `mutated_messages`, whose last one has to be answered."""
    return _socket_target(url, path, ANSWER_S, LAST_ANSWER)


def _socket_target(url: str, path: str, rest_s: float, last: bytes = b"") -> Target:
    opening = handshake(path, QUERIES[path])

    def send(frames: bytes) -> str:
        answer, ended = _talked(url, opening, frames, opening_s=ANSWER_S, rest_s=rest_s, last=last)
        head, _, rest = answer.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 101 "):
            return f"the handshake was answered {answer[:300]!r}"
        if CLOSE_INTERNAL in closings(rest):
            return f"closed as the server's own fault: {rest[-300:]!r}"
        if last and not ended:
            return f"not answered within {ANSWER_S:g} s: {rest[-300:]!r}"
        return _alive(url)

    return send


def closings(data: bytes) -> list[int]:
    """The codes of the close frames in what a server has sent."""
    codes, at = list[int](), 0
    while len(data) >= at + 2:
        opcode, length = data[at] & 0x0F, data[at + 1]
        at += 2
        if length >= 126:
            size = 2 if length == 126 else 8
            length = int.from_bytes(data[at : at + size])
            at += size
        if opcode == CLOSE and len(data) >= at + 2:
            codes.append(int.from_bytes(data[at : at + 2]))
        at += length
    return codes


def _talked(
    url: str, opening: bytes, then: bytes, *, opening_s: float, rest_s: float, last: bytes = b""
) -> tuple[bytes, bool]:
    """What comes back until the server closes or has said `last`; False where it went quiet before.

    After its close it would wait some seconds for that of a client, which nobody sends here.
    """
    received = b""
    with connected(url) as connection:
        try:
            connection.sendall(opening)
            connection.settimeout(opening_s)
            while b"\r\n\r\n" not in received and (data := connection.recv(65_536)):
                received += data
            connection.settimeout(ANSWER_S)
            connection.sendall(then)
            connection.settimeout(rest_s)
            while not closings(received.partition(b"\r\n\r\n")[2]) and not (last and last in received):
                if not (data := connection.recv(65_536)):
                    break
                received += data
        except TimeoutError:
            return received, False
        except ConnectionError:  # ended while something was still being sent
            return received, True
    return received, True


def _alive(url: str) -> str:
    answer = exchanged(url, b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    return "" if answer.startswith(b"HTTP/1.1 200 ") else f"afterwards /healthz answered {answer[:300]!r}"
