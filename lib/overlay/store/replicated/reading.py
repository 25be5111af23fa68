"""A read: the root answers at once where it knows the newest version, else it asks all who may have one."""

from __future__ import annotations

from overlay.core.message import Message
from overlay.core.pending import Pending
from overlay.errors import Indefinite
from overlay.kbr import Answered
from overlay.store.replicated.config import Got, NotFound
from overlay.store.replicated.messages import NEVER, Item, Look, Seen, tag_of
from overlay.store.replicated.site import Site

AGAIN_S = 0.5


def seen_here(site: Site, look: Look) -> Seen:
    """The answer from our own shelf."""
    item = site.shelf.get(look.tag)
    if item is None:
        return Seen(NEVER)
    return Seen(item.version, item if look.whole else None)


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
            outcome.resolve(best)

    for contact in others:
        site.ctx.call(contact, look, told, told, timeout_s=site.config.answer_s)
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

    __slots__ = ("_name", "_site", "_tag", "_until", "_why", "outcome")

    def __init__(self, site: Site, name: bytes):
        self._site = site
        self._name = name
        self._tag = tag_of(name)
        self._until = site.ctx.now + site.config.deadline_s
        self._why = "no root answered"
        self.outcome: Pending[Item] = Pending()
        """Fails with NotFound where there is no value."""

    def begin(self) -> None:
        """Ask the root."""
        site = self._site
        if self.outcome.done:
            return
        if site.ctx.now >= self._until:
            self.expire()
            return
        site.router.route("replicas", site.shelf.key(self._tag), Look(self._tag, True)).when_done(self._answered)

    def expire(self) -> None:
        """The time is over."""
        self.outcome.fail(Indefinite(self._why))

    def _answered(self, pending: Pending[Answered]) -> None:
        answer = None if pending.error is not None else pending.result().answer
        if self.outcome.done:
            return
        if not isinstance(answer, Seen) or not is_answer(answer, Look(self._tag, True)):
            self._why = str(pending.error or "the root's answer was none")
            self._site.ctx.after(AGAIN_S, self.begin)
            return
        self._site.saw(answer.version)
        if answer.item is None or self._site.is_over(answer.item):
            self.outcome.fail(NotFound(self._name, answer.version))
        else:
            self.outcome.resolve(answer.item)


def got(item: Item) -> Got:
    """What the reader is told."""
    return Got(item.name, item.version, item.value, item.expires)
