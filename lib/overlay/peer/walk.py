"""A walk around the ring: each peer is asked for its neighbors, and its first successor is the next to be asked."""

from __future__ import annotations

from collections.abc import Callable

from overlay.core.context import Context, Failure
from overlay.core.message import Contact
from overlay.core.pending import Pending
from overlay.errors import Indefinite
from overlay.peer.views import Neighbors
from overlay.ring import messages

MAX_PEERS = 1024
ASK_S = 2.4


class Walk:
    """One walk; an operation inside the node."""

    def __init__(self, ctx: Context, start: messages.Neighbors, timeout_s: float):
        self.outcome: Pending[tuple[Neighbors, ...]] = Pending()
        self._ctx = ctx
        self._seen: dict[int, Neighbors] = {}
        self._ways: list[Contact] = []
        """Where to go on, the best last: the successors of those that were seen."""
        ctx.after(timeout_s, self._give_up, Indefinite(f"the ring was not walked within {timeout_s} s"))
        self._saw(ctx.me, start)

    def _saw(self, contact: Contact, picture: messages.Neighbors) -> None:
        if self.outcome.done:
            return
        self._seen[contact.id] = Neighbors(contact, picture.predecessors, picture.successors, picture.leaving)
        # The first successor leads on; the others stand by in case that it does not answer.
        self._ways = list(reversed(picture.successors))
        self._go_on()

    def _go_on(self) -> None:
        if not self._ways or self._ways[-1].id in self._seen or len(self._seen) >= MAX_PEERS:
            self.outcome.resolve(tuple(member for _, member in sorted(self._seen.items())))
            return
        contact = self._ways.pop()
        self._ctx.call(contact, messages.Ask(), self._told_by(contact), self._silent, timeout_s=ASK_S)

    def _told_by(self, contact: Contact) -> Callable[[messages.Neighbors], None]:
        return lambda picture: self._saw(contact, picture)

    def _silent(self, failure: Failure) -> None:
        if not self.outcome.done:
            self._go_on()

    def _give_up(self, error: Indefinite) -> None:
        self.outcome.fail(error)
