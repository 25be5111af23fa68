"""The gate of a node: everything that leaves is sealed here, everything that comes is judged here."""

from __future__ import annotations

import itertools

from overlay.core.codec import Codec, DecodeError
from overlay.core.message import CALL, REPLY, WIRE_VERSION, Command, Contact, Datagram, Envelope, Hello, Message
from overlay.core.node import Node
from overlay.core.storage import BlobRef
from overlay.ids import label
from overlay.live.addresses import family_of
from overlay.live.replay import ReplayGuard

BUSY = "too many bodies are being sent"
"""Why a body is refused that could be had a little later."""


class BodyRequest(Command, frozen=True):
    """Asks for the bytes [start, end) of a body; alone on its connection, which is the body's from then on."""

    ref: BlobRef
    start: int
    end: int


class BodyFollows(Command, frozen=True):
    """The answer to a BodyRequest. The bytes come right behind this frame, without any frames of their own."""


class Unwelcome(Exception):
    """Bytes that go no further. `call` is the question among them that is owed a refusal."""

    def __init__(self, why: str, call: Envelope[None] | None = None, refusal: str = "", *, hostile: bool = False):
        super().__init__(why)
        self.why = why
        """One of a few fixed texts: they are counted by it."""
        self.call = call
        self.refusal = refusal
        self.hostile = hostile
        """No peer of ours sends this: its connection is closed."""


class Gate:
    """Codec, envelope and replay windows of one node. `admit` is called by one thread a transport."""

    def __init__(self, node: Node):
        self._node = node
        self._codec = Codec((*dict.fromkeys(node.messages()), BodyRequest, BodyFollows))
        self._counter = itertools.count(1)
        self._datagrams = ReplayGuard()
        self._commands = ReplayGuard()

    def seal(self, peer: Contact, kind: int, service: str, number: int, message: Message) -> bytes:
        """The bytes of a message to `peer`; from any thread. LocalError for more than a frame holds."""
        me = self._node.me
        return self._codec.encode(
            Envelope(WIRE_VERSION, kind, me, peer.id, peer.boot, service, number, next(self._counter), message)
        )

    def admit(self, data: bytes | memoryview, *, datagram: bool) -> Envelope[Message]:
        """The envelope in `data`, meant for this node and new; Unwelcome for everything else."""
        try:
            envelope = self._codec.decode(data)
        except DecodeError as error:
            raise self._judge(error) from None
        sender = envelope.sender
        if family_of(sender.host) is None:
            raise Unwelcome("no message", hostile=True)
        if envelope.kind < REPLY and isinstance(envelope.body, Datagram) is not datagram:
            raise Unwelcome("a datagram over TCP, or a command over UDP", hostile=True)
        if isinstance(envelope.body, Hello):
            return envelope
        self._check_address(envelope)
        # An answer is worth something once: its question is forgotten with it. A body may be asked for at any time.
        if (datagram or envelope.kind < REPLY) and not isinstance(envelope.body, BodyRequest):
            guard = self._datagrams if datagram else self._commands
            if not guard.is_fresh((sender.id, sender.boot), envelope.counter):
                raise Unwelcome("replayed")
        return envelope

    def open_answer(self, data: bytes) -> Envelope[Message]:
        """The answer to a BodyRequest, on a connection of its own; DecodeError for anything else."""
        return self._codec.decode(data)

    def _judge(self, error: DecodeError) -> Unwelcome:
        head = error.head
        if head is None or family_of(head.sender.host) is None:
            return Unwelcome("no message", hostile=True)
        try:
            self._check_address(head)
        except Unwelcome as stranger:
            return stranger
        call = head if head.kind == CALL else None
        return Unwelcome("an unknown message", call, f"Peer {label(self._node.me.id)} does not understand this message")

    def _check_address(self, envelope: Envelope[Message] | Envelope[None]) -> None:
        me = self._node.me
        call: Envelope[None] | None = envelope if envelope.kind == CALL else None  # type: ignore[assignment]
        if envelope.to != me.id:
            raise Unwelcome("for another peer", call, f"Peer {label(me.id)} lives here, not Peer {label(envelope.to)}")
        if envelope.boot and envelope.boot != me.boot:
            raise Unwelcome("for another incarnation", call, f"Peer {label(me.id)} was started again since")
