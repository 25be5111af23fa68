"""A read: the root answers at once where it knows the newest version, else it asks all who may have one."""

from __future__ import annotations

import msgspec

from overlay.core.context import Failure, Reason
from overlay.core.message import Contact, Message, Refused
from overlay.core.pending import Pending
from overlay.core.storage import BlobRef
from overlay.errors import Indefinite
from overlay.kbr import Answered
from overlay.store.replicated.config import Got, NotFound
from overlay.store.replicated.messages import HOLDERS, NEVER, Item, Look, Seen, tag_of
from overlay.store.replicated.roots import ask_root
from overlay.store.replicated.site import Site

AGAIN_S = 0.5


def seen_here(site: Site, look: Look) -> Seen:
    """The answer from our own shelf."""
    item = site.shelf.get(look.tag)
    low, high = site.span()
    if item is None:
        return Seen(NEVER, low=low, high=high)
    if not look.whole:
        return Seen(item.version, low=low, high=high)
    return Seen(item.version, item, () if item.body is None else holders(site), low, high)


def holders(site: Site) -> tuple[Contact, ...]:
    """Who has the bodies of our range; ourselves at least."""
    return tuple(dict.fromkeys((site.ctx.me, *site.replicas())))[:HOLDERS]


def look_everywhere(site: Site, look: Look) -> Pending[Message]:
    """The newest of what is here and at everybody who may have it; a newer one is then fetched by the next comparison."""
    outcome: Pending[Message] = Pending()
    here = best = seen_here(site, look)
    others = [contact for contact in site.all_who_may_know() if contact.id != site.ctx.me.id]
    waiting = len(others)

    def told(answer: object) -> None:
        nonlocal best, waiting
        waiting -= 1
        if isinstance(answer, Seen) and answer.version > best.version and is_answer(answer, look):
            best = answer
        if waiting <= 0:
            if best.version > here.version:
                site.disturb()
            outcome.resolve(msgspec.structs.replace(best, low=here.low, high=here.high))

    question = Look(look.tag, look.whole, False)
    for contact in others:
        site.ctx.call(contact, question, told, told, timeout_s=site.config.answer_s)
    if not others:
        told(None)
    return outcome


def is_answer(seen: Seen, look: Look) -> bool:
    """Whether it is about what was asked for; whoever lies may say anything."""
    if not look.whole or seen.item is None:
        return not look.whole or seen.version == NEVER
    return tag_of(seen.item.name) == look.tag and seen.item.version == seen.version


class Reading:
    """One read at its origin."""

    __slots__ = ("_site", "_tag", "_until", "_why", "name", "outcome")

    def __init__(self, site: Site, name: bytes):
        self._site = site
        self.name = name
        self._tag = tag_of(name)
        self._until = site.ctx.now + site.config.deadline_s
        self._why = "no root answered"
        self.outcome: Pending[Got] = Pending()
        """Fails with NotFound where there is no value."""

    def begin(self) -> None:
        """Ask the root."""
        site = self._site
        if self.outcome.done:
            return
        if site.ctx.now >= self._until:
            self.expire()
            return
        ask_root(site, Look(self._tag, True)).when_done(self._answered)

    def expire(self) -> None:
        """The time is over."""
        self.outcome.fail(Indefinite(self._why))

    def _answered(self, pending: Pending[Answered]) -> None:
        answer = None if pending.error is not None else pending.result().answer
        if self.outcome.done:
            return
        if not isinstance(answer, Seen) or not is_answer(answer, Look(self._tag, True)):
            self._why = why_not(pending)
            self._site.ctx.after(AGAIN_S, self.begin)
            return
        self.take(answer)

    def take(self, answer: Seen) -> None:
        """What is the newest, from whoever knows."""
        if self.outcome.done:
            return
        self._site.saw(answer.version)
        if answer.item is None or self._site.is_over(answer.item):
            self.outcome.fail(NotFound(self.name, answer.version))
        elif answer.item.body is None:
            self.outcome.resolve(got(answer.item, answer.item.value))
        else:
            self._pull(answer.item, answer.item.body, answer.holders)

    def _pull(self, item: Item, body: BlobRef, holders: tuple[Contact, ...]) -> None:
        """The value comes from any of those that have it: not always from the first."""

        def read(data: bytes) -> None:
            self.outcome.resolve(got(item, data))

        def failed(failure: Failure) -> None:
            self._why = failure.detail or "no holder had the value"
            if failure.reason in (Reason.LOCAL, Reason.NOT_THERE):
                self._site.suspect()
            self._site.ctx.after(AGAIN_S, self.begin)

        line = list(holders)
        self._site.ctx.rng.shuffle(line)
        self._site.bodies.read(body, line, read, failed)


def why_not(pending: Pending[Answered]) -> str:
    """What a root that did not answer said."""
    answer = None if pending.error is not None else pending.result().answer
    return answer.reason if isinstance(answer, Refused) else str(pending.error or "the root's answer was none")


def got(item: Item, value: bytes) -> Got:
    """What the reader is told."""
    return Got(item.name, item.version, value, item.expires)
