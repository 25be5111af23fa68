"""What every dissemination has: ids, what was heard already, buffers, and bodies too long for a message.

A body of more than `inline_bytes` travels as a reference, and whoever gets that pulls it, piece by piece, from the one who
sent it. So a broadcast costs each link one body at most, and nobody is sent what it has not asked for.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import ClassVar

import msgspec

from overlay.core.context import Failure, Reason
from overlay.core.message import Command, Contact, Message
from overlay.core.pending import Pending
from overlay.core.protocol import on
from overlay.core.storage import BlobRef
from overlay.errors import LocalError
from overlay.gossip.base import Listeners, Service
from overlay.gossip.services import Membership

ID_BYTES = 12
MAX_IDS = 8192
"""Broadcasts that are known as heard; an older one that comes again counts as new."""

MAX_BODY_BYTES = 16 << 20
MAX_BUFFER_BYTES = 64 << 20
PIECE_BYTES = 32 * 1024
PIECE_S = 10.0
MAX_PULLS = 1024
MAX_PULLED_BYTES = 256 << 20
MAX_SOURCES = 8
"""Of one body, in case that the first fails."""

SHARE_S = 2.0
"""For so long it is waited for somebody else to have a broadcast of ours, or to read it."""

UNREAD_BYTES = 256 * 1024
"""Of our own bodies, sent outright, until neighbors are asked whether they have read them: of more than four times as much that
is queued for one, the drivers drop what comes next."""

AGAIN_S = 0.05
"""Until a neighbor is asked again for whom too much is queued."""


class Content(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The bytes of a broadcast, or what they are called."""

    data: bytes
    ref: BlobRef | None = None
    """If given, `data` is empty and the body is to be pulled."""


class AskPiece(Command, frozen=True):
    """A call for part of a body."""

    id: bytes
    offset: int


class Piece(Command, frozen=True):
    """The answer: as much as a message holds."""

    data: bytes


class DisseminationView(msgspec.Struct, frozen=True):
    """Counters since the start."""

    sent: int
    heard: int
    duplicates: int


class _Pull:
    """One body on its way."""

    __slots__ = ("data", "on_failed", "ref", "sources", "then")

    def __init__(self, ref: BlobRef, then: Callable[[Contact, bytes], None], on_failed: Callable[[], None]):
        self.ref = ref
        self.then = then
        self.on_failed = on_failed
        self.sources: list[Contact] = []
        self.data = bytearray()


