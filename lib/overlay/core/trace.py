"""Observation: what a driver tells whoever watches, and one JSON line for each of it."""

from __future__ import annotations

from typing import Any, TextIO

import msgspec

from overlay.core.message import Contact, Message
from overlay.ids import Key


class Observer:
    """Override what you want to see. A driver without observers calls none of this."""

    def sent(self, now: float, node: Contact, peer: Contact, kind: int, service: str, message: Message) -> None:
        """A node sent a message."""

    def delivered(self, now: float, node: Contact, peer: Contact, kind: int, service: str, message: Message) -> None:
        """`node` is about to handle a message from `peer`."""

    def dropped(self, now: float, node: Contact, peer: Contact | None, why: str) -> None:
        """A message to `node`, or bytes that were none, went nowhere."""

    def notified(self, now: float, node: Contact, service: str, event: msgspec.Struct) -> None:
        """A protocol told the layer above."""

    def recorded(self, now: float, node: Contact, service: str, what: str, fields: dict[str, Any]) -> None:
        """A protocol recorded something."""

    def fault(self, now: float, node: Contact, what: str) -> None:
        """A crash, a pause, a restart: what a driver or a test did to a node."""


class JsonTrace(Observer):
    """One JSON line for everything that is observed."""

    def __init__(self, stream: TextIO):
        self._stream = stream
        self._encoder = msgspec.json.Encoder(enc_hook=_plain)

    def _write(self, now: float, what: str, node: Contact, **fields: Any) -> None:
        line = {"at": round(now, 6), "what": what, "node": node.id, **fields}
        self._stream.write(self._encoder.encode(line).decode() + "\n")

    def sent(self, now: float, node: Contact, peer: Contact, kind: int, service: str, message: Message) -> None:
        self._write(now, "sent", node, peer=peer.id, kind=kind, service=service, message=message)

    def delivered(self, now: float, node: Contact, peer: Contact, kind: int, service: str, message: Message) -> None:
        self._write(now, "delivered", node, peer=peer.id, kind=kind, service=service, message=message)

    def dropped(self, now: float, node: Contact, peer: Contact | None, why: str) -> None:
        self._write(now, "dropped", node, peer=None if peer is None else peer.id, why=why)

    def notified(self, now: float, node: Contact, service: str, event: msgspec.Struct) -> None:
        self._write(now, "notified", node, service=service, kind=type(event).__name__, event=event)

    def recorded(self, now: float, node: Contact, service: str, what: str, fields: dict[str, Any]) -> None:
        self._write(now, "recorded", node, service=service, kind=what, fields=fields)

    def fault(self, now: float, node: Contact, what: str) -> None:
        self._write(now, "fault", node, fault=what)


def _plain(value: object) -> object:
    if isinstance(value, Key):
        # JSON numbers above 2**53 are not safe in other programs' hands.
        return int(value) if value < 1 << 53 else str(int(value))
    raise NotImplementedError(f"{type(value).__name__} has no form in a trace")
