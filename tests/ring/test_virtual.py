"""Virtual nodes spread the load (CH01, section 6.2): the keys of a peer with several members are nearer to the mean."""

from __future__ import annotations

import random
import statistics
from collections import Counter

from overlay.ids import Key
from overlay.lab.rings import BITS, Frozen, contact_of, point, run_all
from overlay.peer.home import id_of
from overlay.ring.fingers import FingerConfig
from overlay.ring.neighborhood import RingConfig
from overlay.ring.parts import RingParts
from overlay.sim import Simulation

PEERS, KEYS = 40, 2_000


def loads(virtual: int) -> Counter[int]:
    """How many of the keys each peer is the root of, as lookups in a ring of all their members find out."""
    rng, sim = random.Random(7), Simulation(7)
    peer_of = {id_of(bytes([peer]) * 32, BITS, number): peer for peer in range(PEERS) for number in range(virtual)}
    line = sorted(peer_of)
    contacts = [contact_of(number, index) for index, number in enumerate(line)]
    members = []
    for index, contact in enumerate(contacts):
        parts = RingParts(ring=RingConfig(bits=BITS, successors=4), fingers=FingerConfig(fix_s=1e9), pings=Frozen())
        sim.start(sim.add(contact, *parts.protocols()))
        point(parts, line, index, contacts.__getitem__)
        members.append(parts)
    found = [rng.choice(members).lookups.lookup(rng.getrandbits(BITS)) for _ in range(KEYS)]
    run_all(sim, found, 60)
    return Counter(peer_of[Key(pending.result().root.id)] for pending in found)


def test_the_load_of_a_peer_with_ten_members_is_nearer_to_the_mean() -> None:
    spread = {}
    for virtual in (1, 10):
        counts = loads(virtual)
        assert counts.total() == KEYS
        every = [counts[peer] / (KEYS / PEERS) for peer in range(PEERS)]
        spread[virtual] = statistics.pstdev(every), max(every)
    # Of one member the load is about exponential, with a deviation of the mean itself; of v it is 1 / sqrt(v) of that.
    assert 0.7 < spread[1][0] < 1.4 and spread[10][0] < 0.35
    assert spread[1][1] > 3 and spread[10][1] < 1.8
