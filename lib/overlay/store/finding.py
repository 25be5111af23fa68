"""Answering who asks for a record: it may be here, be coming, lie in the shared folder, or still be with a neighbor.

A file of the shared folder is hashed for as long as that takes, while a routed message waits for ten seconds and is then
sent again. So the asker hears Coming after a while, and from then on asks this peer itself.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from overlay.core.context import Context, Failure
from overlay.core.message import Contact, Message
from overlay.core.pending import Pending
from overlay.core.storage import BlobRef
from overlay.kbr import Router
from overlay.store.events import FileHere, NotStored, Sending
from overlay.store.intake import Intake, in_good_time
from overlay.store.messages import Have, Holding, Missing, Version

ASK_NEIGHBOR_S = 2.0


class Record(msgspec.Struct):
    """A record in our folder."""

    ref: BlobRef
    version: Version
    hold: int = 0
    """Grows whenever somebody relies on our copy; a move begun before then does not take it away from us."""


class Finder:
    """Looks for each name once at a time, for everybody who asks meanwhile."""

    __slots__ = ("_ctx", "_intake", "_records", "_router", "_searches")

    def __init__(self, ctx: Context, router: Router, records: Mapping[str, Record], intake: Intake):
        self._ctx = ctx
        self._router = router
        self._records = records
        self._intake = intake
        self._searches: dict[str, Pending[Message]] = {}

    def find(self, name: str, asker: Contact) -> Pending[Message]:
        """Holding or Missing; or Coming, after a while."""
        ctx, answer = self._ctx, Pending[Message]()

        def found(search: Pending[Message]) -> None:
            if answer.done:
                return
            result = search.result()
            if isinstance(result, Missing):
                ctx.notify(NotStored(name))
            elif isinstance(result, Holding) and result.holder == ctx.me:
                ctx.notify(FileHere(name))
                if asker.id != ctx.me.id:
                    ctx.notify(Sending(name, asker.id))
            answer.resolve(result)

        self._search(name).when_done(found)
        return in_good_time(ctx, answer)

    def held(self, name: str) -> Holding | None:
        """Our record; or, while that has not come, whoever it comes from. A placeholder only for lack of bytes."""
        record, coming = self._records.get(name), self._intake.copies.get(name)
        if coming is not None and (record is None or not record.ref.size):
            return Holding(name, coming.ref, coming.holder)
        return None if record is None else Holding(name, record.ref, self._ctx.me)

    def _search(self, name: str) -> Pending[Message]:
        search = self._searches.get(name)
        if search is None:
            search = self._searches[name] = Pending()
            search.when_done(lambda _: self._found(name))
            self._look(name, search)
        return search

    def _found(self, name: str) -> None:
        del self._searches[name]

    def _look(self, name: str, search: Pending[Message]) -> None:
        """Our own record, or the one that is coming; else the original in the shared folder; else a neighbor's."""
        held = self.held(name)

        def here(ref: BlobRef) -> None:
            search.resolve(Holding(name, ref, self._ctx.me))

        def no_original(failure: Failure) -> None:
            meanwhile = self.held(name)
            if meanwhile is not None:
                search.resolve(meanwhile)
            else:
                self._ask_neighbors(name, search)

        if held is not None and held.ref.size:
            search.resolve(held)
        else:
            self._ctx.find_blob(f"{name}.pdf", here, no_original)

    def _ask_neighbors(self, name: str, search: Pending[Message]) -> None:
        neighbors = self._router.neighbor_set()
        waiting = len(neighbors)

        def no(_: object) -> None:
            nonlocal waiting
            waiting -= 1
            if waiting <= 0:
                search.resolve(Missing(name))

        def told(message: Message) -> None:
            if isinstance(message, Holding):
                search.resolve(message)
            no(message)

        if not neighbors:
            no(None)
        for neighbor in neighbors:
            self._ctx.call(neighbor, Have(name), told, no, timeout_s=ASK_NEIGHBOR_S)
