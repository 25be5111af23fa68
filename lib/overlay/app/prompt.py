"""A prompt on a terminal: output always above the line being typed, and below it how things are.

Imported only where prompt_toolkit is and a person sits there.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Any, TextIO

from prompt_toolkit.application import Application
from prompt_toolkit.filters import is_done
from prompt_toolkit.layout import ConditionalContainer, FormattedTextControl, HSplit, VerticalAlign, Window

from overlay.app.console import Console, Lines

FLUSH_S = 0.03
"""Lines that come within so short a time are printed together, and the prompt is drawn again once."""


class Prompt(Console):
    """One line, and the bottom line."""

    def __init__(self, *args: Any, toolbar: Callable[[], str], **keywords: Any):
        self._toolbar = toolbar
        super().__init__(*args, **keywords)
        self._app.pre_run_callables.append(self._above.print_held)

    def _layout(self) -> Any:
        bottom = Window(FormattedTextControl(lambda: f" {self._toolbar()}"), height=1, style="class:bottom-toolbar")
        below = ConditionalContainer(bottom, ~is_done)
        return HSplit([self._input, self._search, below], align=VerticalAlign.TOP)

    def _stream(self) -> TextIO:
        self._above = Above(self._app)
        return self._above.as_stream()

    def close(self) -> None:
        """See `Console`; what was not printed yet is printed now."""
        super().close()
        rest = self._above.take()
        if rest:
            self._output.write(rest.rstrip("\n"))


class Above(Lines):
    """Prints above the line being typed."""

    def __init__(self, app: Application[None]):
        self._app = app
        self._lock = threading.Lock()
        self._held: list[str] = []

    def write(self, text: str) -> int:
        """Printed soon; in the order of the calls."""
        with self._lock:
            self._held.append(text)
            first = len(self._held) == 1
        loop = self._app.loop
        if first and loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop was closed just now
                loop.call_soon_threadsafe(loop.call_later, FLUSH_S, self.print_held)
        return len(text)

    def take(self) -> str:
        """What was not printed yet."""
        with self._lock:
            text, self._held = "".join(self._held), []
        return text

    def print_held(self) -> None:
        """In the place of the prompt, which is then drawn below. On the application's thread."""
        app = self._app
        if app.is_done or not (text := self.take()):
            return
        app.renderer.erase()
        app.output.write_raw(text.replace("\n", "\r\n"))
        app.output.flush()
        app.invalidate()
