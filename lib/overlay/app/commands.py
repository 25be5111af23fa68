"""The commands that people type: two tables, one parser. A usage is its grammar: PEER NAME [KNOWN]."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from overlay.app.hosts import of_one
from overlay.app.narrator import address
from overlay.app.terminal import short
from overlay.errors import LocalError

MAX_STORED_NAME = 1024
_COMMENT = re.compile(r"""\A((?:[^'"\\#]|\\.|'[^']*'|"(?:[^"\\]|\\.)*"|(?<=\S)#)*+)#.*""")
"""It begins with a # that begins a word: one in quotes, or in the middle of a file's name, is none."""


class Command(msgspec.Struct, frozen=True):
    """What may be typed, and what it is for."""

    name: str
    usage: str
    help: str


class Typed(msgspec.Struct, frozen=True):
    """A line that was understood."""

    name: str
    values: tuple[Any, ...]
    """As many as its usage has places; None for one that was left out."""


def _table(*commands: tuple[str, str, str]) -> dict[str, Command]:
    return {name: Command(name, usage, text) for name, usage, text in commands}


PEER_COMMANDS = _table(
    ("store", "NAME", "store files/NAME.pdf at the peer that is responsible for it"),
    ("request", "NAME", "get a copy of NAME, as files/received_NAME.pdf"),
    ("cancel", "[NAME]", "stop our transfers, or the one of NAME"),
    ("status", "", "our place in the ring, records and transfers"),
    ("files", "", "the records that are kept here"),
    ("ring", "", "walk the whole ring and print it"),
    ("pings", "SWITCH", "show the ping lines, or do not"),
    ("help", "", "this list"),
    ("quit", "", "leave the ring; a second time: at once"),
)

LASTING_COMMANDS = {
    **PEER_COMMANDS,
    **_table(
        ("put", "FILE [RECORD]", "keep a file in the ring's store, under its own name or another"),
        ("get", "RECORD [FILE]", "read it into a new file"),
        ("delete", "RECORD", "delete it at all peers"),
        ("list", "[PREFIX]", "all records of the ring's store"),
        ("copies", "", "every peer's part of the store"),
    ),
}
"""Of a peer outside the classroom, which carries a store."""

RUNNER_COMMANDS = _table(
    ("join", "PEER KNOWN", "start PEER, which joins through the peer KNOWN"),
    ("quit", "[PEER]", "PEER leaves in good order; without PEER the runner ends"),
    ("kill", "PEER", "PEER is gone from one moment to the next"),
    ("store", "PEER NAME", "PEER stores files/NAME.pdf"),
    ("request", "PEER NAME", "PEER gets a copy of NAME"),
    ("cancel", "PEER [NAME]", "stop the transfers of PEER"),
    ("ring", "", "walk the whole ring and print it"),
    ("status", "[PEER]", "all peers' places in the ring, or one's with its records"),
    ("files", "[PEER]", "which peer keeps which records"),
    ("pings", "SWITCH", "show the ping lines, or do not"),
    ("narration", "SWITCH", "show the peers' lines, or do not"),
    ("help", "", "this list"),
)


def peer_id(text: str) -> int:
    """An id, 0 to 255, in ASCII digits; LocalError for anything else."""
    if not re.fullmatch(r"[0-9]{1,4}", text) or int(text) > 255:
        raise LocalError(f"{short(text)} is not a peer: a whole number from 0 to 255")
    return int(text)


def known_peer(text: str) -> int | str:
    """An id, or `host:port` (`[::1]:12002` for IPv6) with the host as a number, whose name may have been looked up."""
    if ":" not in text:
        return peer_id(text)
    host, _, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise LocalError(f"{short(text)} is not an address: write an IPv6 host in brackets, [::1]:12002")
    if not host or not re.fullmatch(r"[!-~]{1,64}", host):
        raise LocalError(f"{short(text)} is not an address: host:port is wanted, such as 127.0.0.1:12002")
    if not re.fullmatch(r"[0-9]{1,5}", port) or not 0 < int(port) < 65536:
        raise LocalError(f"{short(port)} is not a port: a whole number from 1 to 65535")
    return address(of_one(host), int(port))


def record_name(text: str) -> str:
    """Four ASCII digits."""
    if not re.fullmatch(r"[0-9]{4}", text):
        raise LocalError(f"{short(text)} is not a file name: exactly four digits, such as 2067")
    return text


def switch(text: str) -> bool:
    """on or off."""
    if text.lower() not in ("on", "off"):
        raise LocalError(f"{short(text)} is neither on nor off")
    return text.lower() == "on"


def stored_name(text: str) -> str:
    """The name of a record in a ring's store: 1 to 1024 bytes of UTF-8."""
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise LocalError(f"{short(text)} is not UTF-8") from None
    if not 1 <= size <= MAX_STORED_NAME:
        raise LocalError(f"a name has 1 to {MAX_STORED_NAME} bytes, not {size}")
    return text


_KINDS: Mapping[str, Callable[[str], Any]] = {
    "PEER": peer_id,
    "KNOWN": known_peer,
    "NAME": record_name,
    "SWITCH": switch,
    "FILE": str,
    "RECORD": stored_name,
    "PREFIX": str,
}


def parse(line: str, commands: Mapping[str, Command]) -> Typed | None:
    """What a line means; None for an empty one or a comment. LocalError, of one line, for what is not understood."""
    line = _COMMENT.sub(r"\1", line[:1000])
    try:
        words = shlex.split(line)
    except ValueError:
        words = line.split()
    if not words:
        return None
    command = commands.get(words[0].lower())
    if command is None:
        near = did_you_mean(words[0].lower(), commands) or "; try help"
        raise LocalError(f"{short(words[0])} is not a command{near}")
    return Typed(command.name, _values(command, words[1:]))


def _values(command: Command, words: list[str]) -> tuple[Any, ...]:
    places = command.usage.split()
    least = sum(not place.startswith("[") for place in places)
    if not least <= len(words) <= len(places):
        raise LocalError(f"usage: {f'{command.name} {human(command.usage)}'.strip()}")
    values: list[Any] = [_KINDS[place.strip("[]")](word) for place, word in zip(places, words, strict=False)]
    return tuple(values + [None] * (len(places) - len(words)))


def human(usage: str) -> str:
    """A usage as people read it."""
    return usage.replace("SWITCH", "on|off")


def did_you_mean(word: str, words: Mapping[str, Any] | tuple[str, ...]) -> str:
    """`; did you mean store?`, or nothing."""
    import difflib

    near = difflib.get_close_matches(word, list(words), n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else ""


def help_lines(commands: Mapping[str, Command]) -> list[str]:
    """A line a command."""
    wide = max(len(f"{c.name} {human(c.usage)}") for c in commands.values())
    return [f"  {f'{c.name} {human(c.usage)}':<{wide}}  {c.help}" for c in commands.values()]
