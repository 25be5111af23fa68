"""Chord's ring: successors, predecessors, and how they change.

Sources: Stoica et al., Chord (SIGCOMM 2001; CH03), and Zave, How to Make Chord Correct (ZV15): successor lists, stabilize
and rectify, and never a pointer to a peer that has not been heard from.

Deviation: stabilize and rectify have no messages of their own. Every Pong carries the answerer's neighbors, and each round
pings both shown successors and the first predecessor, so a round is one stabilize and one rectify.
Deviation: a better successor found in this way is installed one interval after it was first seen, so that joins and
departures, which tell about themselves, come first (the assignment's printed lines depend on it).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import msgspec

from overlay.core.context import Failure, Reason
from overlay.core.message import Contact, Message
from overlay.core.pending import Pending
from overlay.core.protocol import Protocol, on
from overlay.errors import RemoteError
from overlay.ids import CLASSROOM_BITS, between, distance, owns
from overlay.ring.events import DepartureReceived, Event, PeerDied, SuccessorChangeReceived, SuccessorsChanged
from overlay.ring.lost import LostAndFound
from overlay.ring.messages import Ask, Depart, Neighbors, SuccessorChange
from overlay.ring.neighborhood import Gone, clockwise, until
from overlay.ring.pings import Pings


class RingConfig(msgspec.Struct, frozen=True):
    """The shape of the ring. The defaults are the classroom's."""

    bits: int = CLASSROOM_BITS
    """Of an identifier (the papers' m)."""
    successors: int = 4
    """Of the list (the papers' r): it survives r-1 neighbors that die at once. Two of them are shown."""
    shown: int = 2
    """Successors that are pinged aloud and printed."""
    ask_s: float = 2.4
    """For an answer to Ask."""
    candidates: int = 16
    """Contacts kept that may turn out to be neighbors."""


class RingView(msgspec.Struct, frozen=True):
    """The ring as one peer sees it. The nearest first; a peer that has no other stands for itself."""

    me: Contact
    predecessors: tuple[Contact, ...]
    shown: tuple[Contact, ...]
    successors: tuple[Contact, ...]
    awaited: tuple[int, ...]
    member: bool
    leaving: bool


