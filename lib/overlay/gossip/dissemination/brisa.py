"""Brisa, one-to-many in the stable edition: the first flood of a stream makes its tree, or its DAG.

Matos, Schiavoni, Felber, Oliveira, Riviere, BRISA: Combining Efficiency and Reliability in Epidemic Data Dissemination,
IPDPS 2012. Over HyParView. Whoever brought a stream first is its parent; every other inbound link is told to be quiet.
A tree's messages carry the path from the source, so that nobody takes a parent from below itself; a DAG's carry a level.

Deviation: a body that was missed while a parent was replaced comes from the new one, which is told what was heard last.
Deviation: hard repair asks the children to look for another parent, and takes the first that brings the stream again;
the paper floods again from the source.
"""

from __future__ import annotations

from collections import OrderedDict

import msgspec

from overlay.core.context import Timer
from overlay.core.message import Command, Contact
from overlay.core.protocol import on
from overlay.gossip.base import check, name_of
from overlay.gossip.dissemination.base import Content, DisseminationView, Disseminator
from overlay.gossip.services import Membership
from overlay.ids import Key

STREAM_BYTES = 8
MAX_STREAMS = 64
MAX_PATH = 256
MAX_NUMBER = 1 << 32


class Strand(Command, frozen=True):
    """A broadcast of a stream. Its id is the stream and the number."""

    stream: bytes
    number: int
    path: tuple[Key, ...]
    """From the source to the sender. A DAG only looks at how long it is: its level."""
    content: Content


class Deactivate(Command, frozen=True):
    """Send me no more of this stream."""

    stream: bytes


class Reactivate(Command, frozen=True):
    """A call: be my parent in this stream, of which I have everything up to a number."""

    stream: bytes
    number: int
    level: int
    """Of the asker, in a DAG; 0: any parent that is not below it will do."""


class Reactivated(Command, frozen=True):
    """The answer: whether, and where that parent is."""

    accepted: bool
    path: tuple[Key, ...]


class Orphaned(Command, frozen=True):
    """The sender has no way to the source but through those below it: look for another parent."""

    stream: bytes


class Moved(Command, frozen=True):
    """To the children: the way from the source to the sender is another one now."""

    stream: bytes
    path: tuple[Key, ...]


class BrisaConfig(msgspec.Struct, frozen=True):
    """What there is to choose."""

    parents: int = 1
    """p: 1 is a tree, more a DAG."""
    buffer_limit: int = 100
    """Bodies that are kept for a child that was without a parent."""
    timeout_s: float = 2.0
    """For the answer to a Reactivate."""
    retry_s: float = 0.5
    """After a hard repair, until the neighbors are asked again; and then twice as long, and so on."""
    retries: int = 8
    """So often, and then the stream has ended: its source is gone. Two minutes in all."""

    def check(self) -> None:
        """LocalError for what cannot work."""
        check(1 <= self.parents <= 16, f"{self.parents} parents")
        check(1 <= self.buffer_limit <= 100_000, f"a buffer of {self.buffer_limit} broadcasts")
        check(0 < self.timeout_s <= 60 and 0 < self.retry_s <= 60, "timeouts are above 0, up to 60 s")
        check(0 <= self.retries <= 16, f"a stream given up after {self.retries} hard repairs")


class BrisaView(DisseminationView, frozen=True):
    """Parents by stream."""

    parents: dict[bytes, tuple[Key, ...]]


class Stream:
    """A node's place in one stream."""

    __slots__ = ("first", "latest", "parents", "path", "quiet", "repairing", "retries", "retry")

    def __init__(self) -> None:
        self.path: tuple[Key, ...] = ()
        """From the source to the parent; of several parents, to the deepest."""
        self.parents: dict[Key, Contact] = {}
        self.quiet: set[Key] = set()
        """Neighbors that want nothing of this stream from us."""
        self.first = self.latest = -1
        """Numbers of broadcasts: the one by which we have heard of the stream, and the highest that is here."""
        self.repairing = False
        self.retry: Timer | None = None
        """To the next hard repair."""
        self.retries = 0


