"""Unstructured services as coroutines: UnsServ's interface, and its quickstart runs with the package's name changed.

    membership = await join_network(("127.0.0.1", 7771), "network.id")
    dissemination = await get_dissemination_service(membership, "dissemination.id", broadcast_handler=print)
    await dissemination.broadcast(b"data")
    await membership.leave()

Everything happens on the loop that awaited `join_network`. Errors: LocalError (yours: an address, a parameter, a use after
`leave`), Indefinite (no bootstrap node could be reached), RemoteError (they are not in this network).
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, TypeVar

from overlay.core.message import Contact
from overlay.core.pending import Pending
from overlay.core.trace import Observer
from overlay.errors import LocalError
from overlay.gossip.services import Address
from overlay.live.addresses import PortTaken
from overlay.live.aio import AsyncioDriver
from overlay.peer.unstructured import parameters
from overlay.peer.unstructured.common import (
    DisseminationHandle,
    Home,
    MembershipHandle,
    Node,
    NoDisk,
    check_address,
    check_addresses,
    get_node,
    own_id,
)

__all__ = ["Dissemination", "Membership", "Node", "get_dissemination_service", "get_node", "join_network"]

T = TypeVar("T")
log = logging.getLogger(__name__)
_homes: dict[tuple[asyncio.AbstractEventLoop, Address], AsyncHome] = {}


class AsyncHome(Home):
    """The networks behind one socket of an asyncio loop."""

    coroutines = True

    def __init__(self, host: str, port: int, observers: Sequence[Observer] = ()):
        super().__init__()
        self.driver = AsyncioDriver(
            Contact(own_id(host, port), host, port),
            blobs=NoDisk(),
            observers=observers,
            on_crash=lambda text: self._forget(),
        )
        self.node = self.driver.node
        self._tasks: set[asyncio.Task[Any]] = set()

    async def open(self) -> None:
        """Take the port and listen."""
        self._loop = asyncio.get_running_loop()
        self.driver.open()
        self.node.add(parameters.Vocabulary())
        await self.driver.start()
        # A program that ended without leaving took its loop with it, and the networks on it.
        for key in [key for key in _homes if key[0].is_closed()]:
            del _homes[key]
        _homes[self._loop, self.me.address] = self

    async def close(self) -> None:
        """Let what was said leave, and give the port back."""
        self._forget()
        await self.driver.stop()

    def _forget(self) -> None:
        _homes.pop((self._loop, self.me.address), None)

    async def all_done(self, pendings: Iterable[Pending[None]]) -> None:
        """Wait for all of them."""
        for pending in pendings:
            if not pending.done:
                await self.driver.future(pending)

    def call(self, function: Callable[..., T], *args: Any) -> T:
        if self.driver.closed.is_set():
            raise LocalError(f"{self.me.host}:{self.me.port} has ended")
        return self.driver.call(function, *args)

    def outside(self, function: Callable[..., None], *args: Any) -> None:
        self.driver.outside(function, *args)

    def hand(self, handler: Callable[[Any], Any], value: Any) -> None:
        try:
            result = handler(value)
        except Exception:
            log.exception("a handler failed")
            return
        if inspect.isawaitable(result):
            task = self._loop.create_task(_awaited(result))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)


async def _awaited(result: Any) -> None:
    try:
        await result
    except Exception:
        log.exception("a handler failed")


class Membership(MembershipHandle):
    """A network that we are in."""

    _home: AsyncHome

    async def leave(self) -> None:
        """Say goodbye, with all services on it; the port is free when the last network behind it is left.

        What was broadcast is with somebody else by then, if that takes no longer than two seconds."""
        retired = self.retire()
        try:
            await self._home.all_done(retired)
        finally:
            if self.close():
                await self._home.close()

    async def __aenter__(self) -> Membership:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.running:
            await self.leave()


class Dissemination(DisseminationHandle):
    """Broadcasts in a network."""

    _home: AsyncHome

    async def broadcast(self, data: bytes) -> None:
        """Send to all others; returns when it is on its way. It waits before that while others cannot keep up."""
        while (room := self._call(self._send, data)) is not None:
            await self._home.all_done([room])
        # The sockets have their turn before a program that broadcasts in a loop goes on.
        await asyncio.sleep(0)

    async def leave(self) -> None:
        """Stop; the network goes on."""
        retired = self.retire()
        try:
            await self._home.all_done([retired])
        finally:
            self.close()


async def join_network(
    host: Address | Node,
    network_id: str,
    bootstrap_nodes: Iterable[Address | Node] | None = None,
    is_extreme: bool = True,
    *,
    observers: Sequence[Observer] = (),
    **config: Any,
) -> Membership:
    """Listen at `host` and enter a network by the first bootstrap node that lets us in; with none, begin it.

    Several networks may live behind one address. Extreme: Newscast, for networks in constant change. Stable: HyParView.
    The parameters are those of `NewscastConfig` and `HyParViewConfig`, or UnsServ's. `observers` see every message of the
    address, if this is its first network.
    """
    address = check_address(host)
    bootstrap = check_addresses(bootstrap_nodes)
    protocol = parameters.membership(network_id, config, is_extreme=is_extreme)
    home = _homes.get((asyncio.get_running_loop(), address))
    if home is not None and network_id in home.networks:
        raise LocalError(f"{address[0]}:{address[1]} is in the network {network_id!r} already")
    if home is None:
        home = AsyncHome(*address, observers)
        await _taking(address, home.open())
    membership = Membership(home, protocol, network_id, is_extreme=is_extreme)
    try:
        await home.driver.future(membership.enter(bootstrap))
    except BaseException:
        if membership.close():
            await home.close()
        raise
    return membership


async def _taking(address: Address, opening: Coroutine[Any, Any, None]) -> None:
    try:
        await opening
    except PortTaken as taken:
        raise LocalError(f"{taken}; give another port than {address[1]}") from None


async def get_dissemination_service(
    membership: Membership,
    service_id: str,
    is_extreme: bool | None = None,
    many_to_many: bool = True,
    **config: Any,
) -> Dissemination:
    """Broadcasts on a network; the edition is the network's. `broadcast_handler` is called with each that comes.

    Many-to-many: lpbcast or Plumtree. One-to-many: MON or Brisa.
    """
    return membership.disseminate(
        Dissemination, service_id, is_extreme=is_extreme, many_to_many=many_to_many, config=config
    )
