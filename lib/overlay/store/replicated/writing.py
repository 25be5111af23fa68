"""A write on its way from its origin to the root of its key.

The origin gives the version, once and for all: of a root that is known it has most likely seen enough for a newer one than
all that is there, and else the root, which has done nothing then, says the newest; of another one it asks for that first. So
whatever is repeated, by whichever root, is the same version of the same value, and whatever was there before is older.
"""

from __future__ import annotations

from collections.abc import Callable

from overlay.core.context import Failure, OnFailed, Reason
from overlay.core.message import Contact, Message, Refused
from overlay.core.pending import Pending
from overlay.errors import Indefinite, LocalError
from overlay.kbr import Answered
from overlay.store.replicated.config import Acked
from overlay.store.replicated.messages import (
    Begun,
    Item,
    Look,
    Seen,
    Version,
    Write,
    WriteNewer,
    Written,
    tag_of,
)
from overlay.store.replicated.reading import why_not
from overlay.store.replicated.roots import ask_root
from overlay.store.replicated.site import Site
from overlay.store.replicated.spreading import write_s

AGAIN_S = 0.5
"""Before somebody is asked again who could not or would not."""


class Writing:
    """One write at its origin."""

    __slots__ = ("_here", "_is_unclear", "_item", "_make", "_name", "_site", "_tag", "_until", "_why", "outcome")

    def __init__(
        self,
        site: Site,
        name: bytes,
        make: Callable[[Version], Item],
        here: Callable[[Write], Message | Pending[Message]],
    ):
        self._site = site
        self._name = name
        self._make = make
        self._here = here
        """What a root does with a Write: we may be the root ourselves."""
        self._tag = tag_of(name)
        self._item: Item | None = None
        self._is_unclear = False
        """Whether a root may have done it that compared it with nothing, or with what we do not know."""
        self._until = site.ctx.now + site.config.deadline_s
        self._why = "no root answered"
        self.outcome: Pending[Acked] = Pending()

    def begin(self) -> None:
        """At the root that is known, if it is."""
        site = self._site
        root = site.ctx.me if site.owns(self._tag) else site.roots.find(site.shelf.key(self._tag))
        if root is None:
            self._look()
        elif (item := self._number()) is not None:
            # Not for as long as it may take: asked for the newest version meanwhile, the root goes on.
            patience = site.patience_s(item)
            self._send(root, WriteNewer(item, self._holders(item)), lambda why: self._not_newer(root, why), patience)

    def expire(self) -> None:
        """The time is over, whatever is still on its way."""
        self.outcome.fail(Indefinite(f"nobody knows whether it was written: {self._why}"))

    def _number(self) -> Item | None:
        """The item with its version; none where there can be none."""
        if self._item is None:
            try:
                self._item = self._make(self._site.next_version())
            except LocalError as error:
                self.outcome.fail(error)
        return self._item

    def _holders(self, item: Item) -> tuple[Contact, ...]:
        return () if item.body is None else (self._site.ctx.me,)

    def _send(self, root: Contact, write: Write, on_failed: OnFailed, patience_s: float) -> None:
        """Have a root do it."""
        site = self._site

        def told(answer: Message) -> None:
            if isinstance(answer, Refused):
                on_failed(Failure(Reason.REFUSED, answer.reason))
            else:
                self._told(root, answer)

        def done(pending: Pending[Message]) -> None:
            if pending.error is not None:
                on_failed(Failure(Reason.REFUSED, str(pending.error)))
            else:
                told(pending.result())

        if root.id != site.ctx.me.id:
            site.ctx.call(root, write, told, on_failed, timeout_s=patience_s)
        elif isinstance(answer := self._here(write), Pending):
            answer.when_done(done)
        else:
            told(answer)

    def _told(self, root: Contact, answer: Message) -> None:
        if isinstance(answer, Written):
            assert self._item is not None
            self._site.heard(answer.clock)
            self.outcome.resolve(Acked(self._item.version, answer.copies))
        elif isinstance(answer, Seen):
            self._item = None
            self._write(root, answer.version)
        else:
            self._is_unclear = True
            self._again(answer.why if isinstance(answer, Begun) else "the root's answer was none")

    def _not_newer(self, root: Contact, failure: Failure) -> None:
        """Ask who is the root now. What may have been done keeps its version."""
        self._site.roots.forget(root)
        self._why = failure.detail or f"the root {failure.reason.value}"
        if failure.unsent or failure.reason is Reason.REFUSED:
            self._item = None
        else:
            self._is_unclear = True
        self._look()

    # At any root ---------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Find the root, and the newest version."""
        if self.outcome.done:
            return
        if self._site.ctx.now >= self._until:
            self.expire()
        else:
            ask_root(self._site, Look(self._tag, False)).when_done(self._found)

    def _found(self, pending: Pending[Answered]) -> None:
        if self.outcome.done:
            return
        if pending.error is not None or not isinstance(pending.result().answer, Seen):
            self._again(why_not(pending))
            return
        answered = pending.result()
        assert isinstance(answered.answer, Seen)
        newest = answered.answer.version
        if self._is_unclear and self._item is not None and newest > self._item.version:
            # Was it written and then replaced, or was this there before, and is it not done? Under a newer version it could
            # take the place of what somebody wrote who had read it.
            self.expire()
            return
        self._is_unclear = False
        self._write(answered.root, newest)

    def _write(self, root: Contact, newest: Version) -> None:
        site = self._site
        site.saw(newest)
        if (item := self._number()) is not None:
            patience = write_s(site, item) + site.config.answer_s
            self._send(root, Write(item, self._holders(item)), self._refused, patience)

    def _refused(self, failure: Failure) -> None:
        self._again(failure.detail or f"the root {failure.reason.value}")

    def _again(self, why: str) -> None:
        self._why = why
        self._site.ctx.after(AGAIN_S, self._look)
