"""What SWIM's members tell each other of members: updates, which of two holds, and how often one is told. Values only.

Das, Gupta, Motivala, SWIM, DSN 2002 (SW02), sections 4.1 and 4.2.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import islice

import msgspec

from overlay.core.message import Contact
from overlay.ids import Key

ALIVE, SUSPECT, DEAD = range(3)


class Update(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """News of one member."""

    contact: Contact
    status: int
    incarnation: int
    """SWIM's, which only the member itself raises; not the contact's boot, which is another life."""
    accuser: Key = Key(0)
    """Of a suspicion: who has it of its own."""


class Member(msgspec.Struct):
    """A member as seen from here."""

    contact: Contact
    status: int
    incarnation: int
    since: float
    """When the status began."""
    accusers: set[Key] = msgspec.field(default_factory=set)
    """Who suspects it of his own, as far as is known."""


def overrides(news: Update, member: Member, *, returning: bool = False) -> bool:
    """Whether news changes what is known of a member (SW02, section 4.2). `returning`: one may object to one's death."""
    if member.status == DEAD:
        return returning and news.status == ALIVE and news.incarnation > member.incarnation
    match news.status:
        case 0:
            return news.incarnation > member.incarnation
        case 1:
            equal = news.incarnation == member.incarnation and member.status == ALIVE
            return equal or news.incarnation > member.incarnation
        case _:
            return news.status == DEAD


def suspicion_s(least: float, most: float, confirmations: int, wanted: int) -> float:
    """How long a suspicion lasts: `most` at first, `least` once so many independent members agree (Lifeguard)."""
    share = math.log(confirmations + 1) / math.log(wanted + 1)
    return max(least, most - (most - least) * share)


class Rumors:
    """Updates that are still to be told: of each member the latest, told a limited number of times."""

    __slots__ = ("_shelves", "_told", "_updates")

    def __init__(self) -> None:
        self._updates: dict[Key, Update] = {}
        self._told: dict[Key, int] = {}
        self._shelves: list[dict[Key, None]] = []
        """Who was told so many times; in the order in which that was."""

    def __len__(self) -> int:
        return len(self._updates)

    def add(self, update: Update) -> None:
        """Tell it from now on, in the place of older news of the same member."""
        self.drop(update.contact.id)
        self._updates[update.contact.id] = update
        self._shelve(update.contact.id, 0)

    def drop(self, id: Key) -> None:
        """Nothing is to be told of this member."""
        if self._updates.pop(id, None) is not None:
            del self._shelves[self._told.pop(id)][id]

    def _shelve(self, id: Key, told: int) -> None:
        while len(self._shelves) <= told:
            self._shelves.append({})
        self._shelves[told][id] = None
        self._told[id] = told

    def pick(self, count: int, times: int, first: Iterable[Update] = ()) -> tuple[Update, ...]:
        """`first`, and then those that were told least; each that is picked counts as told, after `times` it is dropped."""
        chosen = list(first)
        known = {update.contact.id for update in chosen}
        room = max(count - len(chosen), 0)
        least = (id for shelf in self._shelves for id in shelf if id not in known)
        for id in list(islice(least, room)):
            chosen.append(self._updates[id])
            told = self._told[id] + 1
            del self._shelves[told - 1][id]
            if told >= times:
                del self._updates[id], self._told[id]
            else:
                self._shelve(id, told)
        return tuple(chosen)
