"""lpbcast, many-to-many in the extreme edition: each period, news and a digest of what is known to a few at random.

Eugster, Guerraoui, Handurukande, Kouznetsov, Kermarrec, Lightweight Probabilistic Broadcast, DSN 2001. Each peer passes
a broadcast on once, in its next period; its id stays in the digests for a while, and whoever misses it asks for it.

Deviation: the view is that of the membership below, which is kept up by gossip of its own: subs and unSubs are not
sent. Deviation: a missing broadcast is asked for from the sender of the digest and then from a random neighbor, not
from its source, whose address a digest has no room for. Deviation: an id is told ever more rarely, and then no more, instead
of until others push it out of |eventIds|m: who has nothing to tell is silent.
"""

from __future__ import annotations

from collections import OrderedDict

import msgspec

from overlay.core.context import Failure
from overlay.core.message import Command, Contact, Datagram
from overlay.core.protocol import on
from overlay.gossip.base import check, name_of
from overlay.gossip.dissemination.base import ID_BYTES, Content, Disseminator
from overlay.gossip.services import Membership

NEWS_BYTES = 540
"""Of broadcasts in one gossip; with the digest it fits a datagram."""

MAX_DIGEST = 30
MAX_RETRIEVALS = 64


class Event(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A broadcast, short enough to be told outright."""

    id: bytes
    data: bytes


class Rumor(Datagram, frozen=True):
    """What the sender heard since it last told, and the ids of what it heard lately."""

    events: tuple[Event, ...]
    digest: tuple[bytes, ...]


class Retrieve(Command, frozen=True):
    """A call for a broadcast that a digest named."""

    id: bytes


class Retrieved(Command, frozen=True):
    """The answer; None where it is no longer kept."""

    content: Content | None


class LpbcastConfig(msgspec.Struct, frozen=True):
    """The letters of the paper."""

    fanout: int = 3
    """F: of neighbors told each period."""
    period_s: float = 0.1
    """T; 0: somebody calls `gossip`."""
    digest_rounds: int = 8
    """In each of so many periods after it was heard, an id is in the digests: |eventIds|m, in time."""
    late_rounds: int = 128
    """And then when 8, 16, 32 and so on have passed, up to this: who was in nobody's view meanwhile hears so late."""
    buffer_limit: int = 1000
    """|events|m: bodies that are kept for those who miss them. UnsServ has 100: more than that in a second was lost."""
    timeout_s: float = 1.0
    """For a missing broadcast, until another neighbor is asked."""

    def check(self) -> None:
        """LocalError for what cannot work."""
        check(1 <= self.fanout <= 100, f"a fanout of {self.fanout}")
        check(self.period_s == 0 or 0.01 <= self.period_s <= 3600, f"a period of {self.period_s} s")
        check(1 <= self.digest_rounds <= 1000, f"digests over {self.digest_rounds} periods")
        check(0 <= self.late_rounds <= 100_000, f"digests after {self.late_rounds} periods")
        check(1 <= self.buffer_limit <= 100_000, f"a buffer of {self.buffer_limit} broadcasts")
        check(0 < self.timeout_s <= 60, f"a timeout of {self.timeout_s} s")


class Lpbcast(Disseminator):
    """See the module."""

    answers = (*Disseminator.answers, Retrieved)
    inline_bytes = 512

    def __init__(self, instance: str, membership: Membership, config: LpbcastConfig | None = None):
        self.config = config or LpbcastConfig()
        self.config.check()
        super().__init__(name_of("lpbcast", instance), membership, self.config.buffer_limit)
        self._news: OrderedDict[bytes, None] = OrderedDict()
        """To be told outright the next time."""
        self._digest: OrderedDict[bytes, int] = OrderedDict()
        """In how many periods an id was told, or was not yet to be told again; the latest last."""
        self._asked: dict[bytes, int] = {}

    def start(self) -> None:
        super().start()
        self.every(self.config.period_s, self.gossip)

    def spread(self, id: bytes) -> None:
        self._news[id] = None
        self._digest[id] = 0
        # More than this is remembered by nobody anyway.
        for table in (self._news, self._digest):
            while len(table) > self.config.buffer_limit:
                table.popitem(last=False)

    def gossip(self) -> None:
        """One round: tell a few neighbors."""
        due = [id for id, age in self._digest.items() if self._is_due(age)]
        # What was told least goes first: where there is too much to tell, all of it is told a few times.
        due = sorted(due, key=self._digest.__getitem__)[:MAX_DIGEST]
        targets = self.membership.sample(self.config.fanout) if due else []
        if targets:
            rumor = Rumor(self._events(), tuple(due))
            for peer in targets:
                self.ctx.send(peer, rumor)
        self._grow_older(set(due) if targets else set())

    def _is_due(self, age: int) -> bool:
        return age < self.config.digest_rounds or age & (age - 1) == 0

    def _events(self) -> tuple[Event, ...]:
        events, room = [], NEWS_BYTES
        for id in list(self._news):
            data = self._bodies.get(id)
            if data is None or len(data) > self.inline_bytes:
                del self._news[id]
            elif len(data) + 20 <= room:
                room -= len(data) + 20
                events.append(Event(id, data))
                self._share(id)
                del self._news[id]
        return tuple(events)

    def _grow_older(self, told: set[bytes]) -> None:
        last = max(self.config.digest_rounds - 1, self.config.late_rounds)
        for id, age in list(self._digest.items()):
            # What had no room, or nobody to be told to, waits.
            if id in told or not self._is_due(age):
                self._digest[id] = age + 1
                if age >= last:
                    del self._digest[id]

    @on(Rumor)
    def on_rumor(self, sender: Contact, message: Rumor) -> None:
        for event in message.events:
            if self.has(event.id):
                self.duplicates += 1
            elif len(event.id) == ID_BYTES:
                self._heard(event.id, event.data)
        for id in message.digest[:MAX_DIGEST]:
            if not self.has(id) and not self.coming(id) and id not in self._asked and len(id) == ID_BYTES:
                self._retrieve(id, sender, 2)

    def _heard(self, id: bytes, data: bytes) -> None:
        if not self.has(id):
            self.accept(id, data)
            self.spread(id)

    def _retrieve(self, id: bytes, source: Contact, attempts: int) -> None:
        if len(self._asked) >= MAX_RETRIEVALS:
            # Later digests will name it again.
            return
        self._asked[id] = attempts

        def answered(reply: Retrieved) -> None:
            self._asked.pop(id, None)
            if reply.content is None:
                again()
            elif not self.has(id):
                self.obtain(source, id, reply.content, lambda _, data: self._heard(id, data))

        def failed(failure: Failure) -> None:
            self._asked.pop(id, None)
            again()

        def again() -> None:
            others = self.membership.sample(1, (source.id,))
            if attempts > 1 and others and not self.has(id) and self.running:
                self._retrieve(id, others[0], attempts - 1)

        self.ask(source, Retrieve(id), Retrieved, answered, failed, timeout_s=self.config.timeout_s)

    @on(Retrieve)
    def on_retrieve(self, sender: Contact, message: Retrieve) -> Retrieved:
        data = self._bodies.get(message.id)
        if data is not None and len(data) <= Disseminator.inline_bytes:
            self._share(message.id)
            return Retrieved(Content(data))
        return Retrieved(self.content(message.id))
