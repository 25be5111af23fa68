"""Bringing one record to the peer that is to keep it: route, wait until it is durable there, begin again if that peer goes."""

from __future__ import annotations

from overlay.core.context import Context, Failure, Reason
from overlay.core.message import Contact
from overlay.core.pending import Pending
from overlay.errors import Indefinite, RemoteError
from overlay.ids import label
from overlay.kbr import Answered, Router
from overlay.store.events import Stored, StorePlaced
from overlay.store.messages import Coming, Declined, Durable, Move, Placed, Store

ASK_S = 8.0
"""For a word about a copy; its keeper gives one at least every five seconds."""
AGAIN_S = 1.0
TRIES = 8


class Placing:
    """One record on its way to its keeper. `outcome` is resolved once its copy is durable there."""

    __slots__ = ("_ctx", "_key", "_message", "_router", "_tries", "outcome")

    def __init__(self, ctx: Context, router: Router, key: int, message: Store | Move):
        self._ctx = ctx
        self._router = router
        self._key = key
        self._message = message
        self._tries = 0
        self.outcome: Pending[Stored] = Pending()

    def begin(self, hint: Contact | None = None) -> None:
        """Send it on its way."""
        self._tries += 1
        self._router.route("records", self._key, self._message, hint=hint).when_done(self._routed)

    def _again(self, why: str) -> None:
        if self._tries >= TRIES:
            self.outcome.fail(Indefinite(why))
        else:
            self._ctx.after(AGAIN_S, self.begin)

    def _routed(self, pending: Pending[Answered]) -> None:
        if pending.error is not None:
            self._again(str(pending.error))
            return
        answered = pending.result()
        answer = answered.answer
        if isinstance(answer, Placed):
            if isinstance(self._message, Store):
                self._ctx.notify(StorePlaced(self._message.name, answered.root.id, answered.path))
            self._wait(answered.root, answer)
        else:
            self._again(answer.why if isinstance(answer, Declined) else "the answer was none")

    def _wait(self, root: Contact, placed: Placed) -> None:
        def told(answer: object) -> None:
            if isinstance(answer, Coming):
                self._wait(root, placed)
            else:
                size = self._message.ref.size if placed.size is None else placed.size
                self.outcome.resolve(Stored(self._message.name, root.id, size))

        def failed(failure: Failure) -> None:
            why = failure.detail or f"Peer {label(root.id)} {failure.reason.value}"
            if failure.reason is Reason.REFUSED and isinstance(self._message, Store) and self._tries > 2:
                self.outcome.fail(RemoteError(why))
            else:
                self._again(why)

        self._ctx.call(root, Durable(self._message.name, placed.version), told, failed, timeout_s=ASK_S)
