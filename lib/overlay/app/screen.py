"""The runner on a terminal with -r: the ring, counters, what the peers say, and the command line below; not full screen.

Imported only where prompt_toolkit is and a person sits there.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any, TextIO

from prompt_toolkit.buffer import Buffer
from prompt_toolkit.filters import Condition
from prompt_toolkit.formatted_text import ANSI, FormattedText, StyleAndTextTuples, to_formatted_text
from prompt_toolkit.key_binding import KeyBindings
from prompt_toolkit.layout import ConditionalContainer, FormattedTextControl, HSplit, VerticalAlign, Window
from prompt_toolkit.styles import Style

from overlay.app.console import Console, Lines
from overlay.app.narrator import count
from overlay.app.picture import Changes, Picture, beside, ring_picture, row_columns, rows_picture, travelled
from overlay.app.reporter import unmonitored

if TYPE_CHECKING:
    from overlay.app.runner_program import RunnerProgram

KEPT_LINES = 1000
RINGS = ((58, 21), (34, 13), (28, 9))
"""Columns and lines of the drawn ring; the first that fits."""
GAP = 4

STYLE = Style.from_dict(
    {
        "dead": "ansired bold",
        "fresh": "ansigreen bold reverse",
        "me": "bold",
        "dim": "ansibrightblack",
        "way": "ansicyan bold",
        "here": "ansicyan bold reverse",
        "counters": "reverse",
    }
)


class Pane(Lines):
    """Keeps the last lines; and, while the peers' lines are switched off, those since something was typed."""

    def __init__(self, program: RunnerProgram) -> None:
        self._program = program
        self.lines: deque[str] = deque(maxlen=KEPT_LINES)
        self.answers: deque[str] = deque(maxlen=KEPT_LINES)

    def write(self, text: str) -> int:
        """See `Lines`."""
        for line in text.rstrip("\n").split("\n"):
            self.lines.append(line)
            if not self._program.narrates:
                self.answers.append(line)
        return len(text)


class Screen(Console):
    """The picture around the line. With the peers' lines switched off, the pane has room for answers only."""

    def __init__(self, program: RunnerProgram, *args: Any):
        self._program = program
        self._pane = Pane(program)
        self._changes = Changes()
        self._views: list[Any] = []
        """The peers as they are drawn."""
        self._back = 0
        """How many lines the pane is scrolled back."""
        super().__init__(*args)

    def _layout(self) -> Any:
        return HSplit(
            [
                Window(FormattedTextControl(self._ring_text), dont_extend_height=True),
                Window(FormattedTextControl(self._counters_text), height=1, style="class:counters"),
                ConditionalContainer(
                    Window(FormattedTextControl(self._pane_text), dont_extend_height=True),
                    Condition(lambda: self._pane_height() > 0),
                ),
                self._input,
                self._search,
            ],
            align=VerticalAlign.TOP,
        )

    def _stream(self) -> TextIO:
        return self._pane.as_stream()

    def _style(self) -> Style:
        return STYLE

    def _keys(self) -> KeyBindings:
        keys = super()._keys()
        keys.add("pageup")(lambda event: self._scroll(1))
        keys.add("pagedown")(lambda event: self._scroll(-1))
        keys.add("f2")(lambda event: self._loop.post(self._program.narrate, not self._program.narrates))
        return keys

    def _scroll(self, pages: int) -> None:
        self._back = max(0, self._back + pages * max(1, self._pane_height() - 1))

    def _accept(self, buffer: Buffer) -> bool:
        self._pane.answers.clear()
        self._back = 0
        return super()._accept(buffer)

    # What is shown -------------------------------------------------------------------------------------------

    def _size(self) -> tuple[int, int]:
        size = self._app.output.get_size()
        return size.columns, size.rows

    def _ring_lines(self) -> Picture:
        """At most the terminal less what stands below."""
        width, height = self._size()
        room = max(1, height - 3 - self._pane_height())
        program, now = self._program, time.monotonic()
        self._views = list(program.fleet.views().values())
        rows, dead = program.rows(self._views), program.dead()
        fresh = self._changes.fresh(rows, now)
        started, path = program.counters.route
        least = row_columns(rows) + GAP
        ring = next((ring for ring in RINGS if least + ring[0] <= width and ring[1] <= room), None)
        left = rows_picture(rows, width - (ring[0] + GAP if ring else 0), room, fresh, dead)
        if ring is None:
            return left
        drawn = ring_picture([row.id for row in rows], *ring, dead, path, travelled(path, now - started))
        return beside(left, drawn, GAP)

    def _pane_height(self) -> int:
        """A third of the terminal; without the peers' lines as much of it as the answers need."""
        third = max(3, self._size()[1] // 3)
        return third if self._program.narrates else min(third, len(self._pane.answers))

    def _ring_text(self) -> FormattedText:
        pieces: StyleAndTextTuples = []
        for line in self._ring_lines():
            pieces += [*line, ("", "\n")]
        return FormattedText(pieces[:-1])

    def _pane_text(self) -> StyleAndTextTuples:
        height = self._pane_height()
        lines = list(self._pane.lines if self._program.narrates else self._pane.answers)
        # Scrolled back, but not to before the beginning.
        self._back = max(0, min(self._back, len(lines) - height))
        end = len(lines) - self._back
        lines = lines[max(0, end - height) : end]
        pieces: StyleAndTextTuples = [("", "\n" * (height - len(lines)))]
        for line in lines:
            pieces += [*to_formatted_text(ANSI(line)), ("", "\n")]
        return pieces[:-1]

    def _counters_text(self) -> str:
        program, counters = self._program, self._program.counters
        records = {name for view in self._views for name in view.records}
        texts = [count(len(program.fleet.members), "peer")]
        if not program.options.processes:
            texts.append(f"{counters.rate():.0f} messages/s")
        texts += [count(len(records), "record"), count(len(counters.deaths), "death")]
        strangers = [id for id in unmonitored(program.rows(self._views)) if id not in program.dead()]
        if strangers:
            texts.append(f"{len(strangers)} unmonitored: {', '.join(map(str, strangers[:4]))}")
        texts += program.transfers(self._views) or ["help, F2: lines, PgUp: before"]
        return f" {' | '.join(texts)}"
