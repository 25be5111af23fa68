"""Which contacts lie next to a peer, as far as it knows. Values only: no time, no messages of its own."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable

import msgspec

from overlay.core.bounded import forget_oldest
from overlay.core.message import Contact
from overlay.ids import CLASSROOM_BITS
from overlay.ring.messages import Neighbors

MAX_GONE = 64


class RingConfig(msgspec.Struct, frozen=True):
    """The shape of the ring. The defaults are the classroom's."""

    bits: int = CLASSROOM_BITS
    """Of an identifier (the papers' m)."""
    successors: int = 4
    """Of the list (the papers' r): it survives r-1 neighbors that die at once. Two of them are shown. Beyond
    MAX_LISTED they go by TCP; at most LONGEST on sockets."""
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


class Gone:
    """Incarnations that are not to be used: they left, or died as far as we know. Bounded; the oldest are forgotten.

    They are told apart by address too: somebody who claims a member's id elsewhere must not have the member forgotten."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left: dict[Contact, bool] = {}

    def add(self, contact: Contact, *, left: bool) -> None:
        """It left of its own will, for good, or it is dead until it is heard again."""
        self._left[contact] = self._left.pop(contact, False) or left
        forget_oldest(self._left, MAX_GONE)

    def returned(self, contact: Contact) -> None:
        """It was heard: dead it is not. One that said it leaves stays gone."""
        if self._left.get(contact) is False:
            del self._left[contact]

    def left(self, contact: Contact) -> bool:
        """Whether this incarnation left of its own will."""
        return self._left.get(contact, False)

    def __contains__(self, contact: Contact) -> bool:
        return contact in self._left


def clockwise(me: Contact, contacts: Iterable[Contact], gone: Gone, bits: int) -> list[Contact]:
    """The contacts in ring order from `me` on, without `me` and the gone; of two incarnations of one id the later."""
    best: dict[int, Contact] = {}
    for contact in contacts:
        known = best.get(contact.id)
        if contact.id != me.id and contact not in gone and (known is None or contact.boot > known.boot):
            best[contact.id] = contact
    mask = (1 << bits) - 1
    start = me.id
    line: list[tuple[int, int]] = []
    for number in best:
        # A sort takes 3 KiB of the stack, and each thread of each peer would keep them.
        insort(line, ((number - start) & mask, number))
    return [best[number] for _, number in line]


def until(me: Contact, contacts: Iterable[Contact], gone: Gone, bits: int) -> list[Contact]:
    """The beginning of a successor list as another peer told it, up to where it comes around to `me` or breaks the order."""
    taken: list[Contact] = []
    reached = 0
    mask = (1 << bits) - 1
    for contact in contacts:
        steps = (contact.id - me.id) & mask
        if steps <= reached:
            break
        reached = steps
        if contact not in gone:
            taken.append(contact)
    return taken


def namesake(me: Contact, picture: Neighbors, gone: Gone) -> Contact | None:
    """Another peer with our identifier, elsewhere, as a neighbor sees the ring."""
    for contact in (*picture.predecessors, *picture.successors):
        if contact.id == me.id and contact.boot and contact.address != me.address and contact not in gone:
            return contact
    return None


def clockwise_back(me: Contact, contacts: Iterable[Contact], gone: Gone, bits: int) -> list[Contact]:
    """The contacts behind `me`, the nearest first."""
    return clockwise(me, contacts, gone, bits)[::-1]


class Acquaintances:
    """Everybody of whom a peer knows by hearsay: candidates, and the pictures that its neighbors showed. Bounded."""

    __slots__ = ("_bits", "_candidates", "_limit", "gone", "pictures")

    def __init__(self, config: RingConfig):
        self._bits = config.bits
        self._limit = config.candidates
        self._candidates: dict[int, Contact] = {}
        self.pictures: dict[int, Neighbors] = {}
        """What each watched peer last told of its neighbors."""
        self.gone = Gone()

    def contacts(self) -> list[Contact]:
        """All of them, in no order."""
        contacts = list(self._candidates.values())
        for picture in self.pictures.values():
            contacts += picture.predecessors
            contacts += picture.successors
        return contacts

    def consider(self, me: Contact, contact: Contact) -> bool:
        """Remember somebody who may be a neighbor. Whether it may."""
        if contact.id == me.id or contact in self.gone:
            return False
        self._candidates[contact.id] = contact
        if len(self._candidates) > self._limit:
            # Neighbors lie at both ends of the line, so whoever is in its middle is missed least.
            line = clockwise(me, self._candidates.values(), self.gone, self._bits)
            del self._candidates[line[len(line) // 2].id]
        return True

    def lose(self, contact: Contact, *, left: bool) -> None:
        """It is gone."""
        self.gone.add(contact, left=left)
        self._candidates.pop(contact.id, None)
        self.pictures.pop(contact.id, None)

    def keep(self, numbers: Iterable[int]) -> None:
        """Only these are watched from now on; what others once told is old."""
        self.pictures = {number: self.pictures[number] for number in numbers if number in self.pictures}
