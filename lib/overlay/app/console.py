"""A line that is typed, at the bottom of what a program shows; prompt and screen are both one.

One prompt_toolkit application runs from the start of the program to its end. The terminal is raw all that time, so a key
that is pressed while something is printed, or between two commands, is neither echoed into it nor lost.
Imported only where prompt_toolkit is and a person sits there.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO, cast

from prompt_toolkit.application import Application, run_in_terminal
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.completion import CompleteEvent, get_common_complete_suffix
from prompt_toolkit.filters import Condition
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.layout import Layout
from prompt_toolkit.output import ColorDepth, create_output
from prompt_toolkit.output import Output as TerminalOutput
from prompt_toolkit.output.vt100 import Vt100_Output
from prompt_toolkit.styles import Style
from prompt_toolkit.widgets import SearchToolbar, TextArea

from overlay.app.completion import Words
from overlay.app.loop import Loop
from overlay.app.terminal import Output, clean, is_terminal

REDRAW_S = 0.25
END_S = 2.0


def history() -> History:
    """What was typed in earlier runs, in the user's state folder; in memory only where that cannot be written."""
    try:
        folder = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "overlay"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "history"
        path.touch(mode=0o600)
    except (OSError, RuntimeError):
        return InMemoryHistory()
    return FileHistory(str(path))


def color_depth(output: Output) -> ColorDepth | None:
    """One color where none are wanted, else what the terminal has."""
    return None if output.color_out else ColorDepth.DEPTH_1_BIT


def _terminal_output() -> TerminalOutput:
    """The terminal, which is not asked where its cursor is: an answer that comes late is typed into whatever is next."""
    output = create_output()
    if isinstance(output, Vt100_Output):
        output.enable_cpr = False
    return output


class Console(threading.Thread):
    """Edits lines on a thread of its own and posts them to the loop. A subclass says what stands around the line."""

    def __init__(
        self,
        name: str,
        loop: Loop,
        output: Output,
        words: Words,
        on_line: Callable[[str], None],
        on_end: Callable[[bool], None],
        on_interrupt: Callable[[], None],
    ):
        super().__init__(name="console", daemon=True)
        self._mark = f"{name}> "
        self._loop, self._output, self._words = loop, output, words
        self._on_line, self._on_end, self._on_interrupt = on_line, on_end, on_interrupt
        self._search = SearchToolbar(ignore_case=True)
        self._input = TextArea(
            height=1,
            prompt=self._mark,
            multiline=False,
            wrap_lines=False,
            history=history(),
            completer=words,
            complete_while_typing=False,
            accept_handler=self._accept,
            search_field=self._search,
        )
        self._app: Application[None] = Application(
            layout=Layout(self._layout(), focused_element=self._input),
            key_bindings=self._keys(),
            style=self._style(),
            refresh_interval=REDRAW_S,
            color_depth=color_depth(output),
            output=_terminal_output(),
        )
        # From now on what is printed is shown around the line; what goes to a file goes on going there.
        self._closing = False
        self._streams = output.out, output.err
        self._shown = self._stream()
        output.out = self._shown
        if is_terminal(output.err):
            output.err = self._shown

    def _layout(self) -> Any:
        raise NotImplementedError

    def _stream(self) -> TextIO:
        """What stands in for stdout, and for a stderr that is a terminal."""
        raise NotImplementedError

    def _style(self) -> Style | None:
        return None

    def _keys(self) -> KeyBindings:
        keys = KeyBindings()
        keys.add("c-c")(self._interrupt)
        keys.add("c-d", filter=Condition(lambda: not self._input.text))(
            lambda event: self._loop.post(self._on_end, True)
        )
        keys.add("tab")(self._complete)
        if hasattr(signal, "SIGTSTP"):
            keys.add("c-z")(self._suspend)
        return keys

    def _complete(self, event: KeyPressEvent) -> None:
        """As far as there is one way to go; then show the ways."""
        buffer = event.current_buffer
        found = list(self._words.get_completions(buffer.document, CompleteEvent(completion_requested=True)))
        if len(found) == 1:
            buffer.apply_completion(found[0])
            buffer.insert_text(" ")
        elif common := get_common_complete_suffix(buffer.document, found):
            buffer.insert_text(common)
        elif found:
            self._shown.write("  ".join(completion.text for completion in found) + "\n")

    def _interrupt(self, event: KeyPressEvent) -> None:
        """Ctrl-C; the second ends the application, and when the terminal is given back, the process."""
        if not self._loop.interrupt(self._on_interrupt) and not event.app.is_done:
            event.app.exit(exception=KeyboardInterrupt())

    def _suspend(self, event: KeyPressEvent) -> None:
        """Ctrl-Z. This very thread is stopped: another would let it go on for a moment, and make the terminal raw again."""
        run_in_terminal(lambda: signal.pthread_kill(threading.get_ident(), signal.SIGTSTP), render_cli_done=True)

    def _accept(self, buffer: Buffer) -> bool:
        # What was pasted may be several lines, and anything.
        for line in buffer.text.splitlines() or [""]:
            self._shown.write(f"{self._mark}{clean(line)}\n")
            self._loop.post(self._on_line, line)
        return False

    # The thread ----------------------------------------------------------------------------------------------

    def run(self) -> None:
        try:
            self._app.run(handle_sigint=False)
        except EOFError:
            pass
        except KeyboardInterrupt:
            os._exit(128 + signal.SIGINT)
        finally:
            if not self._closing:
                # Nobody can type any more.
                self._loop.post(self._on_end, True)

    def close(self) -> None:
        """Give the terminal back. The application may be about to begin, so it is told until it hears."""
        self._closing = True
        deadline = time.monotonic() + END_S
        while self.is_alive() and time.monotonic() < deadline:
            loop = self._app.loop
            if self._app.is_running and loop is not None:
                with contextlib.suppress(RuntimeError):  # the loop was closed just now
                    loop.call_soon_threadsafe(self._leave)
            self.join(0.02)
        # What was printed so far was printed here; what comes while the streams change may be anywhere.
        self._output.drain(END_S)
        self._output.out, self._output.err = self._streams
        self._output.drain(END_S)

    def _leave(self) -> None:
        app = self._app
        if app.is_running and app.future is not None and not app.future.done():
            app.exit(exception=EOFError())


class Lines:
    """Stands in for a stream: is given whole lines, at any time and on any thread."""

    def write(self, text: str) -> int:
        """Whole lines, as Output writes them."""
        raise NotImplementedError

    def flush(self) -> None:
        """Nothing is held back."""

    def isatty(self) -> bool:
        """For colors it is one."""
        return True

    def as_stream(self) -> TextIO:
        """Output needs no more of a stream than this."""
        return cast(TextIO, self)
