"""What reaches people: lines on two streams, cleaned, colored where that is wanted, and a copy in a log."""

from __future__ import annotations

import errno
import io
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable
from typing import TextIO

import msgspec

from overlay.app.writer import Writer

SAY, PING, ANSWER, HINT, ROUTE, ERROR = "say", "ping", "answer", "hint", "route", "error"
"""What a line is. The assignment's own lines are SAY and PING; an ANSWER is what the user asked for. All else is beside
the matter and goes to stderr."""

ASSIGNMENT = frozenset({SAY, PING})
STANDARD_OUTPUT = frozenset({SAY, PING, ANSWER})

_COLORS = {PING: "\x1b[2m", HINT: "\x1b[36m", ROUTE: "\x1b[34m", ERROR: "\x1b[31m"}
_DEATH = "\x1b[31m"
_CHANGE = "\x1b[32m"
_RESET = "\x1b[0m"


FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""Why nothing more goes to a file; any other failure of a stream is a reader who is gone."""


class Line(msgspec.Struct, frozen=True):
    """One line for a person."""

    text: str
    kind: str = SAY


def clean(text: str) -> str:
    """The text with everything that could steer a terminal, or turn its writing around, made visible."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def short(text: str, length: int = 40) -> str:
    """A stranger's text for an error line: cleaned, quoted and of a bounded length."""
    text = clean(text[: length + 1])
    return f'"{text}"' if len(text) <= length else f'"{text[: length - 3]}..."'


def last_line(text: str) -> str:
    """Of a traceback: what was wrong."""
    return next(reversed(text.strip().splitlines()), "")


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a person sits at the other end."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # closed
        return False


def wants_color(stream: TextIO | None, forbidden: bool) -> bool:
    """Colors only on a terminal that has them, and only when nobody said no (no-color.org)."""
    return not forbidden and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb" and is_terminal(stream)


class Output:
    """Prints whole lines, from any thread. Which kinds are shown may change while it runs; the log gets all."""

    def __init__(
        self,
        out: TextIO | None = None,
        err: TextIO | None = None,
        *,
        no_color: bool = False,
        log: TextIO | None = None,
        hidden: frozenset[str] = frozenset(),
    ):
        self.out: TextIO | None = sys.stdout if out is None else out
        self.err: TextIO | None = sys.stderr if err is None else err
        self.color_out = wants_color(self.out, no_color)
        self.color_err = wants_color(self.err, no_color)
        self.log = log
        self.hidden = set(hidden)
        self.on_broken: Callable[[], None] = lambda: None
        self._lock = threading.Lock()
        self._log_lock = threading.Lock()
        self._writer: Writer | None = None
        self._broken: set[int] = set()
        self._full = False
        if self.color_out or self.color_err:
            import colorama  # type: ignore[import-untyped]

            colorama.just_fix_windows_console()
        for stream in (self.out, self.err):
            if isinstance(stream, io.TextIOWrapper):
                # A locale without the square or a name's letters must not end the program.
                stream.reconfigure(errors="replace")

    def show(self, line: Line, before: str = "") -> None:
        """One line; the assignment's lines get their "> "."""
        standard = line.kind in STANDARD_OUTPUT
        text = f"{before}{'> ' if line.kind in ASSIGNMENT else ''}{clean(line.text)}"
        self.note(text)
        if line.kind not in self.hidden:
            colored = self.color_out if standard else self.color_err
            self._write(standard, (_paint(line, text) if colored else text) + "\n")

    def write(self, text: str) -> None:
        """Lines made elsewhere, such as a block of the reporter or JSON: to stdout in one piece."""
        self._write(True, text + "\n")

    def answer(self, lines: Iterable[str]) -> None:
        """What the user asked for, on stdout."""
        for line in lines:
            self.show(Line(line, ANSWER))

    def say(self, text: str, before: str = "") -> None:
        """A hint on stderr."""
        self.show(Line(text, HINT), before)

    def error(self, text: str, before: str = "") -> None:
        """An error on stderr."""
        self.show(Line(text, ERROR), before)

    def note(self, text: str) -> None:
        """For the log alone, and there it may be several lines."""
        with self._log_lock:
            if self.log is None:
                return
            try:
                self.log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")
                self.log.flush()
            except (OSError, ValueError):
                self.log = None

    # Whoever prints may not wait -----------------------------------------------------------------------------

    def detach(self) -> None:
        """From now on a thread of its own writes, and whoever prints never waits for who reads."""
        self._writer = Writer(
            self._put, lambda count: self.error(f"{count} lines are lost: nobody read what was printed before")
        )
        self._writer.start()

    def status(self, status: int) -> int:
        """The status to exit with: 1 in the place of 0 where what was printed found no room."""
        return 1 if status == 0 and self._full else status

    def drain(self, stall_s: float) -> bool:
        """Wait for what was printed to be written, unless nothing of it is within `stall_s`; whether it is."""
        return self._writer is None or self._writer.drain(stall_s)

    @property
    def whole(self) -> bool:
        """Whether nobody has stopped listening."""
        return not self._broken

    def _write(self, standard: bool, text: str) -> None:
        if self._writer is None:
            self._put(standard, text)
        else:
            self._writer.add(standard, text)

    def _put(self, standard: bool, text: str) -> None:
        with self._lock:
            # A program that was started with the stream closed has none.
            stream = self.out if standard else self.err
            if id(stream) in self._broken:
                return
            full = False
            try:
                if stream is not None:
                    stream.write(text)
                    stream.flush()
                    return
            except OSError as error:
                full = standard and error.errno in FULL
            except ValueError:  # closed
                pass
            # Whoever read us is gone. Nothing can be said on this stream any more, and nobody must die of it.
            self._broken.add(id(stream))
            self._full |= full
        if full:
            self.error("there is no room on the disk for what is printed")
        if standard or stream is not None:
            self.on_broken()


def _paint(line: Line, text: str) -> str:
    color = _COLORS.get(line.kind, "")
    if line.kind == SAY:
        color = _DEATH if "no longer alive" in line.text else _CHANGE if "successor is" in line.text else ""
    return f"{color}{text}{_RESET}" if color else text
