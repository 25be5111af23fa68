"""What every program with a prompt does: it starts, listens to whoever sits there, and ends in one way."""

from __future__ import annotations

import argparse
from typing import Any

from overlay.app import hosts
from overlay.app.answers import Answers
from overlay.app.loop import LineReader, Loop, rich_terminal
from overlay.app.start import FAILED, INTERRUPTED, LEFT
from overlay.app.terminal import Output
from overlay.errors import OverlayError


class Session:
    """A program and its user. Every method runs on the main loop. A subclass says what is begun, heard and ended."""

    def __init__(self, output: Output, *, json: bool = False):
        self.output = output
        self.answers = Answers(output, json=json)
        self.loop = Loop()
        self._plain = json
        self._console: Any = None

    def run(self) -> int:
        """Until the loop is given an exit status, which this is."""
        self.loop.handle_signals(self.interrupt, self.terminate)
        self.output.on_broken = lambda: self.loop.post(self.terminate)
        try:
            self._start()
        except OverlayError as error:
            self.output.error(str(error))
            return FAILED
        try:
            self._listen()
            return self.loop.run()
        finally:
            if self._console is not None:
                self._console.close()
            self._stop()

    def _start(self) -> None:
        """Begin. After an OverlayError nothing is left that would have to be stopped."""
        raise NotImplementedError

    def _stop(self) -> None:
        """End what still runs."""
        raise NotImplementedError

    def _warn_if_open(self, options: argparse.Namespace) -> None:
        if hosts.is_open(options.bind or options.host):
            self.output.say(hosts.OPEN)

    def _listen(self) -> None:
        """To a prompt on a terminal, else to lines."""
        if self._plain or not rich_terminal(self.output):
            LineReader(self.loop, self.on_line, self.on_end).start()
        else:
            self._console = self._terminal()
            self._console.start()

    def _terminal(self) -> Any:
        """A Console, not started; whatever it needs is imported here."""
        raise NotImplementedError

    def on_line(self, text: str) -> None:
        """One typed line."""
        raise NotImplementedError

    def on_end(self, quits: bool) -> None:
        """No more input; `quits` where a terminal, or a pipe that brought a line, has ended."""
        raise NotImplementedError

    def terminate(self) -> None:
        """SIGTERM, or nobody reads what is printed."""
        self.loop.exit(LEFT)

    def interrupt(self) -> None:
        """Ctrl-C."""
        self.loop.exit(INTERRUPTED)
