"""Who may reach the service without a key, and from which web pages.

Browsers let any page send forms to any address, and open WebSockets: what protects a service that needs no key is that
requests from pages of elsewhere are told by their Origin, and pages whose name was pointed here (DNS rebinding) by
their Host.
"""

import ipaddress
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import Scope

from service.errors import ExposedError, OriginError
from service.keys import KeyFile
from service.settings import Settings

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")  # change nothing; whether a page may read the answer is up to CORS


def check_exposure(settings: Settings, keys: KeyFile) -> None:
    """Refuse to serve other machines without keys unless that was asked for.

    Raises:
        ExposedError: the address is not this machine's own, there are no keys, and nobody said that this is meant.
        KeyFileError: whether there are keys cannot be told.
    """
    if keys.read() is None and not is_loopback(settings.host) and not settings.allow_anonymous:
        raise ExposedError(
            f"--host {settings.host} lets other machines in, and there are no keys: anybody could use the service. "
            "Create one with `cepstra keys create NAME`, or say that this is meant with --allow-anonymous "
            "(CEPSTRA_ALLOW_ANONYMOUS=true)."
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches `host`; names other than localhost may mean any address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


class Origins:
    """Which web pages may call the service: its own, and those of CEPSTRA_ALLOWED_ORIGINS."""

    def __init__(self, settings: Settings) -> None:
        self._allowed = frozenset(settings.origins)
        self._names = {urlsplit(origin).hostname for origin in settings.origins}

    def check(self, scope: Scope, *, anonymous: bool) -> None:
        """Raise OriginError where a page of elsewhere sent this request.

        Args:
            scope: of a request or a WebSocket.
            anonymous: whether no key is needed.
        """
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        # Whatever address is listened on: a container listens on all, and its published port is this machine's alone.
        if anonymous and not self._is_ours(host):
            raise OriginError(
                f"Without keys this service answers to addresses and names without dots alone, and '{host[:100]}' is "
                "neither: anybody could have pointed it here. Create a key, or name http://… with that name in "
                "CEPSTRA_ALLOWED_ORIGINS.",
                code="host_not_allowed",
            )
        origin = headers.get("origin")
        if origin is None or (scope["type"] == "http" and scope["method"] in SAFE_METHODS):
            return
        same = origin.partition("//")[2] == host or headers.get("sec-fetch-site") == "same-origin"
        if not same and "*" not in self._allowed and origin not in self._allowed:
            raise OriginError(
                f"Pages of '{origin[:100]}' may not call this service; CEPSTRA_ALLOWED_ORIGINS names those that may."
            )

    def _is_ours(self, host: str) -> bool:
        """Whether nobody else can have pointed this name here: an address, localhost, one without dots, or allowed."""
        try:
            name = urlsplit(f"//{host}").hostname or ""
            if "*" in self._allowed or name in self._names or "." not in name or name.endswith(".localhost"):
                return True
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True