class Chord(Protocol):
    """The pointers of one peer."""

    __slots__ = (
        "_candidates",
        "_loudly",
        "_news",
        "_pictures",
        "_rectifying",
        "_settling",
        "_wanted",
        "_wanted_at",
        "awaited",
        "before",
        "before2",
        "config",
        "gone",
        "leaving",
        "lost",
        "meet",
        "member",
        "on_change",
        "pings",
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
        self.before: Contact | None = None
        """The first predecessor."""
        self.before2: Contact | None = None
        self.awaited: set[int] = set()
        """Shown successors that were named at the start and never heard from."""
        self.gone = Gone()
        self.on_change: list[Callable[[], None]] = []
        """Called when a pointer has changed."""
        self.meet: Callable[[Contact, Contact], None] = _nobody
        """Routes Meet(contact), beginning at a peer: set by the router."""
        self._candidates: dict[int, Contact] = {}
        self._pictures: dict[int, Neighbors] = {}
        self._wanted: list[Contact] | None = None
        self._wanted_at = math.inf
        self._settling = False
        self._loudly = False
        self._news = True
        self._rectifying = False

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
        before = list(predecessors)
        self.before = before[0] if before else None
        self.before2 = before[1] if len(before) > 1 else None
        self._changed()
        self.pings.begin()
        self.lost.begin()

    def leave(self) -> None:
        """From now on everybody who asks hears that we are leaving. We still look after our pointers, in silence,
        for what we keep has to reach somebody."""
        self.leaving = True
        self._changed()

    # What we show --------------------------------------------------------------------------------------------

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
        return bool(self.shown) or not (self.tail or self._settling)

    def names(self) -> tuple[int, int]:
        """The two successors as they are printed."""
        me = self.ctx.me.id
        numbers = [contact.id for contact in self.shown] + [me, me]
        return numbers[0], numbers[1]

    def picture(self) -> Neighbors:
        """The ring as seen from here. An equal picture is not made anew, so that nobody takes it for news."""
        behind = tuple([contact for contact in (self.before, self.before2) if contact is not None])
        ahead = tuple([contact for contact in self.successors if contact.boot])
        picture = Neighbors(behind, ahead, self.member, self.leaving)
        if picture != self.pings.picture:
            self.pings.picture = picture
        return self.pings.picture

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
        """The keys (low, high] that belong to us; None while we do not know who is before us."""
        if self.before is not None:
            return self.before.id, self.ctx.me.id
        return None if self.shown else (self.ctx.me.id, self.ctx.me.id)

    # What the pings tell ---------------------------------------------------------------------------------------

    def round(self) -> None:
        """Stabilize: is what we show what we should show?"""
        if self._settling:
            return
        self.lost.round()
        if not self._news and self._wanted is None:
            return
        self._news = False
        wanted = self._best()
        if wanted == self.shown:
            self._wanted = None
            self._refresh_tail()
        elif wanted != self._wanted:
            self._wanted, self._wanted_at = wanted, self.ctx.now
        elif self.ctx.now - self._wanted_at >= 0.99 * self.pings.beat_s:
            self.settle()

    def pinged(self, sender: Contact) -> None:
        """Rectify, first half: somebody may be nearer behind us than the one we know. It is asked before it is believed."""
        before = self.before
        if before is not None and (before is sender or before.is_same_peer(sender)):
            return
        if self.leaving or not self.member or self.gone.left(sender) or sender.id == self.ctx.me.id:
            return
        nearer = before is None or before.id == sender.id or between(before.id, sender.id, self.ctx.me.id)
        if (nearer or sender in self.gone) and not self._rectifying:
            # One question at a time: forged pings must not make us knock at a thousand doors.
            self._rectifying = True
            self.ask(sender, lambda picture: self._rectify(sender, picture), self._rectified)

    def heard(self, contact: Contact, picture: Neighbors) -> None:
        if contact.id in self.awaited:
            self._arrived(contact)
        if picture.leaving:
            self._departed(contact, picture)
            return
        if not picture.member:
            return
        if self._pictures.get(contact.id) != picture:
            self._pictures[contact.id] = picture
            self._news = True
        if self.before is not None and self.before.id == contact.id:
            self._set_before(contact, picture)

    def dead(self, contact: Contact) -> None:
        was_shown = self._lose(contact, left=False)
        self.lost.add(contact)
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
        self._changed()

    # Predecessors --------------------------------------------------------------------------------------------

    def _rectify(self, sender: Contact, picture: Neighbors) -> None:
        """Rectify, second half (ZV15, section III): it answered; adopt it if it is still the nearer one."""
        self._rectified()
        me = self.ctx.me.id
        if picture.leaving or not picture.member:
            return
        if self.before is None or self.before.id == sender.id or between(self.before.id, sender.id, me):
            self._set_before(sender, picture)

    def _set_before(self, contact: Contact, picture: Neighbors) -> None:
        second = next(iter(clockwise_back(self.ctx.me, picture.predecessors, self.gone, self.config.bits)), None)
        if second is not None and not between(second.id, contact.id, self.ctx.me.id):
            second = None
        self._pictures[contact.id] = picture
        if self.before != contact or self.before2 != second:
            self.before, self.before2 = contact, second
            self._changed()

    def _rectified(self) -> None:
        self._rectifying = False

    def _drop_before(self) -> None:
        """The first predecessor is gone. The one behind it is asked, and takes its place if it answers."""
        self.before, second = None, self.before2
        self.before2 = None
        if second is not None and second not in self.gone:
            self.ask(second, lambda picture: self._rectify(second, picture))

    # Successors ----------------------------------------------------------------------------------------------

    def known(self) -> list[Contact]:
        """Everybody of whom we know, in ring order."""
        contacts = [*self.tail, *self._candidates.values()]
        for picture in self._pictures.values():
            contacts += picture.predecessors
            contacts += picture.successors
        contacts += [contact for contact in (self.before, self.before2) if contact is not None]
        if self.awaited:
            # Hearsay of an awaited peer is not hearing from it.
            contacts = [contact for contact in contacts if contact.id not in self.awaited]
        contacts += self.shown
        return clockwise(self.ctx.me, contacts, self.gone, self.config.bits)

    def _best(self) -> list[Contact]:
        return self.known()[: self.config.shown]

    def picture_of(self, contact: Contact) -> Neighbors | None:
        """What a watched peer last told of its neighbors."""
        return self._pictures.get(contact.id)

    def consider(self, contact: Contact) -> None:
        """Somebody who may be a neighbor: looked at in the next round."""
        if contact.id == self.ctx.me.id or contact in self.gone:
            return
        self._candidates[contact.id] = contact
        if len(self._candidates) > self.config.candidates:
            line = clockwise(self.ctx.me, self._candidates.values(), self.gone, self.config.bits)
            del self._candidates[line[len(line) // 2].id]
        self._news = True

    def settle(self, *, loudly: bool = False) -> None:
        """Make what we show right, now: ask whoever has not been heard from lately, then install those that answered."""
        self._loudly |= loudly
        if self._settling:
            return
        wanted = self._best()
        unheard = [c for c in wanted if c.id not in self.awaited and not self.pings.fresh(c)]
        if not unheard:
            self._install(wanted)
            return
        self._settling = True
        open_questions = len(unheard)
        answered: list[Contact] = []

        def one_less() -> None:
            nonlocal open_questions
            open_questions -= 1
            if open_questions == 0:
                self._settling = False
                if len(answered) == len(unheard) and self._best() == wanted:
                    self._install(wanted)
                else:
                    self.settle()

        def heard(contact: Contact) -> Callable[[Neighbors], None]:
            def note(picture: Neighbors) -> None:
                answered.append(contact)
                one_less()

            return note

        for contact in unheard:
            self.ask(contact, heard(contact), one_less)

    def _install(self, wanted: list[Contact]) -> None:
        old, loudly = self.shown, self._loudly
        self._loudly = False
        self._wanted = None
        if wanted != old or loudly:
            self.shown = list(wanted)
            self.awaited &= {contact.id for contact in wanted}
            self._refresh_tail()
            self._changed()
            self._tell(SuccessorsChanged(*self.names()))
            if old and wanted and old[0].id != wanted[0].id and old[0] not in self.gone and not self.leaving:
                self.meet(old[0], wanted[0])

    def insert(self, newcomer: Contact) -> None:
        """A newcomer that answered stands right behind us."""
        self.gone.returned(newcomer)
        line = clockwise(self.ctx.me, [*self.successors, newcomer], self.gone, self.config.bits)
        self.shown = line[: self.config.shown]
        self.tail = line[self.config.shown : self.config.successors]
        self._wanted = None
        self._changed()
        self._tell(SuccessorsChanged(*self.names()))

    def _refresh_tail(self) -> None:
        """The list beyond the shown ones (ZV15: succList = [head] + butLast(head's list))."""
        told: Iterable[Contact] = ()
        for contact in self.shown:
            told = self._pictures[contact.id].successors if contact.id in self._pictures else told
        me, bits = self.ctx.me, self.config.bits
        reach = distance(me.id, self.shown[-1].id if self.shown else me.id, bits)
        line = until(me, [other for other in told if distance(me.id, other.id, bits) > reach], self.gone, bits)
        tail = line[: self.config.successors - self.config.shown]
        if tail != self.tail:
            self.tail = tail
            self.picture()

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
                self._pictures[contact.id] = picture
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
        self.gone.add(contact, left=left)
        self._candidates.pop(contact.id, None)
        self._pictures.pop(contact.id, None)
        self.shown = [other for other in self.shown if not other.is_same_peer(contact)]
        self.tail = [other for other in self.tail if not other.is_same_peer(contact)]
        if self.before is not None and self.before.is_same_peer(contact):
            self._drop_before()
        elif self.before2 is not None and self.before2.is_same_peer(contact):
            self.before2 = None
        self._changed()
        return len(self.shown) < before

    def _changed(self) -> None:
        """A pointer changed: the picture is a new one, and the pings watch whom we now point to."""
        self.picture()
        self._news = True
        self.pings.familiar = {c.id: c for c in (self.before2, self.before) if c is not None}
        ranks: dict[Contact, int] = {}
        if self.before is not None:
            ranks[self.before] = 0
        for rank, contact in reversed(list(enumerate(self.shown, 1))):
            ranks = {other: r for other, r in ranks.items() if other.id != contact.id}
            ranks[contact] = 0 if self.leaving else rank
        self.pings.watch(ranks, frozenset(self.awaited))
        kept = {contact.id for contact in ranks}
        self._pictures = {number: picture for number, picture in self._pictures.items() if number in kept}
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
                done.fail(RemoteError(f"Peer {known.id} says it does not leave"))

        self.ask(known, confirmed, lambda: done.fail(RemoteError(f"Peer {known.id} did not answer")))
        return done

    def _tell(self, event: Event) -> None:
        if not self.leaving:
            self.ctx.notify(event)

    def is_before(self, key: int) -> bool:
        """Whether the key's place is between us and our first successor."""
        return owns(self.ctx.me.id, key, self.first.id)


def clockwise_back(me: Contact, contacts: Iterable[Contact], gone: Gone, bits: int) -> list[Contact]:
    """The contacts behind `me`, the nearest first."""
    return clockwise(me, contacts, gone, bits)[::-1]


def _nobody(contact: Contact, start: Contact) -> None:
    """Without a router nobody is met."""
