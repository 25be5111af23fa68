"""The classroom's records: Store and Request by name, and their hand-over when peers come and go.

Source: the assignment's steps 5 and 6. A record belongs to the first peer whose id is >= its key, around the circle.
Every copy is pulled by the peer that is to hold it. A record moves in the same way as it was stored: whoever holds one
that is another's to keep offers it to the key's root, and forgets its own once the root's copy is durable.
"""

from __future__ import annotations

import hashlib

import msgspec

from overlay.core.context import Failure, Reason
from overlay.core.message import Contact, Done, Message, Refused
from overlay.core.pending import Pending
from overlay.core.protocol import Protocol, on
from overlay.core.storage import BlobRef, Write
from overlay.ids import CLASSROOM_BITS, owns
from overlay.kbr import Pass, Route, Router
from overlay.store.events import (
    HandedOver,
    LeftBehind,
    PlaceholderMade,
    Received,
    Sent,
    StoreAccepted,
    Stored,
    StoreFailed,
    TookOver,
)
from overlay.store.finding import Finder, Record
from overlay.store.intake import Intake
from overlay.store.messages import (
    Coming,
    Declined,
    Durable,
    Fetched,
    Have,
    Holding,
    Missing,
    Move,
    Placed,
    Request,
    Store,
    Version,
    Wanted,
    rank,
)
from overlay.store.names import check_name, is_name, key_of_name
from overlay.store.placing import Placing
from overlay.store.requests import Requests

EMPTY = BlobRef(hashlib.sha256(b"").digest(), 0)
LOOK_S = 1.0
"""Between two looks for records that are not ours to keep, while there are any."""
MOVES_AT_ONCE = 4
ALONE_S = 15.0
"""A leaver whose last neighbor has just fallen silent looks so long for it, or for another."""
WRITERS = 1 << 63
"""What tells two writers of one version apart has to be a number on the wire: of a longer id the last bits are enough."""
GIVE_UP_S = 60.0
"""A leaver that could not hand over within this time goes with what it has; `Peer.quit` waits no longer either."""


class RecordsView(msgspec.Struct, frozen=True):
    """What is here, and what is coming."""

    names: tuple[str, ...]
    transfers: tuple[tuple[str, int, int], ...]
    """(name, bytes that have come, bytes in all)"""


