"""Whether a server can listen where it is told to; found out before it starts, so that we can say it in our words."""

import errno
import socket
from typing import Any

from voxqueue.errors import MisconfiguredError


def check_can_listen(host: str, port: int, *, host_option: str = "--host", port_option: str = "--port") -> None:
    """Raise `MisconfiguredError`, which names the option to change, if a server cannot listen there.

    Args:
        host: A name or an address of this machine.
        port: Free or not.
        host_option: How the command calls the host.
        port_option: How it calls the port.
    """
    try:
        places = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as error:
        raise MisconfiguredError(f"{host} is no address to listen on: choose another {host_option}.") from error
    for family, kind, protocol, _, address in places:
        try:
            _listen(socket.socket(family, kind, protocol), address)
        except OSError as error:
            if error.errno == errno.EAFNOSUPPORT:  # no IPv6 here, say: the server leaves such an address out too
                continue
            raise MisconfiguredError(_why(error, host, port, host_option, port_option)) from error


def _listen(probe: socket.socket, address: Any) -> None:
    """For a moment."""
    with probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that linger do not count
        if probe.family == socket.AF_INET6:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        probe.bind(address)
        probe.listen(1)  # two may be bound to one port, as long as neither listens


def _why(error: OSError, host: str, port: int, host_option: str, port_option: str) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return f"Port {port} is taken by another program: choose another with {port_option}."
        case errno.EACCES:
            return f"This user may not listen on port {port}: choose one above 1023 with {port_option}."
        case errno.EADDRNOTAVAIL:
            return f"{host} is no address of this machine: choose another {host_option}."
    return f"Nobody can listen on {host}, port {port}: {error.strerror}. Choose another {host_option} or {port_option}."
