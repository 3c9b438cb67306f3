"""Who may do what: one layer in front of every route, HTTP and WebSocket.

A route that is named nowhere below is open to keys of scope `admin` alone, so that a new one cannot be left open by
forgetting.
"""

import math
from functools import partial
from typing import get_args

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from service.errors import AuthenticationError, ForbiddenError, RateLimitError, ServiceError, error_response
from service.exposure import Origins
from service.key_ring import KeyRing, RequestRate
from service.keys import Key, KeyScope
from service.routes import page
from service.settings import Settings

# What anybody may ask: whether it lives, what it can do in general, and the page, which asks for a key by itself.
PUBLIC = {*page.FILES, "/healthz", "/readyz", "/openapi.json"}

ANY_SCOPE: tuple[KeyScope, ...] = get_args(KeyScope)

# A path belongs to the first line that it equals or lies below.
SCOPES: dict[str, tuple[KeyScope, ...]] = {
    "/v1/audio": ("transcribe",),
    "/v1/realtime": ("transcribe",),
    "/v1/stream": ("transcribe",),
    "/v1/jobs": ("jobs",),
    "/v1/models": ANY_SCOPE,
    "/admin": ("admin",),
    "/metrics": ("metrics", "admin"),
}

# Browsers cannot set headers of a WebSocket, so OpenAI's clients send the key as one of its subprotocols.
SUBPROTOCOL = "openai-insecure-api-key."


class Access:
    """ASGI middleware: refuses, or leaves the key in the scope's state as `key` (None where none was needed).

    What lasts, a WebSocket, asks again: `readmit` in the state raises once the key would not be let in any more.
    """

    def __init__(self, app: ASGIApp, settings: Settings, keys: KeyRing) -> None:
        self.app = app
        self._settings = settings
        self._keys = keys
        self._origins = Origins(settings)
        self._rate = RequestRate()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or one WebSocket."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        try:
            key = self._admitted(scope)
        except ServiceError as error:
            await refuse(error, scope, receive, send)
            return
        scope.setdefault("state", {}).update(key=key, readmit=partial(self._key_for, scope))
        await self.app(scope, receive, send)

    def _admitted(self, scope: Scope) -> Key | None:
        self._origins.check(scope, anonymous=not self._keys.required)
        key = self._key_for(scope)
        if key is not None:
            self._count(key)
        return key

    def _key_for(self, scope: Scope) -> Key | None:
        """The key that came along, which may do what is asked; None where none is needed."""
        if not self._keys.required or scope["path"] in PUBLIC:
            return None
        secret = presented(scope)
        if not secret:
            raise AuthenticationError("A key is needed: send it as 'Authorization: Bearer KEY'.")
        key = self._keys.find(secret)
        if key is None:
            raise AuthenticationError("The key is not valid: it is unknown, revoked or expired.")
        allowed = scopes_of(scope["path"])
        if not set(allowed) & set(key.scopes):
            raise ForbiddenError(
                f"The key '{key.name}' has the scope {_listed(key.scopes)}; this needs {_listed(allowed)}."
            )
        return key

    def _count(self, key: Key) -> None:
        per_minute = key.requests_per_minute or self._settings.key_rate
        if per_minute and (wait_s := self._rate.wait_s(key.name, per_minute)):
            retry_after_s = math.ceil(wait_s)
            raise RateLimitError(
                f"The key '{key.name}' may send {per_minute} requests a minute. Try again in {retry_after_s} s.",
                retry_after_s=retry_after_s,
            )


def scopes_of(path: str) -> tuple[KeyScope, ...]:
    """The scopes of which a key needs one for `path`."""
    for prefix, scopes in SCOPES.items():
        if path == prefix or path.startswith(f"{prefix}/"):
            return scopes
    return ("admin",)


def presented(scope: Scope) -> str:
    """The key that was sent, as it was sent; empty where none was."""
    headers = Headers(scope=scope)
    scheme, _, secret = headers.get("authorization", "").strip().partition(" ")
    if scheme.lower() == "bearer":
        return secret.strip()
    for protocol in scope.get("subprotocols", ()):
        if protocol.startswith(SUBPROTOCOL):
            return str(protocol.removeprefix(SUBPROTOCOL))
    return ""


def holder_of(connection: HTTPConnection) -> tuple[str | None, int | None]:
    """The name of the key that came with a request or a WebSocket, and its own limit of concurrency; None without."""
    key: Key | None = connection.state.key
    return (key.name, key.concurrency) if key else (None, None)


async def refuse(error: ServiceError, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request, or a WebSocket before it is open, with an error."""
    if scope["type"] == "http" or "websocket.http.response" in scope.get("extensions", {}):
        await error_response(error)(scope, receive, send)
    else:
        await send({"type": "websocket.close", "code": 1008, "reason": str(error)[:100]})


def _listed(scopes: tuple[KeyScope, ...]) -> str:
    return " or ".join(f"'{scope}'" for scope in scopes)
