"""One POST to an address that a client named: never to this machine or its network unless that was allowed.

The name is looked up once, every address found is checked, and the connection goes to a checked one, so that a second
look-up cannot answer otherwise. Redirects are not followed, proxies not used, and no answer's body is read.
"""

import contextlib
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from http.client import HTTPConnection, HTTPException
from ipaddress import IPv4Address, IPv6Address, IPv6Network
from urllib.parse import SplitResult, urlsplit

from service.errors import InvalidRequestError
from service.networks import Network

Address = IPv4Address | IPv6Address
Resolve = Callable[[str, int], Sequence[str]]

MAX_URL_CHARS = 2048
MAX_ERROR_CHARS = 300
GLOBAL_IPV6 = IPv6Network("2000::/3")
PORTS = {"http": 80, "https": 443}


class OutboundError(Exception):
    """The message was not taken, or nobody knows: the text says why."""


def check_url(url: str, allowed: Sequence[Network]) -> None:
    """Refuse at once what could never be sent to; names are looked up only when a message is sent.

    Raises:
        InvalidRequestError: it is no URL of http or https, or its address is not allowed.
    """
    parts = _parts(url)
    literal = _literal(parts.hostname or "")
    if literal is not None and not is_allowed(literal, allowed):
        raise _refused(f"its address {literal} is private; CEPSTRA_WEBHOOK_NETWORKS can allow it")


def is_allowed(address: Address, allowed: Sequence[Network]) -> bool:
    """Whether `address` is one of the whole internet's, or in a network of `allowed`."""
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    if any(address in network for network in allowed if network.version == address.version):
        return True
    if isinstance(address, IPv6Address) and (address not in GLOBAL_IPV6 or address.sixtofour or address.teredo):
        return False  # the last two carry an IPv4 address inside
    return address.is_global and not address.is_multicast and not address.is_reserved


def post(
    url: str,
    headers: Mapping[str, str],
    body: bytes,
    allowed: Sequence[Network],
    *,
    timeout_s: float,
    resolve: Resolve | None = None,
) -> int:
    """Send one message.

    Args:
        url: one that `check_url` let through.
        headers: beside those of HTTP itself.
        body: what to send.
        allowed: networks that may be reached although they are private.
        timeout_s: for all of it but the look-up, seconds.
        resolve: host and port → addresses; the system's by default.

    Returns:
        The status code of the answer.

    Raises:
        OutboundError: there was no answer.
    """
    parts = _parts(url)
    host, port = parts.hostname or "", parts.port or PORTS[parts.scheme]
    try:
        addresses = [ipaddress.ip_address(found) for found in (resolve or _look_up)(host, port)]
        for address in addresses:
            if not is_allowed(address, allowed):
                raise OutboundError(f"{host} is {address}, which is private")
        return _exchange(parts, host, port, addresses, headers, body, timeout_s)
    except TimeoutError:
        raise OutboundError(f"no answer within {timeout_s:g} s") from None
    except (OSError, HTTPException, UnicodeError, ValueError) as error:
        raise OutboundError(_shown(f"{type(error).__name__}: {error}")) from error


def _shown(text: str) -> str:
    """What may hold a receiver's own words, fit for a line of the log: short, and without control characters."""
    return "".join(char if char.isprintable() else " " for char in text[:MAX_ERROR_CHARS]).strip()


def _exchange(
    parts: SplitResult,
    host: str,
    port: int,
    addresses: Sequence[Address],
    headers: Mapping[str, str],
    body: bytes,
    timeout_s: float,
) -> int:
    plain = _connected(addresses, port, timeout_s)
    stream = plain
    if parts.scheme == "https":
        context = ssl.create_default_context()
        stream = context.wrap_socket(plain, server_hostname=host, do_handshake_on_connect=False)
    with stream, _ended_after(timeout_s, stream) as overdue:
        try:
            if isinstance(stream, ssl.SSLSocket):
                stream.do_handshake()
            connection = HTTPConnection(host, port)
            connection.sock = stream
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            connection.putrequest("POST", target, skip_host=True, skip_accept_encoding=True)
            connection.putheader("Host", parts.netloc)
            for name, value in {**headers, "Content-Length": str(len(body)), "Connection": "close"}.items():
                connection.putheader(name, value)
            connection.endheaders(body)
            with connection.getresponse() as response:
                status = response.status
        except (OSError, HTTPException) as error:
            if overdue.is_set():
                raise TimeoutError from error
            raise
        if overdue.is_set():  # headers that were cut off look like complete ones
            raise TimeoutError
        return status


def _connected(addresses: Sequence[Address], port: int, timeout_s: float) -> socket.socket:
    last: OSError = OSError("the name has no address")
    for address in addresses:
        try:
            return socket.create_connection((str(address), port), timeout_s / len(addresses))
        except OSError as error:
            last = error
    raise last


@contextlib.contextmanager
def _ended_after(seconds: float, stream: socket.socket) -> Iterator[threading.Event]:
    """Cut the connection off after `seconds`: a time-out of the socket begins anew with every byte that comes."""
    overdue = threading.Event()
    stream.settimeout(seconds)

    def cut() -> None:
        overdue.set()
        with contextlib.suppress(OSError):
            socket.socket.shutdown(stream, socket.SHUT_RDWR)  # TLS's own would wait for the other side

    timer = threading.Timer(seconds, cut)
    timer.daemon = True
    timer.start()
    try:
        yield overdue
    finally:
        timer.cancel()


def _look_up(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    # A scope such as %eth0 belongs to link-local addresses, which are refused, and ip_address reads it.
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def _parts(url: str) -> SplitResult:
    if len(url) > MAX_URL_CHARS:
        raise _refused(f"it has {len(url)} characters, and {MAX_URL_CHARS} may be")
    if not _is_plain(url):
        raise _refused("it has spaces or characters outside ASCII, which have to be escaped")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise _refused(str(error)) from None
    if parts.scheme not in PORTS or not parts.hostname or port == 0:
        raise _refused("it has to begin with https:// or http:// and a host")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise _refused("it may hold no user, no password and no fragment")
    return parts


def _is_plain(url: str) -> bool:
    return url.isascii() and url.isprintable() and " " not in url and "\\" not in url


def _literal(host: str) -> Address | None:
    if host == "localhost" or host.endswith(".localhost"):
        return IPv4Address("127.0.0.1")
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _refused(reason: str) -> InvalidRequestError:
    return InvalidRequestError(f"'webhook_url' cannot be used: {reason}.", param="webhook_url")
