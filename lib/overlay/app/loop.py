"""The main loop of a program, and the thread that reads lines for it.

Whatever happens, a key, a signal, a peer's outcome, becomes a call in one inbox; the main thread runs them one by one.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from overlay.app.terminal import Output, is_terminal
from overlay.core.pending import Pending

LET_IN_S = 8.0
"""A join that takes longer is told of: by then a known peer that does not answer would have made it fail."""

MAX_LINE_BYTES = 64 * 1024
"""A longer line without an end is cut here; what people type is shorter."""


class Loop:
    """Runs calls on the thread that calls `run`, until somebody gives an exit status."""

    def __init__(self) -> None:
        # Its put may be called from a signal handler in the middle of anything, which other queues' may not.
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._timers: list[tuple[float, float, Callable[[], None]]] = []
        self._interrupts = 0
        self._signals: int | None = None
        """Where the system's handler writes that a signal has come."""
        self.status: int | None = None

    def post(self, call: Callable[..., None], *args: Any) -> None:
        """Have it called soon; from any thread."""
        self._inbox.put(partial(call, *args))

    def settled(self, pending: Pending[Any], then: Callable[[Pending[Any]], None]) -> None:
        """Have `then` called on the loop once the outcome is there."""
        pending.when_done(lambda done: self.post(then, done))

    def patience(self, joining: Pending[Any], known: str, say: Callable[[str], None]) -> None:
        """Say whom a join waits for when that takes long, as it does where the known peer is in no ring yet itself."""

        def hint() -> None:
            if not joining.done:
                say(f"waiting to be let in by {known}")

        self.later(LET_IN_S, hint)

    def every(self, period_s: float, call: Callable[[], None], first_s: float | None = None) -> None:
        """Call again and again."""
        self._add(period_s if first_s is None else first_s, period_s, call)

    def later(self, delay_s: float, call: Callable[..., None], *args: Any) -> None:
        """Call once."""
        self._add(delay_s, 0.0, partial(call, *args))

    def _add(self, delay_s: float, period_s: float, call: Callable[[], None]) -> None:
        self._timers.append((time.monotonic() + delay_s, period_s, call))
        self.post(_look_again)

    def exit(self, status: int) -> None:
        """End the loop; the first status counts."""
        if self.status is None:
            self.status = status
            self.post(_look_again)

    def run(self) -> int:
        """Until `exit`; the status."""
        try:
            while self.status is None:
                self._run_timers()
                with contextlib.suppress(queue.Empty):
                    self._inbox.get(timeout=self._until_due())()
        finally:
            self._hear_no_signals()
        return self.status

    def _until_due(self) -> float | None:
        """How long nothing is to be done; None: until something comes."""
        # On Windows a wait without an end hears no Ctrl-C.
        longest = 0.5 if os.name == "nt" else None
        if not self._timers:
            return longest
        left = max(0.0, min(when for when, _, _ in self._timers) - time.monotonic())
        return left if longest is None else min(left, longest)

    def _run_timers(self) -> None:
        now = time.monotonic()
        due = [timer for timer in self._timers if timer[0] <= now]
        for timer in due:
            self._timers.remove(timer)
            _, period, call = timer
            if period:
                self._timers.append((now + period, period, call))
            call()

    def handle_signals(self, on_interrupt: Callable[[], None], on_terminate: Callable[[], None]) -> None:
        """Ctrl-C and SIGTERM become calls in the inbox. Only on the main thread, which a test may not be."""
        if threading.current_thread() is not threading.main_thread():
            return

        def interrupted(*_: Any) -> None:
            if not self.interrupt(on_interrupt):
                os._exit(128 + signal.SIGINT)

        signal.signal(signal.SIGINT, interrupted)
        signal.signal(signal.SIGTERM, lambda *_: self.post(on_terminate))
        if os.name != "nt":  # there the loop does not wait for long
            self._hear_signals()

    def _hear_signals(self) -> None:
        """The system may give a signal to any thread, which does not wake the main one; its handler runs there alone."""
        read, write = os.pipe()
        os.set_blocking(write, False)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        self._signals = write

        def wake() -> None:
            while os.read(read, 64):
                self.post(_look_again)
            os.close(read)

        threading.Thread(target=wake, name="signals", daemon=True).start()

    def _hear_no_signals(self) -> None:
        if self._signals is not None:
            signal.set_wakeup_fd(-1)
            os.close(self._signals)
            self._signals = None

    def interrupt(self, call: Callable[[], None]) -> bool:
        """Ctrl-C: have it called soon. False the second time: then nothing is waited for any more, the caller ends us."""
        self._interrupts += 1
        if self._interrupts == 1:
            self.post(call)
        return self._interrupts == 1


def _look_again() -> None:
    """Wakes the loop, which looks at its timers and its status then."""


def in_background() -> bool:
    """Whether stdin is a terminal that another job has now."""
    try:
        return os.name == "posix" and is_terminal(sys.stdin) and os.tcgetpgrp(sys.stdin.fileno()) != os.getpgrp()
    except OSError:
        # Not the terminal that controls us, so there are no jobs on it.
        return False


def rich_terminal(output: Output) -> bool:
    """Whether a prompt with history and a bottom line can be shown: a person on both ends, and prompt_toolkit there."""
    if not (is_terminal(sys.stdin) and is_terminal(output.out)) or os.environ.get("TERM") == "dumb" or in_background():
        return False
    try:
        import prompt_toolkit  # noqa: F401
    except ImportError:
        return False
    return True


class LineReader(threading.Thread):
    """Reads stdin a line at a time and posts them; then the end of input, with whether any line came before it."""

    def __init__(self, loop: Loop, on_line: Callable[[str], None], on_end: Callable[[bool], None]):
        super().__init__(name="lines", daemon=True)
        self._loop = loop
        self._on_line = on_line
        self._on_end = on_end
        self._terminal = is_terminal(sys.stdin)

    def run(self) -> None:
        if sys.stdin is None or sys.stdin.closed:
            return
        if self._terminal and hasattr(signal, "pthread_sigmask"):
            # Reading in the background then fails, rather than stop the whole process.
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTIN})
        count, rest = 0, b""
        while data := self._read():
            *lines, rest = (rest + data).split(b"\n")
            count += len(lines)
            for line in lines:
                self._loop.post(self._on_line, line.decode("utf-8", "replace").rstrip("\r"))
            rest = rest[:MAX_LINE_BYTES]
        if rest.strip():
            count += 1
            self._loop.post(self._on_line, rest.decode("utf-8", "replace"))
        self._loop.post(self._on_end, bool(count) or self._terminal)

    def _read(self) -> bytes:
        """Not through sys.stdin, whose lock a thread blocked in it would hold while the interpreter ends."""
        while True:
            while in_background():
                time.sleep(0.5)
            try:
                return os.read(sys.stdin.fileno(), 65536)
            except OSError:
                if not in_background():
                    return b""
            except ValueError:
                return b""
