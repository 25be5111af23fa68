"""SWIM, a failure detector whose load does not grow with the group, and Lifeguard's remedies for slow members.

Das, Gupta, Motivala, SWIM: Scalable Weakly-consistent Infection-style Process Group Membership Protocol, DSN 2002 (SW02).
Each period one member is probed, in turn around a shuffled list; through k others if it is silent. News travels on the
probes. Dadgar, Phillips, Currey, Lifeguard: Local Health Awareness for More Accurate Failure Detection, 2018 (LG18): a
member that hears little doubts itself first, and a suspicion lasts longer while few share it.

Deviation: an acknowledgement is no longer than its probe, for a datagram's sender can be forged; so probes are padded,
and an acknowledgement carries as much news as fits. Deviation: while there is news it is told on its own too, as in
LG18's implementation: a member that comes is known in a second, not in log n periods. Deviation: a member may
object to its own death, as it may there: SW02's confirmed dead come back as others, and what they still say does harm.
Deviation: now and then two members tell each other all they know, as there: news is told a limited number of times, and
whoever misses it would never hear.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from overlay.core.codec import is_sound, pack
from overlay.core.context import Failure, Timer
from overlay.core.message import Contact
from overlay.core.pending import Pending
from overlay.core.protocol import on
from overlay.gossip.base import Join
from overlay.gossip.detection.group import Group
from overlay.gossip.detection.messages import (
    MAX_INTRODUCED,
    MAX_TOLD,
    NACK_AT,
    SYNC_S,
    Ack,
    Members,
    Nack,
    Probe,
    ProbeFor,
    SwimConfig,
    Sync,
    Told,
)
from overlay.gossip.detection.updates import ALIVE, DEAD, SUSPECT, Member, Update
from overlay.ids import Key


def _not_now(failure: Failure) -> None:
    """Another time, with another member."""


class Swim(Group):
    """See the module. It is a membership, and a `core.detector.FailureDetector`."""

    answers = (Ack, Nack, Members)
    admission = Members

    def __init__(self, network: str, config: SwimConfig | None = None):
        super().__init__(network, config)
        self.probes = self.silences = 0
        """Of ours, and those that nobody answered."""
        self._syncing: Timer | None = None

    def start(self) -> None:
        super().start()
        if self.config.timer:
            self.ctx.after(self.ctx.rng.random() * self.config.period_s, self._tick)
            self.every(self.config.gossip_s, self.gossip)
            self._sync_after(self.config.period_s / 2)

    def _tick(self) -> None:
        if self.running:
            self.ctx.after(self.config.period_s * self._slowness, self._tick)
            self.probe()

    def gossip(self) -> None:
        """Tell news to a few, on its own."""
        if self._rumors and self.config.infection:
            for peer in self.sample(self.config.fanout):
                news = self._rumors.pick(MAX_TOLD, self._times)
                if news:
                    self.ctx.send(peer, Told(news))

    @property
    def _slowness(self) -> int:
        return self.health + 1 if self.config.lifeguard else 1

    # The failure detector's interface ------------------------------------------------------------------------

    def monitor(self, peer: Contact, on_dead: Callable[[Contact], None]) -> None:
        """See `FailureDetector`; several may watch one peer. It becomes a member; who is taken for dead may object once more."""
        member = self.members.get(peer.id)
        if member is None or member.contact.boot < peer.boot:
            self._apply(Update(peer, ALIVE, 0))
        self._monitored.setdefault(peer.id, []).append(on_dead)
        if member is not None and member.status == DEAD and member.contact.boot == peer.boot:
            self.ctx.send(peer, Told((Update(peer, DEAD, member.incarnation),)))
            self.ctx.after(self.config.alpha * self.config.period_s, self._still_dead, member)

    def forget(self, peer: Contact) -> None:
        """See `FailureDetector`; it stays a member."""
        self._monitored.pop(peer.id, None)

    def doubt(self, peer: Contact) -> None:
        """See `FailureDetector`."""
        member = self.members.get(peer.id)
        if member is not None and member.status != DEAD:
            self._probe(member)

    # Coming in -----------------------------------------------------------------------------------------------

    @on(Join)
    def on_join(self, sender: Contact, message: Join) -> Members:
        known = self._everything(sender)
        self._apply(Update(sender, ALIVE, 0))
        return Members(known)

    def admitted(self, contact: Contact, answer: Any) -> None:
        self._hear(answer.updates)
        self._rumors.add(self._mine())
        if self.config.timer:
            self._sync_after(self.config.period_s / 2)

    def _everything(self, listener: Contact) -> tuple[Update, ...]:
        """What is known of all others, for one of them; of a large group, of some."""
        known = [member for member in self.members.values() if member.contact.id != listener.id]
        if len(known) >= MAX_INTRODUCED:
            known = self.ctx.rng.sample(known, MAX_INTRODUCED - 1)
        # A suspicion is the one of a member who has it of its own: hearsay confirms nothing.
        return self._mine(), *(
            Update(m.contact, m.status, m.incarnation, min(m.accusers, default=Key(0))) for m in known
        )

    def _sync_after(self, base_s: float) -> None:
        if self._syncing is not None:
            self._syncing.cancel()
        if self.config.sync_s:
            self._syncing = self.ctx.after(base_s * (0.5 + self.ctx.rng.random()), self._sync, base_s)

    def _sync(self, base_s: float) -> None:
        if not self.running:
            return
        self._syncing = None
        self._sync_after(min(2 * base_s, self.config.sync_s))
        for peer in self.sample(1):
            request = Sync(self._everything(peer))
            self.ask(peer, request, Members, lambda known: self._hear(known.updates), _not_now, timeout_s=SYNC_S)

    @on(Sync)
    def on_sync(self, sender: Contact, message: Sync) -> Members:
        known = self._everything(sender)
        self._meet(sender)
        self._hear(message.updates)
        return Members(known)

    # Probing: SW02 section 3.1, with the list of 4.3 ---------------------------------------------------------

    def probe(self) -> None:
        """One period: probe the next member."""
        while self._order or self._reshuffle():
            member = self.members.get(self._order.pop())
            if member is not None and member.status != DEAD:
                self._probe(member)
                return

    def _reshuffle(self) -> bool:
        self._bury()
        self._order = [id for id, member in self.members.items() if member.status != DEAD]
        self.ctx.rng.shuffle(self._order)
        return bool(self._order)

    def _bury(self) -> None:
        now = self.ctx.now
        for id, member in list(self.members.items()):
            if member.status == DEAD and now - member.since > self.config.forget_s:
                del self.members[id]
                self._rumors.drop(id)

    def _probe(self, member: Member) -> None:
        self.probes += 1
        target, slowness = member.contact, self._slowness
        # The suspect hears of it first, and can object (LG18, buddy system).
        buddy = self.config.lifeguard and member.status == SUSPECT
        news = self._news([Update(target, SUSPECT, member.incarnation, self.ctx.me.id)] if buddy else [])
        self.ask(
            target,
            Probe(news),
            Ack,
            self._acked,
            lambda failure: self._probe_indirectly(target, slowness),
            timeout_s=self.config.timeout_s * slowness,
        )

    def _acked(self, ack: Ack) -> None:
        self._feel(-1)
        self._hear(ack.updates)

    def _probe_indirectly(self, target: Contact, slowness: int) -> None:
        helpers = self.sample(self.config.helpers, (target.id,))
        waiting = [len(helpers)]
        left_s = (self.config.period_s - self.config.timeout_s) * slowness
        heard: list[bool] = []

        def answered(answer: Ack | Nack) -> None:
            if isinstance(answer, Ack):
                heard.append(True)
                self._acked(answer)
            else:
                missing[0] -= 1
            one_less()

        def failed(failure: Failure) -> None:
            one_less()

        def one_less() -> None:
            waiting[0] -= 1
            if waiting[0] <= 0 and not heard and self.running:
                # Each nack that did not come is a sign that it is we who hear badly.
                self._feel(1 + (missing[0] if self.config.lifeguard else 0))
                self.silences += 1
                self._silent(target)

        missing = [len(helpers)]
        for helper in helpers:
            question = ProbeFor(target, self._news([]))
            self.ask(helper, question, (Ack, Nack), answered, failed, timeout_s=left_s)
        if not helpers:
            waiting[0] = 1
            self.ctx.after(left_s, one_less)

    @on(Probe)
    def on_probe(self, sender: Contact, message: Probe) -> Ack:
        self._meet(sender)
        self._hear(message.updates)
        room, updates = len(pack(message)), self._news([])
        while updates and len(pack(Ack(updates))) > room:
            updates = updates[:-1]
        return Ack(updates)

    @on(ProbeFor)
    def on_probe_for(self, sender: Contact, message: ProbeFor) -> Pending[Any] | Nack:
        self._meet(sender)
        self._hear(message.updates)
        outcome: Pending[Any] = Pending()
        if not is_sound(message.target) or message.target.id == self.ctx.me.id:
            return Nack()

        def acked(ack: Ack) -> None:
            self._hear(ack.updates)
            outcome.resolve(Ack(()))

        def failed(failure: Failure) -> None:
            """The asker gives up by itself, or has its nack."""

        def nack() -> None:
            outcome.resolve(Nack())

        self.ask(message.target, Probe(self._news([])), Ack, acked, failed, timeout_s=self.config.timeout_s)
        if self.config.lifeguard:
            self.ctx.after(self.config.timeout_s * NACK_AT, nack)
        return outcome
