"""The outermost layer: request id and safe headers on every answer, one log line each, no exception unanswered."""

import logging
import re
import time
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import error_response

logger = logging.getLogger("cepstra.access")

REQUEST_ID = "x-request-id"
SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")

PROBES = ("/healthz", "/readyz")  # asked every few seconds: logged on demand only

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
    """ASGI middleware around everything else."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = request_id_of(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        started_s = time.monotonic()
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers[REQUEST_ID] = request_id
                for name, value in SAFE_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await self.app(scope, receive, send_with_headers)
        except ClientDisconnect:
            status = status or 499
        except Exception as error:
            if status:
                raise  # half an answer is out: the server has to break the connection off
            logger.error("%s failed", request_id)
            await error_response(error)(scope, receive, send_with_headers)
        finally:
            logger.log(
                logging.DEBUG if scope["path"] in PROBES else logging.INFO,
                "%s %s %r -> %d in %.0f ms",
                request_id,
                scope["method"],
                scope["path"],
                status,
                1000 * (time.monotonic() - started_s),
            )


def request_id_of(scope: Scope) -> str:
    """The client's own id where it sent a sane one, else a new one."""
    sent = Headers(scope=scope).get(REQUEST_ID, "")
    return sent if SANE_REQUEST_ID.fullmatch(sent) else f"req_{uuid.uuid4().hex}"
