"""Items on their way from one peer to another: what both comparisons and hand-overs do."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from overlay.core.context import Failure
from overlay.core.message import Contact
from overlay.store.replicated.messages import Bring, Brought, Copy, Item, tag_of
from overlay.store.replicated.site import Site

AT_ONCE = 8
"""Copies on their way to one peer."""


class Taking:
    """Some items of a peer, until they are durable here. `then` hears how many are, and how many failed."""

    __slots__ = ("_failed", "_left", "_peer", "_site", "_stored", "_then", "_waiting")

    def __init__(self, site: Site, peer: Contact, tags: Iterable[bytes], then: Callable[[int, int], None]):
        self._site = site
        self._peer = peer
        self._left = dict.fromkeys(tags)
        self._then = then
        self._stored = 0
        self._failed = 0
        self._waiting = 0

    def begin(self) -> None:
        """Ask for as many as a message holds."""
        if not self._left:
            self._then(self._stored, self._failed)
            return
        patience = self._site.config.answer_s
        self._site.ctx.call(self._peer, Bring(tuple(self._left)), self._told, self._silent, timeout_s=patience)

    def _silent(self, failure: Failure) -> None:
        self._then(self._stored, self._failed + len(self._left))

    def _told(self, answer: Brought) -> None:
        items = [item for item in answer.items if tag_of(item.name) in self._left]
        if not items:
            # What was here a moment ago has been forgotten there, or moved on.
            self._then(self._stored, self._failed + len(self._left))
            return
        for item in items:
            self._left.pop(tag_of(item.name), None)
        self._waiting = len(items)
        for item in items:
            self._keep(item)

    def _keep(self, item: Item) -> None:
        def stored() -> None:
            self._stored += 1
            one_less()

        def failed(failure: Failure) -> None:
            self._failed += 1
            one_less()

        def one_less() -> None:
            self._waiting -= 1
            if self._waiting == 0:
                self.begin()

        if self._site.is_forgotten(item):
            one_less()
        else:
            self._site.keep(item, (self._peer,), stored, failed)


class Giving:
    """Some of our items, until they are durable at a peer. `then` hears how many failed."""

    __slots__ = ("_failed", "_left", "_peer", "_site", "_then", "_waiting")

    def __init__(self, site: Site, peer: Contact, tags: Iterable[bytes], then: Callable[[int], None]):
        self._site = site
        self._peer = peer
        self._left = deque(tags)
        self._then = then
        self._failed = 0
        self._waiting = 0

    def begin(self) -> None:
        """A few at a time."""
        self._waiting += 1
        while self._left and self._waiting <= AT_ONCE:
            item = self._site.shelf.get(self._left.popleft())
            if item is not None:
                self._waiting += 1
                copy = Copy(item, () if item.body is None else (self._site.ctx.me,))
                patience = self._site.patience_s(item)
                self._site.ctx.call(self._peer, copy, self._taken, self._refused, timeout_s=patience)
        self._one_less()

    def _taken(self, _: object) -> None:
        self._one_less(go_on=True)

    def _refused(self, failure: Failure) -> None:
        # Whoever is silent is not asked for the rest.
        self._failed += 1 + len(self._left)
        self._left.clear()
        self._one_less()

    def _one_less(self, *, go_on: bool = False) -> None:
        self._waiting -= 1
        if go_on and self._left:
            self.begin()
        elif self._waiting == 0:
            self._then(self._failed)
