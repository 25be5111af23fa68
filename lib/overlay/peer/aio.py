"""A peer of a ring on an asyncio loop, to program with."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from overlay.core.pending import Pending
from overlay.core.trace import Observer
from overlay.errors import Indefinite, LocalError, RemoteError
from overlay.ids import label
from overlay.live.addresses import PortTaken
from overlay.live.aio import AsyncioDriver
from overlay.peer.address import who_has
from overlay.peer.base import PeerBase
from overlay.peer.views import Neighbors
from overlay.store.events import Received, Stored
from overlay.store.records import GIVE_UP_S

if TYPE_CHECKING:
    from overlay.store.replicated.config import Acked, Got
    from overlay.store.replicated.messages import Version

T = TypeVar("T")


class AsyncPeer(PeerBase):
    """As `Peer`, with coroutines for verbs: each returns the result or raises its error.

    Everything happens on the loop that awaited `setup` or `join`; a cancelled coroutine does not take back what it asked for.
    """

    def __init__(
        self,
        id: int,
        *,
        bind: str | None = None,
        on_event: Callable[[AsyncPeer, msgspec.Struct], None] | None = None,
        observers: Sequence[Observer] = (),
        on_crash: Callable[[AsyncPeer, str], None] | None = None,
        **place: Any,
    ):
        super().__init__(id, **place)
        self._on_event = on_event
        self._on_crash = on_crash
        self._begun = False
        self._driver: AsyncioDriver = AsyncioDriver(
            self._me, blobs=self._disk, bind=bind, observers=observers, on_event=self._tell, on_crash=self._crashed
        )

    @property
    def closed(self) -> bool:
        """Whether it has ended."""
        return self._driver.closed.is_set()

    async def setup(self, first: int | str, second: int | str) -> None:
        """Start with these two successors; see `Peer.setup`."""
        places = self._places(first, second)
        await self._begin()
        self._driver.call(self._parts.setup, places)

    async def join(self, known: int | str, timeout_s: float = 5.0) -> None:
        """Start, and come into the ring of this peer; see `Peer.join`."""
        place = self._plan.find(known)
        await self._begin()
        await self._do(self._parts.join, place, timeout_s)

    async def create(self) -> bool:
        """Start, and begin a ring outside the classroom, or come back into the one that is remembered; see `Peer.create`."""
        await self._begin()
        return await self._do(self._parts.come_back, True)

    async def come_back(self) -> bool:
        """Start, and find the ring again that is remembered; see `Peer.come_back`."""
        await self._begin()
        return await self._do(self._parts.come_back, False)

    async def ready(self) -> None:
        """Until the peer is a member of a ring, after `setup` until both successors were heard from."""
        await self._driver.future(self._parts.ready)

    async def store(self, name: str) -> Stored:
        """Give `<name>.pdf` of the shared folder to the ring; until it is durable there."""
        return await self._do(self._parts.records.store, name)

    async def request(self, name: str) -> Received:
        """Fetch a record to `received_<name>.pdf` in the shared folder. RemoteError if nobody has it."""
        return await self._do(self._parts.records.request, name)

    async def put(
        self, name: str | bytes, value: bytes, *, after: Version | None = None, ttl_s: float | None = None
    ) -> Acked:
        """Store a value in the replicated store; see `Replicas.put`."""
        return await self._do(partial(self.replicas.put, after=after, ttl_s=ttl_s), name, value)

    async def get(self, name: str | bytes) -> Got:
        """Read from the replicated store; see `Replicas.get`."""
        return await self._do(self.replicas.get, name)

    async def delete(self, name: str | bytes, *, after: Version | None = None) -> Acked:
        """Delete from the replicated store; see `Replicas.delete`."""
        return await self._do(partial(self.replicas.delete, after=after), name)

    async def ring(self, timeout_s: float = 10.0) -> tuple[Neighbors, ...]:
        """All peers, in order of their ids, each asked itself. Indefinite when that takes too long."""
        return await self._do(self._parts.walk, timeout_s)

    async def quit(self, timeout_s: float = GIVE_UP_S) -> None:
        """Tell the ring, hand the records over, then end; see `Peer.quit`."""
        try:
            if self._driver.node.running:
                left: Pending[None] = Pending()
                self._driver.call(self._parts.leave, lambda: left.resolve(None), timeout_s)
                with contextlib.suppress(TimeoutError, Indefinite):
                    await asyncio.wait_for(self._driver.future(left), timeout_s)
                try:
                    if self._driver.node.running:
                        self._check_left()
                finally:
                    await self._driver.stop()
        finally:
            self.kill()

    def kill(self) -> None:
        """End at once; nobody is told."""
        self._driver.kill()
        self._disk.close()

    async def __aenter__(self) -> AsyncPeer:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            with contextlib.suppress(RemoteError):
                await self.quit()
        else:
            self.kill()

    async def _begin(self) -> None:
        if self._begun:
            raise LocalError(f"Peer {label(self.id)} was started already")
        self._begun = True
        try:
            await asyncio.to_thread(self._open)
            await self._driver.start()
        except BaseException as error:
            self.kill()
            if isinstance(error, PortTaken):
                raise await asyncio.to_thread(who_has, error, self._driver.source, self._plan) from None
            raise

    async def _do(self, verb: Callable[..., Pending[T]], *args: Any) -> T:
        if not self._driver.node.running:
            raise LocalError(
                f"Peer {label(self.id)} {'has ended' if self._begun else 'was not started: setup or join first'}"
            )
        return await self._driver.future(self._driver.call(verb, *args))

    def _tell(self, event: msgspec.Struct) -> None:
        if self._on_event is not None:
            self._on_event(self, event)

    def _crashed(self, text: str) -> None:
        self._disk.close()
        if self._on_crash is not None:
            self._on_crash(self, text)
