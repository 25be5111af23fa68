"""A Simulation: machines, a network, and time that passes when you say so."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from overlay.core.message import Contact
from overlay.core.node import Node
from overlay.core.pending import Pending
from overlay.core.protocol import Protocol
from overlay.core.trace import Observer
from overlay.errors import Indefinite, LocalError
from overlay.sim.agenda import SimTimer
from overlay.sim.disk import Disk
from overlay.sim.machine import Machine
from overlay.sim.network import Network
from overlay.sim.post import Post
from overlay.sim.world import World

T = TypeVar("T")
Peer = Contact | Node


class Simulation:
    """Same seed, same calls: the same run, event by event, whatever the process.

    An exception of a handler, an assertion for one, leaves `run_for` and `run_until`.
    """

    def __init__(
        self,
        seed: object = 0,
        network: Network | None = None,
        observers: Sequence[Observer] = (),
        *,
        encode: bool = False,
    ):
        self.seed = seed
        self.network = network if network is not None else Network()
        self.inspect: Callable[[Simulation], None] | None = None
        """Called after every event: the place to check invariants."""
        self.nodes: dict[Contact, Node] = {}
        """Those that are alive, paused ones too, in the order in which they started."""
        self._machines: dict[tuple[str, int], Machine] = {}
        self._world = World(seed, self.network, observers, encode)
        self._world.post = Post(self._world, encode)
        self._agenda = self._world.agenda

    # Nodes ---------------------------------------------------------------------------------------------------

    def add(
        self,
        contact: Contact,
        *protocols: Protocol,
        files: Mapping[str, bytes | int] | None = None,
        disk: Disk | None = None,
    ) -> Node:
        """A node, not started. `files` are in its shared folder; a number stands for a body of that many bytes."""
        before = self._machines.get(contact.address)
        if before is not None and before.alive:
            raise LocalError(f"{contact.host}:{contact.port} is taken")
        machine = Machine(self._world, contact, disk if disk is not None else Disk())
        machine.disk.put_files(files or {})
        for protocol in protocols:
            machine.node.add(protocol)
        self._machines[contact.address] = machine
        return machine.node

    def start(self, peer: Peer) -> Node:
        """Start a node that was added."""
        machine = self._machine(peer)
        if machine.alive or machine.over:
            raise LocalError(f"peer {machine.me.id} was started before")
        self._world.fault(machine.me, "start")
        self.nodes[machine.me] = machine.node
        machine.start()
        return machine.node

    def crash(self, peer: Peer) -> None:
        """The node is gone, with all that was not durable; who connects to it later is refused."""
        self._end(peer, "crash", Machine.crash)

    def stop(self, peer: Peer) -> None:
        """The node stops in good order."""
        self._end(peer, "stop", Machine.stop)

    def pause(self, peer: Peer) -> None:
        """The node stands still: messages and timers wait, connections are still accepted, calls to it time out."""
        machine = self._machine(peer)
        self._world.fault(machine.me, "pause")
        machine.pause()

    def resume(self, peer: Peer) -> None:
        """All that waited happens now, in its order."""
        machine = self._machine(peer)
        self._world.fault(machine.me, "resume")
        machine.resume()

    def restart(self, peer: Peer, make: Callable[[Contact], Iterable[Protocol]]) -> Node:
        """Start the next incarnation of a node that is gone (or crash it first), with what its disk holds."""
        old = self._machine(peer)
        if old.alive:
            self.crash(old.me)
        contact = msgspec.structs.replace(old.me, boot=old.me.boot + 1)
        self.add(contact, *make(contact), disk=old.disk)
        self._machine(contact).listen(*old.listeners)
        return self.start(contact)

    def files(self, peer: Peer) -> dict[str, bytes | int]:
        """What lies in a node's shared folder."""
        return {name: body.content for name, body in self._machine(peer).disk.files.items()}

    def disk(self, peer: Peer) -> Disk:
        """A node's disk, to look at or to do harm to."""
        return self._machine(peer).disk

    def listen(self, peer: Peer, listener: Callable[[msgspec.Struct], None]) -> None:
        """Hear what a node's protocols notify, as an event of its own."""
        self._machine(peer).listen(listener)

    # Time ----------------------------------------------------------------------------------------------------

    @property
    def now(self) -> float:
        """Seconds since the beginning."""
        return self._agenda.now

    @property
    def events(self) -> int:
        """How many messages were delivered and timers fired."""
        return self._agenda.events

    @property
    def drops(self) -> Mapping[str, int]:
        """How many messages went nowhere, by reason."""
        return self._world.drops

    def call_soon(self, callback: Callable[..., None], *args: Any) -> SimTimer:
        """Call back as the next event of this moment: a scenario's own hand."""
        return self._agenda.at(self.now, callback, *args)

    def at(self, time: float, callback: Callable[..., None], *args: Any) -> SimTimer:
        """Call back at a time."""
        return self._agenda.at(time, callback, *args)

    def run_for(self, seconds: float) -> None:
        """Let time pass."""
        self._agenda.run(self.now + seconds, self._hook())

    def run_until(self, goal: Pending[T] | Callable[[], bool], timeout_s: float) -> T | None:
        """Let time pass until a Pending is done or a predicate, asked after every event, holds.

        Returns the Pending's value or raises its error; Indefinite when `timeout_s` have passed before.
        """
        inspect = self._hook()

        def done() -> bool:
            return goal.done if isinstance(goal, Pending) else goal()

        def hook() -> None:
            if inspect is not None:
                inspect()
            if done():
                self._agenda.leave()

        if not done():
            self._agenda.run(self.now + timeout_s, hook)
        if not done():
            raise Indefinite(f"not within {timeout_s} s, at {self.now:.3f} s of seed {self.seed!r}")
        return goal.result() if isinstance(goal, Pending) else None

    # -------------------------------------------------------------------------------------------------------

    def _hook(self) -> Callable[[], None] | None:
        inspect = self.inspect
        return None if inspect is None else lambda: inspect(self)

    def _machine(self, peer: Peer) -> Machine:
        contact = peer.me if isinstance(peer, Node) else peer
        machine = self._machines.get(contact.address)
        if machine is None:
            raise LocalError(f"there is no peer at {contact.host}:{contact.port}; add it first")
        return machine

    def _end(self, peer: Peer, what: str, end: Callable[[Machine], None]) -> None:
        machine = self._machine(peer)
        if not machine.alive:
            raise LocalError(f"peer {machine.me.id} is not running")
        self._world.fault(machine.me, what)
        end(machine)
        del self.nodes[machine.me]
