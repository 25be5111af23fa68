"""Peers on one asyncio loop, as many as you like: the same node, wire and monitor as on threads, other wake-ups."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import importlib
import importlib.util
import socket
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from overlay.core.pending import Pending
from overlay.errors import Indefinite
from overlay.live.driver import DATAGRAM_BYTES, FLUSH_S, Driver
from overlay.live.traffic import Traffic
from overlay.live.waker import Ready
from overlay.live.wire import Wire

T = TypeVar("T")

DATAGRAMS_AT_ONCE = 64
"""So many are read before others on the loop have their turn."""


def run(main: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run`, on uvloop where that is installed."""
    factory = None
    if importlib.util.find_spec("uvloop") is not None:
        factory = importlib.import_module("uvloop").new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)


class LoopPoller:
    """`Poller` over an event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, guarded: Callable[[Callable[[], None]], None]):
        self._loop = loop
        self._guarded = guarded
        self._writing: set[int] = set()

    def watch(self, sock: socket.socket, owner: Ready, *, write: bool) -> None:
        """See `Poller`."""
        self._loop.add_reader(sock.fileno(), self._guarded, owner.readable)
        if write:
            self._loop.add_writer(sock.fileno(), self._guarded, owner.writable)
            self._writing.add(sock.fileno())
        else:
            self._stop_writing(sock)

    def forget(self, sock: socket.socket) -> None:
        """See `Poller`."""
        if self._loop.is_closed():
            return
        self._loop.remove_reader(sock.fileno())
        self._stop_writing(sock)

    def _stop_writing(self, sock: socket.socket) -> None:
        if sock.fileno() in self._writing:
            self._writing.remove(sock.fileno())
            self._loop.remove_writer(sock.fileno())


class AsyncioDriver(Driver):
    """Open it, add protocols to `node`, `start` it on the running loop; then `call`, `await future(...)`, and `stop`.

    What blocks is on the pools of `workers`; everything else, `on_event` too, happens on the loop's thread.
    """

    __slots__ = (
        "_feeding", "_flushed", "_futures", "_loop", "_thread", "_tick_at", "_tick_handle", "_timer_at", "_timer_handle",
        "_wire",
    )  # fmt: skip

    def __init__(self, *args: Any, **keywords: Any):
        super().__init__(*args, **keywords)
        self._thread = 0
        self._feeding = False
        self._timer_at = self._tick_at = float("inf")
        self._timer_handle: asyncio.TimerHandle | None = None
        self._tick_handle: asyncio.TimerHandle | None = None
        self._futures: dict[asyncio.Future[Any], None] = {}
        self._flushed: asyncio.Future[None] | None = None
        """Awaited by `stop`: done when nothing is left to go out."""

    # Life ----------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin to listen, and start the protocols."""
        if self._listener is None:
            self.open()
        assert self._listener is not None and self._udp is not None
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self.traffic = Traffic(self)
        self.traffic.wire = self._wire = Wire(
            self.traffic, LoopPoller(self._loop, self._guarded), self._listener, time.monotonic
        )
        self._udp.setblocking(False)
        self._loop.add_reader(self._udp.fileno(), self._guarded, self._read_datagrams)
        try:
            self.call(self.node.start)
        except BaseException:
            self.kill()
            raise

    async def stop(self) -> None:
        """Stop the protocols, let what they sent leave, and close. Again: nothing."""
        if self.closed.is_set():
            return
        if self.node.running:
            self.call(self.node.stop)
            written = self._loop.create_future()
            self.disk.submit(lambda: self._on_loop(_settle, written))
            await written
        self._feed()
        if not self.closed.is_set() and self._wire.busy:
            self._flushed = self._loop.create_future()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._flushed, FLUSH_S)
        self.kill()

    def kill(self) -> None:
        """Close at once and tell nobody."""
        if self.closed.is_set():
            return
        self.node.running = False
        for handle in (self._timer_handle, self._tick_handle):
            if handle is not None:
                handle.cancel()
        if self._udp is not None and self._thread and not self._loop.is_closed():
            self._loop.remove_reader(self._udp.fileno())
        self._close()
        for future in self._futures:
            if not future.done():
                future.set_exception(Indefinite("the peer has ended"))
                # Marked as seen: nobody has to wait for it any more.
                future.exception()
        self._futures.clear()
        if self._flushed is not None:
            _settle(self._flushed)

    def _end(self, text: str) -> None:
        self._loop.call_soon_threadsafe(self._end_loudly, text)

    def _end_loudly(self, text: str) -> None:
        self.kill()
        if self._on_crash is not None:
            self._on_crash(text)

    # Waiting -------------------------------------------------------------------------------------------------

    def future(self, pending: Pending[T]) -> asyncio.Future[T]:
        """The outcome, to be awaited. Indefinite when the peer ends before."""
        future: asyncio.Future[T] = self._loop.create_future()
        self._futures[future] = None
        future.add_done_callback(lambda _: self._futures.pop(future, None))
        self.call(pending.when_done, lambda done: self._on_loop(_fulfil, future, done))
        return future

    def run(self, function: Callable[..., None], *args: Any) -> None:
        """See `Driver`; from another thread, the loop does it soon."""
        if threading.get_ident() == self._thread or not self._thread:
            super().run(function, *args)
        else:
            self._loop.call_soon_threadsafe(self._guarded, self.run, function, *args)

    def post(self, function: Callable[..., None], *args: Any) -> None:
        """See `Driver`."""
        # A loop that is closed has no node that could hear of it.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._guarded, self.run, self.if_running, function, *args)

    # The loop ------------------------------------------------------------------------------------------------

    def _on_loop(self, function: Callable[..., None], *args: Any) -> None:
        if threading.get_ident() == self._thread:
            function(*args)
        else:
            self._loop.call_soon_threadsafe(function, *args)

    def _guarded(self, function: Callable[..., None], *args: Any) -> None:
        """What the loop calls; an error in it ends the peer."""
        if self.closed.is_set():
            return
        # What is sent meanwhile leaves when the function is done, together; that is no turn of the loop later.
        self._feeding = True
        try:
            function(*args)
            if not self.closed.is_set():
                self._feed()
                self._after_wire()
        except Exception:
            self.crash()

    def _wake_wire(self) -> None:
        if not self._feeding:
            self._feeding = True
            if threading.get_ident() == self._thread:
                self._loop.call_soon(self._guarded, self._feed)
            else:
                self._loop.call_soon_threadsafe(self._guarded, self._feed)

    def _feed(self) -> None:
        self._feeding = False
        assert self.traffic is not None
        self.traffic.feed_wire()

    def _after_wire(self) -> None:
        due = self._wire.tick(time.monotonic())
        if due < self._tick_at:
            self._tick_at = due
            if self._tick_handle is not None:
                self._tick_handle.cancel()
            self._tick_handle = self._loop.call_later(due - time.monotonic(), self._guarded, self._tick)
        if self._flushed is not None and not self._wire.busy:
            _settle(self._flushed)

    def _tick(self) -> None:
        self._tick_at = float("inf")

    def _read_datagrams(self) -> None:
        assert self._udp is not None and self.traffic is not None
        for _ in range(DATAGRAMS_AT_ONCE):
            try:
                data = self._udp.recv(DATAGRAM_BYTES)
            except BlockingIOError:
                return
            except ConnectionError:
                continue
            self.traffic.received_datagram(data)
            if self.closed.is_set():
                return

    def _timer_added(self, when: float) -> None:
        if when < self._timer_at:
            self._on_loop(self._arm)

    def _arm(self) -> None:
        if self._timer_handle is not None:
            self._timer_handle.cancel()
        # Most timers are those of calls that were answered long before: for them nobody wakes.
        while self._timers and not self._timers[0][2].active:
            heapq.heappop(self._timers)
        self._timer_at = self._timers[0][0] if self._timers else float("inf")
        if self._timers:
            delay_s = max(0.0, self._timer_at - time.monotonic())
            self._timer_handle = self._loop.call_later(delay_s, self._guarded, self._ring)

    def _ring(self) -> None:
        # What is added meanwhile arms nothing: that is done once, for whatever is first then.
        self._timer_at = float("-inf")
        self.run(self._fire)
        self._arm()


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _fulfil(future: asyncio.Future[T], pending: Pending[T]) -> None:
    if future.done():
        return
    if pending.error is not None:
        future.set_exception(pending.error)
    else:
        future.set_result(pending.result())
