"""The generic peer sampling service: whatever a gossip membership is, by its policies.

Jelasity, Voulgaris, Guerraoui, Kermarrec, van Steen, Gossip-based Peer Sampling, TOCS 2007 (PS07), Fig. 1. Each period a
node picks a peer, sends it part of its view and itself, freshly made, and merges what comes back.

Deviation: an answer is no longer than its question, in bytes, for a datagram's sender can be forged; a node with
few contacts therefore pads what it asks with.
Deviation: PS07 supposes that the peer picked is alive. Here one that does not answer stays in the view, to grow old
there, and another one is tried in the same period. Where there are fewer nodes than places nobody is pushed out; who
has grown too old there and does not answer is dropped, and such news is not taken in again.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import msgspec

from overlay.core.codec import pack
from overlay.core.context import Failure
from overlay.core.message import Command, Contact, Datagram, Message
from overlay.core.protocol import on
from overlay.gossip.base import Join, MembershipService, check
from overlay.gossip.view import Descriptor, Selection, View
from overlay.ids import Key

FITS_BYTES = 1000
"""A view of more bytes does not fit a datagram with its envelope, and goes over TCP."""

MAX_FITTING = 40
"""No more descriptors than this fit, however short they are."""

MAX_VIEW = 200
DESCRIPTOR_BYTES = 48
"""A usual descriptor; what is missing in a question is made up for by so much padding, and one is always missing:
descriptors of one number differ in length."""


class ViewOffer(Datagram, frozen=True):
    """Contacts of the sender. A call asks for some of ours in return; one-way, it only tells."""

    entries: tuple[Descriptor, ...]
    padding: bytes = b""


class LongViewOffer(Command, frozen=True):
    """The same, where it is too long for a datagram."""

    entries: tuple[Descriptor, ...]
    padding: bytes = b""


class ViewReply(Datagram, frozen=True):
    """Contacts of whoever was asked."""

    entries: tuple[Descriptor, ...]


class LongViewReply(Command, frozen=True):
    """The same, over TCP."""

    entries: tuple[Descriptor, ...]


class SamplingConfig(msgspec.Struct, frozen=True):
    """The policies of PS07, section 2.3."""

    view_size: int = 30
    """c: of contacts known."""
    period_s: float = 1.0
    """T: between two exchanges that this node begins; 0: somebody calls `gossip`."""
    peer_selection: Selection = "rand"
    """With whom: anyone, the freshest ("head") or the oldest ("tail") contact."""
    propagation: Literal["push", "pull", "pushpull"] = "pushpull"
    """Who sends contacts: the one that begins, the other one, both."""
    buffer: int = 14
    """How many contacts are sent, besides our own: c/2 - 1 in PS07, the whole view in Newscast."""
    healer: int = 15
    """H: so many of the oldest are dropped first, and not sent if others are there."""
    swapper: int = 0
    """S: then so many of those that were sent to the other one."""
    view_selection: Selection = "rand"
    """What stays of the rest: any, the freshest ("head") or the oldest ("tail")."""
    timeout_s: float = 0.5
    """For an answer, until another peer is tried."""
    attempts: int = 3
    """Peers tried in one period, until one answers."""
    forget: int = 100
    """After so many periods without news of it, a contact that does not answer is dropped; 0: never. Unless they are all
    silent: then it may be this node that is cut off."""

    def check(self) -> None:
        """LocalError for what cannot work."""
        check(1 <= self.view_size <= MAX_VIEW, f"a view holds 1 to {MAX_VIEW} contacts, not {self.view_size}")
        check(self.period_s == 0 or 0.01 <= self.period_s <= 3600, f"a period of {self.period_s} s")
        check(0 < self.timeout_s <= 60, f"a timeout of {self.timeout_s} s")
        check(self.healer >= 0 and self.swapper >= 0 and self.buffer >= 0, "healer, swapper and buffer count contacts")
        check(1 <= self.attempts <= 10, f"{self.attempts} attempts; 1 to 10 in a period")
        check(0 <= self.forget <= 1_000_000, f"contacts forgotten after {self.forget} periods")
        for field in ("peer_selection", "view_selection"):
            check(getattr(self, field) in ("rand", "head", "tail"), f"{field} is rand, head or tail")
        check(self.propagation in ("push", "pull", "pushpull"), "propagation is push, pull or pushpull")


class SamplingView(msgspec.Struct, frozen=True):
    """What a node knows of the others."""

    neighbors: tuple[Contact, ...]


class PeerSampling(MembershipService):
    """See the module."""

    answers = (ViewReply, LongViewReply)
    admission = LongViewReply

    def __init__(self, service: str, config: SamplingConfig):
        config.check()
        super().__init__(service)
        self.config = config

    @property
    def _forget_s(self) -> float:
        return self.config.forget * self.config.period_s or math.inf

    def start(self) -> None:
        super().start()
        self.links = View(self.ctx.me.id, self.config.view_size)
        self.every(self.config.period_s, self.gossip)

    def neighbors(self) -> tuple[Contact, ...]:
        return self.links.contacts()

    def view(self) -> SamplingView:
        return SamplingView(self.links.contacts())

    # Coming in -----------------------------------------------------------------------------------------------

    @on(Join)
    def on_join(self, sender: Contact, message: Join) -> LongViewReply:
        reply = LongViewReply(self._buffer(self.config.view_size))
        self._merge((Descriptor(sender, 0.0),), ())
        return reply

    def admitted(self, contact: Contact, answer: Any) -> None:
        self._merge((Descriptor(contact, 0.0), *answer.entries), ())

    # The active side -----------------------------------------------------------------------------------------

    def gossip(self) -> None:
        """One round: exchange views with one peer."""
        self._exchange(self.config.attempts, ())

    def _exchange(self, attempts: int, tried: tuple[Key, ...]) -> None:
        config = self.config
        peer = self.links.select(config.peer_selection, self.ctx.rng, tried)
        if peer is None:
            return
        entries = self._buffer(config.buffer) if config.propagation != "pull" else ()
        wants = config.propagation != "push"
        missing = min(config.buffer, config.view_size) + 2 - len(entries) if wants else 0
        offer = _offer(entries, bytes(DESCRIPTOR_BYTES * missing))
        if not wants:
            self.ctx.send(peer, offer)
            return

        def failed(failure: Failure) -> None:
            if self.links.is_stale(peer.id, self.ctx.now, self._forget_s):
                self.links.drop(peer.id)
                self._listeners.tell(peer, False)
            if attempts > 1 and self.running:
                self._exchange(attempts - 1, (*tried, peer.id))

        self.ask(
            peer,
            offer,
            (ViewReply, LongViewReply),
            lambda reply: self._merge(reply.entries, entries),
            failed,
            timeout_s=config.timeout_s,
        )

    def _buffer(self, count: int) -> tuple[Descriptor, ...]:
        mine = Descriptor(self.ctx.me, 0.0)
        return (mine, *self.links.descriptors(count, self.config.healer, self.ctx.rng, self.ctx.now))

    # The passive side ----------------------------------------------------------------------------------------

    @on(ViewOffer, LongViewOffer)
    def on_offer(self, sender: Contact, message: ViewOffer | LongViewOffer) -> Message | None:
        if self.config.propagation == "push":
            self._merge(message.entries, ())
            return None
        reply = _reply(self._buffer(self.config.buffer), message)
        self._merge(message.entries, reply.entries)
        return reply

    def _merge(self, received: tuple[Descriptor, ...], sent: tuple[Descriptor, ...]) -> None:
        config, links = self.config, self.links
        before = {contact.id: contact for contact in links.contacts()} if self._listeners else {}
        oldest_s = self._forget_s
        links.merge((news for news in received if not news.age_s > oldest_s), self.ctx.now)
        ids = [descriptor.contact.id for descriptor in sent] if config.swapper else ()
        links.trim(config.healer, config.swapper, ids, config.view_selection, self.ctx.rng)
        if self._listeners:
            self._tell(before)

    def _tell(self, before: dict[Key, Contact]) -> None:
        for contact in self.links.contacts():
            if before.pop(contact.id, None) is None:
                self._listeners.tell(contact, True)
        for contact in before.values():
            self._listeners.tell(contact, False)


def _offer(entries: tuple[Descriptor, ...], padding: bytes) -> ViewOffer | LongViewOffer:
    offer = ViewOffer(entries, padding)
    fits = len(entries) <= MAX_FITTING and len(pack(offer)) <= FITS_BYTES
    return offer if fits else LongViewOffer(entries, padding)


def _reply(entries: tuple[Descriptor, ...], offer: ViewOffer | LongViewOffer) -> ViewReply | LongViewReply:
    if isinstance(offer, LongViewOffer):
        return LongViewReply(entries)
    room = len(pack(offer))
    reply = ViewReply(entries)
    while len(pack(reply)) > room and reply.entries:
        reply = ViewReply(reply.entries[:-1])
    return reply
