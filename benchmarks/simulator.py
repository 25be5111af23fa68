"""Events a second of the real ring in the simulator, beside a bare heap and simpy with as many pending events."""

from __future__ import annotations

import heapq
import importlib
import importlib.util
import random
import time

from benchmarks.figures import Figure
from overlay.core.message import Contact
from overlay.ids import Key
from overlay.ring.neighborhood import RingConfig
from overlay.ring.parts import RingParts
from overlay.sim import Simulation

INTERVAL_S = 3.0
BITS = 32
EVENTS = 500_000
EVENTS_OF_A_ROUND = 8
"""Of one node: three pings that come, three answers, and two timers."""
BEST = {1_000: "2.9 M heap, 1.2 M simpy", 10_000: "2.1 M heap, 1.0 M simpy", 100_000: "1.1 M heap"}


def events(count: int) -> list[Figure]:
    """A second of the processor, once the ring stands, in one run: between two runs the garbage collector has its turn."""
    sim, ring = build(count)
    sim.run_for(2 * INTERVAL_S)
    before, began = sim.events, time.process_time()
    sim.run_for(INTERVAL_S * max(1, EVENTS // (EVENTS_OF_A_ROUND * count)))
    value = (sim.events - before) / (time.process_time() - began)
    assert_right(ring)
    beside = {"bare heap": bare_heap(3 * count)}
    if importlib.util.find_spec("simpy") is not None:
        beside["simpy"] = simpy_timeouts(count)
    return [Figure(f"{count:,} nodes", value, "events/s", beside, BEST.get(count, ""))]


def build(count: int) -> tuple[Simulation, list[RingParts]]:
    """A ring that knows itself from the beginning, each node with its own phase."""
    sim, chance = Simulation(1), random.Random(5)
    step = (1 << BITS) // count
    line = [Contact(Key(at * step), f"10.{at >> 16}.{at >> 8 & 255}.{at & 255}", 5000, 1) for at in range(count)]
    ring = []
    for contact in line:
        parts = RingParts(INTERVAL_S, RingConfig(bits=BITS))
        sim.start(sim.add(contact, *parts.protocols()))
        ring.append(parts)
    for at, parts in enumerate(ring):
        ahead, behind = [line[(at + step) % count] for step in (1, 2, 3, 4)], [line[at - 1], line[at - 2]]
        sim.at(chance.random() * INTERVAL_S, lambda p=parts, a=ahead, b=behind: p.chord.begin(a, b, awaited=False))
    return sim, ring


def assert_right(ring: list[RingParts]) -> None:
    """A figure of a broken ring would be none."""
    for at, parts in enumerate(ring):
        ahead = [ring[(at + step) % len(ring)].chord.ctx.me for step in (1, 2)]
        if list(parts.chord.shown) != ahead:
            raise AssertionError(f"node {at} shows {parts.chord.shown}")


def bare_heap(pending: int) -> float:
    """Pops and pushes a second of a heap that holds so many."""
    chance = random.Random(1)
    heap = [(chance.uniform(0, INTERVAL_S), number) for number in range(pending)]
    heapq.heapify(heap)
    began = time.process_time()
    for number in range(pending, pending + EVENTS):
        moment, _ = heapq.heappop(heap)
        heapq.heappush(heap, (moment + INTERVAL_S, number))
    return EVENTS / (time.process_time() - began)


def simpy_timeouts(count: int) -> float:
    """Timeouts a second of as many simpy processes, which do nothing else."""
    simpy = importlib.import_module("simpy")
    environment, chance = simpy.Environment(), random.Random(1)

    def beat(phase: float):  # type: ignore[no-untyped-def]
        yield environment.timeout(phase)
        while True:
            yield environment.timeout(INTERVAL_S)

    for _ in range(count):
        environment.process(beat(chance.uniform(0, INTERVAL_S)))
    environment.run(until=2 * INTERVAL_S)
    rounds = EVENTS // count + 1
    began = time.process_time()
    environment.run(until=(2 + rounds) * INTERVAL_S)
    return rounds * count / (time.process_time() - began)
