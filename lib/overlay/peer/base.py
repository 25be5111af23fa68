"""What a peer is on any driver: its place, its folders, its protocols."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from overlay.core.message import Contact
from overlay.errors import LocalError, RemoteError
from overlay.ids import Key, label
from overlay.live.addresses import PortTaken
from overlay.live.driver import Driver
from overlay.peer.address import AddressPlan
from overlay.peer.parts import PeerParts, Place
from overlay.peer.preset import CLASSROOM, Preset
from overlay.peer.views import PeerView
from overlay.store.disk import FolderDisk, Index

if TYPE_CHECKING:
    from overlay.store.replicated.config import Listed, ReplicasConfig, Status
    from overlay.store.replicated.replicas import Replicas

BASE_PORT = 12000
MIN_INTERVAL_S, MAX_INTERVAL_S = 0.1, 3600.0


class PeerBase:
    """A subclass gives it a driver, and verbs that fit the driver's world.

    Outside the classroom (see `preset`) it listens on `port`; else on `last_port`, if that is free, or any.
    """

    _driver: Driver

    def __init__(
        self,
        id: int,
        *,
        ping_interval_s: float = 3.0,
        host: str = "127.0.0.1",
        base_port: int = BASE_PORT,
        port: int = 0,
        last_port: int = 0,
        preset: Preset = CLASSROOM,
        files: str | Path = "files",
        data: str | Path | None = None,
        keep: bool = False,
        quota: int | None = None,
        index: Index | None = None,
        store: ReplicasConfig | None = None,
    ):
        if not MIN_INTERVAL_S <= ping_interval_s <= MAX_INTERVAL_S:
            raise LocalError(f"the ping interval is from 0.1 to 3600 seconds, not {ping_interval_s}")
        if preset is not CLASSROOM:
            # Outside the classroom no port can be told from an id.
            base_port = 0
            if id >> preset.ring.bits:
                raise LocalError(f"an id of this ring has {preset.ring.bits} bits, unlike {id}")
        self._plan = AddressPlan(host, base_port)
        self._only_port = port or not last_port
        self._me = Contact(Key(id), host, self._plan.port_of(id) or port or last_port)
        name = f"peer-{label(id)}" if base_port in (BASE_PORT, 0) else f"peer-{id}-{base_port}"
        own = Path(data) if data is not None else Path(files) / name
        self._disk = FolderDisk(own, Path(files), keep=keep, quota=quota, index=index)
        self._parts = PeerParts(ping_interval_s, preset, store)

    @property
    def id(self) -> int:
        """0 to 255 in the classroom's ring."""
        return int(self._driver.me.id)

    @property
    def contact(self) -> Contact:
        """How others know this peer."""
        return self._driver.me

    @property
    def host(self) -> str:
        """The address that is advertised."""
        return self._driver.me.host

    @property
    def port(self) -> int:
        """For TCP and UDP; of a free one, from `setup` or `join` on."""
        return self._driver.me.port

    def view(self) -> PeerView:
        """This peer as it is now; before `setup` or `join`, a peer that knows nobody."""
        if not self._driver.node.protocols:
            return PeerView(self.id, None, None, None, None, (), (), (), ())
        return self._driver.call(self._parts.view)

    def remembered(self) -> tuple[Contact, ...]:
        """Whom it would ask for the ring if it were started again: they are on its disk."""
        contacts = self._parts.contacts
        return () if contacts is None else self._driver.call(lambda: contacts.remembered)

    def cancel(self, name: str | None = None) -> int:
        """Stop fetching what was requested under this name, or everything. How many transfers were ours."""
        return self._driver.call(self._parts.records.cancel, name)

    def _places(self, first: int | str, second: int | str) -> list[Place]:
        return [self._plan.find(peer) for peer in dict.fromkeys((first, second)) if str(peer) != str(self.id)]

    def _check_left(self) -> None:
        """Before a peer that has left stops: tell what it leaves behind; RemoteError where others could have taken it."""
        left = self._driver.call(self._parts.records.left_behind, str(self._disk.path))
        if left is not None and left.why:
            raise RemoteError(f"Peer {label(self.id)} left with {len(left.names)} of its records, which nobody took")
        behind = self._driver.call(self._parts.left_behind)
        if behind:
            raise RemoteError(f"Peer {label(self.id)} left with {behind} of its records on its disk, which nobody took")

    @property
    def replicas(self) -> Replicas:
        """The replicated store; LocalError for a peer that was made without. Only code that runs inside the node calls it."""
        if self._parts.replicas is None:
            raise LocalError(f"Peer {label(self.id)} has no replicated store: give it store=ReplicasConfig()")
        return self._parts.replicas

    def stored(self) -> tuple[Listed, ...]:
        """The records of the replicated store of which this peer is the root."""
        return self._driver.call(self.replicas.list)

    def store_status(self) -> Status:
        """How much of the replicated store is here, and whether it is where it belongs."""
        return self._driver.call(self.replicas.status)

    def _open(self) -> None:
        """Take the ports and then the folders, which may be emptied by that. Blocks."""
        try:
            self._driver.open()
        except PortTaken:
            if self._only_port:
                raise
            self._driver.me = msgspec.structs.replace(self._driver.me, port=0)
            self._driver.open()
        self._disk.open()
        for protocol in self._parts.protocols():
            self._driver.node.add(protocol)
