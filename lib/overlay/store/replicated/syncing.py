"""Repair: the root of a range compares it with its replicas, periodically and whenever the ring changes around it.

That a copy is missing is seen by looking, and so it does not depend on anybody's having seen why (anti-entropy: Demers et
al., PODC 1987; digests of pages in the place of a tree, for the items of one range are few thousands).
A range is settled once a comparison with all who may have something of it ended without anything new for its root, and
nobody has come or gone since. Then the root's answer is the newest.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from overlay.core.context import Failure, Timer
from overlay.core.message import Contact
from overlay.ids import Key
from overlay.store.replicated.messages import (
    PAGES,
    ROWS,
    Compare,
    Differ,
    Listing,
    Page,
    Unequal,
)
from overlay.store.replicated.shelf import Section, after
from overlay.store.replicated.site import Site
from overlay.store.replicated.transfer import Giving, Taking

SOON_S = 0.2
"""After something has happened, so that what happens together is looked at once."""
AGAIN_S = 1.0
"""After a comparison that did not end."""
Scene = tuple[tuple[int, int] | None, tuple[Contact, ...]]


class Syncer:
    """Compares our range with others', again and again."""

    __slots__ = ("_at", "_disturbed", "_failing", "_round", "_settled", "_site", "_timer")

    def __init__(self, site: Site):
        self._site = site
        self._settled: Scene | None = None
        self._failing = False
        self._disturbed = False
        """Whether something happened since the present round began."""
        self._round: Round | None = None
        self._timer: Timer | None = None
        self._at = 0.0
        """When the next round begins."""

    def begin(self) -> None:
        """Compare from now on."""
        self._plan(SOON_S)

    def settled(self) -> bool:
        """Whether what we have of our range is the newest, and was at the right peers when we compared."""
        return self._settled is not None and self._settled == self._scene()

    def complete(self) -> bool:
        """Whether all of our range is at the right peers, all of which answered when they were last asked."""
        return self.settled() and not self._failing

    def soon(self) -> None:
        """Something changed around us: compare again."""
        self._disturbed = True
        if self._round is None:
            self._plan(SOON_S)

    def hasten(self) -> None:
        """Each question costs one to everybody while we are not settled. Of who has come far ahead nobody tells us."""
        if self._round is None:
            self._plan(SOON_S)

    def disturb(self) -> None:
        """Something of our range may be elsewhere: we are not settled until we have compared."""
        self._settled = None
        self.soon()

    def _scene(self) -> Scene:
        return self._site.router.range(), tuple(self._site.all_who_may_know())

    def _plan(self, delay_s: float) -> None:
        """Compare after so long, or earlier if that is planned already."""
        at = self._site.ctx.now + delay_s
        if self._timer is not None and self._timer.active:
            if self._at <= at:
                return
            self._timer.cancel()
        self._at = at
        self._timer = self._site.ctx.after(delay_s, self._compare)

    def _compare(self) -> None:
        """One round."""
        site = self._site
        scene = self._scene()
        self._disturbed = False
        if site.leaving or scene[0] is None:
            self._plan(site.config.sync_s)
            return
        self._round = Round(site, scene, self.settled(), self._ended)
        self._round.begin()

    def _ended(self, ended: Round) -> None:
        site = self._site
        self._round = None
        self._failing = ended.failures > 0
        clean = not self._failing and not ended.pulled and not self._disturbed
        if clean and ended.scene == self._scene():
            # The replicas are told so in a round of its own.
            self._plan(site.config.sync_s * site.ctx.rng.uniform(0.8, 1.2) if self.settled() else SOON_S)
            self._settled = ended.scene
        elif self._failing:
            self._plan(AGAIN_S)
        else:
            self._plan(SOON_S)


