"""Records on their way to somebody who asked for them."""

from __future__ import annotations

from typing import NamedTuple

from overlay.core.context import Context, Failure, Reason, Transfer
from overlay.core.message import Message
from overlay.core.pending import Pending
from overlay.core.storage import Export
from overlay.errors import LocalError, RemoteError
from overlay.kbr import Answered, Router
from overlay.store.events import Awaited, FileFound, NotStored, Received, Receiving, RequestFailed
from overlay.store.messages import Coming, Fetched, Holding, Request, Wanted
from overlay.store.names import key_of_name
from overlay.store.placing import ASK_S

TRIES = 3
"""Of one request: its holder may go in the middle of it."""
AGAIN_S = 1.0


class Fetching(NamedTuple):
    """A record that is being fetched."""

    transfer: Transfer
    outcome: Pending[Received]


def follow(first: Pending[Received], second: Pending[Received]) -> None:
    """Come to the same end."""
    if first.error is not None:
        second.fail(first.error)
    else:
        second.resolve(first.result())


class Requests:
    """Finds a record's holder, pulls the bytes from it, and puts them into the shared folder."""

    __slots__ = ("_bits", "_ctx", "_fetching", "_router", "_waiting")

    def __init__(self, ctx: Context, router: Router, bits: int):
        self._ctx = ctx
        self._bits = bits
        self._router = router
        self._fetching: dict[str, Fetching] = {}
        self._waiting: dict[Pending[Received], str] = {}
        """Requests whose root is still looking for the record."""

    def request(self, name: str) -> Pending[Received]:
        """Fetch a record. A second request of one that is on its way is the first."""
        if name in self._fetching:
            return self._fetching[name].outcome
        outcome: Pending[Received] = Pending()
        self._ask(name, outcome, TRIES)
        return outcome

    def cancel(self, name: str | None = None) -> int:
        """Stop fetching a record, or all of them. How many."""
        chosen = [one.transfer for known, one in self._fetching.items() if name in (None, known)]
        for transfer in chosen:
            transfer.cancel()
        waiting = [(outcome, known) for outcome, known in self._waiting.items() if name in (None, known)]
        for outcome, known in waiting:
            del self._waiting[outcome]
            self._fail(known, outcome, LocalError("cancelled"))
        return len(chosen) + len(waiting)

    def transfers(self) -> list[tuple[str, Transfer]]:
        """What is coming, by name."""
        return [(name, one.transfer) for name, one in self._fetching.items()]

    def _ask(self, name: str, outcome: Pending[Received], tries: int) -> None:
        def answered(pending: Pending[Answered]) -> None:
            if pending.error is not None:
                self._fail(name, outcome, pending.error)
                return
            answer, root = pending.result().answer, pending.result().root
            if isinstance(answer, Coming):
                self._ctx.notify(Awaited(name, root.id))
            self._take(name, answer, pending.result(), outcome, tries)

        self._router.route("records", key_of_name(name, self._bits), Request(name)).when_done(answered)

    def _take(self, name: str, answer: Message, answered: Answered, outcome: Pending[Received], tries: int) -> None:
        """What the root has answered, to the routed question or to one of ours."""
        if isinstance(answer, Holding):
            self._fetch(answer, answered, outcome, tries)
        elif isinstance(answer, Coming):
            self._wait(name, answered, outcome, tries)
        else:
            if answered.root.id != self._ctx.me.id:
                self._ctx.notify(NotStored(name))
            outcome.fail(RemoteError(f"File {name} is not stored in the network"))

    def _wait(self, name: str, answered: Answered, outcome: Pending[Received], tries: int) -> None:
        def told(answer: Message) -> None:
            if self._waiting.pop(outcome, None) is not None:
                self._take(name, answer, answered, outcome, tries)

        def failed(failure: Failure) -> None:
            if self._waiting.pop(outcome, None) is not None:
                self._again(name, outcome, failure, tries)

        self._waiting[outcome] = name
        self._ctx.call(answered.root, Wanted(name), told, failed, timeout_s=ASK_S)

    def _again(self, name: str, outcome: Pending[Received], failure: Failure, tries: int) -> None:
        if failure.reason not in (Reason.LOCAL, Reason.NO_SPACE, Reason.CANCELLED) and tries > 1:
            self._ctx.after(AGAIN_S, self._ask, name, outcome, tries - 1)
        else:
            self._fail(name, outcome, failure.as_error())

    def _fail(self, name: str, outcome: Pending[Received], error: Exception) -> None:
        self._ctx.notify(RequestFailed(name, str(error)))
        outcome.fail(error)

    def _fetch(self, holding: Holding, answered: Answered, outcome: Pending[Received], tries: int) -> None:
        ctx, name, ref, holder = self._ctx, holding.name, holding.ref, holding.holder
        if name in self._fetching:
            # It was asked for twice, and the other answer came first.
            self._fetching[name].outcome.when_done(lambda first: follow(first, outcome))
            return
        elsewhere = holder.id != ctx.me.id
        if elsewhere:
            ctx.notify(FileFound(name, holder.id, answered.path))
            ctx.notify(Receiving(name, holder.id, ref.size))

        def fetched() -> None:
            ctx.persist((Export(f"received_{name}.pdf", ref),), exported, failed)

        def exported() -> None:
            self._fetching.pop(name, None)
            if elsewhere:
                ctx.send(holder, Fetched(name))
            ctx.notify(Received(name, ref.size))
            outcome.resolve(Received(name, ref.size))

        def failed(failure: Failure) -> None:
            self._fetching.pop(name, None)
            self._again(name, outcome, failure, tries)

        self._fetching[name] = Fetching(ctx.fetch_blob(holder, ref, 0, ref.size, fetched, failed), outcome)
