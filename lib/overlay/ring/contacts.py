"""Contacts: whom of its ring a peer remembers, and how it finds the ring again after it was started anew.

Chord leaves to "some external mechanism" how a node learns of another one (CH01, section 4.4); this is ours. A peer keeps
some of its neighbors and fingers on its disk. Started again, it asks all of them, and joins through one that is in a ring.
If all have been away, as after a power failure, the one with the least id begins the ring and the others come. And now and
then a member asks one of them, for two who began at once, or were apart for long, are to become one ring.
"""

from __future__ import annotations

from collections.abc import Callable

from overlay.core.codec import DecodeError, pack, unpack
from overlay.core.context import Failure
from overlay.core.message import Contact, Message
from overlay.core.pending import Pending, ignore
from overlay.core.protocol import Protocol
from overlay.core.storage import Entry, Write
from overlay.errors import Indefinite
from overlay.ring.admission import Admission, unlike
from overlay.ring.messages import Describe, Description

MAX_REMEMBERED = 32
SAVE_S = 1.0
"""From a change of neighbors to its being remembered; what changes meanwhile is one write. The first ones are not put off."""
LOOK_S = 5.0
"""After something was written, until there is nothing new."""
ASK_S = 2.0
"""For the answer of somebody who is remembered."""
JOIN_S = 10.0
"""For one of them to let us in: it may be out of the ring itself by now, and wait for us."""
AGAIN_S = 1.0
"""Between two rounds of asking all of them."""
ALONE_S = 5.0
"""So long nobody begins a ring while others come back too: a member may be among those that start a little later."""
REUNION_S = 30.0
"""Between two looks, on average, whether one who is remembered lives in another ring."""
KEY = "contacts"


class Remembered(Message, frozen=True):
    """What is on the disk; which ring it was, too."""

    contacts: tuple[Contact, ...]
    network: int = 0


class Contacts(Protocol):
    """Remembers, comes back, and looks for who is apart."""

    __slots__ = ("_saving", "_turn", "admission", "chord", "remembered")
    service = "contacts"

    def __init__(self, admission: Admission):
        self.admission = admission
        self.chord = admission.chord
        self.remembered: tuple[Contact, ...] = ()
        """What is on the disk: neighbors first, then fingers, then those of earlier. Who left may come back too."""
        self._saving = False
        self._turn = 0
        self.chord.on_change.append(self._look)

    def start(self) -> None:
        entry = self.ctx.stored().get(KEY)
        if entry is not None:
            try:
                remembered = unpack(entry.value, (Remembered,))
            except DecodeError:
                remembered = Remembered(())
            assert isinstance(remembered, Remembered)
            self.remembered, self.admission.network = remembered.contacts, remembered.network
        self._reunite_later()

    # Remembering ---------------------------------------------------------------------------------------------

    def _look(self) -> None:
        if self.chord.member and not self._saving:
            self._saving = True
            self.ctx.after(SAVE_S if len(self.remembered) > 1 else 0, self._save)

    def _save(self) -> None:
        self._saving = False
        latest = self._latest()

        def kept() -> None:
            self.remembered = latest

        if latest != self.remembered:
            value = pack(Remembered(latest, self.admission.network))
            # What does not get to the disk comes there with the next change.
            self.ctx.persist((Write(KEY, Entry(value)),), kept, ignore)
            # The far end of a list and the fingers come a little after the neighbors.
            self.ctx.after(LOOK_S, self._look)

    def _latest(self) -> tuple[Contact, ...]:
        chord = self.chord
        around = [*chord.successors, *chord.behind.contacts, *reversed(list(chord.shortcuts())), *self.remembered]
        found: dict[int, Contact] = {}
        for contact in around:
            if contact.boot and contact.id != self.ctx.me.id:
                found.setdefault(contact.id, contact)
        return tuple(found.values())[:MAX_REMEMBERED]

    # Coming back ---------------------------------------------------------------------------------------------

    def come_back(self, *, begins: bool) -> Pending[bool]:
        """Join the ring that is remembered, and True; or begin one where there is none any more, and False.

        With `begins` that is so as soon as nobody who is remembered is in a ring; without, this peer must be the least of
        those that look for it, so it may take until somebody is there. RemoteError when the ring refuses us.
        """
        search = _Return(self, begins)
        search.ask_all()
        return search.outcome

    def ask(
        self,
        host: str,
        port: int,
        told: Callable[[Contact, Description], None],
        failed: Callable[[Failure], None],
    ) -> None:
        """Who lives at an address, and in what ring? It may be another than it was."""

        def met(contact: Contact) -> None:
            self.admission.ctx.call(contact, Describe(), lambda answer: told(contact, answer), failed, timeout_s=ASK_S)

        self.ctx.meet(host, port, met, failed, timeout_s=ASK_S)

    # Those who are apart -------------------------------------------------------------------------------------

    def _reunite_later(self) -> None:
        self.ctx.after(REUNION_S * self.ctx.rng.uniform(0.5, 1.5), self._reunite)

    def _reunite(self) -> None:
        chord = self.chord
        if chord.leaving:
            return
        self._look()
        near = {contact.id for contact in chord.known()}
        apart = [contact for contact in self.remembered if contact.id not in near]
        if chord.member and apart:
            self._turn += 1
            contact = apart[self._turn % len(apart)]
            # Who does not answer is asked again in its next turn.
            self.ask(contact.host, contact.port, self._introduce, ignore)
        self._reunite_later()

    def _introduce(self, contact: Contact, description: Description) -> None:
        """Each learns of the other where it belongs; in one ring that is no news."""
        chord = self.chord
        if description.member and not chord.leaving and self.is_ours(contact, description):
            chord.meet(self.ctx.me, contact)
            chord.meet(contact, chord.first)

    def is_ours(self, contact: Contact, description: Description) -> bool:
        """Whether another peer is in our ring, or was and looks for it: who lives at an address now may be a stranger."""
        admission = self.admission
        same = description.network == admission.network and not unlike(description.shape, admission.shape)
        return same and contact.id != self.ctx.me.id

    def begin(self) -> None:
        """Begin a ring, or the remembered one anew."""
        self.admission.network = self.admission.network or self.ctx.rng.getrandbits(62) + 1
        self.chord.begin([], awaited=False)


