"""The arguments of `overlay put`, `get`, `delete`, `list` and `status`, and where the ring is when nobody says it."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from overlay.app.commands import stored_name
from overlay.app.narrator import address
from overlay.app.options import Parser, convert, make_parser, of_a_ring
from overlay.app.terminal import short
from overlay.errors import LocalError

EXAMPLES = """\
examples:
  overlay up                               a ring of one in the background, on this machine
  overlay put thesis.pdf                   store a file in it, under its own name
  overlay get thesis.pdf -o copy.pdf       read it
  overlay put - --name note < note.txt     what is piped in; overlay get note -o - prints it
  overlay status --at 192.168.1.7:7001     another ring, by any of its peers

Where no --at is given, OVERLAY_AT names the peers (with commas), else the ring of `overlay up` is asked.
exit status: 0 done, 1 error, 2 wrong arguments, 3 not found, 4 unreachable or timed out, 6 no space
"""


def _seconds(text: str) -> float:
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    number, unit = (text[:-1], units[text[-1]]) if text[-1:] in units else (text, 1)
    try:
        seconds = float(number) * unit
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= 1e10:
        raise LocalError(f"{short(text)} is no time such as 90, 15m, 12h or 30d")
    return seconds


def _place(text: str) -> str:
    return address(*of_a_ring(text))


def make_action(actions: Any, name: str, text: str, examples: str) -> argparse.ArgumentParser:
    """One more word of a program, with help of its own and the examples of all."""
    one: argparse.ArgumentParser = actions.add_parser(
        name,
        help=text,
        description=text,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    return one


def store_arguments(words: Sequence[str]) -> argparse.Namespace:
    """`action` and its values: `file` and `name`, `name` and `output`, `name`, or `prefix`; and `at`, addresses."""
    parser = make_parser("overlay", "Put files into a ring's store, and get them.", EXAMPLES)
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True, parser_class=Parser)

    def action(name: str, text: str) -> Callable[..., Any]:
        one = make_action(actions, name, text, EXAMPLES)
        one.add_argument(
            "--at",
            action="append",
            type=convert(_place),
            metavar="HOST:PORT",
            help="any peer of the ring; again for others, in case that it is gone",
        )
        one.add_argument("--timeout", type=convert(_seconds), default=35.0, metavar="S", help="for an answer (35)")
        one.add_argument("--json", action="store_true", help='JSON lines, each with "v": 1')
        one.add_argument("--no-color", action="store_true", help="no colors")
        return one.add_argument

    add = action("put", "Store a file; done when it is durable at several peers.")
    add("file", metavar="FILE", help="- for what is piped in")
    add("--name", type=convert(stored_name), help="under another name than the file's own")
    add("--ttl", type=convert(_seconds), metavar="T", help="it is gone after so long: 90 (seconds), 15m, 12h, 30d")
    add = action("get", "Read a record into a file.")
    add("name", type=convert(stored_name), metavar="NAME")
    add("-o", "--output", metavar="FILE", help="where to, - for stdout (a new file of that name in this folder)")
    add = action("delete", "Delete a record at all peers.")
    add("name", type=convert(stored_name), metavar="NAME")
    add = action("list", "List the records of the whole ring.")
    add("prefix", nargs="?", default="", metavar="PREFIX", help="those that begin so")
    action("status", "Show every peer's part of the store, and whether all copies are where they belong.")
    options = parser.parse_args(words)
    if options.action == "put":
        _name_the_file(parser, options)
    return options


def _name_the_file(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    if options.name is None and options.file == "-":
        parser.error("what is piped in has no name: give it one by --name")
    try:
        options.name = options.name or stored_name(Path(options.file).name)
    except LocalError as error:
        parser.error(f"{error}; choose one by --name")
