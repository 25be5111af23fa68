"""Unstructured services that block: the same as `aio`, for programs with threads. Safe from any thread.

Handlers are plain functions. Those of one address are called one after the other, on a thread that the network does not need:
one that is slow keeps the others waiting, and nothing else. The last of them may still run when `leave` has returned.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from overlay.core.message import Contact
from overlay.core.pending import Pending
from overlay.errors import LocalError
from overlay.gossip.services import Address
from overlay.live.addresses import PortTaken
from overlay.live.threads import ThreadDriver
from overlay.live.workers import Lane, Workers
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
JOIN_S = 60.0
"""More than many bootstrap nodes take that do not answer."""

HANDLERS = Workers("overlay-handler", 64)
_homes: dict[Address, ThreadHome] = {}
_changing = threading.RLock()


class ThreadHome(Home):
    """The networks behind one socket, on the three threads of a driver."""

    def __init__(self, host: str, port: int):
        super().__init__()
        self.driver = ThreadDriver(
            Contact(own_id(host, port), host, port), blobs=NoDisk(), on_crash=lambda text: self.forget()
        )
        self.node = self.driver.node
        self._handing = Lane(HANDLERS)

    def open(self) -> None:
        """Take the port and listen."""
        self.driver.open()
        self.node.add(parameters.Vocabulary())
        self.driver.start()
        _homes[self.me.address] = self

    def close(self) -> None:
        """Let what was said leave, and give the port back."""
        self.driver.stop()

    def forget(self) -> None:
        """Nobody joins a network here any more."""
        _homes.pop(self.me.address, None)

    def all_done(self, pendings: Iterable[Pending[None]]) -> None:
        """Wait for all of them."""
        for pending in pendings:
            if not pending.done:
                self.driver.wait(pending, JOIN_S)

    def call(self, function: Callable[..., T], *args: Any) -> T:
        if self.driver.closed.is_set():
            raise LocalError(f"{self.me.host}:{self.me.port} has ended")
        return self.driver.call(function, *args)

    def outside(self, function: Callable[..., None], *args: Any) -> None:
        self.driver.outside(function, *args)

    def hand(self, handler: Callable[[Any], Any], value: Any) -> None:
        self._handing.submit(lambda: handler(value))


class Membership(MembershipHandle):
    """A network that we are in."""

    _home: ThreadHome

    def leave(self) -> None:
        """Say goodbye, with all services on it; the port is free when the last network behind it is left.

        What was broadcast is with somebody else by then, if that takes no longer than two seconds."""
        with _changing:
            retired = self.retire()
        try:
            self._home.all_done(retired)
        finally:
            self._end()

    def _end(self) -> None:
        with _changing:
            last = self.close()
            if last:
                self._home.forget()
        if last:
            self._home.close()

    def __enter__(self) -> Membership:
        return self

    def __exit__(self, *_: object) -> None:
        if self.running:
            self.leave()


class Dissemination(DisseminationHandle):
    """Broadcasts in a network."""

    _home: ThreadHome

    def broadcast(self, data: bytes) -> None:
        """Send to all others; returns when it is on its way. It waits before that while others cannot keep up."""
        while (room := self._call(self._send, data)) is not None:
            self._home.all_done([room])

    def leave(self) -> None:
        """Stop; the network goes on."""
        retired = self.retire()
        try:
            self._home.all_done([retired])
        finally:
            self.close()


def join_network(
    host: Address | Node,
    network_id: str,
    bootstrap_nodes: Iterable[Address | Node] | None = None,
    is_extreme: bool = True,
    **config: Any,
) -> Membership:
    """As `aio.join_network`; returns when we are in."""
    address = check_address(host)
    bootstrap = check_addresses(bootstrap_nodes)
    protocol = parameters.membership(network_id, config, is_extreme=is_extreme)
    with _changing:
        home = _homes.get(address)
        if home is not None and network_id in home.networks:
            raise LocalError(f"{address[0]}:{address[1]} is in the network {network_id!r} already")
        if home is None:
            home = ThreadHome(*address)
            try:
                home.open()
            except PortTaken as taken:
                raise LocalError(f"{taken}; give another port than {address[1]}") from None
        membership = Membership(home, protocol, network_id, is_extreme=is_extreme)
        entered = membership.enter(bootstrap)
    try:
        home.driver.wait(entered, JOIN_S)
    except BaseException:
        membership._end()
        raise
    return membership


def get_dissemination_service(
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
