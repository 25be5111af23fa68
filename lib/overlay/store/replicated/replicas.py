"""The replicated store at one peer: put, get, delete and list by name, over any key-based routing.

Sources: CFS (Dabek et al., SOSP 2001) and DHash for replicas at the root's successors; Dabek et al. (IPTPS 2003) for the
routing below; Lamport (CACM 1978) for versions; Demers et al. (PODC 1987) for anti-entropy and tombstones.
What is promised, word by word, and why it holds, is in docs/store.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

from overlay.core.context import Failure
from overlay.core.message import Contact, Done, Message, Refused
from overlay.core.pending import Pending
from overlay.core.protocol import Protocol, on
from overlay.core.storage import BlobRef
from overlay.errors import LocalError
from overlay.kbr import Pass, Route, Router
from overlay.store.replicated.config import Acked, Got, Listed, ReplicasConfig, Status, StoreView
from overlay.store.replicated.detour import Detour, near
from overlay.store.replicated.grants import Grants
from overlay.store.replicated.handover import Giver, Receiving
from overlay.store.replicated.messages import (
    BRING_BYTES,
    INLINE_BYTES,
    MAX_NAME,
    VALUE_BYTES,
    Begun,
    Bring,
    Brought,
    Compare,
    Copy,
    Differ,
    Hold,
    Item,
    Lacks,
    Listing,
    Look,
    Near,
    Nearer,
    Offer,
    Offered,
    Seen,
    Unequal,
    Version,
    Write,
    WriteNewer,
    Written,
    tag_of,
)
from overlay.store.replicated.reading import Reading, look_everywhere, seen_here
from overlay.store.replicated.site import Site
from overlay.store.replicated.spreading import Spreads
from overlay.store.replicated.syncing import Syncer
from overlay.store.replicated.upkeep import Upkeep
from overlay.store.replicated.writing import Writing

T = TypeVar("T")

ALONE_S = 15.0
"""A leaver whose last neighbor has just fallen silent looks so long for it, or for another."""
GIVE_UP_S = 60.0
"""A leaver that could not hand over within this time goes with what it has."""
ITEM_OVERHEAD = 100


class Replicas(Protocol):
    """One peer's part of the store."""

    __slots__ = (
        "_alone_after",
        "_bits",
        "_giver",
        "_grants",
        "_left",
        "_running",
        "_site",
        "_spreads",
        "_syncer",
        "config",
        "router",
    )
    service = "replicas"
    answers = (Seen, Nearer, Written, Begun, Lacks, Unequal, Differ, Brought)
    name = "replicas"
    messages: tuple[type[Message], ...] = (Look, Seen, Offer, Offered, Refused)

    def __init__(self, router: Router, bits: int, config: ReplicasConfig = ReplicasConfig()):  # noqa: B008 -- frozen
        config.check()
        self.router = router
        self.config = config
        self._bits = bits
        router.register(self)
        self._site: Site
        self._grants: Grants
        self._giver: Giver
        self._syncer: Syncer
        self._spreads: Spreads
        self._running = False
        self._left: Pending[None] | None = None
        self._alone_after = math.inf

    def start(self) -> None:
        site = self._site = Site(self.ctx, self.router, self.config, self._bits)
        site.saw(site.shelf.load())
        self._spreads = Spreads(site)
        self._grants = Grants(site)
        self._giver = Giver(site, self._grants)
        self._giver.on_look = self._look_whether_left
        self._syncer = Syncer(site)
        site.settled, site.disturb = self._syncer.settled, self._syncer.disturb
        site.shelf.on_new = self._grants.is_new
        self._running = True
        self._syncer.begin()
        self._giver.begin()
        upkeep = Upkeep(site, self._grants)
        upkeep.begin()
        site.suspect = upkeep.scrub

    def view(self) -> StoreView:
        return StoreView(self.status(), tuple(sorted(listed.name for listed in self.list())))

    # The interface -------------------------------------------------------------------------------------------

    def put(
        self, name: str | bytes, value: bytes, *, after: Version | None = None, ttl_s: float | None = None
    ) -> Pending[Acked]:
        """Store a value; resolved when it is durable at w distinct peers.

        It is newer than all that was read or written here before, and than `after`. With `ttl_s` it is gone after so many
        seconds. Indefinite when it may or may not have been stored; LocalError for a name or a value that cannot be.
        """
        data = check_name(name)
        if len(value) > VALUE_BYTES:
            raise LocalError(f"a value of {len(value)} bytes: a record has at most {VALUE_BYTES}")
        wall = self.ctx.wall
        expires = 0.0 if ttl_s is None else wall + ttl_s
        if len(value) <= INLINE_BYTES:
            return self._write(data, lambda version: Item(data, version, value, None, False, wall, expires), after)
        outcome: Pending[Acked] = Pending()

        def made(body: BlobRef) -> None:
            written = self._write(data, lambda version: Item(data, version, b"", body, False, wall, expires), after)
            written.when_done(lambda _: self._site.bodies.release(body))
            written.when_done(lambda _: follow(written, outcome))

        self._site.bodies.make(value, made, lambda failure: _fail(outcome, failure))
        return outcome

    def delete(self, name: str | bytes, *, after: Version | None = None) -> Pending[Acked]:
        """Delete a record, whether there is one or not; resolved when that is durable at w distinct peers."""
        data = check_name(name)
        wall = self.ctx.wall
        return self._write(data, lambda version: Item(data, version, gone=True, made=wall), after)

    def get(self, name: str | bytes) -> Pending[Got]:
        """Read a record. NotFound where there is none, Indefinite where nobody answers in time."""
        reading = Reading(self._site, check_name(name))
        detour = Detour(self._site, tag_of(reading.name))
        detour.outcome.when_done(lambda found: reading.take(found.result()))
        timers = (
            self.ctx.after(self.config.deadline_s, reading.expire),
            self.ctx.after(2 * self.config.answer_s, detour.begin),
        )

        def done(_: Pending[Got]) -> None:
            for timer in timers:
                timer.cancel()

        reading.outcome.when_done(done)
        reading.begin()
        return reading.outcome

    def list(self) -> tuple[Listed, ...]:
        """The records of which this peer is the root. Those of all peers together are all there are."""
        site = self._site
        span = site.router.range()
        items = [
            item
            for section in (site.shelf.sections(*span) if span is not None else ())
            for tag in site.shelf.tags(section)
            if (item := site.shelf.get(tag)) is not None and not site.is_over(item)
        ]
        return tuple([Listed(item.name, item.size, item.version, item.expires) for item in items])

    def status(self) -> Status:
        """How much is here, and whether it is where it belongs."""
        site = self._site
        span = site.router.range()
        own = sum(len(site.shelf.tags(section)) for section in site.shelf.sections(*span)) if span else 0
        surplus = len(self._giver.surplus())
        complete = (
            self._syncer.complete() and self._grants.are_settled() and not (surplus or self._spreads or site.leaving)
        )
        return Status(len(site.shelf), own, surplus, len(self._spreads), complete)

    def _write(self, name: bytes, make: Callable[[Version], Item], after: Version | None) -> Pending[Acked]:
        if after is not None:
            self._site.saw(after)
        writing = Writing(self._site, name, make, self._write_here)
        timer = self.ctx.after(self.config.deadline_s, writing.expire)
        writing.outcome.when_done(lambda _: timer.cancel())
        writing.begin()
        return writing.outcome

    # Going ---------------------------------------------------------------------------------------------------

    def leave(self, timeout_s: float = GIVE_UP_S) -> Pending[None]:
        """Hand everything over. Resolved when nothing is left here, or nobody to give it to, or after this time."""
        if self._left is None:
            self._left = left = Pending[None]()
            self._site.leaving = True
            somebody = self.router.neighbor_set() or self.router.missing_s() < ALONE_S
            self._alone_after = self.ctx.now + (ALONE_S if somebody else 0)
            self.ctx.after(timeout_s, _give_up, left)
            self._giver.soon()
        return self._left

    def stop(self) -> None:
        self._running = False

    def left_behind(self) -> int:
        """How many records a peer that goes now has not handed over; they stay on its disk."""
        return len(self._site.shelf)

    def _look_whether_left(self) -> None:
        if self._left is None or self._spreads:
            return
        alone = not self.router.neighbor_set() and self.ctx.now >= self._alone_after
        if alone or not len(self._site.shelf):
            self._left.resolve(None)

    # What is routed here -------------------------------------------------------------------------------------

    def forward(self, key: int, message: Message, next_hop: Contact) -> Pass:
        return Pass(next_hop)

    def update(self, neighbor: Contact, joined: bool) -> None:
        if self._running:
            self._grants.notice_range()
            self._syncer.soon()
            self._giver.soon()

    def deliver(self, message: Message, route: Route) -> Message | Pending[Message]:
        if isinstance(message, Look):
            return self.on_look(route.origin, message)
        if isinstance(message, Offer) and message.rows:
            receiving = Receiving(self._site, route.origin, message)
            receiving.begin()
            return receiving.outcome
        return Refused("that is no question")

    # What others ask -----------------------------------------------------------------------------------------

    @on(Look)
    def on_look(self, sender: Contact, look: Look) -> Message | Pending[Message]:
        if not look.root:
            return seen_here(self._site, look)
        if not self._site.owns(look.tag):
            return Refused("this peer is not the root of that, or in no ring yet")
        if self._site.settled():
            return seen_here(self._site, look)
        self._syncer.hasten()
        return look_everywhere(self._site, look)

    @on(Near)
    def on_near(self, sender: Contact, question: Near) -> Message:
        return near(self._site, question.tag)

    def _write_here(self, write: Write) -> Message | Pending[Message]:
        me = self.ctx.me
        return self.on_write_newer(me, write) if isinstance(write, WriteNewer) else self.on_write(me, write)

    @on(Write)
    def on_write(self, sender: Contact, write: Write) -> Message | Pending[Message]:
        return self._spreads.write(write)

    @on(WriteNewer)
    def on_write_newer(self, sender: Contact, write: WriteNewer) -> Message | Pending[Message]:
        newest = self.on_look(sender, Look(tag_of(write.item.name), False))
        if not isinstance(newest, Pending):
            return self._spreads.write_newer(write, newest)
        answer: Pending[Message] = Pending()

        def found(pending: Pending[Message]) -> None:
            done = self._spreads.write_newer(write, pending.result())
            if isinstance(done, Pending):
                done.when_done(lambda _: follow(done, answer))
            else:
                answer.resolve(done)

        newest.when_done(found)
        return answer

    @on(Copy)
    def on_copy(self, sender: Contact, copy: Copy) -> Message | Pending[Message]:
        site, tag = self._site, tag_of(copy.item.name)
        if site.leaving:
            return Refused("this peer leaves")
        if site.owns(tag) and site.shelf.version(tag) < copy.item.version:
            # Somebody else thinks that this range is its own; our replicas have to hear of it.
            site.disturb()
        answer: Pending[Message] = Pending()

        def durable() -> None:
            if site.shelf.version(tag) == copy.item.version:
                self._grants.came_from(tag, sender)
            answer.resolve(Done())

        site.keep(copy.item, copy.holders, durable, lambda failure: _refuse(answer, failure.detail))
        return answer

    @on(Hold)
    def on_hold(self, sender: Contact, hold: Hold) -> Message:
        if self._site.leaving:
            return Refused("this peer leaves")
        return Lacks(tuple([row.tag for row in hold.rows if not self._site.shelf.hold(row)]))

    @on(Compare)
    def on_compare(self, sender: Contact, question: Compare) -> Message:
        if self._site.leaving:
            return Refused("this peer leaves")
        return self._grants.compare(sender, question)

    @on(Listing)
    def on_listing(self, sender: Contact, listing: Listing) -> Message:
        return self._grants.go_through(sender, listing)

    @on(Bring)
    def on_bring(self, sender: Contact, bring: Bring) -> Message:
        items: list[Item] = []
        room = BRING_BYTES
        for tag in bring.tags:
            item = self._site.shelf.get(tag)
            if item is not None:
                room -= len(item.value) + len(item.name) + ITEM_OVERHEAD
                if room < 0 and items:
                    break
                items.append(item)
        return Brought(tuple(items))


def follow(first: Pending[T], second: Pending[T]) -> None:
    """Come to the same end."""
    if first.error is not None:
        second.fail(first.error)
    else:
        second.resolve(first.result())


def _fail(outcome: Pending[Acked], failure: Failure) -> None:
    outcome.fail(failure.as_error())


def _refuse(answer: Pending[Message], why: str) -> None:
    answer.resolve(Refused(why))


def _give_up(left: Pending[None]) -> None:
    left.resolve(None)


def check_name(name: str | bytes) -> bytes:
    """A name as bytes; LocalError for what is none."""
    try:
        data = name.encode() if isinstance(name, str) else name
    except UnicodeEncodeError:
        raise LocalError(f"{name!a} is no text") from None
    if not 1 <= len(data) <= MAX_NAME:
        raise LocalError(f"a name has 1 to {MAX_NAME} bytes, not {len(data)}")
    return data