class _Return:
    """One peer's way back, from its start to a ring."""

    def __init__(self, contacts: Contacts, begins: bool):
        self.outcome: Pending[bool] = Pending()
        self._contacts = contacts
        self._begins = begins
        self._since = contacts.ctx.now
        self._waiting = 0
        self._members: list[Contact] = []
        """Of those that answered, who is in a ring."""
        self._others: list[Contact] = []
        """And who looks for one, as we do."""

    def ask_all(self) -> None:
        """Is anybody there?"""
        if self._is_in():
            return
        remembered = self._contacts.remembered
        self._members, self._others, self._waiting = [], [], len(remembered)
        if not remembered:
            self._asked_all()
        for contact in remembered:
            self._contacts.ask(contact.host, contact.port, self._told, self._one_less)

    def _told(self, contact: Contact, description: Description) -> None:
        if self._contacts.is_ours(contact, description):
            (self._members if description.member else self._others).append(contact)
        self._one_less()

    def _one_less(self, failure: Failure | None = None) -> None:
        self._waiting -= 1
        if not self._waiting:
            self._asked_all()

    def _is_in(self) -> bool:
        """A peer that had been given up may have let us in all the same."""
        if self._contacts.chord.member:
            self.outcome.resolve(True)
        return self.outcome.done

    def _asked_all(self) -> None:
        contacts = self._contacts
        if self._is_in():
            return
        others = [other.id for other in self._others]
        least = others and contacts.ctx.me.id < min(others) and contacts.ctx.now - self._since >= ALONE_S
        if self._members:
            self._join()
        elif self._begins or least:
            contacts.begin()
            self.outcome.resolve(False)
        else:
            contacts.ctx.after(AGAIN_S, self.ask_all)

    def _join(self) -> None:
        """Through the first member; if it cannot be reached any more, through the next."""
        known = self._members.pop(0)

        def joined(pending: Pending[None]) -> None:
            if pending.error is None:
                self.outcome.resolve(True)
            elif not isinstance(pending.error, Indefinite):
                self.outcome.fail(pending.error)
            elif self._members:
                self._join()
            else:
                self._contacts.ctx.after(AGAIN_S, self.ask_all)

        self._contacts.admission.join(known.host, known.port, ASK_S, JOIN_S).when_done(joined)