class Brisa(Disseminator):
    """See the module."""

    answers = (*Disseminator.answers, Reactivated)

    def __init__(self, instance: str, membership: Membership, config: BrisaConfig | None = None):
        self.config = config or BrisaConfig()
        self.config.check()
        super().__init__(name_of("brisa", instance), membership, self.config.buffer_limit)
        self.streams: OrderedDict[bytes, Stream] = OrderedDict()
        self.soft_repairs = self.hard_repairs = 0
        self._own: bytes | None = None
        self._number = 0

    def start(self) -> None:
        super().start()
        self.membership.subscribe(self._on_neighbor)

    def stop(self) -> None:
        self.membership.unsubscribe(self._on_neighbor)
        # The network may go on without this service, and its links stay: nothing else would tell those below.
        for name, stream in self.streams.items():
            for peer in self.membership.neighbors():
                if peer.id not in stream.quiet and peer.id not in stream.parents:
                    self.ctx.send(peer, Orphaned(name))
        super().stop()

    def view(self) -> BrisaView:
        parents = {name: tuple(stream.parents) for name, stream in self.streams.items()}
        return BrisaView(self.sent, self.heard, self.duplicates, parents)

    def _stream(self, name: bytes) -> Stream:
        stream = self.streams.get(name)
        if stream is None:
            stream = self.streams[name] = Stream()
            others = (other for other in self.streams if other != self._own)
            if len(self.streams) > MAX_STREAMS:
                del self.streams[next(others)]
        return stream

    # Flooding, and what is left of it ------------------------------------------------------------------------

    def broadcast(self, data: bytes) -> bytes:
        if self._own is None:
            self._own = self.ctx.rng.randbytes(STREAM_BYTES)
        return super().broadcast(data)

    def next_id(self) -> bytes:
        assert self._own is not None, "a stream begins with its first broadcast"
        self._number += 1
        return self._own + self._number.to_bytes(4)

    def spread(self, id: bytes) -> None:
        assert self._own is not None
        stream = self._stream(self._own)
        stream.latest = self._number
        self._relay(self._own, stream, self._number, None)

    def _relay(self, name: bytes, stream: Stream, number: int, source: Contact | None) -> None:
        message = self._strand(name, stream, number)
        if message is not None:
            for peer in self.membership.neighbors():
                if peer.id not in stream.quiet and peer.id not in stream.parents and peer != source:
                    self.ctx.send(peer, message)

    def _strand(self, name: bytes, stream: Stream, number: int) -> Strand | None:
        content = self.content(name + number.to_bytes(4))
        if content is None:
            return None
        return Strand(name, number, (*stream.path, self.ctx.me.id), content)

    @on(Strand)
    def on_strand(self, sender: Contact, message: Strand) -> None:
        name, number = message.stream, message.number
        if len(name) != STREAM_BYTES or not 0 <= number < MAX_NUMBER or not 0 < len(message.path) <= MAX_PATH:
            return
        id = name + number.to_bytes(4)
        stream = self._stream(name)
        if stream.first < 0:
            stream.first = number
        if sender.id in stream.parents:
            self._follow(name, stream, sender, message.path)
        elif not self._adopt(name, stream, sender, message.path):
            self.ctx.send(sender, Deactivate(name))
        if self.has(id) or self.coming(id):
            self.duplicates += 1
        if not self.has(id):
            self.obtain(sender, id, message.content, lambda source, data: self._heard(source, id, message, data))

    def _heard(self, source: Contact, id: bytes, message: Strand, data: bytes) -> None:
        if not self.has(id):
            self.accept(id, data)
            stream = self._stream(message.stream)
            stream.latest = max(stream.latest, message.number)
            self._relay(message.stream, stream, message.number, source)

    # Parents -------------------------------------------------------------------------------------------------

    def _fits(self, stream: Stream, path: tuple[Key, ...]) -> bool:
        """Whether a node with this path is above us: in a tree, not below; in a DAG, of a lower level."""
        if self.config.parents == 1:
            return self.ctx.me.id not in path
        return not stream.path or len(path) <= len(stream.path)

    def _adopt(self, name: bytes, stream: Stream, peer: Contact, path: tuple[Key, ...]) -> bool:
        """Take a parent, if there is room for one and this one may be."""
        if name == self._own or peer.id in stream.parents or len(stream.parents) >= self.config.parents:
            return False
        # What a link carried last can come after its end, of which we would not hear again.
        if not self._fits(stream, path) or not self._is_neighbor(peer):
            return False
        stream.parents[peer.id] = peer
        stream.retries = 0
        if stream.retry is not None:
            stream.retry.cancel()
        # Whoever brings us the stream needs none of it from us.
        stream.quiet.discard(peer.id)
        if self.config.parents == 1 or not stream.path:
            self._place(name, stream, path)
        return True

    def _is_neighbor(self, peer: Contact) -> bool:
        return any(other.id == peer.id for other in self.membership.neighbors())

    def _follow(self, name: bytes, stream: Stream, parent: Contact, path: tuple[Key, ...]) -> None:
        """A parent tells where it is now."""
        if not self._fits(stream, path):
            del stream.parents[parent.id]
            self.ctx.send(parent, Deactivate(name))
            self._repair(name, stream)
        elif self.config.parents == 1:
            self._place(name, stream, path)

    def _place(self, name: bytes, stream: Stream, path: tuple[Key, ...]) -> None:
        moved = path != stream.path and stream.latest >= 0
        stream.path = path
        if moved:
            # Those below must not be taken for others: their paths are how a circle is seen.
            for peer in self.membership.neighbors():
                if peer.id not in stream.quiet and peer.id not in stream.parents:
                    self.ctx.send(peer, Moved(name, (*path, self.ctx.me.id)))

    @on(Moved)
    def on_moved(self, sender: Contact, message: Moved) -> None:
        stream = self.streams.get(message.stream)
        if stream is None or len(message.path) > MAX_PATH:
            return
        if sender.id in stream.parents:
            self._follow(message.stream, stream, sender, message.path)
        elif not stream.parents:
            # A neighbor has a way again, and may be ours.
            self._repair(message.stream, stream)

    @on(Deactivate)
    def on_deactivate(self, sender: Contact, message: Deactivate) -> None:
        stream = self.streams.get(message.stream)
        if stream is not None and self._is_neighbor(sender):
            stream.quiet.add(sender.id)

    # Repair --------------------------------------------------------------------------------------------------

    def _on_neighbor(self, peer: Contact, up: bool) -> None:
        for name, stream in list(self.streams.items()):
            stream.quiet.discard(peer.id)
            lost = stream.parents.pop(peer.id, None) is not None
            if lost or (up and not stream.parents):
                self._repair(name, stream)

    def _repair(self, name: bytes, stream: Stream) -> None:
        """Soft: ask the other neighbors, one after the other, who is not below us."""
        if stream.repairing or name == self._own:
            return
        stream.repairing = True
        candidates = [peer for peer in self.membership.neighbors() if peer.id not in stream.parents]
        self.ctx.rng.shuffle(candidates)
        self._ask_next(name, stream, candidates)

    def _ask_next(self, name: bytes, stream: Stream, candidates: list[Contact]) -> None:
        if len(stream.parents) >= self.config.parents or not self.running or self.streams.get(name) is not stream:
            stream.repairing = False
        elif candidates:
            peer = candidates.pop()
            level = len(stream.path) + 1 if self.config.parents > 1 and stream.path else 0
            self.ask(
                peer,
                Reactivate(name, self._complete(name, stream), level),
                Reactivated,
                lambda answer: self._answered(name, stream, candidates, peer, answer),
                lambda failure: self._ask_next(name, stream, candidates),
                timeout_s=self.config.timeout_s,
            )
        else:
            stream.repairing = False
            if not stream.parents:
                self._repair_hard(name, stream)

    def _complete(self, name: bytes, stream: Stream) -> int:
        """Up to which number we have everything: a long body may come later than those behind it."""
        first = max(stream.first, stream.latest - self.config.buffer_limit + 1, 0)
        missing = (n for n in range(first, stream.latest) if not self.has(name + n.to_bytes(4)))
        return next(missing, max(stream.latest + 1, first)) - 1

    def _answered(
        self, name: bytes, stream: Stream, candidates: list[Contact], peer: Contact, answer: Reactivated
    ) -> None:
        if answer.accepted and self._is_neighbor(peer):
            if self._adopt(name, stream, peer, answer.path):
                self.soft_repairs += 1
            elif peer.id not in stream.parents:
                self.ctx.send(peer, Deactivate(name))
        self._ask_next(name, stream, candidates)

    def _repair_hard(self, name: bytes, stream: Stream) -> None:
        """Everybody around is below us, or has no way to the source either."""
        self.hard_repairs += 1
        stream.path = ()
        for peer in self.membership.neighbors():
            self.ctx.send(peer, Orphaned(name))
        if stream.retry is not None and stream.retry.active:
            return
        if stream.retries < self.config.retries:
            stream.retry = self.ctx.after(self.config.retry_s * 2**stream.retries, self._retry, name, stream)
            stream.retries += 1
        else:
            del self.streams[name]

    def _retry(self, name: bytes, stream: Stream) -> None:
        if self.running and self.streams.get(name) is stream and not stream.parents:
            self._repair(name, stream)

    @on(Reactivate)
    def on_reactivate(self, sender: Contact, message: Reactivate) -> Reactivated:
        name = message.stream
        stream = self.streams.get(name)
        path = (*stream.path, self.ctx.me.id) if stream is not None else ()
        rooted = stream is not None and (name == self._own or bool(stream.parents))
        if stream is None or not rooted or sender.id in path or (message.level and len(path) >= message.level):
            return Reactivated(False, ())
        stream.quiet.discard(sender.id)
        first = max(message.number + 1, stream.latest - self.config.buffer_limit + 1, 0)
        for number in range(first, stream.latest + 1):
            missed = self._strand(name, stream, number)
            if missed is not None:
                self.ctx.send(sender, missed)
        return Reactivated(True, path)

    @on(Orphaned)
    def on_orphaned(self, sender: Contact, message: Orphaned) -> None:
        stream = self.streams.get(message.stream)
        if stream is None:
            return
        stream.quiet.discard(sender.id)
        if stream.parents.pop(sender.id, None) is not None:
            self._repair(message.stream, stream)
