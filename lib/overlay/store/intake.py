"""Copies on their way to the peer that is to keep them: pulled, checked, durable, told."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from overlay.core.bounded import forget_oldest
from overlay.core.context import Context, Failure, Transfer
from overlay.core.message import Contact, Done, Message
from overlay.core.pending import Pending
from overlay.core.storage import BlobRef, Entry, Write
from overlay.errors import RemoteError
from overlay.ids import label
from overlay.store.messages import Coming, Version

PATIENCE_S = 5.0
"""Whoever waits for a record hears at least this often that it is still coming."""


class Copy:
    """One copy on its way, and those who wait until it is durable."""

    __slots__ = ("holder", "ref", "storers", "transfer", "version", "waiting")

    def __init__(self, ref: BlobRef, version: Version, holder: Contact):
        self.ref = ref
        self.version = version
        self.holder = holder
        self.storers = [holder]
        """Who has asked for it to be stored, the same thing each."""
        self.transfer: Transfer | None = None
        self.waiting: list[Pending[Message]] = []


class Intake:
    """Pulls records, one copy of a name at a time; a newer version takes the place of the one that is coming."""

    __slots__ = ("_ctx", "_kept", "_why", "copies")

    def __init__(self, ctx: Context, kept: Callable[[str, BlobRef, Version, Contact | None], None]):
        self._ctx = ctx
        self._kept = kept
        """Told the moment that a copy is durable."""
        self.copies: dict[str, Copy] = {}
        self._why: dict[str, str] = {}
        """Why the last copy of a name did not come. Bounded."""

    def transfers(self) -> list[tuple[str, Transfer]]:
        """What is coming, by name."""
        return [(name, copy.transfer) for name, copy in self.copies.items() if copy.transfer is not None]

    def take(self, name: str, ref: BlobRef, version: Version, holder: Contact, *, moved: bool) -> None:
        """Pull it from `holder`; `moved` when it was stored before and only changes its keeper."""
        before = self.copies.get(name)
        copy = self.copies[name] = Copy(ref, version, holder)
        if before is not None:
            copy.waiting = before.waiting
            if before.transfer is not None:
                before.transfer.cancel()
        self._why.pop(name, None)

        def fetched() -> None:
            if self.copies.get(name) is copy:
                entry = Entry(msgspec.msgpack.encode(version), ref)
                self._ctx.persist((Write(f"record/{name}", entry),), durable, failed)

        def durable() -> None:
            if self.copies.get(name) is copy:
                del self.copies[name]
            self._kept(name, ref, version, holder if moved else None)
            for waiting in copy.waiting:
                waiting.resolve(Done())

        def failed(failure: Failure) -> None:
            if self.copies.get(name) is not copy:
                return
            del self.copies[name]
            why = self._why[name] = failure.detail or f"Peer {label(holder.id)} {failure.reason.value}"
            forget_oldest(self._why, 64)
            for waiting in copy.waiting:
                waiting.fail(RemoteError(why))

        copy.transfer = self._ctx.fetch_blob(holder, ref, 0, ref.size, fetched, failed)

    def when_durable(self, name: str, version: Version) -> Pending[Message]:
        """Done when a copy at least this new is durable; Coming after a while; fails if none is on its way."""
        answer: Pending[Message] = Pending()
        copy = self.copies.get(name)
        if copy is None or copy.version < version:
            answer.fail(RemoteError(self._why.get(name, "no such record is on its way")))
        else:
            copy.waiting.append(answer)
        return in_good_time(self._ctx, answer)


def in_good_time(ctx: Context, answer: Pending[Message]) -> Pending[Message]:
    """The same, but Coming after a while."""
    if not answer.done:
        timer = ctx.after(PATIENCE_S, _still_coming, answer)
        answer.when_done(lambda _: timer.cancel())
    return answer


def _still_coming(answer: Pending[Message]) -> None:
    answer.resolve(Coming())
