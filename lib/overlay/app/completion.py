"""What Tab makes of a line. Imported only where prompt_toolkit is and a person sits there."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document

from overlay.app.commands import Command

MOST = 1000


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
            if word.lower().startswith(typed.lower()):
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
    return names[:MOST]


def file_names() -> list[str]:
    """The files of this folder whose names can be typed as they are."""
    try:
        names = sorted(path.name for path in Path().iterdir() if path.is_file())
    except OSError:
        return []
    return [name for name in names if re.fullmatch(r"[\w+,=@%~-][\w.+,=@%~#-]*", name)][:MOST]
