"""Who is behind a peer: its predecessors, and how a nearer one is adopted.

Source: Zave, How to Make Chord Correct (ZV15), rectify.
Deviation: rectify has no message of its own; a ping is its notification, and whoever pings is asked before it is believed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from overlay.core.message import Contact
from overlay.ids import between
from overlay.ring.messages import Neighbors, shared_picture
from overlay.ring.neighborhood import clockwise_back

if TYPE_CHECKING:
    from overlay.ring.chord import Chord


class Behind:
    """The two predecessors of a peer."""

    __slots__ = ("_asking", "_chord", "_next", "first", "second")

    def __init__(self, chord: Chord):
        self._chord = chord
        self.first: Contact | None = None
        self.second: Contact | None = None
        self._asking = False
        self._next: Contact | None = None
        """The nearest of those that pinged while another was being asked."""

    @property
    def contacts(self) -> tuple[Contact, ...]:
        """The nearest first."""
        return tuple([contact for contact in (self.first, self.second) if contact is not None])

    def begin(self, contacts: list[Contact]) -> None:
        """Told by the peer that let us in."""
        self.first, self.second, *_ = (*contacts, None, None)

    def nearer(self, contact: Contact) -> bool:
        """Whether it belongs right behind us, as far as we know."""
        first = self.first
        if first is None or first is contact:
            return first is None
        if first.id == contact.id:
            # At another address it is somebody else who claims the id, until the first is found dead.
            return first.address == contact.address
        return between(first.id, contact.id, self._chord.ctx.me.id)

    def pinged(self, sender: Contact) -> None:
        """Rectify, first half: somebody may be nearer behind us than the one we know."""
        chord, first = self._chord, self.first
        if first is not None and first.is_same_peer(sender):
            return
        if chord.leaving or not chord.member or chord.gone.left(sender) or sender.id == chord.ctx.me.id:
            return
        if not self.nearer(sender) and sender not in chord.gone:
            return
        if self._asking:
            # One question at a time: forged pings must not make us knock at a thousand doors.
            if self._next is None or between(self._next.id, sender.id, chord.ctx.me.id):
                self._next = sender
            return
        self._asking = True
        chord.ask(sender, lambda picture: self._answered(sender, picture), self._asked)

    def heard(self, contact: Contact, picture: Neighbors) -> None:
        """Our first predecessor shows who is behind it."""
        if self.first is not None and self.first.id == contact.id:
            self._adopt(contact, picture)

    def lose(self, contact: Contact) -> None:
        """It is gone. If it was the first, the one behind it is asked, and takes its place if it answers."""
        second = self.second
        if self.first is not None and self.first.is_same_peer(contact):
            self.first = self.second = None
            if second is not None and second not in self._chord.gone:
                self._chord.ask(second, lambda picture: self._answered(second, picture))
        elif second is not None and second.is_same_peer(contact):
            self.second = None

    def _asked(self) -> None:
        self._asking = False
        sender, self._next = self._next, None
        if sender is not None:
            self.pinged(sender)

    def _answered(self, sender: Contact, picture: Neighbors) -> None:
        """Rectify, second half: adopt it if it is still the nearer one."""
        if not picture.leaving and picture.member and self.nearer(sender):
            self._adopt(sender, picture)
        self._asked()

    def _adopt(self, contact: Contact, picture: Neighbors) -> None:
        chord = self._chord
        line = clockwise_back(chord.ctx.me, picture.predecessors, chord.gone, chord.config.bits)
        second = line[0] if line and between(line[0].id, contact.id, chord.ctx.me.id) else None
        chord.acquaintances.pictures[contact.id] = shared_picture(picture)
        if self.first != contact or self.second != second:
            self.first, self.second = contact, second
            chord.changed()
