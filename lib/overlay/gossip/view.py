"""A partial view: a few contacts, each with the age of the news of it. Values only.

Jelasity, Voulgaris, Guerraoui, Kermarrec, van Steen, Gossip-based Peer Sampling, TOCS 2007 (PS07), section 2.3.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from operator import itemgetter
from typing import Literal

import msgspec

from overlay.core.codec import is_sound
from overlay.core.message import Contact
from overlay.ids import Key

Selection = Literal["rand", "head", "tail"]
"""Any, the freshest, the oldest."""

_Link = tuple[float, Contact]
_born: Callable[[_Link], float] = itemgetter(0)


class Descriptor(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A contact, and for how many seconds this has been known: since the contact itself said so."""

    contact: Contact
    age_s: float


class View:
    """At most `size` contacts after each `trim`, never our own.

    Deviation: PS07 counts rounds, here age is time, so that nodes of different periods can mix. What is kept of a
    descriptor is when it was made by our own clock, as Newscast's timestamps (VO06, section 2.8).
    """

    __slots__ = ("_links", "_me", "size")

    def __init__(self, me: Key, size: int):
        self._me = me
        self.size = size
        self._links: dict[Key, _Link] = {}

    def __len__(self) -> int:
        return len(self._links)

    def __contains__(self, id: Key) -> bool:
        return id in self._links

    def get(self, id: Key) -> Contact | None:
        """The contact of this id."""
        link = self._links.get(id)
        return link[1] if link is not None else None

    def is_stale(self, id: Key, now: float, limit_s: float) -> bool:
        """Whether nothing was heard of it for so long, while of another there is later news: else it may be we who are cut off."""
        oldest = now - limit_s
        link = self._links.get(id)
        return link is not None and link[0] < oldest and any(born >= oldest for born, _ in self._links.values())

    def contacts(self) -> tuple[Contact, ...]:
        """Everybody, in no useful order."""
        return tuple(contact for _, contact in self._links.values())

    def ids(self) -> set[Key]:
        """Whose contacts they are."""
        return set(self._links)

    def select(self, policy: Selection, rng: random.Random, exclude: Iterable[int] = ()) -> Contact | None:
        """One contact by a policy, None where there is none left."""
        links = [link for id, link in self._links.items() if id not in exclude] if exclude else [*self._links.values()]
        if not links:
            return None
        if policy == "rand":
            return rng.choice(links)[1]
        best = max if policy == "head" else min
        return best(links, key=_born)[1]

    def descriptors(self, count: int, healer: int, rng: random.Random, now: float) -> list[Descriptor]:
        """Up to `count` of them at random; of the `healer` oldest, only if there are not enough others (PS07, Fig. 1)."""
        links = [*self._links.values()]
        if count < len(links) and healer:
            links.sort(key=_born, reverse=True)
            young = max(count, len(links) - healer)
            links = rng.sample(links[:young], count)
        elif count < len(links):
            links = rng.sample(links, count)
        return [Descriptor(contact, now - born) for born, contact in links]

    def merge(self, received: Iterable[Descriptor], now: float) -> None:
        """Take news in; of a contact that is here already, the fresher news stays."""
        for descriptor in received:
            self.add(descriptor, now)

    def add(self, descriptor: Descriptor, now: float) -> bool:
        """Take one in; whether it was news."""
        contact, age = descriptor.contact, descriptor.age_s
        # An age that is no number counts as none.
        born = now - age if age > 0 else now
        old = self._links.get(contact.id)
        if (old is not None and born <= old[0]) or contact.id == self._me or not is_sound(contact):
            return False
        self._links[contact.id] = (born, contact)
        return True

    def trim(self, healer: int, swapper: int, sent: Iterable[Key], keep: Selection, rng: random.Random) -> None:
        """Down to `size`: the `healer` oldest go first, then `swapper` of those `sent`, the rest by policy (PS07, Fig. 1)."""
        links = self._links
        excess = len(links) - self.size
        if excess > 0 and healer:
            self._drop_sorted(min(healer, excess))
            excess = len(links) - self.size
        if excess > 0 and swapper:
            for id in [id for id in sent if id in links][: min(swapper, excess)]:
                del links[id]
            excess = len(links) - self.size
        if excess > 0 and keep == "rand":
            for id in rng.sample(list(links), excess):
                del links[id]
        elif excess > 0:
            self._drop_sorted(excess, freshest=keep == "tail")

    def drop(self, id: Key) -> Contact | None:
        """Forget one, and return it if it was here."""
        link = self._links.pop(id, None)
        return link[1] if link is not None else None

    def _drop_sorted(self, count: int, *, freshest: bool = False) -> None:
        for _, contact in sorted(self._links.values(), key=_born, reverse=freshest)[:count]:
            del self._links[contact.id]
