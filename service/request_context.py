"""The outermost layer: request id and safe headers on every answer, one log line each, no exception unanswered.

A WebSocket is a request too, whose answer is 101, or the status that it was refused or later closed with.
"""

import json
import logging
import re
import time
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect

from service.errors import CLOSE_ERROR, CLOSE_NORMAL, error_response
from service.logs import request_id
from service.telemetry import Telemetry
from service.tracing import Tracing

logger = logging.getLogger("cepstra.access")

REQUEST_ID = "x-request-id"
SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")

MAX_ERROR_BYTES = 64 * 1024  # more of an error's body is not looked at
PROBES = ("/healthz", "/readyz", "/metrics")  # asked every few seconds: logged on demand only

SAFE_HEADERS = {
    # The page needs its own script and style, its own server, and the chosen file as a blob: nothing else.
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "media-src blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",  # what frame-ancestors says, for browsers that do not know it
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "microphone=(self), camera=(), geolocation=()",
    "cache-control": "no-store",  # transcripts are nobody else's business; routes that know better say so
}


class RequestContext:
    """ASGI middleware around everything else.

    Args:
        app: what is inside.
        telemetry: told of every answer.
        tracing: makes a span of every request; None for none.
    """

    def __init__(self, app: ASGIApp, telemetry: Telemetry, tracing: Tracing | None = None) -> None:
        self.app = app
        self._telemetry = telemetry
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or one WebSocket."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        identity = request_id_of(scope)
        scope.setdefault("state", {})["request_id"] = identity
        token = request_id.set(identity)
        answer = _Answer(send, identity)
        try:
            if self._tracing is None or scope["type"] == "websocket":
                await self._serve(scope, receive, answer)
            else:
                with self._tracing.request(scope) as span:
                    await self._serve(scope, receive, answer)
                    self._tracing.answered(span, scope["method"], route_of(scope), answer.status, identity)
        finally:
            self._note(scope, answer)
            request_id.reset(token)

    async def _serve(self, scope: Scope, receive: Receive, answer: "_Answer") -> None:
        try:
            await self.app(scope, receive, answer.send)
        except (ClientDisconnect, WebSocketDisconnect):
            answer.status = answer.status or 499
        except Exception as error:
            if answer.status:
                raise  # half an answer is out: the server has to break the connection off
            logger.error("%s failed", answer.request_id)
            await error_response(error)(scope, receive, answer.send)

    def _note(self, scope: Scope, answer: "_Answer") -> None:
        took_s = time.monotonic() - answer.began_s
        method = scope.get("method", "GET")  # with which a WebSocket begins
        waited_s = took_s if scope["type"] == "http" else None
        self._telemetry.answered(method, route_of(scope), answer.status, waited_s, answer.error_code())
        logger.log(
            logging.DEBUG if scope["path"] in PROBES else logging.INFO,
            "%s %s %r -> %d in %.0f ms",
            answer.request_id,
            method,
            scope["path"],
            answer.status,
            1000 * took_s,
            extra={
                "method": method,
                "path": scope["path"],
                "status": answer.status,
                "duration_ms": round(1000 * took_s, 1),
            },
        )


class _Answer:
    """An answer on its way out: it gets its headers, and what is said of it later is remembered."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._error_body = b""
        self._close_reason: str | None = None
        self.request_id = request_id
        self.began_s = time.monotonic()
        self.status = 0

    async def send(self, message: Message) -> None:
        if message["type"] in ("http.response.start", "websocket.http.response.start"):
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers[REQUEST_ID] = self.request_id
            for name, value in SAFE_HEADERS.items():
                headers.setdefault(name, value)
        elif message["type"] == "websocket.accept":
            self.status = 101
            MutableHeaders(scope=message)[REQUEST_ID] = self.request_id
        elif message["type"] == "websocket.close":
            if self.status == 0:  # refused by a server that cannot say why
                self.status = 403
            elif (code := message.get("code", CLOSE_NORMAL)) != CLOSE_NORMAL:  # the service's own, not the client's
                self.status = code - CLOSE_ERROR if code > CLOSE_ERROR else 500
                self._close_reason = message.get("reason")
        elif self.status >= 400 and len(self._error_body) < MAX_ERROR_BYTES:
            self._error_body += message.get("body", b"")
        await self._send(message)

    def error_code(self) -> str | None:
        """The code inside an error's object, or that a socket was closed for; None where there is none."""
        if self._close_reason:
            return self._close_reason
        try:
            code = json.loads(self._error_body)["error"]["code"]
        except (ValueError, TypeError, KeyError):
            return None
        return str(code) if code is not None else None


def route_of(scope: Scope) -> str:
    """The pattern of the route that took the request; empty where none did."""
    return str(getattr(scope.get("route"), "path", ""))


def request_id_of(scope: Scope) -> str:
    """The client's own id where it sent a sane one, else a new one."""
    sent = Headers(scope=scope).get(REQUEST_ID, "")
    return sent if SANE_REQUEST_ID.fullmatch(sent) else new_request_id()


def new_request_id() -> str:
    """One that nobody else has."""
    return f"req_{uuid.uuid4().hex}"
