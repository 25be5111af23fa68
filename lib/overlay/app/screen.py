"""The runner on a terminal with -r: the ring, counters, what the peers say, and the command line below; not full screen.

Imported only where prompt_toolkit is and a person sits there.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, TextIO, cast

from prompt_toolkit.application import Application
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.filters import Condition
from prompt_toolkit.formatted_text import ANSI, FormattedText, StyleAndTextTuples, to_formatted_text
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.layout import (
    CompletionsMenu,
    ConditionalContainer,
    Float,
    FloatContainer,
    FormattedTextControl,
    HSplit,
    Layout,
    Window,
)
from prompt_toolkit.styles import Style
from prompt_toolkit.widgets import TextArea

from overlay.app.picture import Changes, Lines, beside, ring_picture, rows_picture, travelled
from overlay.app.prompt import Words, color_depth, end, history
from overlay.app.terminal import is_terminal

if TYPE_CHECKING:
    from overlay.app.runner_program import RunnerProgram

REDRAW_S = 0.25
KEPT_LINES = 1000
RING_WIDTH = 36

STYLE = Style.from_dict(
    {
        "dead": "ansired bold",
        "fresh": "ansigreen bold reverse",
        "me": "bold",
        "dim": "ansibrightblack",
        "way": "ansicyan bold",
        "here": "ansicyan bold reverse",
        "counters": "reverse",
        "rule": "ansibrightblack",
    }
)


class Pane:
    """Stands in for a stream: keeps the last lines."""

    def __init__(self) -> None:
        self.lines: deque[str] = deque(maxlen=KEPT_LINES)

    def write(self, text: str) -> int:
        """Whole lines, as Output writes them."""
        self.lines.extend(text.rstrip("\n").split("\n"))
        return len(text)

    def flush(self) -> None:
        """Nothing is held back."""

    def isatty(self) -> bool:
        """For colors it is one."""
        return True


class Screen(threading.Thread):
    """The application on a thread of its own; what is typed is posted to the loop."""

    def __init__(self, program: RunnerProgram, words: Words):
        super().__init__(name="screen", daemon=True)
        self._program = program
        self._streams = program.output.out, program.output.err
        self._pane = Pane()
        self._changes = Changes()
        self.narration = True
        self._input = TextArea(
            height=1,
            prompt="> ",
            multiline=False,
            history=history(),
            completer=words,
            complete_while_typing=False,
            accept_handler=self._accept,
        )
        self._app: Application[None] = Application(
            layout=Layout(self._layout(), focused_element=self._input),
            key_bindings=self._keys(),
            style=STYLE,
            refresh_interval=REDRAW_S,
            color_depth=color_depth(program.output),
        )
        program.output.out = cast(TextIO, self._pane)
        if is_terminal(program.output.err):
            program.output.err = cast(TextIO, self._pane)

    def _layout(self) -> Any:
        pane = Window(FormattedTextControl(self._pane_text), dont_extend_height=True)
        body = HSplit(
            [
                Window(FormattedTextControl(self._ring_text), dont_extend_height=True),
                Window(FormattedTextControl(self._counters_text), height=1, style="class:counters"),
                ConditionalContainer(pane, Condition(lambda: self.narration)),
                self._input,
            ]
        )
        return FloatContainer(body, [Float(CompletionsMenu(max_height=6), xcursor=True, ycursor=True)])

    def _keys(self) -> KeyBindings:
        keys = KeyBindings()

        @keys.add("c-c")
        @keys.add("c-d", filter=Condition(lambda: not self._input.text))
        def _end(event: KeyPressEvent) -> None:
            self._program.loop.post(self._program.end)

        @keys.add("f2")
        def _switch(event: KeyPressEvent) -> None:
            self.narration = not self.narration

        @keys.add("tab")
        def _complete(event: KeyPressEvent) -> None:
            if event.current_buffer.complete_state:
                event.current_buffer.complete_next()
            else:
                event.current_buffer.start_completion(insert_common_part=True)

        return keys

    def _accept(self, buffer: Buffer) -> bool:
        self._pane.write(f"> {buffer.text}")
        self._program.loop.post(self._program.on_line, buffer.text)
        return False

    # What is shown -------------------------------------------------------------------------------------------

    def _size(self) -> tuple[int, int]:
        size = self._app.output.get_size()
        return size.columns, size.rows

    def _ring_lines(self) -> Lines:
        """At most the terminal less what stands below."""
        width, height = self._size()
        room = max(1, height - 3 - (self._pane_height() if self.narration else 0))
        program, now = self._program, time.monotonic()
        rows = program.rows()
        dead = program.dead()
        fresh = self._changes.fresh(rows, now)
        started, path = program.counters.route
        reached = travelled(path, now - started)
        wide = width >= 38 + RING_WIDTH
        left = rows_picture(rows, width - RING_WIDTH if wide else width, room, fresh, dead)
        if not wide:
            return left
        ring = ring_picture([row.id for row in rows], RING_WIDTH - 2, min(room, 13), dead, path, reached)
        return beside(left, ring, width - RING_WIDTH)

    def _pane_height(self) -> int:
        """A third of the terminal."""
        return max(3, self._size()[1] // 3)

    def _ring_text(self) -> FormattedText:
        pieces: StyleAndTextTuples = []
        for line in self._ring_lines():
            pieces += [*line, ("", "\n")]
        return FormattedText(pieces[:-1])

    def _pane_text(self) -> StyleAndTextTuples:
        width, _ = self._size()
        lines = list(self._pane.lines)[-self._pane_height() :]
        lines = [""] * (self._pane_height() - len(lines)) + lines
        pieces: StyleAndTextTuples = []
        for line in lines:
            shown = to_formatted_text(ANSI(line[: width + 16 if "\x1b" in line else width - 1]))
            pieces += [*shown, ("", "\n")]
        return pieces[:-1]

    def _counters_text(self) -> str:
        program, counters = self._program, self._program.counters
        texts = [f" {len(program.fleet.members)} peers", f"{counters.rate():.0f} messages/s"]
        if program.options.processes:
            texts.pop()
        texts += [f"{len(counters.deaths)} deaths", f"{counters.stored} stored", f"{counters.received} received"]
        texts += program.transfers() or ["F2: lines", "help"]
        return " | ".join(texts)

    # The thread ----------------------------------------------------------------------------------------------

    def run(self) -> None:
        with contextlib.suppress(EOFError):
            self._app.run(handle_sigint=False)

    def close(self) -> None:
        """Give the terminal back; the last picture stays."""
        end(self, self._app)
        self._program.output.out, self._program.output.err = self._streams
