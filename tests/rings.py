"""Simulated rings of the classroom's peers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from overlay.core.message import Contact
from overlay.core.pending import Pending
from overlay.core.trace import Observer
from overlay.ids import Key
from overlay.ring.parts import RingParts
from overlay.sim import Network, Simulation
from overlay.store.records import Records

EXAMPLE = (2, 4, 5, 8, 9, 14, 19)
"""The assignment's ring."""


class SimPeer:
    """One peer of a simulated ring: its protocols, and what it told."""

    def __init__(self, contact: Contact, interval_s: float):
        self.contact = contact
        self.parts = RingParts(interval_s)
        self.records = Records(self.parts.router)
        self.events: list[msgspec.Struct] = []
        self.quitting = False
        self.gone = False
        """Whether it left or was killed."""

    @property
    def id(self) -> int:
        return self.contact.id

    @property
    def successors(self) -> tuple[int, int]:
        return self.parts.chord.names()

    def knows(self, other: SimPeer) -> bool:
        """Whether it has heard of this life of another."""
        chord = self.parts.chord
        return other.contact in (*chord.known(), *chord.lost.contacts(), *chord.shown)

    def told(self, kind: type[msgspec.Struct]) -> list[msgspec.Struct]:
        """The events of one kind."""
        return [event for event in self.events if isinstance(event, kind)]


class SimRing:
    """Peers in one simulation."""

    def __init__(
        self,
        seed: int = 0,
        *,
        interval_s: float = 3.0,
        network: Network | None = None,
        observers: Sequence[Observer] = (),
        encode: bool = False,
    ):
        self.sim = Simulation(seed, network, observers, encode=encode)
        self.interval_s = interval_s
        self.peers: dict[int, SimPeer] = {}
        self._boots = 0

    def live(self) -> list[SimPeer]:
        """Those that are members and have not gone, in ring order."""
        return [p for _, p in sorted(self.peers.items()) if not p.gone and p.parts.chord.member]

    def add(self, number: int, files: Mapping[str, bytes | int] | None = None) -> SimPeer:
        """A peer that runs and is in no ring yet."""
        self._boots += 1
        contact = Contact(Key(number), "127.0.0.1", 12000 + number, self._boots)
        peer = SimPeer(contact, self.interval_s)
        node = self.sim.add(contact, *peer.parts.protocols(), peer.records, files=files)
        self.peers[number] = peer
        self.sim.listen(node, peer.events.append)
        self.sim.start(node)
        return peer

    def init(self, number: int, first: int, second: int, files: Mapping[str, bytes | int] | None = None) -> SimPeer:
        """The assignment's `peer.py init`."""
        peer = self.add(number, files)
        named = [Contact(Key(n), "127.0.0.1", 12000 + n) for n in dict.fromkeys((first, second)) if n != number]
        peer.parts.chord.begin(named, awaited=True)
        return peer

    def form(
        self, numbers: Iterable[int] = EXAMPLE, files: Mapping[int, Mapping[str, bytes | int]] | None = None
    ) -> None:
        """Start a whole ring by `init`, and let it find itself."""
        line = sorted(numbers)
        for index, number in enumerate(line):
            ahead = [line[(index + step) % len(line)] for step in (1, 2)]
            self.init(number, ahead[0], ahead[1], (files or {}).get(number))
        self.sim.run_until(self.is_right, 60)

    def join(self, number: int, known: int, files: Mapping[str, bytes | int] | None = None) -> Pending[None]:
        """The assignment's `peer.py join`."""
        peer = self.add(number, files)
        return peer.parts.admission.join("127.0.0.1", 12000 + known)

    def kill(self, number: int) -> None:
        """An abrupt departure."""
        peer = self.peers[number]
        peer.gone = True
        self.sim.crash(peer.contact)

    def quit(self, number: int) -> Pending[None]:
        """A departure of its own will; the node stops when it is done."""
        peer = self.peers[number]
        peer.quitting = True
        left: Pending[None] = Pending()

        def handed_over(_: object) -> None:
            if not peer.gone:
                peer.gone = True
                self.sim.call_soon(self._stop, peer, left)

        peer.parts.admission.depart(lambda: peer.records.leave().when_done(handed_over))
        return left

    def _stop(self, peer: SimPeer, left: Pending[None]) -> None:
        if peer.contact in self.sim.nodes:
            self.sim.stop(peer.contact)
        left.resolve(None)

    def components(self, *, staying: bool = False) -> list[list[SimPeer]]:
        """The members that know of each other, directly or through others, as they are or as lost; each in ring order."""
        groups: list[list[SimPeer]] = []
        for peer in self.live():
            if staying and peer.quitting:
                continue
            linked = [g for g in groups if any(peer.knows(other) or other.knows(peer) for other in g)]
            groups = [g for g in groups if g not in linked]
            groups.append(sorted([peer, *(other for g in linked for other in g)], key=lambda p: p.id))
        return groups

    def wrong(self, components: list[list[SimPeer]] | None = None) -> list[str]:
        """What is not as it should be, a sentence each; of one ring, or of several that know nothing of each other."""
        groups = components if components is not None else [self.live()]
        return [complaint for group in groups for complaint in self._wrong([peer.contact for peer in group])]

    def _wrong(self, line: list[Contact]) -> list[str]:
        complaints = []
        for index, contact in enumerate(line):
            chord = self.peers[contact.id].parts.chord
            others = line[index + 1 :] + line[:index]
            shown = [c for c in chord.shown if c.boot]
            if shown != others[:2]:
                complaints.append(f"{contact.id} shows {[c.id for c in chord.shown]}, not {[c.id for c in others[:2]]}")
            if chord.awaited:
                complaints.append(f"{contact.id} awaits {sorted(chord.awaited)}")
            behind = others[-1] if others else None
            if chord.before != behind:
                complaints.append(
                    f"{contact.id} has {chord.before and chord.before.id} before it, not {behind and behind.id}"
                )
        return complaints

    def is_right(self) -> bool:
        """Whether every member's two successors and first predecessor are the ring's."""
        return not self.wrong()

    def settle(self, timeout_s: float = 60.0, components: list[list[SimPeer]] | None = None) -> None:
        """Run until the ring is right."""
        self.sim.run_until(lambda: not self.wrong(components), timeout_s)
