"""One scenario, live on a loop and simulated: does the simulator tell the truth about messages and times?

24 peers set themselves up as one ring and 8 join; nothing happens for four seconds; two are killed; then four are dead to
the world, two at a time: their sockets stay and say nothing, so that pings, probes and questions have to find it out.
"""

from __future__ import annotations

import asyncio
import random
import statistics
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from benchmarks.figures import Figure
from benchmarks.peers import is_wrong_in, peers, setups, spread, until_right
from benchmarks.rings import Counted
from overlay.core.message import Contact
from overlay.core.pending import Pending
from overlay.ids import Key
from overlay.peer import PeerView
from overlay.peer.aio import AsyncPeer
from overlay.peer.parts import PeerParts
from overlay.sim import Network, Simulation

PEERS, FOUNDERS = 32, 24
INTERVAL_S = 1.0
QUIET_S = 4.0
AT_ONCE, SILENT = 2, 2


class Outcome(msgspec.Struct):
    """What the scenario came to, in one world."""

    quiet_datagrams: int
    """Pings and answers of the quiet seconds."""
    join_commands: int
    """Commands until the last of those that join was in."""
    repair_messages: int
    """Everything that was sent while dead peers were found out and the ring mended."""
    repair_s: float
    """From the silence of two until the ring is right, the mean."""


class World:
    """Where the scenario happens; a peer's verbs are coroutines in both."""

    counted: Counted
    now: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]
    right: Callable[[list[Any]], Awaitable[None]]
    silence: Callable[[Any], None]


async def scenario(world: World, line: list[Any]) -> Outcome:
    """See the module."""
    chance = random.Random(3)
    ring = sorted(chance.sample(line, FOUNDERS), key=lambda peer: peer.id)
    newcomers = [peer for peer in line if peer not in ring]
    for setup in setups(ring):
        await setup
    await world.right(ring)
    before = world.counted.commands
    for peer in newcomers:
        await peer.join(chance.choice(ring).id)
        ring = sorted([*ring, peer], key=lambda member: member.id)
    await world.right(ring)
    join_commands = world.counted.commands - before
    before = world.counted.datagrams
    await world.sleep(QUIET_S)
    quiet = world.counted.datagrams - before
    for _ in range(AT_ONCE):
        ring.pop(chance.randrange(len(ring))).kill()
    await world.right(ring)
    messages, repairs = 0, []
    for _ in range(SILENT):
        await world.sleep(chance.random() * INTERVAL_S)
        began, before = world.now(), world.counted.datagrams + world.counted.commands
        for _ in range(AT_ONCE):
            world.silence(ring.pop(chance.randrange(len(ring))))
        await world.right(ring)
        repairs.append(world.now() - began)
        messages += world.counted.datagrams + world.counted.commands - before
    return Outcome(quiet, join_commands, messages, statistics.mean(repairs))


async def live() -> Outcome:
    """On sockets, all peers on this loop."""
    world = World()
    world.counted, world.now = Counted(), asyncio.get_running_loop().time
    world.sleep, world.right, world.silence = asyncio.sleep, until_right, stand_still
    async with peers("asyncio", PEERS, ping_interval_s=INTERVAL_S, observers=[world.counted]) as line:
        return await scenario(world, line)


def stand_still(peer: AsyncPeer) -> None:
    """As if its process were stopped: the system goes on accepting for it, and nobody reads."""
    driver, loop = peer._driver, asyncio.get_running_loop()
    wire = driver.traffic.wire
    for sock in (driver._udp, driver._listener, *(c.sock for c in (*wire._incoming, *wire._outgoing.values()))):
        loop.remove_reader(sock)
    for handle in (driver._timer_handle, driver._tick_handle):
        if handle is not None:
            handle.cancel()


# The same in virtual time --------------------------------------------------------------------------------------


class SimulatedPeer:
    """The verbs of a `Member` that the scenario uses."""

    def __init__(self, sim: Simulation, number: int):
        self.id = number
        self._sim = sim
        self._parts = PeerParts(INTERVAL_S)
        self._me = Contact(Key(number), "127.0.0.1", 12000 + number, 1)
        sim.add(self._me, *self._parts.protocols())

    def view(self) -> PeerView:
        """See `Peer`."""
        return self._parts.view()

    async def setup(self, first: int, second: int) -> None:
        """See `Peer`."""
        self._sim.start(self._me)
        self._parts.setup([(Key(number), "127.0.0.1", 12000 + number) for number in (first, second)])

    async def join(self, known: int) -> None:
        """See `Peer`."""
        self._sim.start(self._me)
        await _Until(self._parts.join((Key(known), "127.0.0.1", 12000 + known), 5.0))

    def kill(self) -> None:
        """See `Peer`."""
        self._sim.crash(self._me)

    def stand_still(self) -> None:
        """As SIGSTOP."""
        self._sim.pause(self._me)


class _Until:
    """What a coroutine waits for in virtual time: a Pending, a predicate, or seconds."""

    def __init__(self, goal: Pending[Any] | Callable[[], bool] | float):
        self._goal = goal

    def __await__(self) -> Any:
        return (yield self._goal)


def simulated(seed: int = 1) -> Outcome:
    """In the simulator, with the delays of a loopback."""
    world, counted = World(), Counted()
    sim = Simulation(seed, Network(delay_s=(0.0001, 0.0006)), [counted])

    async def right(line: list[Any]) -> None:
        await _Until(lambda: not any(map(is_wrong_in(line), line)))

    world.counted, world.now = counted, lambda: sim.now
    world.sleep, world.right, world.silence = _Until, right, SimulatedPeer.stand_still  # type: ignore[assignment]
    line = [SimulatedPeer(sim, number) for number in spread(PEERS)]
    steps = scenario(world, line)
    try:
        while True:
            goal = steps.send(None)
            sim.run_for(goal) if isinstance(goal, float) else sim.run_until(goal, 120.0)  # type: ignore[arg-type]
    except StopIteration as over:
        outcome: Outcome = over.value
        return outcome


async def trust() -> list[Figure]:
    """Live, and beside it the median of some simulated runs."""
    reality = await live()
    runs = [simulated(seed) for seed in range(5)]
    figures = []
    for what, name, unit in (
        ("datagrams in 4 quiet seconds", "quiet_datagrams", ""),
        ("commands of 8 joins", "join_commands", ""),
        ("messages of 2 repairs", "repair_messages", ""),
        ("a repair after two fell silent", "repair_s", "s"),
    ):
        model = statistics.median([float(getattr(run, name)) for run in runs])
        value = float(getattr(reality, name))
        figures.append(Figure(f"{what}, live", value, unit, {"simulated": model, "live / simulated": value / model}))
    return figures
