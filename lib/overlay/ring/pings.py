"""The failure detector of the ring: rounds of pings over UDP, quick probes after a missed answer, one question over TCP.

Source: the assignment (ping a successor every interval), with the rules of death of its silent points: probes at 0, 0.4,
0.8, 1.2 and 1.6 s after a missed answer, then one question that must be answered within 2.4 s. Loss of datagrams alone
kills nobody, and a death shows within one interval + 5 s.
Deviation: a connection is held to each watched peer. A crash resets it, and the last question is asked at once.

With a `core.detector` beside it, such as SWIM, the pings still carry the ring's news, and only report silence: who is dead
is for the detector to say.
"""

from __future__ import annotations

import math

from overlay.core.bounded import forget_oldest
from overlay.core.context import Failure, Reason, Timer
from overlay.core.detector import FailureDetector
from overlay.core.message import Contact
from overlay.core.pending import ignore
from overlay.core.protocol import Protocol, on
from overlay.ring.events import PingAnswered, PingReceived, PingsSent, Waiting
from overlay.ring.messages import PADDING, Alive, Neighbors, Ping, Pong, shared_picture
from overlay.ring.watching import Listener, PingConfig, Pinger, Watch

PADDED = len(PADDING)
MAX_PINGERS = 32


class Pings(Protocol):
    """Watches a few peers, answers everybody."""

    __slots__ = (
        "_check",
        "_doubted",
        "_due",
        "_familiar",
        "_per_loud",
        "_pingers",
        "_ranked",
        "_round",
        "_serial",
        "_started",
        "beat_s",
        "config",
        "detector",
        "listener",
        "picture",
        "watched",
    )
    service = "pings"

    def __init__(self, config: PingConfig = PingConfig(), detector: FailureDetector | None = None):  # noqa: B008 -- frozen
        self.config = config
        self.detector = detector
        """Who says that a peer is dead; None: we do."""
        self.listener: Listener
        self.watched: dict[int, Watch] = {}
        self._round = 0
        self._serial = 0
        self._due = 0.0
        self._started = False
        self._check: Timer | None = None
        self._per_loud = math.ceil(config.interval_s / config.quiet_s)
        self.beat_s = config.interval_s / self._per_loud
        """Seconds between two rounds, of which the loud ones are every interval apart."""
        self._ranked: tuple[int, ...] = ()
        self._pingers: dict[int, Pinger] = {}
        self._familiar: tuple[Contact, ...] = ()
        self._doubted = False
        """Whether any watched peer may be in doubt."""
        self.picture = Neighbors((), (), member=False)
        """The ring as seen from here: what our answers show. The listener keeps it true."""

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
        ranked = {rank: contact.id for contact, rank in ranks.items() if rank}
        self._ranked = tuple([ranked[rank] for rank in range(1, max(ranked, default=0) + 1) if rank in ranked])
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
            if not watch.awaited:
                self._hold(watch)
            else:
                self.ctx.after(self.config.await_first_s, self._await, watch, 2 * self.config.await_first_s)
                self.ctx.after(self.config.waiting_s, self._tell_waiting, watch)

    def familiarize(self, familiar: tuple[Contact, ...]) -> None:
        """From now on exactly these peers' pings tell the listener nothing new."""
        self._familiar = familiar
        for pinger in self._pingers.values():
            pinger.familiar = pinger.contact in familiar

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
        self._let_go(watch)
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
        if loud and self._ranked and self.ctx.heard:
            self.ctx.notify(PingsSent(self._ranked))
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
        self._doubted = True
        if self.detector is not None:
            # Until it answers; this timer never runs out.
            watch.doubt = Timer(ignore, ())
            self.detector.doubt(watch.contact)
            return
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
        watch.doubt = doubt = Timer(ignore, ())

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
                self._drop(watch.contact.id)
                self.listener.dead(watch.contact)

        self.ctx.call(watch.contact, Alive(), answered, failed, timeout_s=self.config.question_s)

    def _alive(self, watch: Watch) -> None:
        watch.missed_from = 0
        watch.heard_at = self.ctx.now
        watch.awaited = False
        if watch.line is None:
            self._hold(watch)
        if watch.doubt is not None:
            watch.doubt.cancel()
            watch.doubt = None

    # A connection that breaks ----------------------------------------------------------------------------------

    def _hold(self, watch: Watch) -> None:
        watch.line = watch.contact
        if self.detector is None:
            self.ctx.watch(watch.line, self._cut)
        else:
            self.detector.monitor(watch.line, self._found_dead)

    def _let_go(self, watch: Watch) -> None:
        if watch.line is not None:
            if self.detector is None:
                self.ctx.unwatch(watch.line)
            else:
                self.detector.forget(watch.line)
            watch.line = None

    def _found_dead(self, contact: Contact) -> None:
        """The detector is sure."""
        watch = self.watched.get(contact.id)
        if watch is not None and watch.contact.is_same_peer(contact):
            self._drop(contact.id)
            self.listener.dead(watch.contact)

    def _cut(self, contact: Contact) -> None:
        """Nobody answers where a watched peer was. The last question comes first then, unless it is open already."""
        watch = self.watched.get(contact.id)
        if watch is not None and watch.line == contact and (watch.doubt is None or watch.doubt.active):
            watch.line = None
            self._doubted = True
            if watch.doubt is not None:
                watch.doubt.cancel()
            self._question(watch)

    # A successor that was named and never heard from -----------------------------------------------------------

    def _await(self, watch: Watch, again_s: float) -> None:
        if watch.awaited and self.watched.get(watch.contact.id) is watch:
            self._probe(watch)
            again_s = min(again_s, self.config.await_s)
            self.ctx.after(again_s, self._await, watch, 2 * again_s)

    def _tell_waiting(self, watch: Watch) -> None:
        if watch.awaited and self.watched.get(watch.contact.id) is watch:
            self.ctx.notify(Waiting(watch.contact))

    # What comes in -------------------------------------------------------------------------------------------

    @on(Ping)
    def on_ping(self, sender: Contact, ping: Ping) -> None:
        if len(ping.padding) < PADDED:
            return
        number, ctx = ping.round, self.ctx
        ctx.send(sender, Pong(number, ping.rank, ping.secret, ping.serial, self.picture))
        pinger = self._pingers.get(sender.id)
        if pinger is None or (pinger.contact is not sender and pinger.contact != sender):
            pinger = self._met(sender)
        if self._doubted:
            self._no_doubt(sender)
        if ctx.heard and ping.rank and number > pinger.round:
            pinger.round = number
            ctx.notify(PingReceived(sender.id))
        if not pinger.familiar:
            self.listener.pinged(sender)

    @on(Pong)
    def on_pong(self, sender: Contact, pong: Pong) -> None:
        watch = self.watched.get(sender.id)
        if watch is None or watch.secret != pong.secret:
            return
        if watch.contact is not sender and not watch.contact.is_same_peer(sender):
            return
        if self.ctx.heard and pong.rank and pong.round > watch.answered:
            watch.answered = pong.round
            self.ctx.notify(PingAnswered(sender.id))
        if pong.serial < watch.missed_from:
            return
        watch.contact = sender
        watch.missed_from = 0
        watch.heard_at = self.ctx.now
        # Who is awaited has to be in the ring, for before it is there it does not take us for its predecessor.
        if watch.doubt is not None or (watch.awaited and pong.neighbors.member):
            self._alive(watch)
        # An equal picture is no news, and the one that is kept already is shared.
        if watch.picture is not pong.neighbors and watch.picture != pong.neighbors:
            watch.picture = shared_picture(pong.neighbors)
            self.listener.heard(sender, watch.picture)

    @on(Alive)
    def on_alive(self, sender: Contact, question: Alive) -> None:
        """The answer is Done: a stopped process would accept the connection, but say nothing."""

    def _met(self, sender: Contact) -> Pinger:
        """A peer pings us that did not before. Only so many are remembered, for anybody can invent some."""
        self._pingers[sender.id] = pinger = Pinger(sender, sender in self._familiar)
        forget_oldest(self._pingers, MAX_PINGERS)
        return pinger

    def _no_doubt(self, sender: Contact) -> None:
        """A peer that pings is alive."""
        watch = self.watched.get(sender.id)
        if watch is not None and watch.doubt is not None and watch.contact.is_same_peer(sender):
            self._alive(watch)
        self._doubted = any(watch.doubt is not None for watch in self.watched.values())
