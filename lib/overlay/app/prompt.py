"""A prompt on a terminal: history kept between runs, completion, and output always above the line being typed.

Imported only where prompt_toolkit is and a person sits there.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TextIO, cast

from prompt_toolkit import PromptSession
from prompt_toolkit.application import Application
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.output import ColorDepth
from prompt_toolkit.patch_stdout import StdoutProxy
from prompt_toolkit.shortcuts import CompleteStyle

from overlay.app.commands import Command
from overlay.app.loop import Loop
from overlay.app.terminal import Output, is_terminal

REDRAW_S = 0.5
END_S = 2.0


class Words(Completer):
    """Completes a line by the table of commands; `known` gives the words there are for a place such as PEER."""

    def __init__(self, commands: Mapping[str, Command], known: Callable[[str], Iterable[str]]):
        self._commands = commands
        self._known = known

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        """What the word before the cursor may become."""
        words = document.text_before_cursor.split()
        typed = words.pop() if words and not document.text_before_cursor[-1].isspace() else ""
        for word in self._candidates(words):
            if word.startswith(typed.lower()):
                yield Completion(word, start_position=-len(typed))

    def _candidates(self, before: list[str]) -> Iterable[str]:
        if not before:
            return self._commands
        command = self._commands.get(before[0].lower())
        places = command.usage.split() if command is not None else []
        if len(before) > len(places):
            return ()
        place = places[len(before) - 1].strip("[]")
        return ("on", "off") if place == "SWITCH" else self._known("PEER" if place == "KNOWN" else place)


def record_names(folder: str) -> list[str]:
    """The records that could be stored from a folder."""
    try:
        names = sorted(path.stem for path in Path(folder).glob("[0-9][0-9][0-9][0-9].pdf"))
    except OSError:
        return []
    return names[:1000]


def history() -> History:
    """What was typed in earlier runs, in the user's state folder; in memory only where that cannot be written."""
    folder = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "overlay"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "history"
        path.touch(mode=0o600)
    except (OSError, RuntimeError):
        return InMemoryHistory()
    return FileHistory(str(path))


def color_depth(output: Output) -> ColorDepth | None:
    """One color where none are wanted, else what the terminal has."""
    return None if output.color_out else ColorDepth.DEPTH_1_BIT


class Prompt(threading.Thread):
    """Asks for lines on a thread of its own and posts them to the loop."""

    def __init__(
        self,
        name: str,
        loop: Loop,
        output: Output,
        words: Words,
        toolbar: Callable[[], str],
        on_line: Callable[[str], None],
        on_end: Callable[[bool], None],
        on_interrupt: Callable[[], None],
    ):
        super().__init__(name="prompt", daemon=True)
        self._loop = loop
        self._output = output
        self._on_line, self._on_end, self._on_interrupt = on_line, on_end, on_interrupt
        self._streams = output.out, output.err
        self._proxy = StdoutProxy(raw=True, sleep_between_writes=0.05)
        self._closing = False
        self._session: PromptSession[str] = PromptSession(
            f"{name}> ",
            history=history(),
            completer=words,
            complete_while_typing=False,
            complete_style=CompleteStyle.READLINE_LIKE,
            reserve_space_for_menu=0,
            bottom_toolbar=lambda: f" {toolbar()}",
            refresh_interval=REDRAW_S,
            color_depth=color_depth(output),
            enable_suspend=True,
        )
        # From now on all that is printed goes above the line; what goes to a file goes on going there.
        output.out = cast(TextIO, self._proxy)
        if is_terminal(output.err):
            output.err = cast(TextIO, self._proxy)

    def run(self) -> None:
        while not self._closing:
            try:
                line = self._session.prompt()
            except EOFError:
                if not self._closing:
                    self._loop.post(self._on_end, True)
                return
            except KeyboardInterrupt:
                self._loop.post(self._on_interrupt)
                return
            self._loop.post(self._on_line, line)

    def close(self) -> None:
        """Give the terminal back as it was."""
        self._closing = True
        end(self, self._session.app)
        self._output.out, self._output.err = self._streams
        self._proxy.close()


def end(thread: threading.Thread, app: Application[Any]) -> None:
    """Have an application end, and wait for its thread. It may be between two prompts, so it is told until it hears."""
    deadline = time.monotonic() + END_S
    while thread.is_alive() and time.monotonic() < deadline:
        loop = app.loop
        if app.is_running and loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop was closed just now
                loop.call_soon_threadsafe(_leave, app)
        thread.join(0.02)


def _leave(app: Application[Any]) -> None:
    if app.is_running and app.future is not None and not app.future.done():
        app.exit(exception=EOFError())
