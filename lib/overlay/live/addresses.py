"""Addresses are numbers here: a contact from outside never makes this machine ask a name server."""

from __future__ import annotations

import errno
import functools
import ipaddress
import os
import socket

from overlay.errors import LocalError

ATTEMPTS = 32
"""How often a free port is looked for that is free for TCP and for UDP."""

BACKLOG = 128
PORT_LATER = getattr(socket, "IP_BIND_ADDRESS_NO_PORT", None)
"""Binds an address, and leaves the port to the connection."""


class PortTaken(LocalError):
    """Somebody else has the port. `transport` is "TCP" or "UDP"."""

    def __init__(self, port: int, transport: str):
        super().__init__(f"port {port} ({transport}) is in use by another program")
        self.port = port
        self.transport = transport


@functools.lru_cache(4096)
def family_of(host: str) -> socket.AddressFamily | None:
    """The family of a numeric address that one peer can have; None for names, groups and wildcards."""
    _, scoped, scope = host.partition("%")
    if scoped and not scope.isdecimal():
        # A scope that is no number is looked up, in the end by a name server.
        return None
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    if address.is_multicast or address.is_unspecified or host == "255.255.255.255":
        return None
    return socket.AF_INET if address.version == 4 else socket.AF_INET6


def route_to(address: tuple[str, int]) -> socket.AddressFamily | None:
    """The family to reach an address by; None when no peer can be there. Contacts inside messages are anybody's word."""
    return family_of(address[0]) if 0 < address[1] < 65536 else None


def is_wildcard(host: str) -> bool:
    """Whether this means every address of the machine."""
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def open_pair(host: str, port: int) -> tuple[socket.socket, socket.socket]:
    """A listening TCP and a UDP socket on one port; 0 is a free one. PortTaken, or LocalError for an address not ours."""
    for attempt in range(ATTEMPTS):
        tcp = _bound(host, port, socket.SOCK_STREAM)
        try:
            tcp.listen(BACKLOG)
            return tcp, _bound(host, tcp.getsockname()[1], socket.SOCK_DGRAM)
        except LocalError:
            tcp.close()
            if port or attempt == ATTEMPTS - 1:
                raise
    raise AssertionError("the last attempt raises")


def _bound(host: str, port: int, kind: socket.SocketKind) -> socket.socket:
    family = family_of(host)
    if family is None and is_wildcard(host):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
    if family is None:
        raise LocalError(f"{host} is not the numeric address of one machine")
    transport = "TCP" if kind == socket.SOCK_STREAM else "UDP"
    try:
        bound = socket.socket(family, kind)
    except OSError as error:
        raise LocalError(f"no socket for {host}: {error.strerror}") from None
    try:
        if kind == socket.SOCK_STREAM and os.name == "posix":
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRINUSE:
            raise PortTaken(port, transport) from None
        raise LocalError(f"port {port} ({transport}) of {host} cannot be used: {error.strerror}") from None
    return bound


def connect(address: tuple[str, int], source: str, timeout_s: float) -> socket.socket:
    """A connection from `source` to a numeric address; with a timeout of 0 it is only begun. OSError."""
    family = route_to(address)
    if family is None:
        raise OSError(errno.EADDRNOTAVAIL, f"{address[0]} port {address[1]} is not the numeric address of one machine")
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.settimeout(timeout_s)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if family_of(source) == family:
            if PORT_LATER is not None:
                # Else Linux looks for a port at once, for milliseconds where many thousands are in use.
                sock.setsockopt(socket.IPPROTO_IP, PORT_LATER, 1)
            sock.bind((source, 0))
        try:
            sock.connect(address)
            check_connected(sock)
        except BlockingIOError:
            pass
    except BaseException:
        sock.close()
        raise
    return sock


def check_connected(sock: socket.socket) -> None:
    """Whether a connection that was begun is there. OSError when it is not."""
    failure = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    # A port nobody listens on can be picked as our own end: TCP then connects the socket to itself.
    if not failure and sock.getsockname() == sock.getpeername():
        failure = errno.ECONNREFUSED
    if failure:
        raise OSError(failure, os.strerror(failure))