class Disseminator(Service):
    """The base. A subclass says how a broadcast spreads."""

    answers: ClassVar[tuple[type[Message], ...]] = (Piece,)
    inline_bytes: ClassVar[int] = 32 * 1024

    def __init__(self, service: str, membership: Membership, buffer_limit: int):
        super().__init__(service)
        self.membership = membership
        self.sent = self.heard = self.duplicates = 0
        self._buffer_limit = buffer_limit
        self._listeners: Listeners[Callable[[bytes], None]] = Listeners()
        self._seen: OrderedDict[bytes, None] = OrderedDict()
        self._bodies: OrderedDict[bytes, bytes] = OrderedDict()
        self._buffered = 0
        self._pulls: dict[bytes, _Pull] = {}
        self._unshared: dict[bytes, None] = {}
        """Broadcasts of our own that nobody else has yet."""
        self._unread_bytes = 0
        self._reading = 0
        """Neighbors that have not yet said that they have read them."""
        self._sharing: list[tuple[int, Pending[None]]] = []

    def view(self) -> DisseminationView:
        return DisseminationView(self.sent, self.heard, self.duplicates)

    def subscribe(self, listener: Callable[[bytes], None]) -> None:
        """See `Dissemination`."""
        self._listeners.add(listener)

    def unsubscribe(self, listener: Callable[[bytes], None]) -> None:
        """See `Dissemination`."""
        self._listeners.remove(listener)

    def broadcast(self, data: bytes) -> bytes:
        """See `Dissemination`."""
        if not isinstance(data, bytes):
            raise LocalError(f"a broadcast is bytes, not {type(data).__name__}; encode it first")
        if len(data) > MAX_BODY_BYTES:
            raise LocalError(f"a broadcast of {len(data)} bytes; at most {MAX_BODY_BYTES}")
        id = self.next_id()
        self.sent += 1
        self._unshared[id] = None
        self._unread_bytes += len(data) if len(data) <= self.inline_bytes else 0
        # Our own, coming back, is a duplicate.
        self.remember(id, data)
        self.spread(id)
        return id

    def next_id(self) -> bytes:
        """What the next broadcast of our own is called."""
        return self.ctx.rng.randbytes(ID_BYTES)

    def spread(self, id: bytes) -> None:
        """Send a broadcast of our own on its way."""
        raise NotImplementedError

    # What would be lost with us ------------------------------------------------------------------------------

    def shared(self, limit: int) -> Pending[None]:
        """Done when at most `limit` of our own broadcasts are with nobody else, where others are, and these keep up with us;
        after SHARE_S in any case."""
        if self._unread_bytes > UNREAD_BYTES and not self._reading:
            self._unread_bytes = 0
            for peer in self._readers():
                self._reading += 1
                self._ask_reader(peer)
        done: Pending[None] = Pending()
        if self._is_shared(limit) or not self.membership.neighbors():
            done.resolve(None)
        else:
            self._sharing.append((limit, done))
            self.ctx.after(SHARE_S, self._stop_sharing, done)
        return done

    def _share(self, id: bytes) -> None:
        """Somebody else has it now, or nobody ever will."""
        if id in self._unshared:
            del self._unshared[id]
            self._tell_sharing()

    def _is_shared(self, limit: int) -> bool:
        return len(self._unshared) <= limit and not self._reading

    def _tell_sharing(self) -> None:
        for limit, done in self._sharing:
            if self._is_shared(limit):
                done.resolve(None)
        self._sharing = [pair for pair in self._sharing if not pair[1].done]

    def _stop_sharing(self, done: Pending[None]) -> None:
        if not done.done:
            self._unshared.clear()
            self._reading = 0
            self._tell_sharing()

    def _readers(self) -> Iterable[Contact]:
        """To whom a broadcast of our own is sent outright."""
        return self.membership.neighbors()

    def _ask_reader(self, peer: Contact) -> None:
        """Whoever answers has read what was sent before the question."""

        def failed(failure: Failure) -> None:
            if failure.reason is Reason.OVERLOADED:
                self.ctx.after(AGAIN_S, self._ask_again, peer)
            else:
                self._read()

        self.ask(peer, AskPiece(b"", 0), Piece, lambda _: self._read(), failed, timeout_s=SHARE_S)

    def _ask_again(self, peer: Contact) -> None:
        if self.running and self._reading:
            self._ask_reader(peer)

    def _read(self) -> None:
        self._reading = max(self._reading - 1, 0)
        self._tell_sharing()

    # What is known -------------------------------------------------------------------------------------------

    def has(self, id: bytes) -> bool:
        """Whether a broadcast was heard."""
        return id in self._seen

    def remember(self, id: bytes, data: bytes) -> None:
        """Heard, and kept for those who ask for it."""
        self._seen[id] = None
        if len(self._seen) > MAX_IDS:
            self._seen.popitem(last=False)
        self._bodies[id] = data
        self._buffered += len(data)
        while len(self._bodies) > self._buffer_limit or self._buffered > MAX_BUFFER_BYTES:
            old, body = self._bodies.popitem(last=False)
            self._buffered -= len(body)
            self._share(old)

    def accept(self, id: bytes, data: bytes) -> None:
        """A broadcast of somebody else is here, for the first time."""
        self.heard += 1
        self.remember(id, data)
        self._listeners.tell(data)

    def content(self, id: bytes) -> Content | None:
        """What to send of a broadcast; None when it is no longer kept."""
        data = self._bodies.get(id)
        if data is None:
            return None
        if len(data) <= self.inline_bytes:
            self._share(id)
            return Content(data)
        return Content(b"", BlobRef(hashlib.sha256(data).digest(), len(data)))

    # Bodies that are pulled ----------------------------------------------------------------------------------

    def obtain(
        self,
        source: Contact,
        id: bytes,
        content: Content,
        then: Callable[[Contact, bytes], None],
        on_failed: Callable[[], None] = lambda: None,
    ) -> None:
        """Call `then(source, data)` with the bytes: now, or when they have come.

        While they come, another source is only noted: it is asked when this one fails."""
        ref = content.ref
        if ref is None:
            then(source, content.data)
            return
        pull = self._pulls.get(id)
        if pull is not None and pull.ref == ref:
            if len(pull.sources) < MAX_SOURCES:
                pull.sources.append(source)
        elif pull is not None or not 0 < ref.size <= self._room_bytes():
            self.ctx.record("body refused", size=ref.size)
            self.ctx.after(0, on_failed)
        else:
            pull = self._pulls[id] = _Pull(ref, then, on_failed)
            pull.sources.append(source)
            self._ask(id, pull)

    def _room_bytes(self) -> int:
        """For one more body on its way."""
        room = MAX_PULLED_BYTES - sum(pull.ref.size for pull in self._pulls.values())
        return min(room, MAX_BODY_BYTES) if len(self._pulls) < MAX_PULLS else 0

    def coming(self, id: bytes) -> bool:
        """Whether its body is being pulled."""
        return id in self._pulls

    def _ask(self, id: bytes, pull: _Pull) -> None:
        source = pull.sources[0]

        def came(piece: Piece) -> None:
            self._came(id, pull, piece)

        def failed(failure: Failure) -> None:
            self._next_source(id, pull)

        self.ask(source, AskPiece(id, len(pull.data)), Piece, came, failed, timeout_s=PIECE_S)

    def _came(self, id: bytes, pull: _Pull, piece: Piece) -> None:
        if not piece.data or len(pull.data) + len(piece.data) > pull.ref.size:
            self._next_source(id, pull)
            return
        pull.data += piece.data
        if len(pull.data) < pull.ref.size:
            self._ask(id, pull)
        elif hashlib.sha256(pull.data).digest() != pull.ref.sha256:
            pull.data.clear()
            self._next_source(id, pull)
        else:
            del self._pulls[id]
            pull.then(pull.sources[0], bytes(pull.data))

    def _next_source(self, id: bytes, pull: _Pull) -> None:
        pull.sources.pop(0)
        if pull.sources:
            self._ask(id, pull)
        else:
            del self._pulls[id]
            pull.on_failed()

    @on(AskPiece)
    def on_ask_piece(self, sender: Contact, message: AskPiece) -> Piece:
        data = self._bodies.get(message.id, b"")
        start = max(message.offset, 0)
        if start + PIECE_BYTES >= len(data):
            self._share(message.id)
        return Piece(data[start : start + PIECE_BYTES])

    def stop(self) -> None:
        super().stop()
        self._pulls.clear()
        self._unshared.clear()
        self._reading = 0
        self._tell_sharing()
