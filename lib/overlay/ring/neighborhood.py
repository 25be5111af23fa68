"""Which contacts lie next to a peer, as far as it knows. Values only: no time, no messages."""

from __future__ import annotations

from collections.abc import Iterable

from overlay.core.message import Contact

MAX_GONE = 64


class Gone:
    """Incarnations that are not to be used: they left, or died as far as we know. Bounded; the oldest are forgotten."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left: dict[tuple[int, int], bool] = {}

    def add(self, contact: Contact, *, left: bool) -> None:
        """It left of its own will, for good, or it is dead until it is heard again."""
        key = (contact.id, contact.boot)
        self._left[key] = self._left.pop(key, False) or left
        if len(self._left) > MAX_GONE:
            del self._left[next(iter(self._left))]

    def returned(self, contact: Contact) -> None:
        """It was heard: dead it is not. One that said it leaves stays gone."""
        key = (contact.id, contact.boot)
        if self._left.get(key) is False:
            del self._left[key]

    def left(self, contact: Contact) -> bool:
        """Whether this incarnation left of its own will."""
        return self._left.get((contact.id, contact.boot), False)

    def __contains__(self, contact: Contact) -> bool:
        return (contact.id, contact.boot) in self._left


def clockwise(me: Contact, contacts: Iterable[Contact], gone: Gone, bits: int) -> list[Contact]:
    """The contacts in ring order from `me` on, without `me` and the gone; of two incarnations of one id the later."""
    best: dict[int, Contact] = {}
    for contact in contacts:
        known = best.get(contact.id)
        if contact.id != me.id and contact not in gone and (known is None or contact.boot > known.boot):
            best[contact.id] = contact
    mask = (1 << bits) - 1
    start = me.id
    return [best[number] for number in sorted(best, key=lambda number: (number - start) & mask)]


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
