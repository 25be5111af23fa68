"""Chord's ring: successors, predecessors, and how they change.

Sources: Stoica et al., Chord (SIGCOMM 2001; CH03), and Zave, How to Make Chord Correct (ZV15): successor lists here,
stabilize in `settling`, rectify in `rectifying`.

Deviation: stabilize and rectify have no messages of their own. Every Pong carries the answerer's neighbors, and each round
pings both shown successors and the first predecessor, so a round is one stabilize and one rectify.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from overlay.core.context import Failure, Reason
from overlay.core.message import Contact, Message
from overlay.core.pending import Pending, ignore
from overlay.core.protocol import Protocol, on
from overlay.errors import RemoteError
from overlay.ids import label, owns
from overlay.ring.events import DepartureReceived, Event, IdTaken, PeerDied, SuccessorChangeReceived, SuccessorsChanged
from overlay.ring.lost import LostAndFound
from overlay.ring.messages import Ask, Depart, Neighbors, SuccessorChange, shared_picture
from overlay.ring.neighborhood import Acquaintances, Gone, RingConfig, RingView, clockwise, namesake
from overlay.ring.pings import Pings
from overlay.ring.rectifying import Behind
from overlay.ring.settling import Settling
from overlay.ring.tail import Tail, for_a_datagram


class Chord(Protocol):
    """The pointers of one peer."""

    __slots__ = (
        "_news",
        "_picture",
        "_settling",
        "acquaintances",
        "awaited",
        "behind",
        "beyond",
        "config",
        "leaving",
        "lost",
        "meet",
        "member",
        "on_change",
        "pings",
        "shortcuts",
        "shown",
        "tail",
    )
    service = "ring"
    answers = (Neighbors,)

    def __init__(self, pings: Pings, config: RingConfig = RingConfig()):  # noqa: B008 -- frozen
        self.pings = pings
        pings.listener = self
        self.config = config
        self.lost = LostAndFound(self)
        self.member = False
        self.leaving = False
        self.shown: list[Contact] = []
        """The first successors, which all have been heard from, save those in `awaited`."""
        self.tail: list[Contact] = []
        """The successors beyond, by hearsay: each is asked before it is used."""
        self.beyond = Tail(self)
        self.behind = Behind(self)
        self.awaited: set[int] = set()
        """Shown successors that were named at the start and never heard from."""
        self.acquaintances = Acquaintances(config)
        self.on_change: list[Callable[[], None]] = []
        """Called when a pointer has changed."""
        self.meet: Callable[[Contact, Contact], None] = ignore
        """Routes Meet(contact), beginning at a peer: set by the router."""
        self.shortcuts: Callable[[], Iterable[Contact]] = tuple
        """Peers known for another reason, such as fingers: one of them is a way back when the whole list has died."""
        self._settling = Settling(self)
        self._news = True
        self._picture = pings.picture

    # Beginning and end ---------------------------------------------------------------------------------------

    def begin(self, successors: Iterable[Contact], predecessors: Iterable[Contact] = (), *, awaited: bool) -> None:
        """Take a place in the ring: named by `init` (and awaited until heard from), or given by the peer that let us in."""
        self.member = True
        line = clockwise(
            self.ctx.me, [*successors, *(predecessors if not awaited else ())], self.gone, self.config.bits
        )
        self.shown = line[: self.config.shown]
        self.tail = line[self.config.shown : self.config.successors]
        if awaited:
            self.awaited = {contact.id for contact in self.shown}
        self.behind.begin(list(predecessors))
        self.changed()
        self.pings.begin()
        self.lost.begin()

    def leave(self) -> None:
        """From now on everybody who asks hears that we are leaving. We still look after our pointers, in silence,
        for what we keep has to reach somebody."""
        self.leaving = True
        self.changed()

    # What we show --------------------------------------------------------------------------------------------

    @property
    def before(self) -> Contact | None:
        """The first predecessor."""
        return self.behind.first

    @property
    def successors(self) -> list[Contact]:
        """The whole list, the nearest first."""
        return self.shown + self.tail

    @property
    def first(self) -> Contact:
        """The first successor; ourselves when we are alone."""
        return self.shown[0] if self.shown else self.ctx.me

    @property
    def settled(self) -> bool:
        """Whether our first successor is known at all, and not just being looked for."""
        return bool(self.shown) or not (self.tail or self._settling.busy)

    @property
    def gone(self) -> Gone:
        """Incarnations that are not to be used."""
        return self.acquaintances.gone

    def names(self) -> tuple[int, int]:
        """The two successors as they are printed."""
        me = self.ctx.me.id
        numbers = [contact.id for contact in self.shown] + [me, me]
        return numbers[0], numbers[1]

    def picture(self) -> Neighbors:
        """The ring as seen from here. An equal picture is not made anew, so that nobody takes it for news."""
        ahead = tuple([contact for contact in self.successors if contact.boot])
        picture = Neighbors(self.behind.contacts, ahead, self.member, self.leaving)
        if picture != self._picture:
            self._picture, self.pings.picture = picture, for_a_datagram(picture)
        return self._picture

    def view(self) -> RingView:
        return RingView(
            self.ctx.me,
            self.picture().predecessors,
            tuple(self.shown),
            tuple(self.successors),
            tuple(sorted(self.awaited)),
            self.member,
            self.leaving,
        )

    def range(self) -> tuple[int, int] | None:
        """The keys (low, high] that belong to us; None while we do not know who is before us, or are in no ring."""
        before = self.before
        if before is not None:
            return before.id, self.ctx.me.id
        return None if self.shown or not self.member else (self.ctx.me.id, self.ctx.me.id)

    # What the pings tell ---------------------------------------------------------------------------------------

    def round(self) -> None:
        """Stabilize, if there is anything new."""
        if self._settling.busy:
            return
        if self._news:
            self.lost.look_behind()
        if self.lost.orphan:
            self.lost.round()
        if self._news or self._settling.wanted is not None:
            self._news = False
            self._settling.stabilize()

    def pinged(self, sender: Contact) -> None:
        self.behind.pinged(sender)

    def heard(self, contact: Contact, picture: Neighbors) -> None:
        if picture.member and contact.id in self.awaited:
            self._arrived(contact)
        if picture.leaving:
            self._departed(contact, picture)
            return
        if not picture.member:
            return
        pictures = self.acquaintances.pictures
        if pictures.get(contact.id) != picture:
            pictures[contact.id] = picture
            self._news = True
            other = namesake(self.ctx.me, picture, self.gone)
            if other is not None:
                # Telling once is enough: it is in the way of nobody but ourselves.
                self.gone.add(other, left=False)
                self._tell(IdTaken(other))
        self.behind.heard(contact, picture)

    def dead(self, contact: Contact) -> None:
        self.lost.died(contact)
        was_shown = self._lose(contact, left=False)
        if was_shown:
            self._tell(PeerDied(contact.id))
            self.settle(loudly=True)

    def _departed(self, contact: Contact, picture: Neighbors) -> None:
        was_shown = self._lose(contact, left=True)
        for other in (*picture.successors, *picture.predecessors):
            self.consider(other)
        self.lost.take_over(picture.lost)
        if was_shown:
            self._tell(DepartureReceived(contact.id))
            self.settle(loudly=True)

    def _arrived(self, contact: Contact) -> None:
        self.awaited.discard(contact.id)
        self.shown = [contact if shown.id == contact.id else shown for shown in self.shown]
        self.changed()

    # Successors ----------------------------------------------------------------------------------------------

    def known(self) -> list[Contact]:
        """Everybody of whom we know, in ring order."""
        contacts = [*self.tail, *self.acquaintances.contacts(), *self.behind.contacts, *self.shortcuts()]
        if self.awaited:
            # Hearsay of an awaited peer is not hearing from it.
            contacts = [contact for contact in contacts if contact.id not in self.awaited]
        # Whoever comes with the id of a peer that we point to, from another address, is not it while that one lives.
        places = {contact.id: contact.address for contact in (*self.behind.contacts, *self.shown)}
        contacts = [contact for contact in contacts if places.get(contact.id, contact.address) == contact.address]
        contacts += self.shown
        return clockwise(self.ctx.me, contacts, self.gone, self.config.bits)

    def best(self) -> list[Contact]:
        """Whom we should show, as far as we know."""
        return self.known()[: self.config.shown]

    def picture_of(self, contact: Contact) -> Neighbors | None:
        """What a watched peer last told of its neighbors."""
        return self.acquaintances.pictures.get(contact.id)

    def consider(self, contact: Contact) -> None:
        """Somebody who may be a neighbor: looked at in the next round."""
        self._news |= self.acquaintances.consider(self.ctx.me, contact)

    def introduced(self, contact: Contact) -> None:
        """Somebody found it alive. If we think it dead, that is to be found out."""
        if contact in self.gone and not self.gone.left(contact):
            self.lost.add(contact)
        else:
            self.consider(contact)

    def settle(self, *, loudly: bool = False) -> None:
        """Make what we show right, now."""
        self._settling.settle(loudly=loudly)

    def install(self, wanted: list[Contact]) -> None:
        """Show these, all of which have been heard from."""
        old = self.shown
        self.shown = list(wanted)
        self.awaited &= {contact.id for contact in wanted}
        self.beyond.refresh()
        self.changed()
        self._tell(SuccessorsChanged(*self.names()))
        if old and wanted and old[0].id != wanted[0].id and old[0] not in self.gone and not self.leaving:
            self.meet(old[0], wanted[0])

    def insert(self, newcomer: Contact) -> None:
        """A newcomer that answered stands right behind us."""
        self.gone.returned(newcomer)
        line = clockwise(self.ctx.me, [*self.successors, newcomer], self.gone, self.config.bits)
        self.shown = line[: self.config.shown]
        self.tail = line[self.config.shown : self.config.successors]
        self._settling.forget()
        self.changed()
        self._tell(SuccessorsChanged(*self.names()))

    # Asking --------------------------------------------------------------------------------------------------

    def ask(
        self,
        contact: Contact,
        then: Callable[[Neighbors], object],
        failed: Callable[[], object] | None = None,
    ) -> None:
        """See a peer's neighbors from itself. One that does not answer, or is another incarnation, is gone."""

        def answered(picture: Neighbors) -> None:
            if picture.leaving:
                self._departed(contact, picture)
            elif picture.member:
                self.found(contact)
                self.acquaintances.pictures[contact.id] = shared_picture(picture)
            then(picture)

        def silent(failure: Failure) -> None:
            if failure.reason not in (Reason.OVERLOADED, Reason.LOCAL) and contact.id not in self.awaited:
                self.dead(contact)
            if failed is not None:
                failed()

        self.ctx.call(contact, Ask(), answered, silent, timeout_s=self.config.ask_s)

    def found(self, contact: Contact) -> None:
        """It answered: whatever we thought of it, it lives."""
        self.gone.returned(contact)
        self.lost.returned(contact)
        self.consider(contact)

    def _lose(self, contact: Contact, *, left: bool) -> bool:
        """Point to it no more. Whether it was one of the shown successors."""
        before = len(self.shown)
        self.acquaintances.lose(contact, left=left)
        self.shown = [other for other in self.shown if not other.is_same_peer(contact)]
        self.tail = [other for other in self.tail if not other.is_same_peer(contact)]
        self.behind.lose(contact)
        self.changed()
        return len(self.shown) < before

    def changed(self) -> None:
        """A pointer changed: the picture is a new one, and the pings watch whom we now point to."""
        self.picture()
        self._news = True
        around = (*self.shown, *self.behind.contacts)
        self.pings.familiarize(tuple([contact for contact in around if not self.behind.nearer(contact)]))
        ranks = dict.fromkeys(self.behind.contacts[:1], 0)
        for rank, contact in reversed(list(enumerate(self.shown, 1))):
            ranks = {other: r for other, r in ranks.items() if other.id != contact.id}
            ranks[contact] = 0 if self.leaving else rank
        self.pings.watch(ranks, frozenset(self.awaited))
        self.acquaintances.keep([contact.id for contact in ranks])
        for tell in self.on_change:
            tell()

    # What other peers tell -----------------------------------------------------------------------------------

    @on(Ask)
    def on_ask(self, sender: Contact, message: Ask) -> Message:
        picture = self.picture()
        if not self.leaving:
            return picture
        # Who asks a leaver may be the only one left to whom it can give its records.
        self.consider(sender)
        return msgspec.structs.replace(picture, lost=self.lost.contacts())

    @on(SuccessorChange)
    def on_successor_change(self, sender: Contact, message: SuccessorChange) -> Pending[Message] | None:
        """Only our first successor has something to tell, and it is asked back where we know it to be."""
        first = self.first
        if self.leaving or not first.is_same_peer(sender):
            return None

        def confirmed(picture: Neighbors) -> None:
            if picture.successors and self.first.is_same_peer(first) and picture.successors[0] not in self.shown:
                self._tell(SuccessorChangeReceived())
                self.settle(loudly=True)

        self.ask(first, confirmed)
        return None

    @on(Depart)
    def on_depart(self, sender: Contact, message: Depart) -> Pending[Message]:
        """A departure counts once the leaver, asked back at the address where we know it, says so itself."""
        done: Pending[Message] = Pending()
        known = next((contact for contact in self.known() if contact.id == sender.id), sender)

        def confirmed(picture: Neighbors) -> None:
            if picture.leaving:
                done.resolve(self.picture())
            else:
                done.fail(RemoteError(f"Peer {label(known.id)} says it does not leave"))

        self.ask(known, confirmed, lambda: done.fail(RemoteError(f"Peer {label(known.id)} did not answer")))
        return done

    def _tell(self, event: Event) -> None:
        if not self.leaving:
            self.ctx.notify(event)

    def is_before(self, key: int) -> bool:
        """Whether the key's place is between us and our first successor."""
        return owns(self.ctx.me.id, key, self.first.id)
