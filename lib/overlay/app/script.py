"""A lecture: a command of the runner a line, `wait 5`, `expect "Peer 8" first 19`. Each waits for the one before it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import msgspec

from overlay.app.commands import RUNNER_COMMANDS, Typed, did_you_mean, parse, peer_id, record_name
from overlay.app.terminal import clean, short
from overlay.errors import LocalError

EXPECT_S = 30.0
"""How long an expectation may take to come true: a death shows within an interval and 5 s."""

_PLACES = {
    "first": "first",
    "second": "second",
    "predecessor": "first_predecessor",
    "predecessor2": "second_predecessor",
}


class Wait(msgspec.Struct, frozen=True):
    """Let time pass."""

    seconds: float


class Expect(msgspec.Struct, frozen=True):
    """Something that a peer's picture must show soon."""

    peer: int
    what: str
    """first, second, predecessor, predecessor2, has or gone."""
    value: int | str | None

    def holds(self, view: Any | None) -> bool:
        """Whether the picture shows it; `view` is None where the runner has no such peer."""
        if self.what == "gone" or view is None:
            return view is None and self.what == "gone"
        if self.what == "has":
            return self.value in view.records
        return bool(getattr(view, _PLACES[self.what]) == self.value)

    def seen(self, view: Any | None) -> str:
        """What it shows instead."""
        if view is None:
            return "it is gone"
        if self.what == "gone":
            return "it is running"
        return (
            f"it is {getattr(view, _PLACES[self.what])}" if self.what in _PLACES else f"it has {' '.join(view.records)}"
        )


class Step(msgspec.Struct, frozen=True):
    """One line of a script."""

    number: int
    text: str
    action: Typed | Wait | Expect


def read(path: str) -> list[Step]:
    """A script's steps; LocalError, naming the line, where one is wrong or the file cannot be read."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LocalError(f"cannot read the script {clean(path)}: {getattr(error, 'strerror', 'not UTF-8')}") from None
    return steps(text)


def steps(text: str) -> list[Step]:
    """The steps of a script's text."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            action = _action(line)
        except LocalError as error:
            raise LocalError(f"line {number} of the script: {error}") from None
        if action is not None:
            found.append(Step(number, line.strip(), action))
    return found


def _action(line: str) -> Typed | Wait | Expect | None:
    try:
        words = shlex.split(line, comments=True)
    except ValueError as error:
        raise LocalError(str(error)) from None
    if words and words[0].lower() == "wait":
        if len(words) != 2 or not re.fullmatch(r"[0-9]{1,5}(\.[0-9]+)?", words[1]):
            raise LocalError("usage: wait SECONDS")
        return Wait(float(words[1]))
    if words and words[0].lower() == "expect":
        return _expectation(words[1:])
    return parse(line, RUNNER_COMMANDS)


def _expectation(words: list[str]) -> Expect:
    # "Peer 8" may be one quoted word, or two, or the number alone.
    words = " ".join(words).split()
    if words and words[0].lower() == "peer":
        words = words[1:]
    if len(words) == 2 and words[1].lower() == "gone":
        return Expect(peer_id(words[0]), "gone", None)
    if len(words) != 3:
        raise LocalError('usage: expect "Peer 8" first 19 (or second, predecessor, predecessor2, has 2067, gone)')
    peer, what = peer_id(words[0]), words[1].lower()
    if what == "has":
        return Expect(peer, what, record_name(words[2]))
    if what not in _PLACES:
        near = did_you_mean(what, (*_PLACES, "has", "gone"))
        raise LocalError(f"{short(words[1])} is nothing that can be expected{near}")
    return Expect(peer, what, peer_id(words[2]))
