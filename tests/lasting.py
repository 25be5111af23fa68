"""Simulated peers that last: they have disks, and come back into their ring by whom they remember."""

from __future__ import annotations

import random

from overlay.core.message import Contact
from overlay.core.pending import Pending
from overlay.core.protocol import Protocol
from overlay.ids import Key
from overlay.peer.parts import PeerParts
from overlay.peer.preset import chord
from overlay.sim import Faults, Simulation

PRESET = chord(160, 4)


class Lasting:
    """A simulated ring of peers with disks."""

    def __init__(self, seed: int, size: int, network: Faults | None = None):
        self.sim = Simulation(seed, network)
        self.rng = random.Random(seed)
        self.parts: dict[Contact, PeerParts] = {}
        """By the first incarnation."""
        self.places: list[Contact] = []
        for index in range(size):
            me = Contact(Key(self.rng.getrandbits(160)), f"10.0.0.{index + 1}", 5000, 1)
            self.sim.start(self.sim.add(me, *self._make(me)))
            self.places.append(me)
            joining = self.of(me).come_back(True) if not index else self.of(me).join((None, "10.0.0.1", 5000), 10)
            self.sim.run_until(joining, 60)

    def _make(self, contact: Contact) -> tuple[Protocol, ...]:
        parts = PeerParts(1.0, PRESET)
        self.parts[contact] = parts
        return parts.protocols()

    def of(self, place: Contact) -> PeerParts:
        """The protocols of the latest incarnation."""
        return max((me.boot, parts) for me, parts in self.parts.items() if me.address == place.address)[1]

    def restart(self, place: Contact, *, begins: bool = False) -> Pending[bool]:
        self.sim.restart(place, self._make)
        return self.of(place).come_back(begins)

    def is_whole(self) -> bool:
        """Whether every peer's first successor and predecessor are those of one ring of all."""
        line = sorted(self.places, key=lambda place: place.id)
        for index, place in enumerate(line):
            ring = self.of(place).ring.chord
            before, after = line[index - 1], line[(index + 1) % len(line)]
            if not ring.member or ring.before is None or ring.before.id != before.id or ring.first.id != after.id:
                return False
        return True
