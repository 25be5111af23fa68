"""Plumtree, many-to-many in the stable edition: a tree carries the bodies, all other links carry their names.

Leitao, Pereira, Rodrigues, Epidemic Broadcast Trees, SRDS 2007 (PT07), Algorithms 1 to 4. The tree is what is left of
the flood of the first broadcast when every link on which a duplicate came is pruned; a name that comes without its
body grafts a link back.

Deviation: a body that is pulled (see `base`) counts as here once it has come, and is passed on then.
Deviation: a neighbor that comes is told the names of what was heard lately. Where links change while a broadcast spreads, it may
have passed on both sides of one before that was there.
"""

from __future__ import annotations

from collections import OrderedDict

import msgspec

from overlay.core.context import Timer
from overlay.core.message import Command, Contact
from overlay.core.protocol import on
from overlay.gossip.base import check, name_of
from overlay.gossip.dissemination.base import ID_BYTES, Content, DisseminationView, Disseminator
from overlay.gossip.services import Membership
from overlay.ids import Key

MAX_MISSING = 1024
"""Broadcasts announced and not here; of more, the oldest is given up."""

MAX_ANNOUNCERS = 64
MAX_NAMES = 500
"""In one IHave."""


class Gossip(Command, frozen=True):
    """A broadcast, over a link of the tree."""

    id: bytes
    round: int
    content: Content


