"""SWIM with Lifeguard in the place of the pings' judgment, behind `core.detector`: who is dead in a ring."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest

from overlay.core.message import Contact
from overlay.gossip.detection.messages import SwimConfig
from overlay.gossip.detection.swim import Swim
from overlay.ids import Key
from overlay.lab.swim import SlowInbox
from overlay.peer.aio import AsyncPeer
from overlay.peer.preset import chord
from overlay.ring.events import PeerDied
from overlay.ring.parts import RingParts
from overlay.sim.faults import Faults
from tests.rings import SimPeer, SimRing

NUMBERS = (2, 4, 5, 8, 9, 14, 19, 23, 31, 40, 57, 60)


class SwimRing(SimRing):
    """A ring whose peers have SWIM in their nodes."""

    swim = SwimConfig()

    def add(self, number: int, files: Mapping[str, bytes | int] | None = None) -> SimPeer:
        self._boots += 1
        peer = SimPeer(Contact(Key(number), "127.0.0.1", 12000 + number, self._boots), self.interval_s)
        swim = Swim("ring", self.swim)
        peer.parts = RingParts(self.interval_s, detector=swim)
        node = self.sim.add(peer.contact, swim, *peer.parts.protocols(), files=files)
        self.peers[number] = peer
        self.sim.listen(node, peer.events.append)
        self.sim.start(node)
        return peer

    def deaths(self) -> set[tuple[int, int]]:
        """Who has taken whom for dead."""
        return {(p.id, int(e.peer)) for p in self.peers.values() for e in p.events if isinstance(e, PeerDied)}


@pytest.mark.parametrize("dead", [(14,), (14, 19), (2, 60)])
def test_the_dead_are_noticed_and_the_ring_closes(dead: tuple[int, ...]) -> None:
    ring = SwimRing(3)
    ring.form(NUMBERS)
    ring.sim.run_for(10)
    for number in dead:
        ring.kill(number)
    ring.settle(90)
    assert {of for _, of in ring.deaths()} == set(dead)
    ring.join(14 if 14 in dead else 2, 31)
    ring.settle(60)


def test_those_who_are_silent_and_have_not_crashed_are_noticed_too() -> None:
    ring = SwimRing(4)
    ring.form(NUMBERS)
    ring.sim.run_for(10)
    ring.sim.pause(ring.peers[9].contact)
    ring.sim.run_until(lambda: all(9 not in peer.successors for peer in ring.live() if peer.id != 9), 60)
    assert {of for _, of in ring.deaths()} == {9}


def test_pauses_kill_nobody() -> None:
    ring = SwimRing(5, network=Faults(loss=0.05))
    ring.form(NUMBERS)
    ring.sim.run_for(10)
    for step in range(12):
        paused = [ring.peers[NUMBERS[(step + offset) % len(NUMBERS)]].contact for offset in (0, 5)]
        for contact in paused:
            ring.sim.pause(contact)
        ring.sim.run_for(3)
        for contact in paused:
            ring.sim.resume(contact)
        ring.sim.run_for(4)
    assert not ring.deaths()
    ring.settle(10)


@pytest.mark.parametrize("kind", [SwimRing, SimRing])
def test_a_slow_member_takes_the_quick_ones_for_dead_only_without_lifeguard(kind: type[SimRing]) -> None:
    # It reads what has come for one second out of seven: others seem silent to it, and it to them.
    slow = Contact(Key(9), "127.0.0.1", 12009)
    network = SlowInbox([slow], 0.0, 7.0)
    ring = kind(6, network=network)
    network.sim = ring.sim
    ring.form(NUMBERS)
    ring.sim.run_for(30)
    network.blocked_s, network.open_s = 6.0, 1.0
    ring.sim.run_for(120)
    false = [e for p in ring.peers.values() for e in p.told(PeerDied) if isinstance(e, PeerDied) and e.peer != 9]
    assert bool(false) == (kind is SimRing)


def test_an_option_of_a_peer_on_real_sockets(tmp_path: Path) -> None:
    preset = msgspec.structs.replace(chord(8), swim=SwimConfig())
    ids = (10, 60, 110, 160, 210)

    async def main() -> None:
        peers = {id: AsyncPeer(id, preset=preset, ping_interval_s=0.5, files=tmp_path) for id in ids}
        await peers[10].create()
        for id in ids[1:]:
            await peers[id].join(f"127.0.0.1:{peers[10].port}")

        async def is_ring(*members: int) -> None:
            while any(
                peers[id].view().first != other for id, other in zip(members, members[1:] + members[:1], strict=True)
            ):
                await asyncio.sleep(0.05)

        await is_ring(*ids)
        peers.pop(110).kill()
        await is_ring(10, 60, 160, 210)
        for peer in peers.values():
            peer.kill()

    asyncio.run(asyncio.wait_for(main(), 90))
