"""A way around a root that does not answer: ask from peer to peer who keeps a key, and those who do what they have.

Source: iterative lookups, as in `ring.lookup`, over nothing but the interface of key-based routing. A peer that drops or misroutes
what it should answer stands on one way; the others that are asked know the key's neighborhood too.
"""

from __future__ import annotations

from overlay.core.context import Failure
from overlay.core.message import Contact
from overlay.core.pending import Pending
from overlay.store.replicated.messages import HOLDERS, Look, Near, Nearer, Seen
from overlay.store.replicated.reading import is_answer
from overlay.store.replicated.site import Site

AT_ONCE = 3
MOST_ASKED = 24


def near(site: Site, tag: bytes) -> Nearer:
    """Who is nearer to a tag than we are, and who keeps it, as far as we know."""
    key = site.shelf.key(tag)
    keepers = site.router.replica_set(key, site.config.copies)
    return Nearer(site.router.local_lookup(key, HOLDERS), keepers[:HOLDERS])


class Detour:
    """One search. `outcome` is the newest that any keeper has; it fails never, and has a value only if something was found."""

    __slots__ = ("_asked", "_best", "_hops", "_keepers", "_look", "_site", "_waiting", "outcome")

    def __init__(self, site: Site, tag: bytes):
        self._site = site
        self._look = Look(tag, True, False)
        self._hops: list[Contact] = []
        self._asked: dict[Contact, None] = {site.ctx.me: None}
        self._keepers: dict[Contact, None] = {}
        self._waiting = 0
        self._best: Seen | None = None
        self.outcome: Pending[Seen] = Pending()

    def begin(self) -> None:
        """What is known here is the first step."""
        self._waiting = 1
        self._told(near(self._site, self._look.tag))

    def _told(self, answer: Nearer) -> None:
        # What is told last was told by who is nearest.
        self._hops = [*answer.hops, *self._hops]
        for keeper in answer.keepers:
            if keeper not in self._keepers and len(self._keepers) < MOST_ASKED:
                self._keepers[keeper] = None
                self._waiting += 1
                self._site.ctx.call(keeper, self._look, self._seen, self._silent, timeout_s=self._site.config.answer_s)
        self._one_less()

    def _seen(self, answer: Seen) -> None:
        found = answer.item is not None and is_answer(answer, self._look)
        if found and (self._best is None or answer.version > self._best.version):
            self._best = answer
        self._one_less()

    def _silent(self, failure: Failure) -> None:
        self._one_less()

    def _one_less(self) -> None:
        self._waiting -= 1
        while self._hops and self._waiting < AT_ONCE and len(self._asked) < MOST_ASKED:
            hop = self._hops.pop(0)
            if hop not in self._asked:
                self._asked[hop] = None
                self._waiting += 1
                question = Near(self._look.tag)
                self._site.ctx.call(hop, question, self._told, self._silent, timeout_s=self._site.config.answer_s)
        if not self._waiting and self._best is not None:
            self.outcome.resolve(self._best)
