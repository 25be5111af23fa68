"""Unstructured services in virtual time: the same interface, in a world where time passes when the program says so."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from overlay.core.message import Contact
from overlay.core.pending import Pending
from overlay.errors import LocalError
from overlay.gossip.services import Address
from overlay.peer.unstructured import parameters
from overlay.peer.unstructured.common import (
    DisseminationHandle,
    Home,
    MembershipHandle,
    Node,
    check_address,
    check_addresses,
    id_of,
)
from overlay.sim import Network, Simulation

T = TypeVar("T")
JOIN_S = 60.0
FLUSH_S = 0.5


class SimHome(Home):
    """The networks behind one address of a world."""

    def __init__(self, world: World, address: Address):
        super().__init__()
        self.world = world
        self.node = world.sim.add(Contact(id_of(*address), *address, 1), parameters.Vocabulary())
        world.sim.start(self.node)

    def all_done(self, pendings: Iterable[Pending[None]]) -> None:
        """Let time pass for all of them."""
        for pending in pendings:
            self.world.sim.run_until(pending, JOIN_S)

    def call(self, function: Callable[..., T], *args: Any) -> T:
        return function(*args)

    def outside(self, function: Callable[..., None], *args: Any) -> None:
        self.world.sim.call_soon(function, *args)

    def hand(self, handler: Callable[[Any], Any], value: Any) -> None:
        # What it raises ends the simulation: here that is a test's own mistake.
        handler(value)


class World:
    """A simulation of networks. `sim` has the rest: time, faults, crashes."""

    def __init__(self, seed: object = 0, network: Network | None = None):
        self.sim = Simulation(seed, network)
        self.homes: dict[Address, SimHome] = {}

    def run_for(self, seconds: float) -> None:
        """Let time pass."""
        self.sim.run_for(seconds)

    def join_network(
        self,
        host: Address | Node,
        network_id: str,
        bootstrap_nodes: Iterable[Address | Node] | None = None,
        is_extreme: bool = True,
        **config: Any,
    ) -> Membership:
        """As `aio.join_network`; time passes until we are in."""
        address, bootstrap = check_address(host), check_addresses(bootstrap_nodes)
        protocol = parameters.membership(network_id, config, is_extreme=is_extreme)
        home = self.homes.get(address)
        if home is None:
            home = self.homes[address] = SimHome(self, address)
        if network_id in home.networks:
            raise LocalError(f"{address[0]}:{address[1]} is in the network {network_id!r} already")
        membership = Membership(home, protocol, network_id, is_extreme=is_extreme)
        try:
            entered = membership.enter(bootstrap)
            self.sim.run_until(entered, JOIN_S)
        except BaseException:
            membership._end()
            raise
        return membership

    def get_dissemination_service(
        self,
        membership: Membership,
        service_id: str,
        is_extreme: bool | None = None,
        many_to_many: bool = True,
        **config: Any,
    ) -> Dissemination:
        """As `aio.get_dissemination_service`."""
        return membership.disseminate(
            Dissemination, service_id, is_extreme=is_extreme, many_to_many=many_to_many, config=config
        )


class Membership(MembershipHandle):
    """A network that we are in."""

    _home: SimHome

    def leave(self) -> None:
        """Say goodbye, with all services on it; time passes until what was broadcast is with somebody else."""
        waited = [pending for pending in self.retire() if not pending.done]
        if waited:
            self._home.all_done(waited)
            # A connection that is closed in good order delivers what is on it; that of a machine that stops is reset.
            self._home.world.run_for(FLUSH_S)
        self._end()

    def _end(self) -> None:
        if self.close():
            world = self._home.world
            world.sim.stop(self._home.node)
            del world.homes[self._home.me.address]


class Dissemination(DisseminationHandle):
    """Broadcasts in a network."""

    _home: SimHome

    def broadcast(self, data: bytes) -> None:
        """Send to all others; it arrives when time passes, which it does here only while others cannot keep up."""
        while (room := self._call(self._send, data)) is not None:
            self._home.all_done([room])

    def leave(self) -> None:
        """Stop; the network goes on."""
        self._home.all_done([self.retire()])
        self.close()
