"""A program on a pseudo-terminal, and what a person who sits there sees: a terminal emulator reads along."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyte
from pyte.screens import Char as Cell

from tests.end_to_end.processes import DEADLINE_S

ENTER, TAB, UP, CTRL_C, CTRL_D, CTRL_U, F2 = "\r", "\t", "\x1b[A", "\x03", "\x04", "\x15", "\x1bOQ"

# A session of its own whose terminal is this one, as in a window: keys become signals, and a new size is told.
_BEGIN = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"


class _Screen(pyte.HistoryScreen):
    """Keeps what scrolls off, and says where the cursor is when it is asked."""

    def __init__(self, columns: int, rows: int, answer: Callable[[str], None]):
        super().__init__(columns, rows, history=100_000)
        self._answer = answer

    def write_process_input(self, data: str) -> None:
        self._answer(data)

    def seen(self) -> list[str]:
        """The rows of now."""
        return [row.rstrip() for row in self.display]

    def gone(self) -> list[str]:
        """The rows that have scrolled off."""
        return ["".join(row[column].data for column in range(self.columns)).rstrip() for row in self.history.top]


class Terminal:
    """It runs one program."""

    def __init__(self, arguments: list[str], cwd: Path, columns: int = 80, rows: int = 24, **environment: str):
        self._news = threading.Condition(threading.RLock())
        self._master, self._slave = pty.openpty()
        self._screen = _Screen(columns, rows, self.type)
        self._stream: Any = pyte.ByteStream(self._screen)
        termios.tcsetwinsize(self._slave, (rows, columns))
        self._before = termios.tcgetattr(self._slave)
        self.process = subprocess.Popen(
            [sys.executable, "-c", _BEGIN, sys.executable, *arguments],
            cwd=cwd,
            stdin=self._slave,
            stdout=self._slave,
            stderr=self._slave,
            env=_environment(cwd, environment),
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while data := self._some():
            with self._news:
                self._stream.feed(data)
                self._news.notify_all()

    def _some(self) -> bytes:
        try:
            return os.read(self._master, 65536)
        except OSError:
            return b""

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def resize(self, columns: int, rows: int) -> None:
        with self._news:
            self._screen.resize(rows, columns)
        termios.tcsetwinsize(self._slave, (rows, columns))

    def everything(self) -> list[str]:
        """What has scrolled off, and what is to be seen, a string a row."""
        with self._news:
            return self._screen.gone() + self._screen.seen()

    def cells(self) -> list[list[Cell]]:
        """What is to be seen, with its colors."""
        with self._news:
            buffer = self._screen.buffer
            return [
                [buffer[row][column] for column in range(self._screen.columns)] for row in range(self._screen.lines)
            ]

    def colored(self) -> bool:
        """Whether anything that is to be seen has a color."""
        with self._news:
            return any(cell.fg != "default" for row in self._screen.buffer.values() for cell in row.values())

    def until(self, holds: Callable[[list[str]], bool], what: str) -> None:
        """Wait until the rows are so."""
        with self._news:
            true = self._news.wait_for(lambda: holds(self._screen.seen()), DEADLINE_S)
            assert true, "\n".join([f"{what} did not come; this is seen:", *self._screen.seen()])

    def shows(self, text: str) -> None:
        """Wait until a row has this in it."""
        self.until(lambda rows: any(text in row for row in rows), text)

    def ended(self) -> int:
        """The exit status; the terminal echoes and edits lines as before."""
        status = self.process.wait(DEADLINE_S)
        assert termios.tcgetattr(self._slave)[3] == self._before[3]
        return status

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._slave)
        self._reader.join(DEADLINE_S)
        os.close(self._master)


def _environment(cwd: Path, more: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "PROMPT_TOOLKIT_NO_CPR")}
    return {**kept, "TERM": "xterm", "XDG_STATE_HOME": str(cwd), **more}


__all__ = ["CTRL_C", "CTRL_D", "CTRL_U", "ENTER", "F2", "TAB", "UP", "Cell", "Terminal"]