class Round:
    """One comparison of our range with all who may have something of it."""

    __slots__ = ("_on_end", "_site", "_waiting", "failures", "pulled", "scene", "settled")

    def __init__(self, site: Site, scene: Scene, settled: bool, on_end: Callable[[Round], None]):
        self._site = site
        self.scene = scene
        self.settled = settled
        self._on_end = on_end
        self.failures = 0
        self.pulled = 0
        """Items that were newer elsewhere."""
        self._waiting = 0

    def begin(self) -> None:
        """With everybody at once."""
        right = self._site.replicas()
        others = [contact for contact in self.scene[1] if contact.id != self._site.ctx.me.id]
        self._waiting = len(others) + 1
        for contact in others:
            Exchange(self, self._site, contact, contact in right).begin()
        self.ended(0, 0)

    def ended(self, failures: int, pulled: int) -> None:
        """One exchange is over."""
        self.failures += failures
        self.pulled += pulled
        self._waiting -= 1
        if self._waiting == 0:
            self._on_end(self)


class Exchange:
    """Our range compared with one peer: both have the newest of either afterwards; of one that is no replica we only take."""

    __slots__ = ("_over", "_peer", "_pulled", "_replica", "_round", "_site", "_todo")

    def __init__(self, round: Round, site: Site, peer: Contact, replica: bool):
        self._round = round
        self._site = site
        self._peer = peer
        self._replica = replica
        self._todo: deque[Callable[[], None]] = deque()
        self._pulled = 0
        self._over = False

    def begin(self) -> None:
        """Compare by digests."""
        span = self._round.scene[0]
        assert span is not None
        for section in self._site.shelf.sections(*span):
            pages = self._site.shelf.pages(section)
            first = section[0]
            for at in range(0, len(pages), PAGES):
                some = tuple(pages[at : at + PAGES])
                self._todo.append(lambda first=first, some=some: self._compare(span, first, some))  # type: ignore[misc]
                first = after(some[-1].upto)
        self._next()

    def _next(self) -> None:
        if self._todo:
            self._todo.popleft()()
        else:
            self._end(0)

    def _end(self, failures: int) -> None:
        if not self._over:
            self._over = True
            self._round.ended(failures, self._pulled)

    def _failed(self, failure: Failure) -> None:
        self._end(1)

    def _ask(self, question: Compare | Listing, then: Callable[..., None]) -> None:
        self._site.ctx.call(self._peer, question, then, self._failed, timeout_s=self._site.config.answer_s)

    def _compare(self, span: tuple[int, int], first: bytes, pages: tuple[Page, ...]) -> None:
        def told(answer: Unequal) -> None:
            for index in answer.pages:
                if 0 <= index < len(pages):
                    start = first if index == 0 else after(pages[index - 1].upto)
                    self._todo.append(lambda section=(start, pages[index].upto): self._list(section))  # type: ignore[misc]
            self._next()

        question = Compare(Key(span[0]), Key(span[1]), first, pages, self._replica, self._round.settled)
        self._ask(question, told)

    def _list(self, section: Section) -> None:
        """Row by row, as many as a message holds; the rest of a page that has grown meanwhile comes another time."""
        shelf = self._site.shelf
        tags = shelf.tags(section)
        if len(tags) > ROWS:
            section, tags = (section[0], tags[ROWS - 1]), tags[:ROWS]

        def told(answer: Differ) -> None:
            if self._replica and answer.wanted:
                self._todo.appendleft(lambda: self._give(answer.wanted))
            if answer.newer:
                self._todo.appendleft(lambda: self._take(answer.newer, section if answer.more else None))
            self._next()

        self._ask(Listing(section[0], section[1], shelf.rows(tags)), told)

    def _take(self, tags: tuple[bytes, ...], again: Section | None) -> None:
        """Fetch what is newer there; then look `again`, for there is more of it."""

        def taken(stored: int, failed: int) -> None:
            self._pulled += stored
            if failed:
                self._end(1)
                return
            if again is not None and stored:
                self._todo.appendleft(lambda: self._list(again))
            self._next()

        Taking(self._site, self._peer, tags, taken).begin()

    def _give(self, tags: tuple[bytes, ...]) -> None:
        """Bring what is newer here."""

        def given(failed: int) -> None:
            if failed:
                self._end(1)
            else:
                self._next()

        Giving(self._site, self._peer, tags, given).begin()
