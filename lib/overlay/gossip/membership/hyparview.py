"""HyParView, the membership of the stable edition: a small active view of open connections, a larger passive one in reserve.

Leitao, Pereira, Rodrigues, HyParView: a Membership Protocol for Reliable Gossip-Based Broadcast, DSN 2007 (HP07), Algorithm 1.
Links are symmetric. A neighbor whose connection breaks is replaced at once, from the passive view, by asking.

Deviation: a newcomer that a ForwardJoin has brought to us is asked with a Neighbor of high priority, and becomes
active when it has answered: HP07 only tells it.
Deviation: whoever gets a Shuffle from a peer that it does not have as a neighbor answers with Disconnect. HP07
supposes that both ends agree; messages that cross, over different connections, can leave a link with one end.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec

from overlay.core.codec import is_sound
from overlay.core.context import Failure, Reason
from overlay.core.message import Command, Contact
from overlay.core.protocol import on
from overlay.gossip.base import Join, MembershipService, check, name_of
from overlay.ids import Key


class ForwardJoin(Command, frozen=True):
    """A newcomer walks through the overlay."""

    newcomer: Contact
    ttl: int


class Neighbor(Command, frozen=True):
    """A call: be my neighbor. With `high` priority, the sender has none and must not be refused."""

    high: bool


class NeighborAnswer(Command, frozen=True):
    """Whether the link is there, seen from the one that was asked."""

    accepted: bool


class Disconnect(Command, frozen=True):
    """We are neighbors no longer."""

    leaving: bool = False
    """The sender leaves the network: it is not to be asked again. HP07 has no leaving but by crash."""


class Shuffle(Command, frozen=True):
    """Contacts of `origin`, on a random walk to whoever shall have them."""

    origin: Contact
    contacts: tuple[Contact, ...]
    ttl: int


class ShuffleReply(Command, frozen=True):
    """As many contacts for the origin of a Shuffle."""

    contacts: tuple[Contact, ...]


class HyParViewConfig(msgspec.Struct, frozen=True):
    """The letters of HP07, sections 4 and 5; the defaults are those of its experiments with 10,000 nodes."""

    active_size: int = 5
    """log n + c, c = 1: fanout + 1."""
    passive_size: int = 30
    """k (log n + c), k = 6."""
    arwl: int = 6
    """Active random walk length: steps of a ForwardJoin, and of a Shuffle."""
    prwl: int = 3
    """Passive random walk length: where a ForwardJoin still has so many steps, the newcomer enters a passive view."""
    ka: int = 3
    """Of the active view in a Shuffle."""
    kp: int = 4
    """Of the passive view in a Shuffle."""
    period_s: float = 1.0
    """Between two shuffles; 0: somebody calls `shuffle`."""
    timeout_s: float = 2.0
    """For the answer to a Neighbor."""

    def check(self) -> None:
        """LocalError for what cannot work."""
        check(1 <= self.active_size <= 64, f"an active view holds 1 to 64 neighbors, not {self.active_size}")
        check(1 <= self.passive_size <= 500, f"a passive view holds 1 to 500 contacts, not {self.passive_size}")
        check(0 <= self.prwl <= self.arwl <= 32, f"walks of {self.prwl} and {self.arwl} steps; prwl <= arwl <= 32")
        check(0 <= self.ka <= 64 and 0 <= self.kp <= 64, f"a shuffle of {self.ka} and {self.kp} contacts")
        check(self.period_s == 0 or 0.01 <= self.period_s <= 3600, f"a period of {self.period_s} s")
        check(0 < self.timeout_s <= 60, f"a timeout of {self.timeout_s} s")


class HyParViewView(msgspec.Struct, frozen=True):
    """Both views."""

    neighbors: tuple[Contact, ...]
    passive: tuple[Contact, ...]


class HyParView(MembershipService):
    """See the module."""

    answers = (NeighborAnswer,)

    def __init__(self, network: str, config: HyParViewConfig | None = None):
        self.config = config or HyParViewConfig()
        self.config.check()
        super().__init__(name_of("hyparview", network))
        self.active: dict[Key, Contact] = {}
        self.passive: dict[Key, Contact] = {}
        self._asking: dict[Key, Neighbor] = {}
        """The questions that are not yet answered."""
        self._refused: set[Key] = set()
        """Those who said no in this period."""
        self._shuffled: tuple[Key, ...] | None = None
        """What the last Shuffle of ours gave away, while no answer has come: the first to make room for that."""

    def start(self) -> None:
        super().start()
        self.every(self.config.period_s, self.shuffle)

    def stop(self) -> None:
        for peer in self.active.values():
            self.ctx.send(peer, Disconnect(leaving=True))
            self.ctx.unwatch(peer)
        super().stop()

    def neighbors(self) -> tuple[Contact, ...]:
        return tuple(self.active.values())

    def view(self) -> HyParViewView:
        return HyParViewView(self.neighbors(), tuple(self.passive.values()))

    # Joining: HP07 section 4.2 -------------------------------------------------------------------------------

    @on(Join)
    def on_join(self, sender: Contact, message: Join) -> None:
        self._add_active(sender)
        for peer in self.active.values():
            if peer.id != sender.id:
                self.ctx.send(peer, ForwardJoin(sender, self.config.arwl))

    def admitted(self, contact: Contact, answer: Any) -> None:
        self._add_active(contact)

    @on(ForwardJoin)
    def on_forward_join(self, sender: Contact, message: ForwardJoin) -> None:
        newcomer, ttl = message.newcomer, min(message.ttl, self.config.arwl)
        if newcomer.id == self.ctx.me.id or not is_sound(newcomer):
            return
        if ttl <= 0 or len(self.active) <= 1:
            if newcomer.id not in self.active:
                self._ask(newcomer, high=True, must=True)
            return
        if ttl == self.config.prwl:
            self._add_passive(newcomer)
        onward = self.sample(1, (sender.id, newcomer.id))
        if onward:
            self.ctx.send(onward[0], ForwardJoin(newcomer, ttl - 1))
        elif newcomer.id not in self.active:
            self._ask(newcomer, high=True, must=True)

    # The active view: section 4.3 ----------------------------------------------------------------------------

    def _add_active(self, peer: Contact) -> None:
        known = self.active.get(peer.id)
        if known is not None:
            if known == peer:
                return
            self._remove_active(known)
        self.passive.pop(peer.id, None)
        if len(self.active) >= self.config.active_size:
            dropped = self.ctx.rng.choice(list(self.active.values()))
            self.ctx.send(dropped, Disconnect())
            self._remove_active(dropped)
            self._add_passive(dropped)
        self.active[peer.id] = peer
        self.ctx.watch(peer, self._on_down)
        self._listeners.tell(peer, True)

    def _remove_active(self, peer: Contact) -> None:
        del self.active[peer.id]
        self.ctx.unwatch(peer)
        self._listeners.tell(peer, False)

    def _on_down(self, peer: Contact) -> None:
        """The connection to a neighbor broke: it is dead, and another one takes its place."""
        if self.active.get(peer.id) == peer:
            self._remove_active(peer)
            self._fill()

    def _fill(self) -> None:
        """Ask contacts of the passive view, one at a time, until the active view is full or nobody is left to ask."""
        if self._asking or len(self.active) >= self.config.active_size or not self.running:
            return
        candidates = [peer for peer in self.passive.values() if peer.id not in self._refused]
        if candidates:
            self._ask(self.ctx.rng.choice(candidates), high=not self.active)

    def _ask(self, peer: Contact, *, high: bool, must: bool = False) -> None:
        if peer.id in self._asking:
            return
        question = self._asking[peer.id] = Neighbor(high)
        self.ask(
            peer,
            question,
            NeighborAnswer,
            lambda answer: self._answered(peer, question, answer.accepted, must),
            lambda failure: self._unanswered(peer, failure),
            timeout_s=self.config.timeout_s,
        )

    def _answered(self, peer: Contact, question: Neighbor, accepted: bool, must: bool) -> None:
        """Deviation: where our places were filled meanwhile, only a newcomer is made room for."""
        wanted = self._asking.get(peer.id) is question
        if wanted:
            del self._asking[peer.id]
        if accepted and wanted and (must or len(self.active) < self.config.active_size):
            self._add_active(peer)
        elif accepted and peer.id not in self.active:
            # We are full by now, or it has said Disconnect, before it answered or after.
            self.ctx.send(peer, Disconnect())
        else:
            self._refused.add(peer.id)
        self._fill()

    def _unanswered(self, peer: Contact, failure: Failure) -> None:
        self._asking.pop(peer.id, None)
        if failure.reason is not Reason.OVERLOADED:
            self.passive.pop(peer.id, None)
        self._fill()

    @on(Neighbor)
    def on_neighbor(self, sender: Contact, message: Neighbor) -> NeighborAnswer:
        accepted = message.high or sender.id in self.active or len(self.active) < self.config.active_size
        if accepted:
            self._add_active(sender)
        return NeighborAnswer(accepted)

    @on(Disconnect)
    def on_disconnect(self, sender: Contact, message: Disconnect) -> None:
        self._asking.pop(sender.id, None)
        # It has no room for us now.
        self._refused.add(sender.id)
        known = self.active.get(sender.id)
        if known is not None and known.is_same_peer(sender):
            self._remove_active(known)
            self._add_passive(known)
        if message.leaving:
            self.passive.pop(sender.id, None)
        self._fill()

    # The passive view: section 4.4 ---------------------------------------------------------------------------

    def _add_passive(self, peer: Contact, first_to_go: Collection[Key] = ()) -> None:
        if peer.id == self.ctx.me.id or peer.id in self.active or not is_sound(peer):
            return
        if peer.id not in self.passive and len(self.passive) >= self.config.passive_size:
            sent = [id for id in first_to_go if id in self.passive]
            del self.passive[sent[0] if sent else self.ctx.rng.choice(list(self.passive))]
        self.passive[peer.id] = peer

    def shuffle(self) -> None:
        """One round: exchange contacts with whoever a random walk ends at, and fill the active view."""
        config, rng = self.config, self.ctx.rng
        self._refused.clear()
        self._fill()
        target = self.sample(1)
        if not target:
            return
        active = self.sample(config.ka, (target[0].id,))
        passive = rng.sample(list(self.passive.values()), min(config.kp, len(self.passive)))
        self._shuffled = tuple(peer.id for peer in passive)
        self.ctx.send(target[0], Shuffle(self.ctx.me, (self.ctx.me, *active, *passive), config.arwl))

    @on(Shuffle)
    def on_shuffle(self, sender: Contact, message: Shuffle) -> None:
        if sender.id not in self.active:
            self.ctx.send(sender, Disconnect())
        ttl = min(message.ttl, self.config.arwl) - 1
        onward = self.sample(1, (sender.id, message.origin.id)) if ttl > 0 and len(self.active) > 1 else []
        if onward:
            self.ctx.send(onward[0], Shuffle(message.origin, message.contacts, ttl))
        elif message.origin.id != self.ctx.me.id and is_sound(message.origin):
            mine = list(self.passive.values())
            mine = self.ctx.rng.sample(mine, min(len(message.contacts), len(mine)))
            self.ctx.send(message.origin, ShuffleReply(tuple(mine)))
            self._integrate(message.contacts, tuple(peer.id for peer in mine))

    @on(ShuffleReply)
    def on_shuffle_reply(self, sender: Contact, message: ShuffleReply) -> None:
        if self._shuffled is not None:
            self._integrate(message.contacts, self._shuffled)
            self._shuffled = None

    def _integrate(self, contacts: tuple[Contact, ...], sent: tuple[Key, ...]) -> None:
        for peer in contacts[: 1 + self.config.ka + self.config.kp]:
            self._add_passive(peer, sent)
