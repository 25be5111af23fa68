"""A write on its way: from its origin to the root of its key, and from the root to w durable copies.

The origin gives the version, once and for all, after it has asked the root for the newest one. So whatever is repeated, by
whichever root, is the same version of the same value, and whatever its writer had seen before is older.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from overlay.core.context import Failure, Reason
from overlay.core.message import Contact
from overlay.core.pending import Pending
from overlay.errors import Indefinite, LocalError, RemoteError
from overlay.kbr import Answered
from overlay.store.replicated.config import Acked
from overlay.store.replicated.messages import Copy, Item, Look, Seen, Version, Write, Written, tag_of
from overlay.store.replicated.reading import why_not
from overlay.store.replicated.roots import ask_root
from overlay.store.replicated.site import Site

AGAIN_S = 0.5
"""Before somebody is asked again who could not or would not."""
SPARE = 2
"""Peers beyond the right ones that are asked to keep a copy while one of those is silent."""


class Spread:
    """One item at the root of its key, until w distinct peers have it. `outcome` is how many."""

    __slots__ = (
        "_asked",
        "_copies",
        "_failed",
        "_full",
        "_holders",
        "_item",
        "_site",
        "_tag",
        "_until",
        "_why",
        "outcome",
    )

    def __init__(self, site: Site, item: Item, holders: Sequence[Contact]):
        self._site = site
        self._item = item
        self._holders = tuple(holders)
        self._tag = tag_of(item.name)
        self._until = site.ctx.now + write_s(site, item)
        self._copies: dict[int, None] = {}
        self._asked: dict[int, None] = {}
        self._failed: dict[int, None] = {}
        self._why = ""
        """What the last one said that would not keep it: that its disk is full, above all."""
        self._full = False
        """Whether it was our own disk that said so last."""
        self.outcome: Pending[int] = Pending()

    def begin(self) -> None:
        """Ask the right peers, or for those that failed the next ones."""
        site = self._site
        if self.outcome.done:
            return
        if site.ctx.now >= self._until or not site.owns(self._tag):
            site.disturb()
            self._fail()
            return
        line = site.line(site.config.copies + SPARE)
        good = [contact for contact in line if contact.id not in self._failed]
        for contact in good[: site.config.copies]:
            if contact.id not in self._copies and contact.id not in self._asked:
                self._ask(contact)
        if not self._asked and self._full:
            # Whoever can make room is not we; the origin asks again, and knows why if the time runs out.
            self._fail()
        elif not self._asked:
            self._failed.clear()
            site.ctx.after(AGAIN_S, self.begin)

    def _fail(self) -> None:
        why = f" ({self._why})" if self._why else ""
        self.outcome.fail(RemoteError(f"{len(self._copies)} copies are durable, which are too few{why}"))

    def _ask(self, contact: Contact) -> None:
        site = self._site
        self._asked[contact.id] = None

        def durable(_: object = None) -> None:
            self._asked.pop(contact.id, None)
            self._copies[contact.id] = None
            if len(self._copies) >= site.needed(site.config.durable):
                self.outcome.resolve(len(self._copies))
            elif not self._asked:
                self.begin()

        def failed(failure: Failure) -> None:
            self._asked.pop(contact.id, None)
            self._failed[contact.id] = None
            self._why = failure.detail
            self._full = failure.reason is Reason.NO_SPACE
            site.disturb()
            self.begin()

        if contact.id == site.ctx.me.id:
            site.keep(self._item, self._holders, durable, failed)
        else:
            copy = Copy(self._item, self._holders)
            site.ctx.call(contact, copy, durable, failed, timeout_s=site.patience_s(self._item))


def write_s(site: Site, item: Item) -> float:
    """How long a root may take."""
    return max(site.config.write_s, 3 * site.patience_s(item))


class Writing:
    """One write at its origin."""

    __slots__ = ("_item", "_keep", "_make", "_name", "_site", "_tag", "_until", "_why", "outcome")

    def __init__(
        self,
        site: Site,
        name: bytes,
        make: Callable[[Version], Item],
        keep: Callable[[Item, Sequence[Contact]], Pending[Written]],
    ):
        self._site = site
        self._name = name
        self._make = make
        self._keep = keep
        """What a root does with a Write: we may be the root ourselves."""
        self._tag = tag_of(name)
        self._item: Item | None = None
        self._until = site.ctx.now + site.config.deadline_s
        self._why = "no root answered"
        self.outcome: Pending[Acked] = Pending()

    def begin(self) -> None:
        """Find the root."""
        site = self._site
        if self.outcome.done:
            return
        if site.ctx.now >= self._until:
            self.outcome.fail(Indefinite(f"nobody knows whether it was written: {self._why}"))
            return
        ask_root(site, Look(self._tag, False)).when_done(self._found)

    def expire(self) -> None:
        """The time is over, whatever is still on its way."""
        self.outcome.fail(Indefinite(f"nobody knows whether it was written: {self._why}"))

    def _found(self, pending: Pending[Answered]) -> None:
        if self.outcome.done:
            return
        if pending.error is not None or not isinstance(pending.result().answer, Seen):
            self._again(why_not(pending))
            return
        answered = pending.result()
        site = self._site
        if self._item is None:
            assert isinstance(answered.answer, Seen)
            site.saw(answered.answer.version)
            try:
                self._item = self._make(site.next_version())
            except LocalError as error:
                self.outcome.fail(error)
                return
        holders = () if self._item.body is None else (site.ctx.me,)
        if answered.root.id == site.ctx.me.id:
            self._keep(self._item, holders).when_done(self._kept_here)
        else:
            patience = write_s(site, self._item) + site.config.answer_s
            site.ctx.call(answered.root, Write(self._item, holders), self._kept, self._refused, timeout_s=patience)

    def _kept_here(self, pending: Pending[Written]) -> None:
        if pending.error is None:
            self._kept(pending.result())
        else:
            self._again(str(pending.error))

    def _kept(self, written: Written) -> None:
        assert self._item is not None
        self.outcome.resolve(Acked(self._item.version, written.copies))

    def _refused(self, failure: Failure) -> None:
        self._again(failure.detail or f"the root {failure.reason.value}")

    def _again(self, why: str) -> None:
        self._why = why
        self._site.ctx.after(AGAIN_S, self.begin)
