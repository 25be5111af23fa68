"""A write at the root of its key: until w peers have it durable."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from overlay.core.context import Failure, Reason
from overlay.core.message import Contact, Message, Refused
from overlay.core.pending import Pending
from overlay.errors import RemoteError
from overlay.store.replicated.messages import Begun, Copy, Item, Seen, Version, Write, WriteNewer, Written, tag_of
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
        if self._asked:
            return
        if self._copies and len(self._copies) >= site.needed(site.config.durable):
            self.outcome.resolve(len(self._copies))
        elif self._full:
            # Whoever can make room is not we; the origin asks again, and knows why if the time runs out.
            self._fail()
        else:
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
            # Whoever reads asks us first, so what is acknowledged is on our own disk, or we know that it is not.
            if len(self._copies) >= site.config.durable and site.ctx.me.id not in self._asked:
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


class Spreads:
    """The writes of which one peer is the root; each is done once at a time, however often it is asked for."""

    __slots__ = ("_site", "_spreads")

    def __init__(self, site: Site):
        self._site = site
        self._spreads: dict[tuple[bytes, Version], Spread] = {}

    def __len__(self) -> int:
        return len(self._spreads)

    def write(self, write: Write) -> Pending[Message]:
        """Whether or not there is a newer version: Written, or Refused."""
        return self._spread(write, Refused)

    def write_newer(self, write: WriteNewer, newest: Message) -> Message | Pending[Message]:
        """Only if it is newer than what a look has shown."""
        if not isinstance(newest, Seen):
            return newest
        version = max(newest.version, self._site.shelf.newest(tag_of(write.item.name)))
        if version > write.item.version:
            return msgspec.structs.replace(newest, version=version)
        return self._spread(write, Begun)

    def _spread(self, write: Write, otherwise: Callable[[str], Message]) -> Pending[Message]:
        site, key = self._site, (tag_of(write.item.name), write.item.version)
        answer: Pending[Message] = Pending()

        def ended(pending: Pending[int]) -> None:
            self._spreads.pop(key, None)
            failed = pending.error is not None
            answer.resolve(otherwise(str(pending.error)) if failed else Written(pending.result(), site.clock))

        spread = self._spreads.get(key)
        if spread is None:
            spread = self._spreads[key] = Spread(site, write.item, write.holders)
            spread.begin()
        spread.outcome.when_done(ended)
        return answer
