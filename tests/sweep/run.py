"""One run: a seed decides the ring, the network's faults, and who joins, quits, dies, stores and asks when."""

from __future__ import annotations

import random
from collections.abc import Sequence

import msgspec

from overlay.core.pending import Pending
from overlay.errors import OverlayError
from overlay.ids import distance
from overlay.ring.events import PeerDied
from overlay.sim import Faults
from overlay.store.events import HandedOver, Stored
from overlay.store.names import key_of_name
from tests.rings import SimPeer, SimRing

TROUBLE_S = 60.0
"""How long things go wrong."""
HEAL_S = 200.0
"""Within which all must be right again."""


class Wrong(AssertionError):
    """A run that did not end as it must."""


class RingRun:
    """What a seed makes of a ring. `run` raises Wrong, or returns."""

    def __init__(self, seed: int):
        self.seed = seed
        self.rng = random.Random(f"run/{seed}")
        self.faults = Faults(loss=self.rng.choice((0.0, 0.0, 0.1, 0.3)), duplicate=self.rng.choice((0.0, 0.1)))
        self.faults.reorder = self.rng.choice((0.0, 0.2))
        self.ring = SimRing(seed, interval_s=self.rng.choice((0.5, 1.0, 3.0)), network=self.faults)
        self.stored: dict[str, int] = {}
        """Acknowledged records: name, and the size by which its content is known."""
        self.excused: set[str] = set()
        """Names whose only copy died with its keeper (there is no replication in the classroom)."""
        self.paused: dict[int, float] = {}
        self.apart_until = -1.0
        """Until then nobody can be blamed for taking the living for dead."""
        self.returned: set[int] = set()
        self.rings: list[list[SimPeer]] = []
        self.complaints: list[str] = []
        self._names = self.rng.sample(range(10000), 100)
        self._files = {f"{name:04}.pdf": 100 + name for name in self._names}

    # What happens --------------------------------------------------------------------------------------------

    def run(self) -> None:
        """The whole of it."""
        count = self.rng.randint(2, 9)
        self.begin(self.rng.sample(range(256), count))
        sim = self.ring.sim
        end = sim.now + TROUBLE_S
        while sim.now < end:
            sim.run_for(self.rng.choice((0.001, 0.1, 1.0, 4.0)) * self.rng.random())
            self._act()
            self.check()
        self.end()

    def begin(self, numbers: Sequence[int]) -> None:
        """A ring of these peers."""
        self.ring.form(numbers, dict.fromkeys(numbers, self._files))
        for number in numbers:
            self._watch(self.ring.peers[number])

    def end(self) -> None:
        """Nothing goes wrong any more; soon all must be right."""
        sim = self.ring.sim
        self._heal()
        # Whose every common acquaintance died while they were apart cannot find each other; each must be right for itself.
        # A leaver may go before it has brought anybody together.
        self.rings = self.ring.components(staying=True)
        try:
            sim.run_until(self._is_over, HEAL_S)
        except OverlayError as error:
            raise Wrong(f"{error}: {'; '.join(self.ring.wrong(self.rings) + self.misplaced())}") from None
        self.check()
        self._ask_for_all()

    def _is_over(self) -> bool:
        """Whether all is as it must be, and those who were leaving have left."""
        self.rings = _merged(self.rings, self.ring.components(staying=True))
        busy = any(peer.quitting for peer in self.ring.live())
        return not busy and not self.ring.wrong(self.rings) and not self.misplaced()

    def _act(self) -> None:
        actions = {
            self._join: 5,
            self._quit: 3,
            self._kill: 3,
            self._kill_pair: 1,
            self._store: 6,
            self._request: 3,
            self._pause: 1,
            self._partition: 1,
            self._return: 2,
        }
        self.rng.choices(list(actions), list(actions.values()))[0]()

    def free(self) -> list[SimPeer]:
        """Members to which something may happen."""
        return [p for p in self.ring.live() if not p.quitting and p.id not in self.paused]

    def _join(self) -> None:
        used = {number for number, peer in self.ring.peers.items()}
        members = self.free()
        if len(used) < 14 and members:
            near = self.rng.choice(members).id
            number = (near + self.rng.randint(1, 3)) % 256 if self.rng.random() < 0.5 else self.rng.randrange(256)
            if number not in used:
                self.join_as(number, self.rng.choice(members).id)

    def join_as(self, number: int, known: int) -> None:
        """One comes in, or tries to."""
        self.ring.join(number, known, self._files).when_done(_ignore)
        self._watch(self.ring.peers[number])

    def _return(self) -> None:
        """An id that died or left comes back."""
        gone = [number for number, peer in self.ring.peers.items() if peer.gone]
        gone = [n for n in gone if self.ring.peers[n].contact not in self.ring.sim.nodes]
        members = self.free()
        if gone and members:
            number = self.rng.choice(gone)
            self.returned.add(number)
            self.join_as(number, self.rng.choice(members).id)

    def _quit(self) -> None:
        if len(self.free()) > 1:
            self.quit_one(self.rng.choice(self.free()))

    def quit_one(self, peer: SimPeer) -> None:
        """It leaves of its own will."""
        self.ring.quit(peer.id).when_done(lambda _: self._left(peer))

    def _left(self, peer: SimPeer) -> None:
        """A leaver that nobody could be reached by takes its records with it; else it must have given them away."""
        names = [name for name in peer.records.records if not self._holders(name)]
        staying = [other for other in self.ring.live() if not other.quitting]
        staying = [other for other in staying if peer.knows(other) or other.knows(peer)]
        if self.ring.sim.now < self.apart_until or not staying:
            self.excused.update(names)
        elif names:
            self.complaints.append(f"{peer.id} left with {names}")

    def _kill(self) -> None:
        if len(self.free()) > 1:
            self.kill_one(self.rng.choice(self.free()))

    def _kill_pair(self) -> None:
        members = self.free()
        if len(members) > 3:
            first = self.rng.randrange(len(members))
            self.kill_one(members[first])
            self.kill_one(members[(first + 1) % len(members)])

    def kill_one(self, peer: SimPeer) -> None:
        """It is gone, with what only it had."""
        on_disk = self.ring.sim.disk(peer.contact).stored("records")
        self.ring.kill(peer.id)
        # One that was just handed over to somebody who died at once is no longer in its mind, but still on its disk.
        for name in {**peer.records.records, **{key.removeprefix("record/"): None for key in on_disk}}:
            if not self._holders(name):
                self.excused.add(name)

    def _store(self) -> None:
        members = self.free()
        if members and self._names:
            self.store_at(self.rng.choice(members))

    def store_at(self, peer: SimPeer) -> None:
        """It stores a record that nobody has stored before."""
        name = f"{self._names.pop():04}"
        peer.records.store(name).when_done(lambda pending: self._acknowledged(name, pending))

    def _acknowledged(self, name: str, pending: Pending[Stored]) -> None:
        if pending.error is None:
            self.stored[name] = pending.result().size
            if self._lost_by(pending.result().peer, name):
                self.excused.add(name)

    def _request(self) -> None:
        members = self.free()
        if members and self.stored:
            name = self.rng.choice(list(self.stored))
            self.rng.choice(members).records.request(name).when_done(_ignore)

    def _pause(self) -> None:
        members = self.free()
        if len(members) > 2:
            self.pause_one(self.rng.choice(members), self.rng.choice((0.5, 3.0, 15.0)))

    def pause_one(self, peer: SimPeer, seconds: float) -> None:
        """It stands still for a while."""
        self.ring.sim.pause(peer.contact)
        self.paused[peer.id] = self.ring.sim.now + seconds
        self.apart_until = max(self.apart_until, self.ring.sim.now + seconds + 20)
        self.ring.sim.at(self.ring.sim.now + seconds, self._resume, peer)

    def _resume(self, peer: SimPeer) -> None:
        if self.paused.pop(peer.id, None) is not None and not peer.gone:
            self.ring.sim.resume(peer.contact)

    def _partition(self) -> None:
        members = [peer.contact for peer in self.ring.peers.values() if not peer.gone]
        seconds = self.rng.choice((1.0, 10.0, 20.0))
        if self.rng.random() < 0.3 and len(members) > 1:
            one, other = self.rng.sample(members, 2)
            self.faults.cut(one, other)
        else:
            self.faults.partition([contact for contact in members if self.rng.random() < 0.5])
        self.heal_after(seconds)

    def heal_after(self, seconds: float) -> None:
        """The network that was just cut is whole again after a while."""
        self.apart_until = max(self.apart_until, self.ring.sim.now + seconds + 20)
        self.ring.sim.at(self.ring.sim.now + seconds, self.faults.heal)

    def _heal(self) -> None:
        self.faults.heal()
        self.faults.loss = self.faults.duplicate = self.faults.reorder = 0.0
        for number in list(self.paused):
            self._resume(self.ring.peers[number])

    # What must hold ------------------------------------------------------------------------------------------

    def _watch(self, peer: SimPeer) -> None:
        peer.parts.chord.on_change.append(lambda: self._in_order(peer))
        self.ring.sim.listen(peer.contact, lambda event: self._heard(peer, event))

    def _in_order(self, peer: SimPeer) -> None:
        """The successor list goes around once, without the peer itself and without the gone (ZV15: ordered, no duplicates)."""
        chord = peer.parts.chord
        steps = [distance(peer.id, contact.id, 8) for contact in chord.successors]
        if steps != sorted(set(steps)) or 0 in steps:
            self.complaints.append(f"{peer.id} has the successors {[c.id for c in chord.successors]}")
        if any(contact in chord.gone for contact in chord.shown):
            self.complaints.append(f"{peer.id} shows one that is gone: {[c.id for c in chord.shown]}")

    def _heard(self, peer: SimPeer, event: msgspec.Struct) -> None:
        if isinstance(event, HandedOver) and self._lost_by(event.peer, event.name):
            # Its new keeper died while the word that the copy is durable was on its way.
            self.excused.add(event.name)
        if isinstance(event, PeerDied) and self.ring.sim.now > self.apart_until:
            lives = not self.ring.peers[event.peer].gone
            # The death of an id that came back may be that of the life before.
            if lives and event.peer not in self.returned:
                self.complaints.append(f"{peer.id} took {event.peer} for dead, which lives")

    def _lost_by(self, keeper: int, name: str) -> bool:
        """Whether a record died with its keeper."""
        peer = self.ring.peers[keeper]
        return (peer.gone or keeper in self.returned) and not self._holders(name)

    def _holders(self, name: str) -> list[SimPeer]:
        return [p for p in self.ring.peers.values() if not p.gone and name in p.records.records]

    def misplaced(self) -> list[str]:
        """Acknowledged records that are not where they belong, a sentence each."""
        said = []
        for name in sorted(self.stored.keys() - self.excused):
            key = key_of_name(name)
            holders = self._holders(name)
            if not holders:
                said.append(f"record {name} (key {key}) is lost")
            for ring in self.rings:
                right = min(ring, key=lambda peer: distance(key, peer.id, 8), default=None)
                wrong = [peer.id for peer in holders if peer in ring and peer is not right]
                if wrong and right is not None:
                    said.append(f"record {name} (key {key}) is at {wrong}, not at {right.id}")
        return said

    def _ask_for_all(self) -> None:
        for name in sorted(self.stored.keys() - self.excused):
            # A departure that began before may only now come to its end, and somebody may still have come in.
            self.ring.sim.run_until(self._is_over, HEAL_S)
            holders = self._holders(name)
            asker = self.rng.choice(next(ring for ring in self.rings if any(peer in ring for peer in holders)))
            received = self.ring.sim.run_until(asker.records.request(name), 30)
            if received is None or received.size != self.stored[name]:
                raise Wrong(f"record {name} came as {received}")

    def check(self) -> None:
        """Whether anything was wrong until now."""
        if self.complaints:
            raise Wrong("; ".join(self.complaints[:5]))


def _merged(before: list[list[SimPeer]], now: list[list[SimPeer]]) -> list[list[SimPeer]]:
    """The groups of now, joined where a group of before holds members of several: those must have found each other."""
    groups = [list(group) for group in now]
    for link in before:
        touched = [group for group in groups if any(peer in group for peer in link)]
        if len(touched) > 1:
            groups = [group for group in groups if group not in touched]
            groups.append(sorted((peer for group in touched for peer in group), key=lambda peer: peer.id))
    return groups


def _ignore(_: object) -> None:
    """Not every wish must come true while things go wrong."""


def one(seed: int) -> tuple[int, str]:
    """Run a seed: what was wrong, or nothing."""
    try:
        RingRun(seed).run()
    except Exception as error:
        return seed, f"{type(error).__name__}: {error}"
    return seed, ""