class Name(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A broadcast that the sender has, and over how many links it had come there."""

    id: bytes
    round: int


class IHave(Command, frozen=True):
    """Broadcasts' names, over the other links."""

    names: tuple[Name, ...]


class Graft(Command, frozen=True):
    """Make this link one of the tree; and send me this broadcast, if one is named."""

    id: bytes
    round: int


class Prune(Command, frozen=True):
    """This link is not one of the tree."""


class PlumtreeConfig(msgspec.Struct, frozen=True):
    """The letters of PT07."""

    lazy_s: float = 0.05
    """For so long names are held back and sent together, so that bodies go first; 0: each at once, as PT07 measures."""
    announced_s: float = 0.5
    """timeout1: from an IHave to the Graft. Longer than a broadcast takes over the tree. UnsServ: retrieve_timeout."""
    grafted_s: float = 0.1
    """timeout2: until the next announcer is asked; about a round trip."""
    recent_s: float = 5.0
    """What was heard so lately is announced to a neighbor that comes; 0: nothing is, as in PT07."""
    threshold: int = 0
    """By so many hops a shorter way must be shorter for the tree to change to it; 0: it does not. PT07: 3 with a single
    sender, 7 with many."""
    buffer_limit: int = 100
    """Bodies that are kept for a Graft."""

    def check(self) -> None:
        """LocalError for what cannot work."""
        check(0 <= self.lazy_s <= 10, f"names are held back for {self.lazy_s} s")
        check(0 < self.grafted_s <= self.announced_s <= 600, "timeouts: 0 < grafted_s <= announced_s <= 600")
        check(0 <= self.recent_s <= 600, f"{self.recent_s} s that are announced to a new neighbor")
        check(0 <= self.threshold <= 100, f"a threshold of {self.threshold} hops")
        check(1 <= self.buffer_limit <= 100_000, f"a buffer of {self.buffer_limit} broadcasts")


class PlumtreeView(DisseminationView, frozen=True):
    """The tree from here."""

    eager: tuple[Key, ...]
    lazy: tuple[Key, ...]


class _Missing:
    """A broadcast that was announced."""

    __slots__ = ("announcers", "timer")

    def __init__(self, timer: Timer):
        self.announcers: list[tuple[Contact, int]] = []
        self.timer = timer


class Plumtree(Disseminator):
    """See the module."""

    def __init__(self, instance: str, membership: Membership, config: PlumtreeConfig | None = None):
        self.config = config or PlumtreeConfig()
        self.config.check()
        super().__init__(name_of("plumtree", instance), membership, self.config.buffer_limit)
        self.eager: dict[Key, Contact] = {}
        self.lazy: dict[Key, Contact] = {}
        self._names: OrderedDict[bytes, tuple[Name, float]] = OrderedDict()
        """Of each body that is kept, how far it had come here, and when."""
        self._missing: OrderedDict[bytes, _Missing] = OrderedDict()
        self._held: list[tuple[Name, Key | None]] = []
        """Names to be announced, and to whom not."""

    def start(self) -> None:
        super().start()
        self.membership.subscribe(self._on_neighbor)
        self.eager = {peer.id: peer for peer in self.membership.neighbors()}

    def stop(self) -> None:
        self.membership.unsubscribe(self._on_neighbor)
        for missing in self._missing.values():
            missing.timer.cancel()
        super().stop()

    def view(self) -> PlumtreeView:
        return PlumtreeView(self.sent, self.heard, self.duplicates, tuple(self.eager), tuple(self.lazy))

    def hops(self, id: bytes) -> int | None:
        """Over how many links a broadcast has come here; None when that is forgotten."""
        known = self._names.get(id)
        return known[0].round if known is not None else None

    # Algorithm 1: eager push, lazy push ----------------------------------------------------------------------

    def spread(self, id: bytes) -> None:
        self._push(id, 0, None)

    def _push(self, id: bytes, round: int, source: Contact | None) -> None:
        name = Name(id, round)
        self._names[id] = name, self.ctx.now
        if len(self._names) > self.config.buffer_limit:
            self._names.popitem(last=False)
        content = self.content(id)
        if content is None:
            return
        exclude = None if source is None else source.id
        gossip = Gossip(id, round, content)
        for peer in self.eager.values():
            if peer.id != exclude:
                self.ctx.send(peer, gossip)
        if not self._held and self.config.lazy_s:
            self.ctx.after(self.config.lazy_s, self._announce)
        self._held.append((name, exclude))
        if not self.config.lazy_s or len(self._held) >= MAX_NAMES:
            self._announce()

    def _announce(self) -> None:
        """Dispatch the lazy queue (Algorithm 1)."""
        held, self._held = self._held, []
        if not held or not self.running:
            return
        for peer in self.lazy.values():
            names = tuple(name for name, exclude in held if exclude != peer.id)
            if names:
                self.ctx.send(peer, IHave(names))

    # Algorithm 2: the tree is made ---------------------------------------------------------------------------

    @on(Gossip)
    def on_gossip(self, sender: Contact, message: Gossip) -> None:
        if self.has(message.id):
            self.duplicates += 1
            self._make_lazy(sender)
            self.ctx.send(sender, Prune())
        elif len(message.id) == ID_BYTES:
            self.obtain(sender, message.id, message.content, lambda source, data: self._heard(source, message, data))

    def _heard(self, source: Contact, message: Gossip, data: bytes) -> None:
        id, round = message.id, message.round + 1
        if self.has(id):
            return
        missing = self._missing.pop(id, None)
        if missing is not None:
            missing.timer.cancel()
        self.accept(id, data)
        self._make_eager(source)
        self._push(id, round, source)
        if missing is not None and self.config.threshold:
            self._optimise(source, message.round, missing)

    @on(Prune)
    def on_prune(self, sender: Contact, message: Prune) -> None:
        self._make_lazy(sender)

    def _make_lazy(self, peer: Contact) -> None:
        known = self.eager.pop(peer.id, None)
        if known is not None:
            self.lazy[peer.id] = known

    def _make_eager(self, peer: Contact) -> None:
        known = self.lazy.pop(peer.id, None)
        if known is not None:
            self.eager[peer.id] = known

    # Algorithm 3: the tree is repaired -----------------------------------------------------------------------

    @on(IHave)
    def on_ihave(self, sender: Contact, message: IHave) -> None:
        for name in message.names[:MAX_NAMES]:
            if not self.has(name.id) and len(name.id) == ID_BYTES:
                self._note(name, sender)

    def _note(self, name: Name, sender: Contact) -> None:
        missing = self._missing.get(name.id)
        if missing is None:
            timer = self.ctx.after(self.config.announced_s, self._retrieve, name.id)
            missing = self._missing[name.id] = _Missing(timer)
            if len(self._missing) > MAX_MISSING:
                self._missing.popitem(last=False)[1].timer.cancel()
        if len(missing.announcers) < MAX_ANNOUNCERS:
            missing.announcers.append((sender, name.round))

    def _retrieve(self, id: bytes) -> None:
        missing = self._missing.get(id)
        if missing is None or not self.running:
            return
        if self.coming(id):
            # A long body is on its way; whether it comes is known when that has failed.
            missing.timer = self.ctx.after(self.config.announced_s, self._retrieve, id)
        elif not missing.announcers:
            del self._missing[id]
        else:
            missing.timer = self.ctx.after(self.config.grafted_s, self._retrieve, id)
            announcer, round = missing.announcers.pop(0)
            self._make_eager(announcer)
            self.ctx.send(announcer, Graft(id, round))

    @on(Graft)
    def on_graft(self, sender: Contact, message: Graft) -> None:
        self._make_eager(sender)
        content = self.content(message.id) if message.id else None
        if content is not None:
            round = self.hops(message.id)
            self.ctx.send(sender, Gossip(message.id, message.round if round is None else round, content))

    # Section 3.8: the tree is made shallower -----------------------------------------------------------------

    def _optimise(self, source: Contact, round: int, missing: _Missing) -> None:
        announcer, shorter = min(missing.announcers, key=lambda pair: pair[1], default=(source, round))
        if announcer.id in self.lazy and shorter < round and round - shorter >= self.config.threshold:
            self._make_eager(announcer)
            self.ctx.send(announcer, Graft(b"", shorter))
            self._make_lazy(source)
            self.ctx.send(source, Prune())

    # Algorithm 4: neighbors come and go ----------------------------------------------------------------------

    def _on_neighbor(self, peer: Contact, up: bool) -> None:
        self.lazy.pop(peer.id, None)
        self.eager.pop(peer.id, None)
        if up:
            self.eager[peer.id] = peer
            self._announce_lately(peer)
            return
        for id, missing in list(self._missing.items()):
            missing.announcers = [pair for pair in missing.announcers if pair[0].id != peer.id]
            if not missing.announcers and not self.coming(id):
                missing.timer.cancel()
                del self._missing[id]

    def _announce_lately(self, peer: Contact) -> None:
        """What went by before the link was there."""
        since = self.ctx.now - self.config.recent_s
        names = tuple(name for name, heard_at in self._names.values() if heard_at > since)
        if names:
            self.ctx.send(peer, IHave(names[-MAX_NAMES:]))
