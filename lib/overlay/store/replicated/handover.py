"""Hand-over: a peer forgets a copy only after all the right peers have confirmed that theirs are durable.

Whoever has a surplus copy offers it to the root of its key. The root sees to it that all k right peers have it, each of which
answers from its disk and relies on itself being relied on: its `hold` grows, so that a drop of its own which began before
is void. Of peers that confirm each other, at most one drops; see docs/store.md for the argument.
"""

from __future__ import annotations

from collections.abc import Callable

from overlay.core.context import Failure
from overlay.core.message import Contact, Message, Refused
from overlay.core.pending import Pending, ignore
from overlay.ids import owns
from overlay.kbr import Answered
from overlay.store.replicated.grants import Grants
from overlay.store.replicated.messages import Hold, Lacks, Offer, Offered, Row, Version
from overlay.store.replicated.site import Site
from overlay.store.replicated.transfer import Giving, Taking

BATCH = 64
"""Rows in one offer."""
BATCH_BYTES = 4 << 20
OFFERS = 4
"""Offers on their way at a time."""
LOOK_S = 1.0
"""Between two looks for surplus."""
SOON_S = 0.3
TAKE_S = 20.0
"""For a root to see to an offer; then it is offered again."""


class Giver:
    """Offers our surplus until there is none."""

    __slots__ = ("_grants", "_looking", "_offered", "_offers", "_site", "on_look")

    def __init__(self, site: Site, grants: Grants):
        self._site = site
        self._grants = grants
        self._offered: dict[bytes, tuple[int, Version]] = {}
        """What is being offered, and its hold and version when that began."""
        self._offers = 0
        self._looking = False
        self.on_look: Callable[[], None] = ignore
        """Called after every look: whoever leaves may be done."""

    def begin(self) -> None:
        """Look from now on."""
        self._site.ctx.after(LOOK_S * self._site.ctx.rng.random(), self._look_again)

    def soon(self) -> None:
        """Something changed around us."""
        if not self._looking:
            self._looking = True
            self._site.ctx.after(SOON_S, self._look_soon)

    def surplus(self) -> list[bytes]:
        """The tags of copies that nobody who knows of them asked us to keep."""
        return self._grants.uncovered()

    def _look_again(self) -> None:
        self._site.ctx.after(LOOK_S, self._look_again)
        self._look()

    def _look_soon(self) -> None:
        self._looking = False
        self._look()

    def _look(self) -> None:
        shelf = self._site.shelf
        waiting = [tag for tag in self.surplus() if tag not in self._offered and not shelf.is_writing(tag)]
        while waiting and self._offers < OFFERS:
            count = self._fits(waiting)
            self._offer(waiting[:count])
            waiting = waiting[count:]
        self.on_look()

    def _fits(self, tags: list[bytes]) -> int:
        """How many of these a root can see to in good time."""
        room = BATCH_BYTES
        for count, tag in enumerate(tags[:BATCH]):
            item = self._site.shelf.get(tag)
            room -= item.size if item is not None else 0
            if room < 0:
                return max(1, count)
        return BATCH

    def _offer(self, tags: list[bytes]) -> None:
        site, shelf = self._site, self._site.shelf
        rows = shelf.rows(tags)
        for row in rows:
            self._offered[row.tag] = shelf.holds(row.tag), row.version
        self._offers += 1
        question = Offer(rows, site.leaving)
        routed = site.router.route("replicas", shelf.key(rows[0].tag), question)
        routed.when_done(lambda pending: self._answered(rows, pending))

    def _answered(self, rows: tuple[Row, ...], pending: Pending[Answered]) -> None:
        self._offers -= 1
        began = {row.tag: self._offered.pop(row.tag) for row in rows}
        answer = None if pending.error is not None else pending.result().answer
        if not isinstance(answer, Offered):
            return
        for tag in answer.tags:
            if tag in began and (self._site.shelf.holds(tag), self._site.shelf.version(tag)) == began[tag]:
                self._grants.forget(tag)
                self._site.shelf.drop(tag, ignore)
        # What is another root's comes next, and what is refused after a while.
        if answer.tags or any(not owns(answer.low, self._site.shelf.key(row.tag), answer.high) for row in rows):
            self.soon()


class Receiving:
    """One offer at the root, until all the right peers have what was offered, or it is clear that they will not."""

    __slots__ = ("_giver", "_high", "_keep", "_line", "_low", "_rows", "_short", "_site", "_waiting", "outcome")

    def __init__(self, site: Site, giver: Contact, offer: Offer):
        self._site = site
        self._giver = giver
        self._low, self._high = site.span()
        self._rows = tuple([row for row in offer.rows if site.owns(row.tag)])
        self._line = site.replicas(giver.id if offer.leaving else None)
        self._keep = any(contact.id == giver.id for contact in self._line)
        self._short = len(self._line) < site.needed(site.config.copies, giver.id if offer.leaving else None)
        self._waiting = 0
        self.outcome: Pending[Message] = Pending()

    def begin(self) -> None:
        """First we have it ourselves."""
        site = self._site
        site.ctx.after(TAKE_S, self._refuse, "there was no time")
        lacking = [row.tag for row in self._rows if site.shelf.version(row.tag) < row.version]
        if lacking:
            Taking(site, self._giver, lacking, self._taken).begin()
        else:
            self._taken(0, 0)

    def _taken(self, stored: int, failed: int) -> None:
        if stored:
            self._site.disturb()
        if failed:
            self._refuse("what was offered did not come")
        elif self._keep or not self._rows:
            # The next comparison tells it to keep them, and the others to have them.
            self._site.disturb()
            self._answer(())
        elif self._short:
            self._refuse("there are too few peers")
        else:
            self._ask_all()

    def _ask_all(self) -> None:
        others = [contact for contact in self._line if contact.id != self._site.ctx.me.id]
        self._waiting = len(others)
        if not others:
            self._confirm()
        for contact in others:
            self._ask(contact)

    def _ask(self, contact: Contact) -> None:
        """Have the others what was offered? What one lacks it is given, and so relies on its own."""
        site = self._site

        def told(answer: Lacks) -> None:
            if answer.tags:
                Giving(site, contact, answer.tags, given).begin()
            else:
                self._one_less()

        def given(failed: int) -> None:
            if failed:
                self._refuse(f"Peer {contact.id} has no room")
            else:
                self._one_less()

        def failed(failure: Failure) -> None:
            self._refuse(f"Peer {contact.id} {failure.reason.value}")

        site.ctx.call(contact, Hold(self._rows), told, failed, timeout_s=site.config.answer_s)

    def _one_less(self) -> None:
        self._waiting -= 1
        if self._waiting == 0:
            self._confirm()

    def _confirm(self) -> None:
        shelf = self._site.shelf
        self._answer(tuple([row.tag for row in self._rows if shelf.hold(row)]))

    def _answer(self, tags: tuple[bytes, ...]) -> None:
        self.outcome.resolve(Offered(tags, self._keep, self._low, self._high))

    def _refuse(self, why: str) -> None:
        self.outcome.resolve(Refused(why))
