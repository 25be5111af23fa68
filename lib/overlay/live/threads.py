"""A peer on three threads: commands over TCP, pings that come, and the clock that makes pings go.

    tcp-command-<id>       all TCP: a selector, nothing on it ever blocks
    udp-ping-server-<id>   receives datagrams
    udp-ping-client-<id>   the clock: every timer of the node, so the pings it sends

They meet in the monitor of `driver`. What blocks, disks and bodies, is on the pools of `workers`.
"""

from __future__ import annotations

import selectors
import socket
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from overlay.core.pending import Pending
from overlay.errors import Indefinite
from overlay.live.addresses import is_wildcard
from overlay.live.driver import DATAGRAM_BYTES, FLUSH_S, Driver, log
from overlay.live.traffic import Traffic
from overlay.live.waker import Bell, Latch, Ready, Waker
from overlay.live.wire import Wire

T = TypeVar("T")

STACK_BYTES = 1 << 20
"""Address space of a thread; hundreds of peers live in one process."""

DISK_S = 30.0

JOIN_S = 5.0
"""An end waits so long for the threads; one that the program above does not let go of ends whenever it returns."""

_starting = threading.Lock()


class SelectorPoller:
    """`Poller` over a selector."""

    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()

    def watch(self, sock: socket.socket, owner: Ready, *, write: bool) -> None:
        """See `Poller`."""
        # By descriptor, for a selector that does not know a socket says so with all that there is to say of it.
        events, fd = selectors.EVENT_READ | (selectors.EVENT_WRITE if write else 0), sock.fileno()
        if fd in self.selector.get_map():
            self.selector.modify(fd, events, owner)
        else:
            self.selector.register(fd, events, owner)

    def forget(self, sock: socket.socket) -> None:
        """See `Poller`."""
        if sock.fileno() in self.selector.get_map():
            self.selector.unregister(sock.fileno())

    def poll(self, timeout_s: float | None) -> None:
        """Wait, and call whom it concerns."""
        for key, events in self.selector.select(timeout_s):
            if events & selectors.EVENT_WRITE:
                key.data.writable()
            if events & selectors.EVENT_READ:
                key.data.readable()


class _Loop(threading.Thread):
    """One of the three threads."""

    def __init__(self, name: str, loop: Callable[[], None], crash: Callable[[], None]):
        super().__init__(name=name, daemon=True)
        self._loop = loop
        self._crash = crash

    def run(self) -> None:
        """See `threading.Thread`."""
        try:
            self._loop()
        except BaseException:
            self._crash()


