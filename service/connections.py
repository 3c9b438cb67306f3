"""Connections whose headers have to come in time, and WebSockets that end: uvicorn waits for both for ever.

Its own time limit begins with the first answer. So whoever opens many connections and sends a byte on each now and then
(slowloris) would hold them all.
"""

import asyncio
import json
import logging
from asyncio.events import TimerHandle
from typing import Any

from uvicorn._types import ASGISendEvent
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from service.errors import openai_error
from service.request_context import REQUEST_ID, SAFE_HEADERS, new_request_id

# Of what uvicorn and websockets write about a socket, only what went wrong: the rest would hold its query, with the
# secret of its session, and at level debug its headers and messages. `RequestContext` has a line for each socket.
logger = logging.getLogger("cepstra.sockets")
logger.setLevel(logging.WARNING)

LINGER_S = 5.0  # that the client of a WebSocket has to read what is left
CLOSE_NO_UTF8 = 1007  # RFC 6455
MAX_HEAD_BYTES = 64 * 1024  # request line and headers; as much again of what is around the pieces of a body


class BoundedWebSocket(WebSocketsSansIOProtocol):
    """A WebSocket that is gone soon after the service is done with it, whether its client reads what is left or not.

    In the scope's state is `close_reply`: the code of the client's answer to our close frame, which tells that it has
    read all before; None once the connection is lost without one.
    """

    _close_reply: asyncio.Future[int | None] | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.logger = self.conn.logger = logger
        self.conn.debug = False
        self._message = bytearray()  # what has come of one in fragments

    async def run_asgi(self) -> None:
        """Serve it; closing in good order waits for ever where the client does not read."""
        self._close_reply = self.loop.create_future()
        self.scope["state"]["close_reply"] = self._close_reply
        await super().run_asgi()
        self.loop.call_later(LINGER_S, self.transport.abort)

    async def send(self, message: ASGISendEvent) -> None:
        """Pass a message of the service on; uvicorn logs an error after a refusal unless it counts as an answer."""
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body", False):
            self.handshake_complete = True

    def handle_ping(self) -> None:
        """Answer it, but not a client that reads no answers: they would pile up here for as long as it asks."""
        if self.writable.is_set():
            super().handle_ping()
        else:
            self.conn.data_to_send()  # thrown away

    def handle_close(self, event: Any) -> None:
        """The client's close frame; uvicorn does not tell the service of one that answers ours."""
        if self.close_sent and self.conn.close_rcvd:
            self._replied(self.conn.close_rcvd.code)
        super().handle_close(event)

    def connection_lost(self, exc: Exception | None) -> None:
        """No answer comes any more."""
        self._replied(None)
        super().connection_lost(exc)

    def _replied(self, code: int | None) -> None:
        if self._close_reply and not self._close_reply.done():
            self._close_reply.set_result(code)

    def handle_cont(self, event: Any) -> None:
        """A later fragment of a message; as objects of their own small ones would take thirty times their bytes."""
        if self.frames:  # the first
            self._message = bytearray(self.frames.pop())
        self._message += event.data
        if event.fin:
            self.frames = [bytes(self._message)]
            self._message = bytearray()
            self.send_receive_event_to_app()

    def send_receive_event_to_app(self) -> None:
        """Hand a message on; uvicorn logs an error with a traceback where a stranger's text is no UTF-8."""
        if self.curr_msg_data_type == "text" and not self.close_sent:
            try:
                b"".join(self.frames).decode()
            except UnicodeDecodeError:
                self.frames = []
                self.conn.send_close(CLOSE_NO_UTF8)
                self.handle_parser_exception()
                return
        super().send_receive_event_to_app()


def bounded_http(header_s: float) -> type[asyncio.Protocol]:
    """The HTTP protocol for `uvicorn.Config(http=…)` that waits at most `header_s` for the headers of a request."""

    class Bounded(BoundedHttp):
        limit_s = header_s

    return Bounded


class BoundedHttp(HttpToolsProtocol):
    """A connection that is closed when the headers of a request, the first or a later one, do not come in time.

    An answer says so (408), or that the headers are too long (431), unless not a byte has come: nobody listens there.
    Headers behind a body in pieces (trailers), which nothing here reads, are dropped, and just as long at most.
    """

    limit_s: float

    _timer: TimerHandle | None = None
    _head_bytes = 0
    _went_on = False  # whether what came last held the end of the headers, of a body's piece, or of all
    _between_bytes = 0  # since then

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """The time begins with the connection."""
        super().connection_made(transport)
        self._expect_head()

    def data_received(self, data: bytes) -> None:
        """Counts what comes before the end of the headers."""
        in_head = self._timer is not None
        self._went_on = False
        super().data_received(data)
        self._between_bytes = 0 if self._went_on or in_head else self._between_bytes + len(data)
        # Blank lines between two requests end uvicorn's wait for the next one and begin none.
        if self._timer is None and (self.cycle is None or self.cycle.response_complete) and not self._elsewhere():
            self._expect_head()
        if self._timer is None:
            if self._between_bytes > MAX_HEAD_BYTES:
                message = f"More than {MAX_HEAD_BYTES} bytes came that are neither headers nor body of the request."
                self._refuse(431, message, "headers_too_large")
            return
        # Where headers begin in the middle of the data, the rest of it is the body before them.
        self._head_bytes = self._head_bytes + len(data) if in_head else 1
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refuse(431, f"The headers of the request have more than {MAX_HEAD_BYTES} bytes.", "headers_too_large")

    def send_400_response(self, msg: str) -> None:
        """What came is no HTTP; like every answer here, this one is an object and has an id."""
        self._refuse(400, msg, "invalid_http")

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        super().on_message_begin()
        if self._timer is None:
            self._expect_head()

    def on_header(self, name: bytes, value: bytes) -> None:
        """One of the request; those behind its body would be kept as long as they come."""
        if self._timer is not None:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """In time."""
        self._went_on = True
        self._stop()
        super().on_headers_complete()

    def on_chunk_header(self) -> None:
        """A piece of the body begins; the last one is empty."""
        self._went_on = True

    def on_body(self, body: bytes) -> None:
        """Part of the body."""
        self._went_on = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The end of the request."""
        self._went_on = True
        super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing more is expected."""
        self._stop()
        super().connection_lost(exc)

    def _expect_head(self) -> None:
        self._timer = self.loop.call_later(self.limit_s, self._too_late)

    def _stop(self) -> None:
        self._head_bytes = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _elsewhere(self) -> bool:
        """Whether the connection has been closed, or handed on to a WebSocket."""
        return self.transport.is_closing() or self.transport.get_protocol() is not self

    def _too_late(self) -> None:
        if self._head_bytes:
            message = f"The headers of the request took longer than {self.limit_s:g} s (CEPSTRA_HEADER_S)."
            self._refuse(408, message, "request_timeout")
        else:
            self.transport.close()

    def _refuse(self, status: int, message: str, code: str) -> None:
        self._stop()
        if self.transport.is_closing():
            return
        if self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete:
            self.transport.close()  # what was written now would be taken for a part of that answer
            return
        body = json.dumps(openai_error(message, code=code)).encode()
        names = {**SAFE_HEADERS, REQUEST_ID: new_request_id(), "content-type": "application/json"}
        names |= {"content-length": str(len(body)), "connection": "close"}
        headers = "".join(f"{name}: {value}\r\n" for name, value in names.items())
        self.transport.write(STATUS_LINE[status] + headers.encode() + b"\r\n" + body)
        self.transport.close()
