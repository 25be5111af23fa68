"""Plays a lecture: one step after another, each when the one before it is done. `script` has read it."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from overlay.app import script
from overlay.app.commands import Typed
from overlay.app.loop import Loop
from overlay.app.script import Expect, Step, Wait
from overlay.app.terminal import Output
from overlay.core.pending import Pending

EVERY_S = 0.1
"""How often an expectation is looked at."""


class Lecture:
    """Runs on the main loop. `do` carries a command out, `look` gives a peer's picture or None, `over` hears how it ended."""

    def __init__(
        self,
        steps: list[Step],
        loop: Loop,
        output: Output,
        do: Callable[[Typed], Pending[Any]],
        look: Callable[[int], Any],
        over: Callable[[bool], None],
    ):
        self._steps = steps
        self._loop, self._output = loop, output
        self._do, self._look, self._over = do, look, over

    def play(self) -> None:
        """The next step, and then the ones behind it."""
        if not self._steps:
            self._over(True)
            return
        step = self._steps.pop(0)
        self._output.say(f"line {step.number}: {step.text}")
        match step.action:
            case Wait(seconds=seconds):
                self._loop.later(seconds, self.play)
            case Expect() as expect:
                self._await(step, expect, time.monotonic() + script.EXPECT_S)
            case Typed() as typed:
                self._loop.settled(self._do(typed), partial(self._played, step))

    def _played(self, step: Step, pending: Pending[Any]) -> None:
        if pending.error is not None:
            self._fail(step, str(pending.error))
        else:
            self.play()

    def _await(self, step: Step, expect: Expect, deadline: float) -> None:
        view = self._look(expect.peer)
        if expect.holds(view):
            self._output.say(f"line {step.number}: as expected")
            self.play()
        elif time.monotonic() < deadline:
            self._loop.later(EVERY_S, self._await, step, expect, deadline)
        else:
            self._fail(step, expect.seen(view))

    def _fail(self, step: Step, why: str) -> None:
        self._output.error(f"line {step.number} failed: {step.text}: {why}")
        self._over(False)
