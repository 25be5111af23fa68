"""What the parts of one peer's store share: its shelf, its clock, and who is to keep what, as far as is known here."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from overlay.core.context import Context, OnFailed
from overlay.core.message import Contact
from overlay.core.pending import ignore
from overlay.errors import LocalError
from overlay.ids import Key, owns
from overlay.kbr import Router
from overlay.store.replicated.bodies import Bodies, patience_s
from overlay.store.replicated.config import ReplicasConfig
from overlay.store.replicated.messages import MAX_COUNTER, Item, Version, tag_of
from overlay.store.replicated.roots import Roots
from overlay.store.replicated.shelf import Shelf

MOST_AHEAD = 1 << 40
"""Nobody has written so often: whoever says so lies, and must not bring our counter to its end."""
LITTLE_AHEAD = 1 << 20
"""Anybody may bring us an item, so that one takes us no further than this."""


class Site:
    """One peer's place among the others."""

    __slots__ = (
        "bodies",
        "clock",
        "config",
        "ctx",
        "disturb",
        "leaving",
        "roots",
        "router",
        "settled",
        "shelf",
        "suspect",
    )

    def __init__(self, ctx: Context, router: Router, config: ReplicasConfig, bits: int):
        self.ctx = ctx
        self.router = router
        self.config = config
        self.shelf = Shelf(ctx, bits)
        self.bodies = Bodies(ctx)
        self.roots = Roots()
        self.clock = 0
        """The Lamport clock of those who write here."""
        self.leaving = False
        self.settled: Callable[[], bool] = bool
        """Whether our range was compared with all who may have something of it: then what we have is the newest."""
        self.disturb: Callable[[], None] = ignore
        """Something of our range may not be where it belongs: compare again."""
        self.suspect: Callable[[], None] = ignore
        """A body on our disk is not what it should be: look for those that rot."""

    # Versions ------------------------------------------------------------------------------------------------

    def saw(self, version: Version) -> None:
        """Somebody here was told of this version: what is written here from now on comes after it."""
        self.clock = max(self.clock, min(version.counter, self.clock + MOST_AHEAD))

    def heard(self, clock: int) -> None:
        """Somebody's clock, in passing. No promise rests on it, but who writes with it need not ask for the newest version."""
        self.clock = max(self.clock, min(clock, self.clock + LITTLE_AHEAD))

    def next_version(self) -> Version:
        """A version that nobody else makes, newer than all that was seen here."""
        if self.clock >= MAX_COUNTER:
            raise LocalError("the counter of versions has come to its end")
        self.clock += 1
        return Version(self.clock, self.ctx.me.id, self.ctx.me.boot)

    def is_over(self, item: Item) -> bool:
        """Whether there is no value in it: deleted, or past its time."""
        return item.gone or 0 < item.expires <= self.ctx.wall

    def is_forgotten(self, item: Item) -> bool:
        """Whether the last trace of it may go: it was deleted, or past its time, long ago."""
        ended = item.made if item.gone else item.expires or math.inf
        return ended + self.config.tombstone_s <= self.ctx.wall

    # Keeping -------------------------------------------------------------------------------------------------

    def keep(self, item: Item, holders: Sequence[Contact], on_durable: Callable[[], None], on_failed: OnFailed) -> None:
        """Put an item on the shelf, with its body from one of the holders."""
        self.heard(item.version.counter)
        body = item.body
        if body is None or self.shelf.version(tag_of(item.name)) >= item.version:
            self.shelf.put(item, on_durable, on_failed)
            return

        def here() -> None:
            if not self.shelf.is_wanted(item):
                self.bodies.release(body)
            self.shelf.put(item, on_durable, on_failed)

        self.bodies.pull(body, holders, here, on_failed)

    def patience_s(self, item: Item) -> float:
        """For an answer about an item that is to be kept."""
        return self.config.answer_s + (0.0 if item.body is None else patience_s(item.body.size))

    # Places --------------------------------------------------------------------------------------------------

    def span(self) -> tuple[Key, Key]:
        """The keys (low, high] of which we are the root."""
        low, high = self.router.range() or (0, 0)
        return Key(low), Key(high)

    def owns(self, tag: bytes) -> bool:
        """Whether we are the root of a tag."""
        span = self.router.range()
        return span is not None and not self.leaving and owns(span[0], self.shelf.key(tag), span[1])

    def line(self, count: int, without: int | None = None) -> list[Contact]:
        """Ourselves, and those who come next in the replica set of our range; one may be left out."""
        spare = 0 if without is None else 1
        line = self.router.replica_set(self.ctx.me.id, count + spare)
        return [contact for contact in line if contact.id != without][:count]

    def replicas(self, without: int | None = None) -> list[Contact]:
        """The right peers for our range, ourselves first."""
        return self.line(self.config.copies, without)

    def all_who_may_know(self) -> list[Contact]:
        """The right peers and those who were it before others came in between."""
        return self.line(2 * self.config.copies - 1)

    def needed(self, wanted: int, without: int | None = None) -> int:
        """`wanted` peers; or as many as there are, where the whole ring is smaller and nobody is missed."""
        everybody = self.line(wanted, without)
        if len(everybody) >= wanted or self.router.missing_s() < self.config.fewer_s:
            return wanted
        neighbors = {contact.id for contact in self.router.neighbor_set()} - {without}
        return max(1, len(everybody)) if neighbors <= {contact.id for contact in everybody} else wanted
