"""SWIM's group: who is in it, what is told of whom, and how long a suspicion lasts (SW02, section 4; LG18)."""

from __future__ import annotations

import math
from collections.abc import Callable

from overlay.core.codec import is_sound
from overlay.core.message import Contact
from overlay.core.protocol import on
from overlay.gossip.base import MembershipService, name_of
from overlay.gossip.detection.messages import MAX_INTRODUCED, MAX_MEMBERS, SwimConfig, SwimView, Told
from overlay.gossip.detection.updates import ALIVE, DEAD, SUSPECT, Member, Rumors, Update, overrides, suspicion_s
from overlay.ids import Key


class Group(MembershipService):
    """The members, and the news of them; `Swim` probes them."""

    def __init__(self, network: str, config: SwimConfig | None = None):
        self.config = config or SwimConfig()
        self.config.check()
        super().__init__(name_of("swim", network))
        self.members: dict[Key, Member] = {}
        """Everybody else; the dead too, for a while."""
        self.health = 0
        """LHM: how much worse than others we hear."""
        self.incarnation = 0
        self.deaths: list[Key] = []
        """Found dead by us, the latest last."""
        self.expelled = False
        """Whether we have heard that we are dead."""
        self._alive: tuple[Contact, ...] | None = None
        """All that are not dead; None when that has to be looked up."""
        self._rumors = Rumors()
        self._order: list[Key] = []
        """Who is to be probed, the next one last."""
        self._monitored: dict[Key, list[Callable[[Contact], None]]] = {}

    @property
    def _times(self) -> int:
        return math.ceil(self.config.spread * math.log(len(self.members) + 2))

    def neighbors(self) -> tuple[Contact, ...]:
        if self._alive is None:
            self._alive = tuple(member.contact for member in self.members.values() if member.status != DEAD)
        return self._alive

    def view(self) -> SwimView:
        suspects = tuple(member.contact for member in self.members.values() if member.status == SUSPECT)
        return SwimView(self.neighbors(), suspects, self.health)

    def _mine(self) -> Update:
        return Update(self.ctx.me, ALIVE, self.incarnation)

    def _feel(self, change: int) -> None:
        if self.config.lifeguard:
            self.health = min(max(self.health + change, 0), self.config.health)

    def hush(self) -> None:
        """What is known is known to all: nothing of it is to be told."""
        self._rumors = Rumors()

    # News: sections 4.1 and 4.2 ------------------------------------------------------------------------------

    def _news(self, first: list[Update]) -> tuple[Update, ...]:
        if not self.config.infection:
            return tuple(first)
        return self._rumors.pick(self.config.updates, self._times, first)

    def _hear(self, updates: tuple[Update, ...]) -> None:
        for update in updates[:MAX_INTRODUCED]:
            if is_sound(update.contact):
                self._apply(update)

    @on(Told)
    def on_told(self, sender: Contact, message: Told) -> None:
        self._hear(message.updates)

    def _meet(self, sender: Contact) -> None:
        """Whoever speaks is alive, and becomes a member; one that is taken for dead is told so."""
        member = self.members.get(sender.id)
        if member is None or member.contact.boot < sender.boot:
            self._apply(Update(sender, ALIVE, 0))
        elif member.status == DEAD:
            self.ctx.send(sender, Told((Update(member.contact, DEAD, member.incarnation),)))

    def _apply(self, update: Update) -> None:
        id = update.contact.id
        if id == self.ctx.me.id:
            self._object(update)
            return
        member = self.members.get(id)
        if member is not None and update.contact.boot > member.contact.boot and update.status != DEAD:
            if member.contact.boot:
                self._change(member, DEAD, member.incarnation)
            del self.members[id]
            member = None
        if member is None:
            self._welcome(update)
        elif update.contact.boot == member.contact.boot:
            if overrides(update, member, returning=self.config.returning):
                self._rumors.add(update)
                self._change(member, update.status, update.incarnation, update.accuser)
            elif update.status == SUSPECT == member.status and update.incarnation == member.incarnation:
                self._confirm(member, update)

    def _welcome(self, update: Update) -> None:
        if update.status == DEAD or len(self.members) >= MAX_MEMBERS:
            return
        member = Member(update.contact, ALIVE, update.incarnation, self.ctx.now)
        self.members[member.contact.id] = member
        self._alive = None
        self._order.insert(self.ctx.rng.randrange(len(self._order) + 1), member.contact.id)
        self._rumors.add(update)
        self._listeners.tell(member.contact, True)
        if update.status == SUSPECT:
            self._change(member, SUSPECT, update.incarnation, update.accuser)

    def _change(self, member: Member, status: int, incarnation: int, accuser: Key = Key(0)) -> None:  # noqa: B008
        was_dead = member.status == DEAD
        member.status, member.incarnation, member.since = status, incarnation, self.ctx.now
        member.accusers = {accuser} if status == SUSPECT else set()
        if status == SUSPECT:
            self._await_objection(member)
        elif was_dead != (status == DEAD):
            self._alive = None
            self._listeners.tell(member.contact, was_dead)
            if not was_dead:
                self.ctx.record("dead", peer=member.contact.id)
                self._still_dead(member)

    def _still_dead(self, member: Member) -> None:
        """Tell those who watch it, unless it has objected."""
        if member.status == DEAD:
            for on_dead in self._monitored.pop(member.contact.id, []):
                on_dead(member.contact)

    def _object(self, update: Update) -> None:
        """Only we ourselves can say that we live."""
        if update.contact.boot not in {0, self.ctx.me.boot} or update.status == ALIVE:
            return
        self.expelled = self.expelled or update.status == DEAD
        if update.incarnation >= self.incarnation:
            self.incarnation = update.incarnation + 1
            self._feel(1)
        # Also where we have objected before: what we said may have gone to those who had given up waiting for it.
        self._rumors.add(self._mine())

    # Suspicion -----------------------------------------------------------------------------------------------

    def _silent(self, target: Contact) -> None:
        """Nobody has had an answer from it."""
        member = self.members.get(target.id)
        if member is None or member.status == DEAD or member.contact.boot != target.boot:
            return
        if self.config.suspicion:
            self._apply(Update(target, SUSPECT, member.incarnation, self.ctx.me.id))
        else:
            self._declare(member)

    def _declare(self, member: Member) -> None:
        self.deaths = [*self.deaths[-99:], member.contact.id]
        update = Update(member.contact, DEAD, member.incarnation)
        self._apply(update)
        if not self.config.infection:
            # A multicast reaches the accused too.
            for peer in (*self.neighbors(), member.contact):
                self.ctx.send(peer, Told((update,)))

    def _confirm(self, member: Member, update: Update) -> None:
        """One more that suspects it of its own; the first K are worth telling (LG18)."""
        if self.config.lifeguard and update.accuser not in member.accusers:
            if len(member.accusers) <= self.config.confirmations:
                member.accusers.add(update.accuser)
                self._rumors.add(update)
            self._await_objection(member)

    def _await_objection(self, member: Member) -> None:
        ends = member.since + self._suspicion_s(member)
        self.ctx.after(max(ends - self.ctx.now, 0), self._no_objection, member, member.incarnation)

    def _suspicion_s(self, member: Member) -> float:
        config = self.config
        least = config.alpha * max(1.0, math.log10(len(self.members) + 1)) * config.period_s
        if not config.lifeguard:
            return least
        return suspicion_s(least, least * config.beta, len(member.accusers) - 1, config.confirmations)

    def _no_objection(self, member: Member, incarnation: int) -> None:
        # Several timers run for one suspicion: each confirmation begins a shorter one.
        lasts = self.running and member.status == SUSPECT and member.incarnation == incarnation
        if lasts and self.ctx.now - member.since >= self._suspicion_s(member) - 1e-6:
            self._declare(member)