class ThreadDriver(Driver):
    """Open it, add protocols to `node`, start it; then `run`, `call` and `wait` from any thread, and `stop` or `kill`."""

    __slots__ = (
        "_alarm", "_clock_thread", "_command_thread", "_flush_until", "_halted", "_poller", "_threads", "_waiters", "_waker",
    )  # fmt: skip

    def __init__(self, *args: Any, **keywords: Any):
        super().__init__(*args, **keywords)
        self._alarm = Bell()
        """Wakes the clock: an earlier timer was added, or the end has come."""
        self._threads: list[threading.Thread] = []
        self._command_thread = self._clock_thread = 0
        self._flush_until = 0.0
        self._halted = False
        self._waiters: dict[Latch, None] = {}

    # Life ----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the threads, and the protocols behind them."""
        if self._listener is None:
            self.open()
        assert self._listener is not None
        self.traffic = traffic = Traffic(self)
        self._waker, self._poller = Waker(), SelectorPoller()
        self._poller.selector.register(self._waker.descriptor, selectors.EVENT_READ, self._waker)
        traffic.wire = Wire(traffic, self._poller, self._listener, time.monotonic)
        try:
            self.call(self.node.start)
        except BaseException:
            self._halt()
            raise
        with _starting:
            before = threading.stack_size(STACK_BYTES)
            try:
                for name, loop in (
                    ("tcp-command", self._command_loop),
                    ("udp-ping-server", self._ping_server_loop),
                    ("udp-ping-client", self._clock_loop),
                ):
                    thread = _Loop(f"{name}-{self.me.id}", loop, self.crash)
                    self._threads.append(thread)
                    thread.start()
            finally:
                threading.stack_size(before)

    def stop(self) -> None:
        """Stop the protocols, let what they sent leave, end the threads and close. Again: nothing."""
        if self.node.running:
            self.call(self.node.stop)
            self.disk.drain(DISK_S)
        self._flush_until = time.monotonic() + FLUSH_S
        self._halt()

    def kill(self) -> None:
        """Close at once and tell nobody."""
        self._halt()

    def _halt(self) -> None:
        with self._lock:
            self._halted = True
            self.node.running = False
        self._alarm.ring()
        if self._threads:
            self._waker.wake()
        deadline = time.monotonic() + JOIN_S
        for thread in self._threads:
            while thread is not threading.current_thread() and thread.is_alive() and time.monotonic() < deadline:
                self._poke()
                thread.join(0.2)
        if self._close() and self.traffic is not None:
            self._poller.selector.close()
            self._waker.close()
        for waiter in tuple(self._waiters):
            waiter.set()

    def _poke(self) -> None:
        # The receiver sits in the kernel; a datagram of our own is what wakes it on every system.
        if self._udp is None:
            return
        host, port = self._udp.getsockname()[:2]
        if is_wildcard(host):
            host = "::1" if ":" in host else "127.0.0.1"
        try:
            self._udp.sendto(b"", (host, port))
        except OSError as error:
            log.debug("Peer %s: %s", self.me.id, error)

    def _end(self, text: str) -> None:
        # Whoever crashed may be a thread that the end waits for, so the end comes from elsewhere.
        threading.Thread(target=self._end_loudly, args=(text,), name=f"crash-{self.me.id}", daemon=True).start()

    def _end_loudly(self, text: str) -> None:
        self._halt()
        if self._on_crash is not None:
            self._on_crash(text)

    # Waiting -------------------------------------------------------------------------------------------------

    def wait(self, pending: Pending[T], timeout_s: float) -> T:
        """Block until it is done; its value, or its error raised. Indefinite when it is not done by then."""
        done = Latch()
        self._waiters[done] = None
        try:
            self.call(pending.when_done, lambda _: done.set())
            if not self.closed.is_set():
                done.wait(timeout_s)
            if not pending.done:
                why = "the peer has ended" if self.closed.is_set() else f"no outcome within {timeout_s} s"
                raise Indefinite(why)
            return pending.result()
        finally:
            del self._waiters[done]

    def post(self, function: Callable[..., None], *args: Any) -> None:
        """See `Driver`."""
        try:
            self.run(self.if_running, function, *args)
        except Exception:
            self.crash()

    # Threads -------------------------------------------------------------------------------------------------

    def _command_loop(self) -> None:
        assert self.traffic is not None
        self._command_thread = threading.get_ident()
        traffic, wire = self.traffic, self.traffic.wire
        due = float("inf")
        while not self._halted:
            timeout = None if due == float("inf") else max(0.0, due - time.monotonic())
            self._poller.poll(timeout)
            traffic.feed_wire()
            due = wire.tick(time.monotonic())
        if self.closed.is_set():
            return
        traffic.feed_wire()
        while wire.busy and (left := self._flush_until - time.monotonic()) > 0:
            self._poller.poll(left)

    def _ping_server_loop(self) -> None:
        assert self._udp is not None and self.traffic is not None
        buffer = bytearray(DATAGRAM_BYTES)
        while not self._halted:
            try:
                count = self._udp.recv_into(buffer)
            except ConnectionError:
                # Some systems report here that an earlier datagram of ours reached nobody.
                continue
            if count or not self._halted:
                self.traffic.received_datagram(memoryview(buffer)[:count])

    def _clock_loop(self) -> None:
        self._clock_thread = threading.get_ident()
        while not self._halted:
            with self._lock:
                due = self._timers.next_at
            if (left := due - time.monotonic()) > 0:
                self._alarm.wait(left)
            else:
                self.run(self._fire)

    def _timer_added(self, when: float) -> None:
        # The clock itself looks again after every handler.
        if self._timers.next_at >= when and self._owner != self._clock_thread:
            self._alarm.ring()

    def _wake_wire(self) -> None:
        # The wire's own thread looks for work after every handler.
        if threading.get_ident() != self._command_thread:
            self._waker.wake()
