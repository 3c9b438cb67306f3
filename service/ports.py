"""Whether a host and port can be listened on, asked before a model is loaded; imports nothing heavy."""

import contextlib
import errno
import socket

from service.errors import PortError


def check_port(host: str, port: int) -> None:
    """Bind every address of `host` for a moment, as the server will.

    Raises:
        PortError: the host is not known or not this machine's, or the port is taken or not for this user.
    """
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no such name is possible"
        raise PortError(f"host '{host}' cannot be found: {reason}; --host names another") from error
    for family, kind, protocol, _, address in found:
        try:
            listening = socket.socket(family, kind, protocol)
        except OSError:
            continue  # of a kind that this machine has not, IPv6 mostly
        with contextlib.closing(listening):
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            try:
                listening.bind(address)
            except OSError as error:
                raise PortError(_refusal(host, port, error)) from error


def _refusal(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} on {host} is taken; --port names another"
    if error.errno in (errno.EADDRNOTAVAIL, errno.EINVAL):
        return f"{host} is no address of this machine; --host names another"
    return f"port {port} on {host} cannot be listened on: {error.strerror}; --port names another"