class Records(Protocol):
    """One peer's records: an application of key-based routing."""

    __slots__ = (
        "_alone_after",
        "_bits",
        "_finder",
        "_intake",
        "_left",
        "_looking",
        "_moving",
        "_refusal",
        "_requests",
        "records",
        "router",
    )
    service = "records"
    answers = (Coming, Holding, Missing)
    name = "records"
    messages: tuple[type[Message], ...] = (Store, Move, Placed, Declined, Request, Holding, Missing, Coming)

    def __init__(self, router: Router, bits: int = CLASSROOM_BITS):
        self.router = router
        self._bits = bits
        router.register(self)
        self.records: dict[str, Record] = {}
        self._intake: Intake
        self._finder: Finder
        self._requests: Requests
        self._left: Pending[None] | None = None
        self._refusal = ""
        """Why the last record that was offered was not taken."""
        self._alone_after = 0.0
        self._moving: set[str] = set()
        self._looking = False

    def start(self) -> None:
        self._intake = Intake(self.ctx, self._kept)
        self._finder = Finder(self.ctx, self.router, self.records, self._intake)
        self._requests = Requests(self.ctx, self.router, self._bits)
        for key, entry in self.ctx.stored().items():
            name = key.removeprefix("record/")
            if entry.blob is not None and is_name(name):
                self.records[name] = Record(entry.blob, msgspec.msgpack.decode(entry.value, type=Version))
        self.look()

    def view(self) -> RecordsView:
        moving = [
            (name, transfer.done_bytes, transfer.ref.size)
            for name, transfer in (*self._requests.transfers(), *self._intake.transfers())
        ]
        return RecordsView(tuple(sorted(self.records)), tuple(moving))

    def forward(self, key: int, message: Message, next_hop: Contact) -> Pass:
        return Pass(next_hop)

    def update(self, neighbor: Contact, joined: bool) -> None:
        self.look()

    def deliver(self, message: Message, route: Route) -> Message | Pending[Message]:
        if isinstance(message, Store):
            return self._accept(message)
        if isinstance(message, Move):
            return self._accept_move(message)
        if isinstance(message, Request):
            return self._finder.find(message.name, route.origin)
        return Refused("that is no question")

    # The peer that stores ------------------------------------------------------------------------------------

    def store(self, name: str) -> Pending[Stored]:
        """Give the file `name`.pdf of the shared folder to its key's root. Resolved when it is durable there."""
        check_name(name)
        outcome: Pending[Stored] = Pending()

        def stored(pending: Pending[Stored]) -> None:
            if pending.error is None:
                self.ctx.notify(pending.result())
                outcome.resolve(pending.result())
            else:
                self.ctx.notify(StoreFailed(name, str(pending.error)))
                outcome.fail(pending.error)

        def found(ref: BlobRef) -> None:
            placing = Placing(self.ctx, self.router, key_of_name(name, self._bits), Store(name, ref, self.ctx.me))
            placing.outcome.when_done(stored)
            placing.begin()

        def not_found(failure: Failure) -> None:
            if failure.reason is not Reason.NOT_THERE:
                self.ctx.notify(StoreFailed(name, failure.detail))
                outcome.fail(failure.as_error())
                return
            self.ctx.notify(PlaceholderMade(name))
            found(EMPTY)

        self.ctx.find_blob(f"{name}.pdf", found, not_found)
        return outcome

    # The peer that keeps -------------------------------------------------------------------------------------

    def _accept(self, store: Store) -> Message:
        coming = self._intake.copies.get(store.name)
        record = self.records.get(store.name)
        if coming is not None and coming.ref == store.ref and store.holder in coming.storers:
            return Placed(coming.version)
        self.ctx.notify(StoreAccepted(store.name))
        if coming is not None and coming.ref == store.ref:
            coming.storers.append(store.holder)
            return Placed(coming.version)
        if coming is not None and not store.ref.size:
            return Placed(coming.version, coming.ref.size)
        if record is not None and (not store.ref.size or (coming is None and record.ref == store.ref)):
            record.hold += 1
            return Placed(record.version, record.ref.size)
        newest = max(record.version.counter if record else 0, coming.version.counter if coming else 0)
        version = Version(newest + 1, int(self.ctx.me.id) % WRITERS)
        self._intake.take(store.name, store.ref, version, store.holder, moved=False)
        return Placed(version)

    def _accept_move(self, move: Move) -> Message:
        if self._left is not None:
            return Declined("this peer leaves")
        record = self.records.get(move.name)
        coming = self._intake.copies.get(move.name)
        offered = rank(move.ref, move.version)
        if record is not None and rank(record.ref, record.version) >= offered:
            # Whoever offers relies on our copy from now on, so an offer of our own must not take it away.
            record.hold += 1
            return Placed(min(record.version, move.version))
        if coming is not None and rank(coming.ref, coming.version) >= offered:
            return Placed(min(coming.version, move.version))
        self._intake.take(move.name, move.ref, move.version, move.holder, moved=True)
        return Placed(move.version)

    @on(Durable)
    def on_durable(self, sender: Contact, question: Durable) -> Message | Pending[Message]:
        record = self.records.get(question.name)
        if record is not None and record.version >= question.version:
            record.hold += 1
            return Done()
        return self._intake.when_durable(question.name, question.version)

    def _kept(self, name: str, ref: BlobRef, version: Version, keeper: Contact | None) -> None:
        before = self.records.get(name)
        self.records[name] = Record(ref, version, before.hold + 1 if before else 1)
        if keeper is not None:
            self.ctx.notify(TookOver(name, keeper.id))
        self.look()

    # Hand-over -----------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Offer every record that is another peer's to keep to that peer."""
        if (
            self._left is not None
            and not self._intake.copies
            and (not (self.records or self._moving) or self._nobody_is_there())
        ):
            self._left.resolve(None)
            return
        foreign = [name for name in self.records if self._is_foreign(name)]
        for name in foreign:
            if name not in self._moving and len(self._moving) < MOVES_AT_ONCE:
                self._move(name)
        if (foreign or self._left is not None) and not self._looking:
            self._looking = True
            self.ctx.after(LOOK_S, self._look_again)

    def _nobody_is_there(self) -> bool:
        """Whether a leaver is alone; one that had neighbors waits a little for another to turn up."""
        return not self.router.neighbor_set() and self.ctx.now >= self._alone_after

    def _look_again(self) -> None:
        self._looking = False
        self.look()

    def _is_foreign(self, name: str) -> bool:
        if self._left is not None:
            return True
        span = self.router.range()
        return span is not None and not owns(span[0], key_of_name(name, self._bits), span[1])

    def _move(self, name: str) -> None:
        record = self.records[name]
        hold, version = record.hold, record.version
        self._moving.add(name)

        def moved(pending: Pending[Stored]) -> None:
            self._moving.discard(name)
            now = self.records.get(name)
            self._refusal = "" if pending.error is None else str(pending.error)
            if pending.error is not None or now is None or (now.hold, now.version) != (hold, version):
                self.look()
                return
            if pending.result().peer != self.ctx.me.id:
                self._forget(name, pending.result().peer)

        message = Move(name, record.ref, self.ctx.me, version)
        placing = Placing(self.ctx, self.router, key_of_name(name, self._bits), message)
        placing.outcome.when_done(moved)
        span = self.router.range()
        # A newcomer stands right behind us; around the ring it would be the last to be asked.
        behind = [peer for peer in self.router.neighbor_set() if span and peer.id == span[0]]
        placing.begin(behind[0] if behind and self._left is None else None)

    def _forget(self, name: str, keeper: int) -> None:
        del self.records[name]
        self._moving.add(name)

        def forgotten(failure: Failure | None = None) -> None:
            self._moving.discard(name)
            if failure is None:
                self.ctx.notify(HandedOver(name, keeper))
            self.look()

        self.ctx.persist((Write(f"record/{name}", None),), forgotten, forgotten)

    def leave(self, timeout_s: float = GIVE_UP_S) -> Pending[None]:
        """Hand every record over, those that are still coming too.

        Resolved when nothing is left here, or nobody to give it to, or after this time; then see `left_behind`.
        """
        if self._left is None:
            self._left = left = Pending[None]()
            somebody = self.router.neighbor_set() or self.router.missing_s() < ALONE_S
            self._alone_after = self.ctx.now + (ALONE_S if somebody else 0)
            self.ctx.after(timeout_s, _give_up, left)
            self.look()
        return self._left

    def left_behind(self, folder: str) -> LeftBehind | None:
        """Tell which records a peer that goes now leaves in its folder."""
        if not self.records:
            return None
        why = (self._refusal or "there was no time") if self.router.neighbor_set() else ""
        event = LeftBehind(tuple(sorted(self.records)), int(self.ctx.me.id), folder, why)
        self.ctx.notify(event)
        return event

    # The peer that asks --------------------------------------------------------------------------------------

    def request(self, name: str) -> Pending[Received]:
        """Fetch a record to `received_<name>.pdf` in the shared folder. RemoteError if nobody has it."""
        check_name(name)
        return self._requests.request(name)

    def cancel(self, name: str | None = None) -> int:
        """Stop fetching a record that was requested, or all of them. How many."""
        return self._requests.cancel(name)

    # The peer that is asked ----------------------------------------------------------------------------------

    @on(Wanted)
    def on_wanted(self, sender: Contact, question: Wanted) -> Pending[Message]:
        return self._finder.find(question.name, sender)

    @on(Have)
    def on_have(self, sender: Contact, question: Have) -> Message:
        return self._finder.held(question.name) or Missing(question.name)

    @on(Fetched)
    def on_fetched(self, sender: Contact, message: Fetched) -> None:
        self.ctx.notify(Sent(message.name))


def _give_up(left: Pending[None]) -> None:
    left.resolve(None)
