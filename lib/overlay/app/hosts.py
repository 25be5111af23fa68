"""Hosts that people name. Below this room addresses are numbers; here, at the edge, names are looked up."""

from __future__ import annotations

import ipaddress
import socket

from overlay.app.narrator import address
from overlay.app.terminal import short
from overlay.errors import LocalError
from overlay.live.addresses import family_of, is_wildcard

OPEN = "the network is open: whoever reaches this address can join, store and request"


def is_open(listened_on: str) -> bool:
    """Whether other machines may reach what listens there."""
    return not ipaddress.ip_address(listened_on).is_loopback


def numeric(text: str) -> str:
    """The numeric address of a host, or of all of this machine's (0.0.0.0, ::); LocalError where that is none. Blocks.

    A name may have several: the first of IPv4 is taken before those of IPv6, as peers listen on 127.0.0.1 unless told.
    """
    host = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if family_of(host) is not None or is_wildcard(host):
        return host
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM) if host else []
    except (OSError, UnicodeError):
        found = []
    addresses = sorted((str(entry[4][0]) for entry in found), key=lambda address: ":" in address)
    usable = [address for address in addresses if family_of(address) is not None or is_wildcard(address)]
    if not usable:
        raise LocalError(f"{short(text)} is neither the address of one machine nor a name that can be looked up")
    return usable[0]


def place(known: int | str, host: str, base_port: int) -> str:
    """A peer that was named by id or by address, for people: where it is looked for."""
    return known if isinstance(known, str) else f"Peer {known} at {address(host, base_port + known)}"


def of_one(text: str) -> str:
    """The same, where all of a machine's addresses are none to reach it at."""
    host = numeric(text)
    if is_wildcard(host):
        raise LocalError(f"{short(text)} is every address of a machine, not one that others can reach")
    return host
