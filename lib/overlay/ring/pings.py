"""The failure detector of the ring: rounds of pings over UDP, quick probes after a missed answer, one question over TCP.

Source: the assignment (ping a successor every interval), with the rules of death of its silent points: probes at 0, 0.4,
0.8, 1.2 and 1.6 s after a missed answer, then one question that must be answered within 2.4 s. Loss of datagrams alone
kills nobody, and a death shows within one interval + 5 s.
"""

from __future__ import annotations

import math
from typing import Protocol as Interface

import msgspec

from overlay.core.context import Failure, Reason, Timer
from overlay.core.message import Contact
from overlay.core.protocol import Protocol, on
from overlay.ring.events import PingAnswered, PingReceived, PingsSent, Waiting
from overlay.ring.messages import PADDING, Alive, Neighbors, Ping, Pong

PADDED = len(PADDING)
NEVER = (0, -1)


class PingConfig(msgspec.Struct, frozen=True):
    """How often, and how patiently."""

    interval_s: float = 3.0
    """Between two rounds (the assignment's PING_INTERVAL)."""
    answer_s: float = 0.4
    """After which an answer is missed; five times the slowest answer of a busy machine on one network."""
    probes: int = 5
    """Quick probes before the last question; at 20 % loss each way all of them fail once in 160 times."""
    probe_s: float = 0.4
    """Between two probes."""
    question_s: float = 2.4
    """For the answer to the last question; with the above it keeps a death within interval + 5 s."""
    await_s: float = 1.0
    """Between two quiet pings to a successor that has never been heard from."""
    waiting_s: float = 10.0
    """After which somebody is told that such a successor is waited for."""
    quiet_s: float = 50.0
    """The longest time without a probe, so that long intervals still show a death within 60 s."""
    pause_s: float = 1.0
    """A timer later than this was our own pause: we doubt ourselves before others (HOSTILE, row 15)."""


class Listener(Interface):
    """Who hears of the peers' life and death."""

    def round(self) -> None:
        """A round of pings has gone out."""

    def pinged(self, sender: Contact) -> None:
        """Somebody who is not familiar pinged us."""

    def heard(self, contact: Contact, picture: Neighbors) -> None:
        """A watched peer answered, with its picture of the ring."""

    def dead(self, contact: Contact) -> None:
        """A watched peer is dead."""


class Watch:
    """One peer that we ping."""

    __slots__ = (
        "answered",
        "awaited",
        "contact",
        "doubt",
        "heard_at",
        "missed_at",
        "missed_from",
        "picture",
        "rank",
        "secret",
    )

    def __init__(self, contact: Contact, rank: int, secret: int, awaited: bool):
        self.contact = contact
        self.rank = rank
        self.secret = secret
        self.awaited = awaited
        self.heard_at = -math.inf
        self.answered = -1
        """The last round whose answer was told."""
        self.missed_from = 0
        """The first ping that has no answer yet; 0 when the last one has. An answer to an earlier one proves nothing."""
        self.missed_at = 0.0
        self.doubt: Timer | None = None
        self.picture: Neighbors | None = None
        """What it last told of its neighbors."""


