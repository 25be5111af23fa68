"""What people ask a program for while it runs: text for them, JSON lines where those are wanted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from overlay.app import jsonlines, reporter
from overlay.app.terminal import ANSWER, Output
from overlay.core.pending import Pending


class Answers:
    """Gives each answer in one of the two ways, so that with --json all of stdout is JSON."""

    def __init__(self, output: Output, *, json: bool):
        self._output = output
        self._json = json

    def give(self, objects: Iterable[dict[str, Any]], lines: Iterable[str]) -> None:
        """The same thing twice, of which one is printed."""
        if self._json:
            for thing in objects:
                self._output.write(jsonlines.encode(thing))
        else:
            self._output.answer(lines)

    def tell(self, lines: Sequence[str]) -> None:
        """What is only for people; programs get it as it is."""
        self.give([jsonlines.make("Answer", lines=[[ANSWER, line] for line in lines])], lines)

    def ring(self, walked: Pending[Any]) -> None:
        """The outcome of a walk around the ring."""
        if walked.error is not None:
            self._output.error(str(walked.error))
        else:
            ring = walked.result()
            self.give([reporter.ring_object(ring)], reporter.block(reporter.rows_of_ring(ring)))

    def status(self, view: Any, *, ready: bool) -> None:
        """One peer."""
        self.give([reporter.view_object(view, ready)], reporter.status(view))
