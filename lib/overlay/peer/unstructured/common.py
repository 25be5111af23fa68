"""What the three editions of the interface share: a home for the networks behind one socket, and handles for programs."""

from __future__ import annotations

import inspect
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

from overlay.core.blobstore import Partial, Scrub
from overlay.core.message import Contact
from overlay.core.node import Node as CoreNode
from overlay.core.pending import Pending
from overlay.core.protocol import Protocol
from overlay.core.storage import Batch, BlobRef, Entry
from overlay.errors import LocalError
from overlay.gossip.base import MAX_BOTH_CHARS, MembershipService, check_id
from overlay.gossip.dissemination.base import Disseminator
from overlay.gossip.services import Address
from overlay.ids import Key, key_of
from overlay.live.addresses import family_of
from overlay.peer.unstructured import parameters

T = TypeVar("T")
ID_BITS = 63
UNSHARED = 8
"""So many broadcasts may be with nobody else, until whoever broadcasts has to wait: buffers have an end."""


class Node(NamedTuple):
    """A peer, as programs see it."""

    address_info: Address
    """(host, port)."""
    extra: tuple[Any, ...] = ()
    """Whatever the program wants to remember with it; it does not travel."""


NeighboursHandler = Callable[[list[Node]], Any]
BroadcastHandler = Callable[[bytes], Any]


def get_node(host: str, port: int, extra: tuple[Any, ...] = ()) -> Node:
    """A node by its address."""
    return Node(check_address((host, port)), extra)


def check_address(address: Any) -> Address:
    """(host, port), out of that or of a Node; LocalError that says what to write for anything else."""
    if isinstance(address, Node):
        address = address.address_info
    if not isinstance(address, tuple | list) or len(address) != 2 or not isinstance(address[0], str):
        raise LocalError(f"{address!r} is no address; write (host, port), such as ('127.0.0.1', 7771)")
    host, port = address
    if not isinstance(port, int) or isinstance(port, bool):
        raise LocalError(f"the port {port!r} is no number; write ({host!r}, 7771), for example")
    if not 0 <= port <= 65_535:
        near = int(str(abs(port))[-4:]) or 7771
        raise LocalError(f"there is no port {port}: ports go up to 65535; write ({host!r}, {near}), for example")
    if family_of(host) is None:
        raise LocalError(
            f"{host!r} is not the numeric address of one machine; write ('127.0.0.1', {port}), for example"
        )
    return host, port


def check_addresses(nodes: Iterable[Any] | None) -> list[Address]:
    """All of some bootstrap nodes; LocalError for one that cannot be."""
    if nodes is not None and not isinstance(nodes, Iterable):
        raise LocalError(f"bootstrap_nodes is a list of addresses, not {type(nodes).__name__}")
    return [check_address(node) for node in nodes or ()]


def id_of(host: str, port: int) -> Key:
    """The id of the peer at an address: others find it by the address anyhow."""
    return key_of(f"{host}:{port}".encode(), ID_BITS)


def own_id(host: str, port: int) -> Key:
    """Our own, before we listen there: by chance where the port, 0, is to be any free one."""
    return id_of(host, port) if port else Key(int.from_bytes(os.urandom(8)) >> (64 - ID_BITS))


class NoDisk:
    """Nothing of these services is kept on a disk."""

    def entries(self, service: str) -> dict[str, Entry]:
        """See `BlobStore`."""
        return {}

    def write_all(
        self, batches: Sequence[tuple[str, Batch]], on_done: Callable[[list[LocalError | None]], None]
    ) -> Callable[[], None]:
        """See `BlobStore`."""
        return lambda: on_done([LocalError("this peer has no disk")] * len(batches))

    def find(self, name: str) -> BlobRef:
        """See `BlobStore`."""
        raise LocalError("this peer has no disk")

    def source(self, ref: BlobRef) -> None:
        """See `BlobStore`."""

    def partial(self, ref: BlobRef) -> Partial:
        """See `BlobStore`."""
        raise LocalError("this peer has no disk")

    def scrub(self, bytes_per_s: float) -> Scrub:
        """See `BlobStore`."""
        raise LocalError("this peer has no disk")


class Home(ABC):
    """One socket, or one simulated machine, and the networks that live behind it."""

    node: CoreNode
    coroutines: ClassVar[bool] = False
    """Whether a handler may be a coroutine."""

    def __init__(self) -> None:
        self.networks: dict[str, MembershipHandle] = {}

    @abstractmethod
    def call(self, function: Callable[..., T], *args: Any) -> T:
        """Enter the node from outside, and bring back what the function returns."""

    @abstractmethod
    def outside(self, function: Callable[..., None], *args: Any) -> None:
        """From inside the node: call it when the node is left."""

    @abstractmethod
    def hand(self, handler: Callable[[Any], Any], value: Any) -> None:
        """Call a program's handler. What it raises is logged, and harms nobody."""

    @property
    def me(self) -> Contact:
        """How others know it."""
        return self.node.me

    def check_handler(self, handler: object) -> None:
        """LocalError for what cannot be called here."""
        if not callable(handler):
            raise LocalError(f"a handler is a function of one argument, not {type(handler).__name__}")
        if not self.coroutines and inspect.iscoroutinefunction(handler):
            raise LocalError("a handler is a plain function here: only asyncio has coroutines")

    def add(self, protocol: Protocol) -> None:
        """Put a service behind the socket."""
        self.call(self._add, protocol)

    def _add(self, protocol: Protocol) -> None:
        self.node.add(protocol)
        protocol.start()

    def remove(self, protocols: Iterable[Protocol]) -> None:
        """Take services away."""
        for protocol in protocols:
            if self.node.protocols.get(protocol.service) is protocol:
                self.call(self.node.remove, protocol)


