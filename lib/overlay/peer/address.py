"""Where peers are: the classroom's address plan, written addresses, and who sits on a port that is taken."""

from __future__ import annotations

import contextlib

from overlay.errors import LocalError, OverlayError
from overlay.ids import Key, label
from overlay.live.addresses import PortTaken, family_of, is_wildcard
from overlay.peer.visitor import Visitor

MAX_ID = 255
ASK_S = 1.0
"""For the answer of whoever has our port."""


def check_id(number: int) -> int:
    """An id of the classroom's ring; LocalError for another."""
    if not 0 <= number <= MAX_ID:
        raise LocalError(f"a peer's id is from 0 to {MAX_ID}, not {number}")
    return number


def parse_address(text: str) -> tuple[str, int]:
    """`127.0.0.2:12004` or `[::1]:12002` as host and port. LocalError for anything else: names are not looked up."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") if host.startswith("[") else host
    wrong = not colon or (":" in host and not text.startswith("[")) or family_of(host) is None
    if wrong or not (port.isascii() and port.isdigit()) or not 0 < int(port) < 65536:
        raise LocalError(f"{text!r} is no address such as 127.0.0.2:12004 or [::1]:12002")
    return host, int(port)


def show_address(host: str, port: int) -> str:
    """The same as text."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class AddressPlan:
    """Peer i of the classroom listens on `base_port` + i; with a base port of 0, only addresses say where a peer is."""

    def __init__(self, host: str, base_port: int):
        self.host = host
        self.base_port = base_port

    def port_of(self, number: int) -> int:
        """The port of a peer; LocalError if there is no such port."""
        port = self.base_port + check_id(number) if self.base_port else 0
        if not 0 <= port < 65536:
            raise LocalError(f"port {port} of Peer {number} does not exist; choose a lower --base-port")
        return port

    def find(self, peer: int | str) -> tuple[Key | None, str, int]:
        """The id, where it is told, and the address of a peer that is named by id or by address."""
        if isinstance(peer, str) and not (peer.isascii() and peer.isdigit()):
            return None, *parse_address(peer)
        if not self.base_port:
            raise LocalError(
                f"where is Peer {peer}? With free ports peers are named by address, such as 127.0.0.1:12004"
            )
        return Key(int(peer)), self.host, self.port_of(int(peer))


def who_has(taken: PortTaken, host: str, plan: AddressPlan) -> LocalError:
    """The line for a port that is taken: the peer's name if a peer has it."""
    if is_wildcard(host):
        host = "::1" if ":" in host else "127.0.0.1"
    with contextlib.suppress(OverlayError):
        found = Visitor(ASK_S).hello(host, taken.port)
        return LocalError(f"Peer {label(found.id)} is already running at {show_address(host, taken.port)}")
    option = "--base-port" if plan.base_port else "--port"
    return LocalError(f"port {taken.port} ({taken.transport}) is in use by another program; choose {option}")
