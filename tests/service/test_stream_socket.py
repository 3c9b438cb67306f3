"""`/v1/stream` against a running server."""

import contextlib
import json
import random
import re
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from model.hot_words import HotWords
from tests.service.conftest import Server, request, wait_until
from tests.service.fakes import SENTENCES
from tests.service.test_hostile_uploads import memory_mb

RATE_HZ = 8000
SOUND = b"\x00\x20" * (RATE_HZ // 2)  # half a second: the fake hears a word
SILENCE = b"\x00\x00" * (RATE_HZ // 2)  # the fake ends an utterance
TALK = SOUND * 3 + SILENCE + SOUND * 2 + SILENCE * 2 + SOUND * 4
END = '{"type": "end"}'
HANDSHAKE = (
    b"GET /v1/stream HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
SAID = [
    " ".join(sentence.split()[:n]) for sentence, n in zip(SENTENCES, (3, 2, 4), strict=True)
]  # what the fake hears in it

Message = dict[str, Any]
Start = Callable[..., Server]


def test_words_come_in_order_and_stay_as_they_were(server: Server) -> None:
    with opened(server) as ws:
        ready = received(ws)
        assert ready == {
            "type": "ready",
            "session": ready["session"],
            "model": "fake-base",
            "rate": RATE_HZ,
            "encoding": "pcm16",
            "resume_s": 30.0,
            "bytes": 0,
            "seq": 0,
        }
        for first in range(0, len(TALK), 777):
            ws.send(TALK[first : first + 777])
        ws.send(END)
        messages = rest(ws)
        assert (ws.close_code, ws.close_reason) == (1000, "")
    numbers = [message["seq"] for message in messages]
    assert numbers == sorted(set(numbers))
    assert {**messages[-1], "seq": 0} == {"seq": 0, "type": "done", "bytes": len(TALK), "seconds": 6.0}
    assert texts(messages) == SAID
    committed: dict[int, list[Message]] = {}
    for message in messages[:-1]:
        before = committed.get(message["utterance"], [])
        assert message["words"][: len(before)] == before
        committed[message["utterance"]] = message["words"]
        if message["type"] == "partial":
            assert message["text"] == " ".join(word["word"] for word in [*message["words"], *message["interim"]])
    assert committed[1][0] == {"word": "turnips", "start": 2.0, "end": 2.4, "confidence": 0.75}


def test_keywords_are_preferred(server: Server) -> None:
    with opened(server, keywords="Ishmael&keywords=Birket%20Foster", keyword_boost="3.5") as ws:
        assert received(ws)["type"] == "ready"
        assert server.fake.hot_words == HotWords(("Ishmael", "Birket Foster"), 3.5)
    with opened(server) as ws:
        assert received(ws)["type"] == "ready"
        assert server.fake.hot_words is None


def test_telephone_audio(server: Server) -> None:
    with opened(server, encoding="mulaw") as ws:
        ws.send(b"\x00" * (RATE_HZ * 2) + b"\xff" * RATE_HZ)
        ws.send(END)
        assert texts(rest(ws)) == ["he hoped there would"]


@pytest.mark.parametrize("seed", range(3))
def test_a_client_that_loses_its_connection_again_and_again_loses_and_doubles_nothing(
    server: Server, seed: int
) -> None:
    chance = random.Random(seed)
    messages: list[Message] = []
    session, position, seen = "", 0, 0
    for is_last in (False, False, False, False, True):
        with opened(server, session=session, seq=str(seen)) as ws:
            ready = received(ws)
            assert ready["bytes"] <= position
            session, position = ready["session"], ready["bytes"]
            until = len(TALK) if is_last else chance.randint(position, len(TALK))
            while position < until:
                ws.send(TALK[position : position + 1500])
                position += 1500
            if is_last:
                ws.send(END)
                messages += rest(ws)
            else:  # perhaps some answers arrive
                for _ in range(chance.randint(0, 2)):
                    messages += received_soon(ws)
                ws.socket.shutdown(socket.SHUT_RDWR)
            seen = messages[-1]["seq"] if messages else 0
    assert texts(messages) == SAID
    assert [message["seq"] for message in messages] == sorted({message["seq"] for message in messages})
    assert messages[-1]["bytes"] == len(TALK)


def test_whoever_comes_back_takes_the_session_over(server: Server) -> None:
    with opened(server) as first:
        ready = received(first)
        first.send(SOUND * 2)
        received(first)
        with opened(server, session=ready["session"]) as second:
            again = received(second)
            assert again["bytes"] == 2 * len(SOUND)
            assert rest(first)[-1]["error"]["code"] == "session_taken_over"
            assert (first.close_code, first.close_reason) == (4409, "session_taken_over")
            second.send(END)
            assert texts(rest(second)) == ["he hoped"]


def test_whoever_comes_back_does_not_wait_for_what_the_connection_before_had_sent(start_server: Start) -> None:
    server = start_server()
    with opened(server) as first:
        session = received(first)["session"]
        server.fake.hold()
        for _ in range(20):
            first.send(SOUND * 6)
        wait_until(lambda: server.fake.feeds > 0)
        with opened(server, session=session) as second, opened(server, session=session) as third:
            assert request("GET", f"{server.url}/healthz").status_code == 200
            server.fake.release()
            heard = received(second)["bytes"]
            assert heard == received(third)["bytes"] == 2 * len(SOUND)  # the second that was being heard
            for ws in (first, second):
                assert rest(ws)[-1]["error"]["code"] == "session_taken_over"
            third.send(SOUND * 2)
            third.send(END)
            assert texts(rest(third)) == ["he hoped there would"]


def test_a_client_that_is_done_is_not_waited_for(server: Server) -> None:
    with opened(server) as ws:
        session = received(ws)["session"]
    wait_until(lambda: refusal(server, session=session) == (4404, "session_not_found"))


def test_a_connection_lost_after_the_end_loses_nothing(start_server: Start) -> None:
    server = start_server(max_sockets=1)
    with Relay(server) as relay, opened(server, sock=relay.client, compression=None) as ws:
        session = received(ws)["session"]
        ws.send(SOUND * 2)
        seen = received(ws)["seq"]
        relay.swallows = True
        ws.send(END)
        wait_until(lambda: b'"done"' in relay.swallowed)
        with opened(server) as other:  # its place is free
            assert received(other)["type"] == "ready"
            with opened(server, session=session, seq=str(seen)) as again:
                ready = received(again)
                assert (ready["bytes"], ready["seq"]) == (2 * len(SOUND), seen + 2)
                messages = rest(again)
                assert [message["type"] for message in messages] == ["final", "done"]
                assert texts(messages) == ["he hoped"]
            wait_until(lambda: refusal(server, session=session) == (4404, "session_not_found"))  # all of it arrived
        relay.cut()


def test_nobody_is_waited_for_longer_than_the_setting_says(start_server: Start) -> None:
    server = start_server(resume_s=0.3, max_sockets=1)
    with opened(server) as ws:
        session = received(ws)["session"]
        assert refusal(server) == (4429, "too_many_sockets")
        ws.socket.shutdown(socket.SHUT_RDWR)
    wait_until(lambda: refusal(server, session=session) == (4404, "session_not_found"))
    with opened(server) as ws:  # its place is free again
        assert received(ws)["type"] == "ready"


def test_an_idle_socket_is_closed(start_server: Start) -> None:
    server = start_server(socket_idle_s=0.3)
    with opened(server) as ws:
        assert rest(ws)[-1]["error"]["code"] == "idle_timeout"
        assert (ws.close_code, ws.close_reason) == (4408, "idle_timeout")


def test_a_client_that_does_not_read_is_let_go_of(start_server: Start) -> None:
    server = start_server(socket_send_s=0.5, max_sockets=1, resume_s=0)
    # With buffers as large as the system makes them it takes megabytes until a client has not read.
    with socket.socket() as narrow:
        narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        narrow.connect(("127.0.0.1", int(server.url.rpartition(":")[2])))
        with opened(server, encoding="mulaw", max_queue=1, sock=narrow) as ws:
            # Answers grow with every word of an utterance that does not end.
            sending = iter(lambda: ws.send(b"\x00" * 800_000), "never")
            with pytest.raises(ConnectionClosed):
                deque(sending, maxlen=0)
    with opened(server) as ws:
        assert received(ws)["type"] == "ready"


def test_pongs_do_not_pile_up_for_a_client_that_does_not_read(start_server: Start) -> None:
    server = start_server()
    with socket.socket() as narrow:
        narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        narrow.connect(("127.0.0.1", int(server.url.rpartition(":")[2])))
        narrow.settimeout(60)
        narrow.sendall(HANDSHAKE)
        while b"ready" not in narrow.recv(65_536):
            pass
        ping, n_pings = b"\x89\xfd" + bytes(4 + 125), 120_000
        narrow.sendall(ping * n_pings)
        pongs = b""
        with contextlib.suppress(TimeoutError):
            narrow.settimeout(3)
            while data := narrow.recv(1_000_000):
                pongs += data
        assert pongs.count(b"\x8a\x7d") < n_pings / 2  # those that the system's own buffers hold
        narrow.sendall(b"\x89\x84" + bytes(4) + b"soon")
        assert narrow.recv(65_536) == b"\x8a\x04soon"


@pytest.mark.parametrize(
    ("parameters", "code", "reason"),
    [
        ({"rate": "fast"}, 4400, "invalid_value"),
        ({"rate": "7000"}, 4400, "invalid_value"),
        ({"encoding": "mp3"}, 4400, "invalid_value"),
        ({"colour": "red"}, 4400, "unknown_parameter"),
        ({"keywords": "%20"}, 4400, "invalid_keywords"),
        ({"keyword_boost": "much", "keywords": "much"}, 4400, "invalid_value"),
        ({"seq": "-1"}, 4400, "invalid_value"),
        ({"seq": "7"}, 4400, "invalid_value"),
        ({"model": "nobody"}, 4404, "model_not_found"),
        ({"session": "st_nobody"}, 4404, "session_not_found"),
    ],
)
def test_what_cannot_be_asked_for_is_named(server: Server, parameters: dict[str, str], code: int, reason: str) -> None:
    with opened(server, max_queue=None, **parameters) as ws:
        (message,) = [message for message in rest(ws) if message["type"] == "error"]
        assert message["error"]["code"] == reason
        assert message["error"]["param"] == next(iter(parameters))
        assert (ws.close_code, ws.close_reason) == (code, reason)


def test_what_is_refused_holds_no_place(start_server: Start) -> None:
    server = start_server(max_sockets=1)
    assert refusal(server, seq="7") == (4400, "invalid_value")
    assert refusal(server) == (None, None)


@pytest.mark.parametrize(
    ("sent", "code", "reason"),
    [
        (b"\x00" * (1024 * 1024 + 1), 4413, "message_too_large"),
        ("{", 4400, "invalid_json"),
        ("[" * 100_000, 4400, "invalid_json"),
        ('{"type": "start"}', 4400, "invalid_value"),
    ],
)
def test_what_cannot_be_sent_is_named(server: Server, sent: str | bytes, code: int, reason: str) -> None:
    with opened(server) as ws:
        ws.send(sent)
        assert rest(ws)[-1]["error"]["code"] == reason
        assert (ws.close_code, ws.close_reason) == (code, reason)


def test_a_frame_of_exactly_the_limit_passes(server: Server) -> None:
    with opened(server, encoding="mulaw") as ws:
        ws.send(b"\xff" * (1024 * 1024))
        ws.send(END)
        assert rest(ws)[-1]["bytes"] == 1024 * 1024


def test_messages_in_fragments(server: Server) -> None:
    with opened(server) as ws:
        for start in range(0, len(TALK), 10_000):
            ws.send(TALK[start + first : start + min(first + 100, 10_000)] for first in range(0, 10_000, 100))
        ws.send(iter(('{"type"', "", ': "end"}')))
        messages = rest(ws)
    assert messages[-1]["bytes"] == len(TALK)
    assert texts(messages) == SAID


def test_tiny_fragments_take_little_more_than_their_bytes(server: Server) -> None:
    """Those of one message, which is refused for its length when it is over."""
    with opened(server, compression=None) as ws:
        assert received(ws)["type"] == "ready"
        fragment, n_fragments = b"\x00\x82" + bytes(4) + b"ab", 800_000
        before_mb = memory_mb()
        ws.socket.sendall(b"\x02\x80" + bytes(4) + fragment * n_fragments)
        assert ws.ping().wait(60)  # it has read them all
        grown_mb = memory_mb() - before_mb
        ws.socket.sendall(b"\x80\x80" + bytes(4))
        messages = rest(ws)
        assert messages[-1]["error"]["message"].startswith(f"The frame has {2 * n_fragments} bytes")
    assert grown_mb < 20


def test_the_server_answers_others_while_a_stream_is_heard(start_server: Start) -> None:
    server = start_server()
    with opened(server) as ws:
        received(ws)
        server.fake.hold()
        ws.send(SOUND)
        assert request("GET", f"{server.url}/healthz").status_code == 200
        server.fake.release()
        ws.send(END)
        assert texts(rest(ws)) == ["he"]


def test_an_error_of_ours_tells_nothing(start_server: Start) -> None:
    server = start_server()
    server.fake.error = RuntimeError("/secret")
    with opened(server) as ws:
        session = received(ws)["session"]
        ws.send(SOUND)
        error = rest(ws)[-1]["error"]
        assert error["code"] == "internal_error"
        assert "secret" not in error["message"]
        assert (ws.close_code, ws.close_reason) == (1011, "internal_error")
    assert refusal(server, session=session) == (4404, "session_not_found")


def test_the_client_of_the_documentation(server: Server) -> None:
    assert run_example(server, "websockets", SOUND * 2 + SILENCE, "rate=16000", f"rate={RATE_HZ}") == ["he hoped"]


def run_example(server: Server, mark: str, audio: bytes, *replaced: str) -> list[str]:
    """What the example of docs/live.md that contains `mark` prints, given audio on its standard input."""
    document = (Path(__file__).resolve().parents[2] / "docs" / "live.md").read_text()
    (code,) = [code for code in re.findall(r"```python\n(.*?)```", document, re.DOTALL) if mark in code]
    code = code.replace("127.0.0.1:8000", server.url.removeprefix("http://"))
    if replaced:
        code = code.replace(*replaced)
    done = subprocess.run([sys.executable, "-c", code], input=audio, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().splitlines()


class Relay:
    """A way to a server that can swallow what comes back, as a network does that has gone.

    Attributes:
        client: the client's end.
        swallows: whether nothing of the server arrives any more.
        swallowed: what did not.
    """

    def __init__(self, server: Server) -> None:
        self.client, self._near = socket.socketpair()
        self._far = socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2])))
        self.swallows = False
        self.swallowed = b""
        ways = ((self._near, self._far.sendall), (self._far, self._back))
        self._threads = [threading.Thread(target=self._carry, args=way) for way in ways]

    def __enter__(self) -> "Relay":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.cut()
        for thread in self._threads:
            thread.join(30)
        for end in (self.client, self._near, self._far):
            end.close()

    def cut(self) -> None:
        """Both ends learn that the connection is gone, without a word of the other."""
        for end in (self._near, self._far):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _carry(self, source: socket.socket, forward: Callable[[bytes], object]) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                forward(data)

    def _back(self, data: bytes) -> None:
        if self.swallows:
            self.swallowed += data
        else:
            self._near.sendall(data)