P = TypeVar("P", bound=Protocol)


class Handle(Generic[P]):
    """A service that a program holds."""

    kind: ClassVar[str] = "service"

    def __init__(self, home: Home, protocol: P, service_id: str):
        self.service_id = service_id
        self.running = True
        self._home = home
        self._protocol = protocol

    @property
    def my_node(self) -> Node:
        """Ourselves."""
        return Node(self._home.me.address)

    def _check(self) -> None:
        if not self.running:
            raise LocalError(f"the {self.kind} {self.service_id!r} was left; join again to use it")

    def _call(self, function: Callable[..., T], *args: Any) -> T:
        self._check()
        return self._home.call(function, *args)


class MembershipHandle(Handle[MembershipService]):
    """A network that we are in. The names are UnsServ's, and so is their spelling."""

    kind = "network"

    def __init__(self, home: Home, protocol: MembershipService, service_id: str, *, is_extreme: bool):
        super().__init__(home, protocol, service_id)
        self.is_extreme = is_extreme
        self.services: dict[str, DisseminationHandle] = {}
        self._handlers: list[NeighboursHandler] = []
        self._changed = False

    def enter(self, bootstrap: Collection[Address]) -> Pending[None]:
        """Start, and join by one of these."""
        self._home.add(self._protocol)
        self._home.networks[self.service_id] = self
        self._home.call(self._protocol.subscribe, self._on_neighbor)
        return self._home.call(self._protocol.join, bootstrap)

    def get_neighbours(self) -> list[Node]:
        """Those whom we know now."""
        return [Node(peer.address) for peer in self._call(self._protocol.neighbors)]

    def add_neighbours_handler(self, handler: NeighboursHandler) -> None:
        """Call it with all neighbors whenever they change."""
        self._check()
        self._home.check_handler(handler)
        self._handlers.append(handler)

    def remove_neighbours_handler(self, handler: NeighboursHandler) -> None:
        """No longer; LocalError if it was not added."""
        if handler not in self._handlers:
            raise LocalError("this handler was not added")
        self._handlers.remove(handler)

    def _on_neighbor(self, peer: Contact, up: bool) -> None:
        # One change of a view is several neighbors that come or go, and one call of each handler.
        if not self._changed:
            self._changed = True
            self._protocol.ctx.after(0, self._tell)

    def _tell(self) -> None:
        self._changed = False
        neighbors = [Node(peer.address) for peer in self._protocol.neighbors()]
        for handler in self._handlers:
            self._home.outside(self._home.hand, handler, list(neighbors))

    def disseminate(
        self, handle: type[D], service_id: str, *, is_extreme: bool | None, many_to_many: bool, config: dict[str, Any]
    ) -> D:
        """Put a dissemination service on this network."""
        self._check()
        left = MAX_BOTH_CHARS - len(self.service_id) - 1
        check_id(service_id, left, f"the id of a service in the network {self.service_id!r}")
        if service_id in self.services:
            raise LocalError(f"the service {service_id!r} runs already in the network {self.service_id!r}")
        handler = config.pop("broadcast_handler", None)
        extreme = self.is_extreme if is_extreme is None else is_extreme
        protocol = parameters.dissemination(
            f"{self.service_id}:{service_id}", self._protocol, config, is_extreme=extreme, many_to_many=many_to_many
        )
        service = handle(self, self._home, protocol, service_id)
        if handler is not None:
            service.add_broadcast_handler(handler)
        self._home.add(protocol)
        self.services[service_id] = service
        return service

    def retire(self) -> list[Pending[None]]:
        """As that of each service that still runs."""
        self._check()
        self.running = False
        return [service.retire() for service in self.services.values() if service.running]

    def close(self) -> bool:
        """Leave, with all services. True when nothing is left behind the socket."""
        self.running = False
        services, self.services = self.services, {}
        for service in services.values():
            service.running = False
        self._home.remove([*(service._protocol for service in services.values()), self._protocol])
        self._home.networks.pop(self.service_id, None)
        return not self._home.networks


class DisseminationHandle(Handle[Disseminator]):
    """Broadcasts in a network."""

    kind = "dissemination service"

    def __init__(self, network: MembershipHandle, home: Home, protocol: Disseminator, service_id: str):
        super().__init__(home, protocol, service_id)
        self.membership = network
        self._handlers: list[BroadcastHandler] = []
        protocol.subscribe(self._heard)

    def add_broadcast_handler(self, handler: BroadcastHandler) -> None:
        """Call it with the bytes of each broadcast of others."""
        self._check()
        self._home.check_handler(handler)
        self._handlers.append(handler)

    def remove_broadcast_handler(self, handler: BroadcastHandler) -> None:
        """No longer; LocalError if it was not added."""
        if handler not in self._handlers:
            raise LocalError("this handler was not added")
        self._handlers.remove(handler)

    def _send(self, data: bytes) -> Pending[None] | None:
        """Broadcast, or say what has to be waited for before that."""
        room = self._protocol.shared(UNSHARED)
        if not room.done:
            return room
        self._protocol.broadcast(data)
        return None

    def retire(self) -> Pending[None]:
        """Say nothing more; done when what was said is with somebody else, and `close` takes nothing away."""
        self._check()
        self.running = False
        return self._home.call(self._protocol.shared, 0)

    def _heard(self, data: bytes) -> None:
        for handler in self._handlers:
            self._home.outside(self._home.hand, handler, data)

    def close(self) -> None:
        """Stop; the network goes on."""
        self.running = False
        if self.membership.services.get(self.service_id) is self:
            del self.membership.services[self.service_id]
            self._home.remove([self._protocol])


D = TypeVar("D", bound=DisseminationHandle)
