"""Whom to ask first: the roots that answered before, by their ranges, so that most questions take one hop.

Source: one-hop lookups (Gupta et al., NSDI 2004), here from what is learned by asking alone. A root that is none any more says
so, and then the question is routed as ever; who answers is asked for nothing that a routed question would not ask.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from typing import TYPE_CHECKING

from overlay.core.context import Failure
from overlay.core.message import Contact, Message
from overlay.core.pending import Pending
from overlay.ids import owns
from overlay.kbr import Answered
from overlay.store.replicated.messages import Look, Seen

if TYPE_CHECKING:
    from overlay.store.replicated.site import Site

MOST = 4096
"""Roots that are remembered; beyond, all are forgotten, and learned again."""


class Roots:
    """What one peer knows of others' ranges."""

    __slots__ = ("_highs", "_known")

    def __init__(self) -> None:
        self._highs: list[int] = []
        self._known: dict[int, tuple[int, Contact]] = {}
        """The low end of a range, and its root, by the high end."""

    def note(self, root: Contact, low: int, high: int) -> None:
        """It answered for the keys (low, high]."""
        if high not in self._known:
            if len(self._highs) >= MOST:
                self._highs.clear()
                self._known.clear()
            insort(self._highs, high)
        self._known[high] = low, root

    def find(self, key: int) -> Contact | None:
        """Who answered for a key last."""
        if not self._highs:
            return None
        high = self._highs[bisect_left(self._highs, key) % len(self._highs)]
        low, root = self._known[high]
        return root if owns(low, key, high) else None

    def forget(self, root: Contact) -> None:
        """It did not answer, or not for that."""
        for high in [high for high, (_, known) in self._known.items() if known == root]:
            del self._known[high]
            del self._highs[bisect_left(self._highs, high)]


def ask_root(site: Site, look: Look) -> Pending[Answered]:
    """The root's answer to a question: asked directly where it is known, else routed."""
    key = site.shelf.key(look.tag)
    outcome: Pending[Answered] = Pending()
    root = site.roots.find(key)

    def routed(pending: Pending[Answered]) -> None:
        if pending.error is not None:
            outcome.fail(pending.error)
        else:
            told(pending.result().answer, pending.result().root)

    def told(answer: Message, root: Contact) -> None:
        # A range ends with its root, so a liar can claim no more than what lies before it and behind the last that is known.
        if isinstance(answer, Seen) and answer.high == root.id != site.ctx.me.id:
            site.roots.note(root, answer.low, answer.high)
        outcome.resolve(Answered(answer, root, ()))

    def failed(failure: Failure) -> None:
        if root is not None:
            site.roots.forget(root)
        site.router.route("replicas", key, look).when_done(routed)

    if root is None or site.owns(look.tag):
        site.router.route("replicas", key, look).when_done(routed)
    else:
        site.ctx.call(root, look, lambda answer: told(answer, root), failed, timeout_s=site.config.answer_s)
    return outcome