def opened(
    server: Server,
    *,
    max_queue: int | None = None,
    sock: Any = None,
    compression: Any = "deflate",
    **parameters: str,
) -> ClientConnection:
    query = "&".join(f"{name}={value}" for name, value in {"rate": str(RATE_HZ), **parameters}.items() if value)
    url = f"{server.url.replace('http', 'ws', 1)}/v1/stream?{query}"
    return connect(
        url,
        sock=sock,
        proxy=None,
        compression=compression,
        open_timeout=60,
        close_timeout=5,
        max_queue=max_queue,
        max_size=None,
    )


def received(ws: ClientConnection) -> Message:
    message: Message = json.loads(ws.recv(timeout=60))
    return message


def received_soon(ws: ClientConnection) -> list[Message]:
    try:
        return [json.loads(ws.recv(timeout=0.1))]
    except TimeoutError:
        return []


def rest(ws: ClientConnection) -> list[Message]:
    """Everything until the server closes."""
    messages = []
    try:
        while True:
            messages.append(received(ws))
    except ConnectionClosed:
        return messages


def texts(messages: list[Message]) -> list[str]:
    return [message["text"] for message in messages if message["type"] == "final"]


def refusal(server: Server, **parameters: str) -> tuple[int | None, str | None]:
    """How a socket that is not wanted is closed."""
    with opened(server, max_queue=None, **parameters) as ws:
        first = received(ws)
        if first["type"] == "error":
            rest(ws)
            return ws.close_code, ws.close_reason
        return None, None
