"""Simulated rings with a replicated store."""

from __future__ import annotations

from collections.abc import Iterable

from overlay.core.codec import unpack
from overlay.core.message import Contact
from overlay.core.pending import Pending
from overlay.core.protocol import Protocol
from overlay.ids import Key
from overlay.ring.fingers import FingerConfig
from overlay.ring.neighborhood import RingConfig
from overlay.ring.parts import RingParts
from overlay.sim import Disk, Network, Simulation
from overlay.store.replicated.config import ReplicasConfig
from overlay.store.replicated.messages import Item, Version, key_of_tag, tag_of
from overlay.store.replicated.replicas import Replicas

BITS = 16
RING = RingConfig(bits=BITS, successors=6)


class StorePeer:
    """One peer: its protocols in this incarnation."""

    def __init__(self, contact: Contact, interval_s: float, config: ReplicasConfig):
        self.contact = contact
        self.parts = RingParts(interval_s, RING, fingers=FingerConfig(fix_s=20.0))
        self.replicas = Replicas(self.parts.router, BITS, config)
        self.gone = False
        """Whether it left, or is down."""
        self.away = False
        """Whether it will be back."""
        self.quitting = False

    @property
    def id(self) -> int:
        return self.contact.id

    @property
    def is_member(self) -> bool:
        return not self.gone and self.parts.chord.member

    def protocols(self) -> tuple[Protocol, ...]:
        return *self.parts.protocols(), self.replicas


class StoreRing:
    """Peers in one simulation."""

    def __init__(
        self,
        seed: object,
        config: ReplicasConfig,
        *,
        interval_s: float = 1.0,
        network: Network | None = None,
        write_s: tuple[float, float] = (0.001, 0.005),
    ):
        self.sim = Simulation(seed, network)
        self.config = config
        self.interval_s = interval_s
        self.write_s = write_s
        self.peers: dict[int, StorePeer] = {}

    def form(self, numbers: Iterable[int]) -> None:
        """A ring that stands, as stabilization would have left it."""
        line = [self.add(number).contact for number in sorted(numbers)]
        size = len(line)
        for index, contact in enumerate(line):
            ahead = [line[(index + step) % size] for step in range(1, min(RING.successors, size - 1) + 1)]
            before = [line[index - step] for step in range(1, min(3, size))]
            self.peers[contact.id].parts.chord.begin(ahead, before, awaited=False)

    def add(self, number: int) -> StorePeer:
        """A peer that runs and is in no ring yet."""
        peer = self.peers[number] = StorePeer(
            Contact(Key(number), "127.0.0.1", 1024 + len(self.peers), 1), self.interval_s, self.config
        )
        self.sim.start(self.sim.add(peer.contact, *peer.protocols(), disk=Disk(write_s=self.write_s)))
        return peer

    def live(self) -> list[StorePeer]:
        """Those that are up, in ring order."""
        return [peer for _, peer in sorted(self.peers.items()) if not peer.gone]

    def members(self) -> list[StorePeer]:
        """Those that are in the ring and stay."""
        return [peer for peer in self.live() if peer.is_member and not peer.quitting]

    def crash(self, peer: StorePeer) -> None:
        """It is gone, with what was not on disk."""
        peer.gone = True
        self.sim.crash(peer.contact)

    def restart(self, number: int) -> StorePeer:
        """Its next incarnation, with its disk; in no ring yet."""
        made: list[StorePeer] = []

        def make(contact: Contact) -> tuple[Protocol, ...]:
            made.append(StorePeer(contact, self.interval_s, self.config))
            return made[0].protocols()

        self.sim.restart(self.peers[number].contact, make)
        self.peers[number] = made[0]
        return made[0]

    def quit(self, peer: StorePeer) -> Pending[int]:
        """It leaves of its own will; how many records it left on its disk."""
        left: Pending[int] = Pending()
        peer.quitting = True

        def stop(behind: int) -> None:
            if not peer.gone:
                peer.gone = True
                self.sim.stop(peer.contact)
            left.resolve(behind)

        def handed_over(_: object) -> None:
            if not peer.gone:
                self.sim.call_soon(stop, peer.replicas.left_behind())

        peer.parts.admission.depart(lambda: peer.replicas.leave().when_done(handed_over))
        return left

    # What it should be ---------------------------------------------------------------------------------------

    def keepers(self, name: bytes) -> list[StorePeer]:
        """The right peers of a name: the first at or behind its key, and those that follow."""
        key = key_of_tag(tag_of(name), BITS)
        line = self.members()
        start = next((at for at, peer in enumerate(line) if peer.id >= key), 0)
        return [line[(start + step) % len(line)] for step in range(min(self.config.copies, len(line)))]

    def held(self, peer: StorePeer) -> dict[bytes, Version]:
        """What is on its disk, by name."""
        found = {}
        for key, entry in self.sim.disk(peer.contact).stored("replicas").items():
            if key.startswith("item/"):
                item = unpack(entry.value, (Item,))
                assert isinstance(item, Item)
                found[item.name] = item.version
        return found

    def wrong_ring(self) -> list[str]:
        """What is not as it should be in the pointers, a sentence each."""
        complaints = []
        line = [peer.contact for peer in self.members()]
        for index, contact in enumerate(line):
            chord = self.peers[contact.id].parts.chord
            others = line[index + 1 :] + line[:index]
            if chord.shown != others[:2] or chord.before != (others[-1] if others else None):
                complaints.append(
                    f"{contact.id} shows {[c.id for c in chord.shown]} and has {chord.before and chord.before.id} before"
                    f" it, not {[c.id for c in others[:2]]} and {others[-1].id if others else None}"
                )
        return complaints

    def misplaced(self, *, left_over: bool = True) -> list[str]:
        """Copies that are missing or old, and those that are left over if they are asked for; a sentence each."""
        held = {peer.id: self.held(peer) for peer in self.members()}
        names = sorted({name for versions in held.values() for name in versions})
        said = []
        for name in names:
            versions = {number: held[number][name] for number in held if name in held[number]}
            right = [peer.id for peer in self.keepers(name)]
            missing = [number for number in right if number not in versions]
            wrong = [number for number in versions if number not in right]
            if missing or (wrong and left_over):
                said.append(f"{name!r} is at {sorted(versions)}, not at {right}")
            elif len({versions[number] for number in right}) > 1:
                said.append(f"{name!r} has the versions {versions}")
        return said
