"""Somebody who speaks the wire format and tells lies, on raw sockets."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Iterable
from typing import Any

import msgspec

from overlay.core.codec import Codec, pack
from overlay.core.message import CALL, ONE_WAY, WIRE_VERSION, Contact, Envelope, Message
from overlay.core.protocol import Protocol
from overlay.ids import Key
from overlay.live.frames import frame
from overlay.live.gate import BodyFollows, BodyRequest
from overlay.peer.parts import PeerParts
from overlay.ring.messages import Forward
from tests.peer.support import PATIENCE_S

_counter = itertools.count(1)


def _spoken(protocols: Iterable[Protocol]) -> set[type[Message]]:
    return {message for protocol in protocols for message in (*protocol.handlers, *getattr(protocol, "answers", ()))}


CODEC = Codec([*sorted(_spoken(PeerParts(1.0).protocols()), key=str), BodyRequest, BodyFollows])
LIAR = Contact(Key(66), "127.0.0.1", 9, 1)


def envelope(
    victim: Contact, service: str, body: Message, sender: Contact = LIAR, kind: int = CALL, counter: int = 0
) -> bytes:
    """One message in anybody's name."""
    number = next(_counter)
    called = number if kind == CALL else 0
    return CODEC.encode(Envelope(WIRE_VERSION, kind, sender, victim.id, 0, service, called, counter or number, body))


def forward(key: int, application: str, payload: bytes | Message, final: bool = True) -> Forward:
    """A routed message that did not come along any route."""
    data = payload if isinstance(payload, bytes) else pack(payload)
    return Forward(next(_counter), 0, Key(key), False, final, application, LIAR, (Key(66),), data)


def packed(tag: str, *fields: Any) -> bytes:
    """A message whose fields break its own rules."""
    return msgspec.msgpack.encode([tag, *fields])


def dial(victim: Contact) -> socket.socket:
    """A connection to a peer."""
    sock = socket.create_connection(victim.address, PATIENCE_S)
    sock.settimeout(PATIENCE_S)
    return sock


def ask(victim: Contact, service: str, body: Message, sender: Contact = LIAR, counter: int = 0) -> Message:
    """Send one question, and wait for what comes back: then the victim has handled it."""
    with dial(victim) as sock:
        sock.sendall(frame(envelope(victim, service, body, sender, counter=counter)))
        return answer(sock)


def answer(sock: socket.socket) -> Message:
    """The next message on a connection."""
    with sock.makefile("rb") as file:
        return CODEC.decode(file.read(int.from_bytes(file.read(4)))).body


def is_closed(sock: socket.socket) -> bool:
    """Whether the other side ends the connection, after whatever it has to say."""
    try:
        while sock.recv(65536):
            pass
    except ConnectionError:
        pass
    return True


__all__ = ["CALL", "LIAR", "ONE_WAY", "answer", "ask", "dial", "envelope", "forward", "is_closed", "packed"]