class Pings(Protocol):
    """Watches a few peers, answers everybody."""

    __slots__ = (
        "_check",
        "_due",
        "_per_loud",
        "_round",
        "_seen",
        "_serial",
        "_started",
        "config",
        "familiar",
        "listener",
        "picture",
        "watched",
    )
    service = "pings"

    def __init__(self, config: PingConfig = PingConfig()):  # noqa: B008 -- frozen
        self.config = config
        self.listener: Listener
        self.watched: dict[int, Watch] = {}
        self._round = 0
        self._serial = 0
        self._due = 0.0
        self._started = False
        self._check: Timer | None = None
        self._per_loud = math.ceil(config.interval_s / config.quiet_s)
        self._seen: dict[int, tuple[int, int]] = {}
        self.picture = Neighbors((), (), member=False)
        """The ring as seen from here: what our answers show. The listener keeps it true."""
        self.familiar: dict[int, Contact] = {}
        """Peers whose pings tell the listener nothing new."""

    @property
    def beat_s(self) -> float:
        """Seconds between two rounds, of which the loud ones are every interval apart."""
        return self.config.interval_s / self._per_loud

    # Whom we watch -------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """The first round now, and then every interval."""
        if not self._started:
            self._started = True
            self._due = self.ctx.now
            self._run_round()

    def end(self) -> None:
        """No more rounds; pings of others are still answered."""
        self._started = False
        for number in list(self.watched):
            self._drop(number)

    def watch(self, ranks: dict[Contact, int], awaited: frozenset[int] = frozenset()) -> None:
        """Watch exactly these peers. A new one is probed at once, so that it hears of us and we of it."""
        wanted = {contact.id: (contact, rank) for contact, rank in ranks.items()}
        for number in [number for number in self.watched if number not in wanted]:
            self._drop(number)
        for number, (contact, rank) in wanted.items():
            watch = self.watched.get(number)
            if watch is not None and watch.contact.is_same_peer(contact):
                watch.rank = rank
                continue
            if watch is not None:
                self._drop(number)
            watch = Watch(contact, rank, self.ctx.rng.getrandbits(52), number in awaited)
            self.watched[number] = watch
            if self._started:
                self._probe(watch)
                self._check_later()
            if watch.awaited:
                self.ctx.after(self.config.await_s, self._await, watch)
                self.ctx.after(self.config.waiting_s, self._tell_waiting, watch)

    def fresh(self, contact: Contact) -> bool:
        """Whether this incarnation has answered lately and nobody doubts it."""
        watch = self.watched.get(contact.id)
        return (
            watch is not None
            and watch.doubt is None
            and watch.contact.is_same_peer(contact)
            and self.ctx.now - watch.heard_at <= self.beat_s + self.config.answer_s
        )

    def doubt(self, contact: Contact) -> None:
        """Somebody has a reason to think that a watched peer is dead: find out now."""
        watch = self.watched.get(contact.id)
        if watch is not None and watch.contact.is_same_peer(contact) and watch.doubt is None and not watch.awaited:
            self._doubt(watch, 0, self.ctx.now)

    def _drop(self, number: int) -> None:
        watch = self.watched.pop(number)
        if watch.doubt is not None:
            watch.doubt.cancel()

    # Rounds --------------------------------------------------------------------------------------------------

    def _run_round(self) -> None:
        if not self._started:
            return
        now = self.ctx.now
        if now - self._due > self.config.pause_s:
            self._due = now
            self._trust_again()
        loud = self._round % self._per_loud == 0
        self._round += 1
        for watch in self.watched.values():
            self._probe(watch, watch.rank if loud else 0)
        if loud:
            ranked = [watch for watch in self.watched.values() if watch.rank]
            if ranked:
                ranked.sort(key=_rank)
                self.ctx.notify(PingsSent(tuple([watch.contact.id for watch in ranked])))
        if self._check is None:
            self._check = self.ctx.after(self.config.answer_s, self._check_answers)
        self._due += self.beat_s
        self.ctx.after(max(0.0, self._due - now), self._run_round)
        self.listener.round()

    def _probe(self, watch: Watch, rank: int = 0) -> None:
        self._serial = serial = self._serial + 1
        ctx = self.ctx
        if not watch.missed_from:
            watch.missed_from = serial
            watch.missed_at = ctx.now
        ctx.send(watch.contact, Ping(self._round, rank, watch.secret, serial, PADDING))

    def _check_later(self) -> None:
        if self._check is None:
            self._check = self.ctx.after(self.config.answer_s, self._check_answers)

    def _check_answers(self) -> None:
        self._check = None
        asked_before = self.ctx.now - 0.9 * self.config.answer_s
        for watch in self.watched.values():
            if watch.missed_from and watch.missed_at <= asked_before and watch.doubt is None and not watch.awaited:
                self._doubt(watch, 0, self.ctx.now)

    def _trust_again(self) -> None:
        for watch in self.watched.values():
            watch.missed_from = 0
            if watch.doubt is not None:
                watch.doubt.cancel()
                watch.doubt = None

    # Doubt ---------------------------------------------------------------------------------------------------

    def _doubt(self, watch: Watch, probes: int, due: float) -> None:
        if self.ctx.now - due > self.config.pause_s:
            probes = 0
        if probes < self.config.probes:
            self._probe(watch)
            due = self.ctx.now + self.config.probe_s
            watch.doubt = self.ctx.after(self.config.probe_s, self._doubt, watch, probes + 1, due)
        else:
            self._question(watch)

    def _question(self, watch: Watch) -> None:
        asked = self.ctx.now
        # The inactive timer keeps the place of the doubt while the question is open.
        watch.doubt = doubt = Timer(_nothing, ())

        def answered(_: object) -> None:
            if watch.doubt is doubt:
                self._alive(watch)

        def failed(failure: Failure) -> None:
            if watch.doubt is not doubt:
                return
            paused = self.ctx.now - asked > self.config.question_s + self.config.pause_s
            if paused or failure.reason in (Reason.OVERLOADED, Reason.LOCAL):
                self._doubt(watch, 0, self.ctx.now)
            elif self.watched.get(watch.contact.id) is watch:
                del self.watched[watch.contact.id]
                self.listener.dead(watch.contact)

        self.ctx.call(watch.contact, Alive(), answered, failed, timeout_s=self.config.question_s)

    def _alive(self, watch: Watch) -> None:
        watch.missed_from = 0
        watch.heard_at = self.ctx.now
        watch.awaited = False
        if watch.doubt is not None:
            watch.doubt.cancel()
            watch.doubt = None

    # A successor that was named and never heard from -----------------------------------------------------------

    def _await(self, watch: Watch) -> None:
        if watch.awaited and self.watched.get(watch.contact.id) is watch:
            self._probe(watch)
            self.ctx.after(self.config.await_s, self._await, watch)

    def _tell_waiting(self, watch: Watch) -> None:
        if watch.awaited and self.watched.get(watch.contact.id) is watch:
            self.ctx.notify(Waiting(watch.contact))

    # What comes in -------------------------------------------------------------------------------------------

    @on(Ping)
    def on_ping(self, sender: Contact, ping: Ping) -> None:
        if len(ping.padding) < PADDED:
            return
        rank, number = ping.rank, sender.id
        self.ctx.send(sender, Pong(ping.round, rank, ping.secret, ping.serial, self.picture))
        watch = self.watched.get(number)
        if watch is not None and watch.doubt is not None and watch.contact.is_same_peer(sender):
            self._alive(watch)
        if rank and self._is_new(sender, ping.round):
            self.ctx.notify(PingReceived(number))
        if self.familiar.get(number) != sender:
            self.listener.pinged(sender)

    @on(Pong)
    def on_pong(self, sender: Contact, pong: Pong) -> None:
        watch = self.watched.get(sender.id)
        if watch is None or watch.secret != pong.secret:
            return
        if watch.contact is not sender and not watch.contact.is_same_peer(sender):
            return
        if pong.rank and pong.round > watch.answered:
            watch.answered = pong.round
            self.ctx.notify(PingAnswered(sender.id))
        if pong.serial < watch.missed_from:
            return
        watch.contact = sender
        watch.missed_from = 0
        watch.heard_at = self.ctx.now
        if watch.doubt is not None or watch.awaited:
            self._alive(watch)
        if watch.picture is not pong.neighbors:
            watch.picture = pong.neighbors
            self.listener.heard(sender, pong.neighbors)

    @on(Alive)
    def on_alive(self, sender: Contact, question: Alive) -> None:
        """The answer is Done: a stopped process would accept the connection, but say nothing."""

    def _is_new(self, sender: Contact, number: int) -> bool:
        boot, last = self._seen.get(sender.id, NEVER)
        if boot == sender.boot and last >= number:
            return False
        self._seen[sender.id] = sender.boot, number
        if len(self._seen) > 32:
            del self._seen[next(iter(self._seen))]
        return True


def _rank(watch: Watch) -> int:
    return watch.rank


def _nothing() -> None:
    """What the timer of an open question would do."""
