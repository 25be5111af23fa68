"""A peer of a ring on three threads, to program with."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from overlay.core.pending import Pending
from overlay.core.trace import Observer
from overlay.errors import Indefinite, LocalError, RemoteError
from overlay.ids import label
from overlay.live.addresses import PortTaken
from overlay.live.threads import ThreadDriver
from overlay.live.waker import Latch
from overlay.peer.address import who_has
from overlay.peer.base import BASE_PORT, PeerBase
from overlay.peer.outcome import Outcome
from overlay.peer.preset import CLASSROOM, Preset
from overlay.peer.views import Neighbors
from overlay.store.disk import Index
from overlay.store.events import Received, Stored
from overlay.store.records import GIVE_UP_S

if TYPE_CHECKING:
    from overlay.store.replicated.config import Acked, Got, ReplicasConfig
    from overlay.store.replicated.messages import Version

T = TypeVar("T")

END_S = 5.0
"""How long `kill` waits for an end that is on its way already."""


class Peer(PeerBase):
    """One peer. `setup` begins a ring with peers that are named, `join` comes into one that runs; then `store` and `request`.

    Every method may be called from any thread, also from `on_event`, which hears everything in order, outside the peer's
    lock, on one of its threads. As a context manager it quits at the end of the block, and is killed by an exception.
    A `base_port` of 0 takes any free port; other peers are then named by address. What it keeps may take `quota` bytes; peers
    of one process may have one `index` in common, and then share the syncs of the disk.
    """

    def __init__(
        self,
        id: int,
        *,
        ping_interval_s: float = 3.0,
        host: str = "127.0.0.1",
        bind: str | None = None,
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
        on_event: Callable[[Peer, msgspec.Struct], None] | None = None,
        observers: Sequence[Observer] = (),
        on_crash: Callable[[Peer, str], None] | None = None,
    ):
        super().__init__(
            id,
            ping_interval_s=ping_interval_s,
            host=host,
            base_port=base_port,
            port=port,
            last_port=last_port,
            preset=preset,
            files=files,
            data=data,
            keep=keep,
            quota=quota,
            index=index,
            store=store,
        )
        self._on_event = on_event
        self._on_crash = on_crash
        self._driver: ThreadDriver = ThreadDriver(
            self._me, blobs=self._disk, bind=bind, observers=observers, on_event=self._tell, on_crash=self._crashed
        )
        self._promises: dict[Outcome[Any], None] = {}
        self._guard = threading.Lock()
        self._ending = threading.Lock()
        """Taken once, by whoever ends the peer."""
        self._begun = False
        self._left: Outcome[None] | None = None
        self.closed = Latch()
        """Nothing is left of this peer: no thread, no socket, no lock on a folder."""
        self.ready: Pending[None] = self._promise()
        """Resolved when the peer is a member of a ring, after `setup` when both successors were heard from."""

    # Coming --------------------------------------------------------------------------------------------------

    def setup(self, first: int | str, second: int | str) -> None:
        """Start with these two successors: ids, or addresses such as "[::1]:12004". They may start later than we do.

        LocalError when the port or the folder is taken; nothing is left running then.
        """
        places = self._places(first, second)
        self._begin()
        self._driver.call(self._parts.setup, places)

    def join(self, known: int | str, timeout_s: float = 5.0) -> Pending[None]:
        """Start, and come into the ring of this peer.

        Fails with RemoteError when the id is there already, with Indefinite when the peer cannot be reached for `timeout_s`.
        """
        place = self._plan.find(known)
        self._begin()
        return self._ask(self._parts.join, place, timeout_s)

    def create(self) -> Pending[bool]:
        """Start, and begin a ring outside the classroom; or come back into the one that the folder remembers: then True."""
        self._begin()
        return self._ask(self._parts.come_back, True)

    def come_back(self) -> Pending[bool]:
        """Start, and find the ring again that the folder remembers, however long that takes; False if we began it anew."""
        self._begin()
        return self._ask(self._parts.come_back, False)

    def wait_ready(self, timeout_s: float) -> bool:
        """Whether the peer is ready within this time."""
        ready = threading.Event()
        self.ready.when_done(lambda _: ready.set())
        return ready.wait(timeout_s) and self.ready.error is None

    def _begin(self) -> None:
        with self._guard:
            if self._begun or self.closed.is_set():
                raise LocalError(f"Peer {label(self.id)} was started already")
            self._begun = True
        try:
            self._open()
            self._driver.start()
            self._follow(self._parts.ready, self.ready)
        except BaseException as error:
            self.kill()
            if isinstance(error, PortTaken):
                raise who_has(error, self._driver.source, self._plan) from None
            raise

    # Doing ---------------------------------------------------------------------------------------------------

    def store(self, name: str) -> Pending[Stored]:
        """Give `<name>.pdf` of the shared folder to the ring; resolved when it is durable there."""
        return self._ask(self._parts.records.store, name)

    def request(self, name: str) -> Pending[Received]:
        """Fetch a record to `received_<name>.pdf` in the shared folder. RemoteError if nobody has it."""
        return self._ask(self._parts.records.request, name)

    def put(
        self, name: str | bytes, value: bytes, *, after: Version | None = None, ttl_s: float | None = None
    ) -> Pending[Acked]:
        """Store a value in the replicated store; see `Replicas.put`."""
        return self._ask(partial(self.replicas.put, after=after, ttl_s=ttl_s), name, value)

    def get(self, name: str | bytes) -> Pending[Got]:
        """Read from the replicated store; see `Replicas.get`."""
        return self._ask(self.replicas.get, name)

    def delete(self, name: str | bytes, *, after: Version | None = None) -> Pending[Acked]:
        """Delete from the replicated store; see `Replicas.delete`."""
        return self._ask(partial(self.replicas.delete, after=after), name)

    def ring(self, timeout_s: float = 10.0) -> Pending[tuple[Neighbors, ...]]:
        """All peers, in order of their ids, each asked itself. Indefinite when that takes too long."""
        return self._ask(self._parts.walk, timeout_s)

    # Going ---------------------------------------------------------------------------------------------------

    def quit(self, timeout_s: float = GIVE_UP_S) -> Pending[None]:
        """Tell the ring, hand the records over, then end. What takes longer than `timeout_s` is left undone.

        Fails with RemoteError, once the peer has ended, if it left with records although others were there.
        """
        with self._guard:
            if self._left is not None:
                return self._left
            self._left = left = Outcome[None]()
        if self._driver.node.running:
            threading.Thread(target=self._quit, args=(timeout_s, left), name=f"quit-{self.id}").start()
        else:
            self.kill()
            left.resolve(None)
        return left

    def _quit(self, timeout_s: float, left: Outcome[None]) -> None:
        handed_over: Outcome[None] = self._promise()
        failure: RemoteError | None = None
        with contextlib.suppress(Indefinite):
            self._driver.call(self._parts.leave, lambda: self._driver.outside(handed_over.resolve, None), timeout_s)
            handed_over.wait(timeout_s)
        try:
            if self._driver.node.running:
                self._check_left()
        except RemoteError as error:
            failure = error
        self._halt(self._driver.stop)
        if failure is None:
            left.resolve(None)
        else:
            left.fail(failure)

    def kill(self) -> None:
        """End at once; nobody is told."""
        self._halt(self._driver.kill)

    def _halt(self, how: Callable[[], None]) -> None:
        if not self._ending.acquire(blocking=False):
            # Bounded, for the one who ends it may be waiting for this very thread.
            self.closed.wait(END_S)
            return
        try:
            how()
        finally:
            self._end()

    def _crashed(self, text: str) -> None:
        self._end()
        if self._on_crash is not None:
            self._on_crash(self, text)

    def _end(self) -> None:
        self._disk.close()
        with self._guard:
            outcomes, self._promises = list(self._promises), {}
        self.closed.set()
        for outcome in outcomes:
            outcome.fail(Indefinite(f"Peer {label(self.id)} has ended"))

    def __enter__(self) -> Peer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and not self.closed.is_set():
            self.quit()
            self.closed.wait()
        else:
            self.kill()

    # From the node to the program ----------------------------------------------------------------------------

    def _tell(self, event: msgspec.Struct) -> None:
        if self._on_event is not None:
            self._on_event(self, event)

    def _promise(self) -> Outcome[Any]:
        """An outcome that fails when the peer ends first."""
        outcome: Outcome[Any] = Outcome()
        with self._guard:
            self._promises[outcome] = None
        outcome.when_done(lambda _: self._promises.pop(outcome, None))
        if self.closed.is_set():
            outcome.fail(Indefinite(f"Peer {label(self.id)} has ended"))
        return outcome

    def _ask(self, verb: Callable[..., Pending[T]], *args: Any) -> Outcome[T]:
        if not self._driver.node.running:
            raise LocalError(
                f"Peer {label(self.id)} {'has ended' if self._begun else 'was not started: setup or join first'}"
            )
        outcome: Outcome[T] = self._promise()
        try:
            self._driver.call(lambda: self._bridge(verb(*args), outcome))
        except BaseException:
            self._promises.pop(outcome, None)
            raise
        return outcome

    def _follow(self, pending: Pending[T], outcome: Pending[T]) -> None:
        assert isinstance(outcome, Outcome)
        self._driver.call(self._bridge, pending, outcome)

    def _bridge(self, pending: Pending[T], outcome: Outcome[T]) -> None:
        # The outcome is told in one line with the events, outside the monitor.
        pending.when_done(lambda done: self._driver.outside(outcome.follow, done))
