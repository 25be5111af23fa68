"""How many events a second the simulator does, beside a bare heap of as many pending events.

    python -m benchmarks.simulator --nodes 1000 10000

The load is ring-like: every node has a round timer of 3 s, sends 3 pings a round, gets 3 answers that each carry a
small Struct, and looks once whether all have answered. So 8 events a node and round.
"""

from __future__ import annotations

import argparse
import heapq
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

sys.path.insert(0, str(Path(__file__).parents[1] / "lib"))

from overlay.core.message import Contact, Datagram
from overlay.core.protocol import Protocol, on
from overlay.ids import Key
from overlay.sim import Faults, Network, Simulation

ROUND_S = 3.0
PINGS = 3


class Neighbors(msgspec.Struct, frozen=True, gc=False):
    """What an answer carries."""

    successor: Contact
    predecessor: Contact


class Ping(Datagram, frozen=True):
    round: int


class Pong(Datagram, frozen=True):
    round: int
    neighbors: Neighbors


class RingPings(Protocol):
    """The toy."""

    __slots__ = ("answered", "missed", "neighbors", "peers", "round")
    service = "pings"

    def __init__(self, peers: tuple[Contact, ...]):
        self.peers = peers
        self.neighbors = Neighbors(peers[0], peers[-1])
        self.round = 0
        self.answered = 0
        self.missed = 0

    def start(self) -> None:
        self.ctx.after(self.ctx.rng.uniform(0, ROUND_S), self.ping)

    def ping(self) -> None:
        """Begin a round."""
        self.round += 1
        self.answered = 0
        message = Ping(self.round)
        send = self.ctx.send
        for peer in self.peers:
            send(peer, message)
        self.ctx.after(1.0, self.check)
        self.ctx.after(ROUND_S, self.ping)

    def check(self) -> None:
        """Count who is silent."""
        self.missed += PINGS - self.answered

    @on(Ping)
    def on_ping(self, sender: Contact, message: Ping) -> None:
        self.ctx.send(sender, Pong(message.round, self.neighbors))

    @on(Pong)
    def on_pong(self, sender: Contact, message: Pong) -> None:
        if message.round == self.round:
            self.answered += 1


def ring(count: int, network: Network) -> Simulation:
    """A simulation of so many nodes, each started."""
    sim = Simulation(1, network)
    places = random.Random(1).sample(range(1 << 60), count)
    contacts = [Contact(Key(key), f"10.0.{at // 250}.{at % 250}", 12000, 1) for at, key in enumerate(sorted(places))]
    for at, contact in enumerate(contacts):
        peers = tuple(contacts[(at + step) % count] for step in range(1, PINGS + 1))
        sim.start(sim.add(contact, RingPings(peers)))
    sim.run_for(2 * ROUND_S)
    return sim


def simulated(count: int, events: int, network: Network) -> float:
    """Events a second, measured over about so many."""
    sim = ring(count, network)
    before, began = sim.events, time.perf_counter()
    sim.run_for(max(1, events // (8 * count)) * ROUND_S)
    rate = (sim.events - before) / (time.perf_counter() - began)
    missed = sum(node.protocols["pings"].missed for node in sim.nodes.values())  # type: ignore[attr-defined]
    assert network.plain is (missed == 0)
    return rate


def bare_heap(pending: int, events: int) -> float:
    """Pops and pushes a second of a heap that holds so many."""
    rng = random.Random(1)
    heap = [(rng.uniform(0, ROUND_S), number) for number in range(pending)]
    heapq.heapify(heap)
    began = time.perf_counter()
    for number in range(pending, pending + events):
        moment, _ = heapq.heappop(heap)
        heapq.heappush(heap, (moment + ROUND_S, number))
    return events / (time.perf_counter() - began)


def main(argv: Sequence[str] | None = None) -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, nargs="+", default=[1000, 10000])
    parser.add_argument("--events", type=int, default=1_000_000, help="about so many for a row (%(default)s)")
    arguments = parser.parse_args(argv)
    print(f"{'nodes':>8} {'simulated/s':>12} {'with faults/s':>14} {'bare heap/s':>12}")
    for count in arguments.nodes:
        plain = simulated(count, arguments.events, Network())
        faulty = simulated(count, arguments.events // 4, Faults(loss=0.05, duplicate=0.01, reorder=0.01))
        print(f"{count:>8} {plain:>12,.0f} {faulty:>14,.0f} {bare_heap(2 * count, arguments.events):>12,.0f}")


if __name__ == "__main__":
    main()
