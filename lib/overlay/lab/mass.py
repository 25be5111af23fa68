"""Many peers of a store at once, simulated: they join, leave or crash, and records are inserted and looked up.

The same is done with real processes by `app.mass_processes`; both are driven by `overlay lab mass-join`, `mass-leave`, `mass-data`
and `watch`. Everything here yields how far it is, so that whoever drives it can show that, or stop.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from overlay.core.message import Contact
from overlay.core.pending import Pending
from overlay.errors import Indefinite
from overlay.ids import Key, in_full
from overlay.ring.fingers import FingerConfig
from overlay.ring.neighborhood import RingConfig
from overlay.ring.parts import RingParts
from overlay.sim import Simulation
from overlay.store.replicated.config import ReplicasConfig
from overlay.store.replicated.replicas import Replicas

RING = RingConfig(bits=32, successors=8)
AT_ONCE = 32
"""Records on their way at a time."""

LEAVE_AT_ONCE = 8
"""Peers that hand over at a time: those that leave take nothing, and somebody must."""

STEP_S = 0.2
JOIN_S, LEAVE_S, SETTLE_S = 120.0, 120.0, 600.0


UNKNOWN = "?"


class Step(msgspec.Struct, frozen=True):
    """How far it is."""

    done: int
    """The failed ones too."""
    failed: int
    total: int

    @property
    def percent(self) -> float:
        """Of those that are done, so many have failed."""
        return 100 * self.failed / self.done if self.done else 0.0


class Seen(msgspec.Struct, frozen=True):
    """One peer in a picture of the ring. Ids are text, UNKNOWN where it did not say; then the numbers are -1."""

    peer: str
    before: str
    after: str
    own: int
    """Entries of the store of which it is the root."""
    keys: int
    """Entries on its disk."""


class SimulatedPeer:
    """One peer in one incarnation."""

    def __init__(self, contact: Contact, config: ReplicasConfig):
        self.contact = contact
        self.parts = RingParts(1.0, RING, fingers=FingerConfig())
        self.replicas = Replicas(self.parts.router, RING.bits, config)


class SimulatedMass:
    """Peers in one simulation; all chance comes from the seed."""

    def __init__(self, seed: object, peers: int):
        self.sim = Simulation(seed)
        self.config = ReplicasConfig()
        self.peers: dict[int, SimulatedPeer] = {}
        self._rng = random.Random(f"{seed}/mass")
        self._count = 0
        first = self._add()
        first.parts.chord.begin([], [], awaited=False)
        for _ in self.join(peers - 1):
            pass

    def _add(self) -> SimulatedPeer:
        number = next(n for n in iter(lambda: self._rng.getrandbits(RING.bits), None) if n not in self.peers)
        self._count += 1
        contact = Contact(Key(number), f"10.0.{self._count >> 8}.{self._count & 255}", 7000, 1)
        peer = self.peers[number] = SimulatedPeer(contact, self.config)
        self.sim.start(self.sim.add(contact, *peer.parts.protocols(), peer.replicas))
        return peer

    def _any(self) -> SimulatedPeer:
        return self.peers[self._rng.choice(sorted(self.peers))]

    # Peers ---------------------------------------------------------------------------------------------------

    def join(self, count: int) -> Iterator[Step]:
        """So many more, all at once."""
        known = [self._any() for _ in range(count)]
        waiting: list[tuple[SimulatedPeer, Pending[None]]] = []
        for friend in known:
            peer = self._add()
            waiting.append((peer, peer.parts.admission.join(*friend.contact.address, JOIN_S)))
        yield from self._until([pending for _, pending in waiting], JOIN_S)
        for peer, pending in waiting:
            if not pending.done or pending.error is not None:
                self._gone(peer, self.sim.crash)

    def leave(self, percent: float, *, crash: bool) -> Iterator[Step]:
        """So many of a hundred, by chance: from one moment to the next, or after they have handed over."""
        chosen = deque(self._rng.sample(sorted(self.peers), round(len(self.peers) * percent / 100)))
        total = len(chosen)
        if crash:
            for number in chosen:
                self._gone(self.peers[number], self.sim.crash)
            yield Step(total, 0, total)
            return
        done = failed = 0
        while chosen:
            some = [self.peers[chosen.popleft()] for _ in range(min(LEAVE_AT_ONCE, len(chosen)))]
            left = [self._quit(peer) for peer in some]
            for _ in self._until(left, LEAVE_S):
                yield Step(done, failed, total)
            done += len(some)
            failed += sum(not pending.done or pending.result() > 0 for pending in left)
            for peer in some:
                self._gone(peer, self.sim.stop)
            yield Step(done, failed, total)

    def _quit(self, peer: SimulatedPeer) -> Pending[int]:
        left: Pending[int] = Pending()

        def handed_over(_: object) -> None:
            left.resolve(peer.replicas.left_behind())

        peer.parts.admission.depart(lambda: peer.replicas.leave().when_done(handed_over))
        return left

    def _gone(self, peer: SimulatedPeer, how: Callable[[Contact], None]) -> None:
        del self.peers[peer.contact.id]
        how(peer.contact)

    def settle(self) -> float:
        """Let time pass until every copy is where it belongs; the seconds that took. Indefinite where it never is."""
        began = self.sim.now
        while not all(peer.replicas.status().complete for peer in self.peers.values()):
            if self.sim.now - began > SETTLE_S:
                raise Indefinite(f"copies are still missing after {SETTLE_S:.0f} s")
            self.sim.run_for(1.0)
        return self.sim.now - began

    # Records -------------------------------------------------------------------------------------------------

    def insert(self, records: Mapping[str, bytes]) -> Iterator[Step]:
        """Put them, each through a peer by chance."""
        yield from self._each(
            records, lambda peer, name: peer.replicas.put(name, records[name]), lambda name, acked: True
        )

    def lookup(self, records: Mapping[str, bytes]) -> Iterator[Step]:
        """Get them, each through a peer by chance; one that is not found, or is another, has failed."""
        yield from self._each(
            records, lambda peer, name: peer.replicas.get(name), lambda name, got: got.value == records[name]
        )

    def _each(
        self,
        records: Mapping[str, bytes],
        ask: Callable[[SimulatedPeer, str], Pending[Any]],
        is_right: Callable[[str, Any], bool],
    ) -> Iterator[Step]:
        names = deque(records)
        done = failed = 0
        while names:
            some = [names.popleft() for _ in range(min(AT_ONCE, len(names)))]
            asked = [(name, ask(self._any(), name)) for name in some]
            self.sim.run_until(lambda asked=asked: all(one.done for _, one in asked), 60.0)  # type: ignore[misc]
            done += len(some)
            failed += sum(one.error is not None or not is_right(name, one.result()) for name, one in asked)
            yield Step(done, failed, len(records))

    # Looking -------------------------------------------------------------------------------------------------

    def picture(self) -> list[Seen]:
        """Every peer, by id."""
        found = []
        for _, peer in sorted(self.peers.items()):
            chord, status = peer.parts.chord, peer.replicas.status()
            before = UNKNOWN if chord.before is None else in_full(chord.before.id)
            found.append(Seen(in_full(peer.contact.id), before, in_full(chord.first.id), status.own, status.keys))
        return found

    def _until(self, waiting: list[Pending[Any]], timeout_s: float) -> Iterator[Step]:
        until = self.sim.now + timeout_s
        while True:
            done = sum(pending.done for pending in waiting)
            failed = sum(pending.done and pending.error is not None for pending in waiting)
            over = self.sim.now >= until
            yield Step(len(waiting) if over else done, failed + (len(waiting) - done if over else 0), len(waiting))
            if done == len(waiting) or over:
                return
            self.sim.run_for(STEP_S)
