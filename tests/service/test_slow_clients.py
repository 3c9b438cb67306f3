"""Clients that take their time, over real sockets: headers and bodies that come just in time, and those that do not."""

import json
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from service.connections import MAX_HEAD_BYTES
from tests.service.conftest import Server, request
from tests.service.fakes import TEXT, wav
from tests.service.test_load import form
from tests.service.test_uploads import PATH, connected, post

# Limits that no pause of a busy machine reaches, and one that is reached at once.
AMPLE_S, SHORT_S = 100.0, 0.4
PATIENT = {"header_s": AMPLE_S, "body_s": AMPLE_S, "body_stall_s": AMPLE_S}
HEAD = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"


def error_in(answer: bytes, status: int) -> dict[str, str]:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), answer
    names = dict(line.split(b": ", 1) for line in head.lower().splitlines()[1:])
    assert names[b"connection"] == b"close"
    assert names[b"x-request-id"].startswith(b"req_")
    assert names[b"x-content-type-options"] == b"nosniff"
    error = json.loads(body)["error"]
    assert isinstance(error, dict)
    return error


def to_the_end(connection: socket.socket) -> bytes:
    """All that comes until the server closes the connection."""
    received = b""
    while data := connection.recv(65_536):
        received += data
    return received


def drip(connection: socket.socket, data: bytes, times: int, pause_s: float = 0.1) -> None:
    """Send `data` again and again, until the other side has had enough or `times` is reached."""
    for _ in range(times):
        try:
            connection.sendall(data)
        except OSError:
            return
        time.sleep(pause_s)


def test_headers_in_time(start_server: Callable[..., Server]) -> None:
    with connected(start_server(**PATIENT)) as connection:
        for byte in HEAD + b"\r\n":
            connection.sendall(bytes([byte]))
            time.sleep(0.01)
        assert connection.recv(65_536).startswith(b"HTTP/1.1 200 ")


def test_headers_that_take_too_long(start_server: Callable[..., Server]) -> None:
    """A header every now and then does not help: the time is for all of them."""
    server = start_server(header_s=SHORT_S)
    with connected(server) as connection:
        connection.sendall(HEAD)
        drip(connection, b"X-A: b\r\n", 8)
        error = error_in(to_the_end(connection), 408)
    assert error["code"] == "request_timeout"
    assert "0.4 s (CEPSTRA_HEADER_S)" in error["message"]
    assert request("GET", f"{server.url}/healthz").status_code == 200


def test_a_connection_that_says_nothing_is_closed_without_a_word(start_server: Callable[..., Server]) -> None:
    with connected(start_server(header_s=SHORT_S)) as connection:
        assert to_the_end(connection) == b""


@pytest.mark.parametrize("begun", [b"GE", b"\r\n", HEAD])
def test_the_second_request_of_a_connection_has_no_more_time(start_server: Callable[..., Server], begun: bytes) -> None:
    """Blank lines between requests count as the beginning of one."""
    with connected(start_server(header_s=SHORT_S)) as connection:
        connection.sendall(HEAD + b"\r\n")
        assert connection.recv(65_536).startswith(b"HTTP/1.1 200 ")
        connection.sendall(begun)
        assert error_in(to_the_end(connection), 408)["code"] == "request_timeout"


def test_headers_just_under_and_just_over_their_length(start_server: Callable[..., Server]) -> None:
    server = start_server(**PATIENT)
    for too_many, status in ((0, b"200"), (1, b"431")):
        head = HEAD + b"X-A: "
        ending = b"\r\n\r\n"
        padding = MAX_HEAD_BYTES - len(head) + too_many
        with connected(server) as connection:
            connection.sendall(head + b"a" * padding)
            if too_many:
                assert error_in(to_the_end(connection), 431)["code"] == "headers_too_large"
            else:
                connection.sendall(ending)
                assert connection.recv(65_536).startswith(b"HTTP/1.1 " + status)


@pytest.mark.parametrize(
    "sent",
    [
        b"GARBAGE\r\n\r\n",
        HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcde",
        HEAD + b"Transfer-Encoding : chunked\r\n\r\n",
    ],
)
def test_what_is_no_http_is_refused_like_all_else(start_server: Callable[..., Server], sent: bytes) -> None:
    """Also what a proxy may understand in another way."""
    with connected(start_server(**PATIENT)) as connection:
        connection.sendall(sent)
        assert error_in(to_the_end(connection), 400)["code"] == "invalid_http"


def upload_head(length: int) -> bytes:
    return (
        f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\n\r\n"
    ).encode()


