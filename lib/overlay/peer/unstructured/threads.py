"""Unstructured services that block: the same as `aio`, for programs with threads. Safe from any thread.

Handlers are plain functions; they are called on a thread of the network, one after the other.
"""

from __future__ import annotations

import inspect
import logging
import threading
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from overlay.core.message import Contact
from overlay.errors import LocalError
from overlay.gossip.services import Address
from overlay.live.addresses import PortTaken
from overlay.live.threads import ThreadDriver
from overlay.peer.unstructured import parameters
from overlay.peer.unstructured.common import (
    DisseminationHandle,
    Home,
    MembershipHandle,
    Node,
    NoDisk,
    check_address,
    get_node,
    own_id,
)

__all__ = ["Dissemination", "Membership", "Node", "get_dissemination_service", "get_node", "join_network"]

T = TypeVar("T")
JOIN_S = 60.0
"""More than many bootstrap nodes take that do not answer."""

log = logging.getLogger(__name__)
_homes: dict[Address, ThreadHome] = {}
_changing = threading.RLock()


class ThreadHome(Home):
    """The networks behind one socket, on the three threads of a driver."""

    def __init__(self, host: str, port: int):
        super().__init__()
        self.driver = ThreadDriver(
            Contact(own_id(host, port), host, port), blobs=NoDisk(), on_crash=lambda text: self._forget()
        )
        self.node = self.driver.node

    def open(self) -> None:
        """Take the port and listen."""
        self.driver.open()
        self.node.add(parameters.Vocabulary())
        self.driver.start()
        _homes[self.me.address] = self

    def close(self) -> None:
        """Let what was said leave, and give the port back."""
        self._forget()
        self.driver.stop()

    def _forget(self) -> None:
        _homes.pop(self.me.address, None)

    def call(self, function: Callable[..., T], *args: Any) -> T:
        if self.driver.closed.is_set():
            raise LocalError(f"{self.me.host}:{self.me.port} has ended")
        return self.driver.call(function, *args)

    def outside(self, function: Callable[..., None], *args: Any) -> None:
        self.driver.outside(function, *args)

    def hand(self, handler: Callable[[Any], Any], value: Any) -> None:
        try:
            result = handler(value)
            if inspect.iscoroutine(result):
                result.close()
                raise LocalError("on threads a handler is a plain function, not a coroutine")
        except Exception:
            log.exception("a handler failed")


class Membership(MembershipHandle):
    """A network that we are in."""

    _home: ThreadHome

    def leave(self) -> None:
        """Say goodbye, with all services on it; the port is free when the last network behind it is left."""
        with _changing:
            self._check()
            last = self.close()
        if last:
            self._home.close()

    def __enter__(self) -> Membership:
        return self

    def __exit__(self, *_: object) -> None:
        if self.running:
            self.leave()


class Dissemination(DisseminationHandle):
    """Broadcasts in a network."""

    def broadcast(self, data: bytes) -> None:
        """Send to all others; returns when it is on its way."""
        self._call(self._protocol.broadcast, data)

    def leave(self) -> None:
        """Stop; the network goes on."""
        self._check()
        self.close()


def join_network(
    host: Address | Node,
    network_id: str,
    bootstrap_nodes: Iterable[Address | Node] = (),
    is_extreme: bool = True,
    **config: Any,
) -> Membership:
    """As `aio.join_network`; returns when we are in."""
    address = check_address(host)
    bootstrap = [check_address(node) for node in bootstrap_nodes]
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
        membership.leave()
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
