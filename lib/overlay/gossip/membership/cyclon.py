"""Cyclon, the baseline that HyParView's paper compares with.

Voulgaris, Gavidia, van Steen, CYCLON, JNSM 2005 (CY05), sections 2 and 3: enhanced shuffling swaps contacts with the oldest
neighbor, basic shuffling with any. A swap moves links and makes none, so in-degrees even out.
"""

from __future__ import annotations

from typing import Any

import msgspec

from overlay.core.context import Failure
from overlay.core.message import Command, Contact
from overlay.core.protocol import on
from overlay.gossip.base import Join, MembershipService, check, name_of
from overlay.gossip.membership.peer_sampling import MAX_VIEW, SamplingView
from overlay.gossip.view import Descriptor, View
from overlay.ids import Key


class Swap(Command, frozen=True):
    """A call: these contacts for as many of yours."""

    entries: tuple[Descriptor, ...]


class Swapped(Command, frozen=True):
    """The answer."""

    entries: tuple[Descriptor, ...]


class Introduced(Command, frozen=True):
    """The answer to a Join."""

    entries: tuple[Descriptor, ...]


class CyclonConfig(msgspec.Struct, frozen=True):
    """The letters of CY05."""

    view_size: int = 20
    """c: the cache."""
    shuffle_length: int = 8
    """l: contacts swapped at a time."""
    period_s: float = 1.0
    """Delta T; 0: somebody calls `shuffle`."""
    enhanced: bool = True
    """With the oldest neighbor, and not with a random one."""
    timeout_s: float = 0.5

    def check(self) -> None:
        """LocalError for what cannot work."""
        check(1 <= self.view_size <= MAX_VIEW, f"a view holds 1 to {MAX_VIEW} contacts, not {self.view_size}")
        check(1 <= self.shuffle_length <= self.view_size, f"a shuffle of {self.shuffle_length} contacts")
        check(self.period_s == 0 or 0.01 <= self.period_s <= 3600, f"a period of {self.period_s} s")
        check(0 < self.timeout_s <= 60, f"a timeout of {self.timeout_s} s")


class Cyclon(MembershipService):
    """See the module.

    Deviation: a newcomer takes the view of the node it joins by, instead of CY05's random walks: one question is enough.
    """

    answers = (Swapped, Introduced)
    admission = Introduced

    def __init__(self, network: str, config: CyclonConfig | None = None):
        self.config = config or CyclonConfig()
        self.config.check()
        super().__init__(name_of("cyclon", network))

    def start(self) -> None:
        super().start()
        self.links = View(self.ctx.me.id, self.config.view_size)
        self.every(self.config.period_s, self.shuffle)

    def neighbors(self) -> tuple[Contact, ...]:
        return self.links.contacts()

    def view(self) -> SamplingView:
        return SamplingView(self.links.contacts())

    @on(Join)
    def on_join(self, sender: Contact, message: Join) -> Introduced:
        known = self.links.descriptors(self.config.view_size - 1, 0, self.ctx.rng, self.ctx.now)
        self._take((Descriptor(sender, 0.0),), ())
        return Introduced((Descriptor(self.ctx.me, 0.0), *known))

    def admitted(self, contact: Contact, answer: Any) -> None:
        self._take(answer.entries, ())

    def shuffle(self) -> None:
        """One round, CY05 section 3.1: a swap with one neighbor, which leaves our view for it."""
        rng, config = self.ctx.rng, self.config
        peer = self.links.select("tail" if config.enhanced else "rand", rng)
        if peer is None:
            return
        # Step 4: the other one's entry makes room for what it will send; a dead one is thereby forgotten.
        self._drop(peer.id)
        others = self.links.descriptors(config.shuffle_length - 1, 0, rng, self.ctx.now)
        sent = tuple(d.contact.id for d in others)
        self.ask(
            peer,
            Swap((Descriptor(self.ctx.me, 0.0), *others)),
            Swapped,
            lambda reply: self._take(reply.entries, sent),
            self._failed,
            timeout_s=config.timeout_s,
        )

    def _failed(self, failure: Failure) -> None:
        """The entry is gone already."""

    @on(Swap)
    def on_swap(self, sender: Contact, message: Swap) -> Swapped:
        entries = self.links.descriptors(len(message.entries), 0, self.ctx.rng, self.ctx.now)
        self._take(message.entries, tuple(d.contact.id for d in entries))
        return Swapped(tuple(entries))

    def _take(self, received: tuple[Descriptor, ...], sent: tuple[Key, ...]) -> None:
        """Steps 6 and 7: empty places first, then those of what was sent; nothing else goes, and what is known stays."""
        links, size, me, now = self.links, self.config.view_size, self.ctx.me.id, self.ctx.now
        replaceable = iter(sent)
        for descriptor in received:
            id = descriptor.contact.id
            if id == me or id in links:
                continue
            if len(links) >= size:
                old = next((other for other in replaceable if other in links), None)
                if old is None:
                    break
                self._drop(old)
            if links.add(descriptor, now):
                self._listeners.tell(descriptor.contact, True)

    def _drop(self, id: Key) -> None:
        contact = self.links.drop(id)
        if contact is not None:
            self._listeners.tell(contact, False)