CHUNKED = (
    f"POST {PATH} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
    "Content-Type: multipart/form-data; boundary=b\r\n\r\n"
).encode()


def in_pieces(body: bytes, size: int) -> bytes:
    pieces = (body[start : start + size] for start in range(0, len(body), size))
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)


@pytest.mark.parametrize("trailers", [b"", b"X-A: b\r\nX-B: c\r\n"])
def test_a_body_in_tiny_pieces(start_server: Callable[..., Server], trailers: bytes) -> None:
    """There is more around the pieces than in them, and more of that than headers may have bytes."""
    body = in_pieces(form(wav(0.8)), 1)
    assert len(body) > MAX_HEAD_BYTES
    with connected(start_server(**PATIENT)) as connection:
        connection.sendall(CHUNKED + body + b"0\r\n" + trailers + b"\r\n")
        assert connection.recv(65_536).startswith(b"HTTP/1.1 200 ")
        connection.sendall(HEAD + b"\r\n")
        assert connection.recv(65_536).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("endless", [b"0\r\n" + b"X-A: b\r\n" * 500, b"5;" + b"a" * 4000])
def test_what_is_around_a_body_has_an_end(start_server: Callable[..., Server], endless: bytes) -> None:
    """Trailers and extensions of a piece are neither headers nor body, so that no other limit is for them."""
    with connected(start_server(**PATIENT)) as connection:
        connection.sendall(CHUNKED + in_pieces(form(wav(0.1))[:500], 100))
        drip(connection, endless, 1, 0)
        drip(connection, endless[-4000:], 200, 0)
        error = error_in(to_the_end(connection), 431)
    assert error["code"] == "headers_too_large"


def test_trailers_behind_a_request_that_was_answered_early_have_an_end(start_server: Callable[..., Server]) -> None:
    with connected(start_server(**PATIENT)) as connection:
        connection.sendall(CHUNKED.replace(PATH.encode(), b"/v1/nothing") + b"0\r\n")
        assert b" 404 " in connection.recv(65_536)
        with pytest.raises(OSError, match=r"reset|[Bb]roken"):
            connection.sendall(b"X-A: b\r\n" * 1_250_000)


def test_a_body_in_time(start_server: Callable[..., Server]) -> None:
    body = form(wav(0.1))
    with connected(start_server(**PATIENT)) as connection:
        connection.sendall(upload_head(len(body)))
        for start in range(0, len(body), 200):
            connection.sendall(body[start : start + 200])
            time.sleep(0.02)
        assert connection.recv(65_536).startswith(b"HTTP/1.1 200 ")


def test_a_body_that_stops(start_server: Callable[..., Server]) -> None:
    with connected(start_server(**{**PATIENT, "body_stall_s": SHORT_S})) as connection:
        connection.sendall(upload_head(10_000) + form(wav(0.1))[:500])
        error = error_in(to_the_end(connection), 408)
    assert error["code"] == "request_timeout"
    assert "stopped for 0.4 s (CEPSTRA_BODY_STALL_S): 500 bytes have come" in error["message"]


def test_a_body_that_never_stops_and_never_ends(start_server: Callable[..., Server]) -> None:
    with connected(start_server(**{**PATIENT, "body_s": SHORT_S})) as connection:
        connection.sendall(upload_head(10_000) + form(wav(0.1))[:500])
        drip(connection, b"x", 8)
        error = error_in(to_the_end(connection), 408)
    assert "longer than 0.4 s (CEPSTRA_BODY_S)" in error["message"]


def test_an_answer_that_takes_longer_than_a_body_may_is_waited_for(start_server: Callable[..., Server]) -> None:
    """The limits are for what the client sends; once that is all there, the model may take its time."""
    server = start_server(**{**PATIENT, "body_stall_s": SHORT_S, "header_s": SHORT_S})
    server.fake.hold()
    body = form(wav(0.1))
    with connected(server) as connection:
        connection.sendall(upload_head(len(body)) + body)
        time.sleep(3 * SHORT_S)
        server.fake.release()
        assert connection.recv(65_536).startswith(b"HTTP/1.1 200 ")


def test_a_hundred_slow_clients_keep_nobody_else_from_being_served(start_server: Callable[..., Server]) -> None:
    server = start_server(header_s=3.0, body_stall_s=3.0)
    with ExitStack() as stack:
        slow = [stack.enter_context(connected(server)) for _ in range(100)]
        for number, connection in enumerate(slow):
            connection.sendall(HEAD if number % 2 else upload_head(10_000) + b"--b\r\n")
        assert post(server).json()["text"] == TEXT
        for connection in slow:
            to_the_end(connection)
    assert post(server).json()["text"] == TEXT
