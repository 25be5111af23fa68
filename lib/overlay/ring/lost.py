"""Peers that were lost may come back: a pause ends, a partition heals. Rings that grew apart find each other through them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from overlay.core.bounded import forget_oldest
from overlay.core.context import Failure, Reason
from overlay.core.message import Contact
from overlay.core.pending import ignore
from overlay.ring.messages import MAX_LISTED, Ask, Neighbors
from overlay.ring.neighborhood import MAX_GONE

if TYPE_CHECKING:
    from overlay.ring.chord import Chord

MAX_LOST = MAX_GONE
"""Whoever is not to be used, and is not looked for either, would never be used again."""
SEARCH_S = 5.0
"""Between two looks for lost peers."""
AT_ONCE = 4
"""Lost peers that are looked for at a time; a quarter of them where that is more, so that each has its turn in 20 s."""
GIVE_UP_S = 900.0
"""A peer lost for longer has to join again by itself."""
ORPHAN_ROUNDS = 3
"""After so many rounds in which nobody behind us points to us, we make ourselves known."""


class LostAndFound:
    """Remembers the dead by incarnation, and asks now and then whether they are."""

    __slots__ = ("_chord", "_lost", "_rounds", "_searching", "orphan")

    def __init__(self, chord: Chord):
        self._chord = chord
        self._lost: dict[Contact, float] = {}
        self.orphan = False
        """Whether nobody behind us points to us."""
        self._rounds = 0
        self._searching = False

    def add(self, contact: Contact) -> None:
        """Taken for dead just now. Without an incarnation there is nobody to find: whoever comes there next is another."""
        if not contact.boot:
            return
        self._lost[contact] = self._chord.ctx.now
        forget_oldest(self._lost, MAX_LOST)
        self.begin()

    def died(self, contact: Contact) -> None:
        """A peer that we watched. Whoever it last showed may be the only one left, if we are to show nobody else."""
        self.add(contact)
        chord, last = self._chord, self._chord.picture_of(contact)
        if last is not None and all(other.is_same_peer(contact) for other in chord.shown):
            for other in (*last.successors, *last.predecessors):
                chord.consider(other)

    def last_at(self) -> float:
        """When the last of those that are looked for was lost."""
        return max(self._lost.values(), default=-math.inf)

    def contacts(self) -> tuple[Contact, ...]:
        """The latest of the lost, for a peer that is to look for them too."""
        return tuple(self._lost)[-MAX_LISTED:]

    def take_over(self, contacts: tuple[Contact, ...]) -> None:
        """Look for these from now on: whoever knew of them leaves, or lets us in. Else what it knew would be lost with it."""
        alive = {contact.id for contact in self._chord.known()}
        for contact in contacts:
            if contact.id not in alive and contact.id != self._chord.ctx.me.id and not self._chord.gone.left(contact):
                self.add(contact)

    def returned(self, contact: Contact) -> None:
        """It was heard."""
        self._lost.pop(contact, None)

    def begin(self) -> None:
        """Look for the lost, while there are any."""
        if self._lost and not self._searching and self._chord.member:
            self._searching = True
            self._chord.ctx.after(SEARCH_S, self._search)

    def look_behind(self) -> None:
        """Does the peer behind us point to us? If nobody does, we are on no one's way (ZV15: an appendage)."""
        chord = self._chord
        before = chord.before
        if before is None:
            self.orphan = bool(chord.shown)
        else:
            picture = chord.picture_of(before)
            self.orphan = bool(picture and picture.successors and picture.successors[0].id != chord.ctx.me.id)
        self.orphan &= not chord.leaving
        if not self.orphan:
            self._rounds = 0

    def round(self) -> None:
        """One more round as an orphan."""
        self._rounds += 1
        if self._rounds >= ORPHAN_ROUNDS:
            self._rounds = 0
            chord = self._chord
            chord.meet(chord.ctx.me, chord.before or chord.first)

    def _search(self) -> None:
        self._searching = False
        now = self._chord.ctx.now
        self._lost = {contact: since for contact, since in self._lost.items() if now - since < GIVE_UP_S}
        # Who is alone has nobody else to ask, and a leaver that it was told of waits a few seconds for somebody like it.
        count = max(AT_ONCE, len(self._lost) // 4) if self._chord.shown else len(self._lost)
        for contact in list(self._lost)[:count]:
            # To the end of the line, so that each has its turn.
            self._lost[contact] = self._lost.pop(contact)
            self._look_for(contact)
        for contact in self._outsiders()[:AT_ONCE]:
            self._look_for(contact)
        self.begin()

    def _outsiders(self) -> list[Contact]:
        """Those we heard of that have no place in the ring, when we see all of it: they may live in another one."""
        chord = self._chord
        sees_all = chord.before is not None and chord.before in chord.successors
        return [contact for contact in chord.known() if contact not in chord.successors] if sees_all else []

    def _look_for(self, contact: Contact) -> None:
        chord = self._chord

        def answered(picture: Neighbors) -> None:
            if not picture.leaving and not picture.member:
                # It may yet come into whichever of the two rings.
                return
            self.returned(contact)
            if picture.leaving:
                return
            chord.found(contact)
            if chord.leaving:
                return
            for other in picture.successors:
                chord.consider(other)
            # Each side learns of the other where it belongs, whichever of the two rings that is in.
            chord.meet(chord.ctx.me, contact)
            chord.meet(contact, chord.first)

        def silent(failure: Failure) -> None:
            if failure.reason is Reason.REFUSED:
                # This life of it is over, but whoever lives there next may be the only one who knows of the other ring.
                self.returned(contact)
                chord.ctx.meet(contact.host, contact.port, next_life, ignore, timeout_s=2.0)

        def next_life(another: Contact) -> None:
            if another.id == contact.id:
                self.add(another)

        chord.ctx.call(contact, Ask(), answered, silent, timeout_s=2.0)
