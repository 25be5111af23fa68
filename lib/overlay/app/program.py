"""overlay: the console script. `ring` and `lookup` look at a running ring; other words have modules of their own."""

from __future__ import annotations

import argparse
import importlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from overlay.app import jsonlines, narrator, reporter
from overlay.app.arguments import overlay_arguments
from overlay.app.terminal import Output, is_terminal
from overlay.errors import OverlayError
from overlay.ids import Key, label
from overlay.store.names import key_of_name

if TYPE_CHECKING:
    from overlay.peer.visitor import Visitor

WATCH_S = 1.0
PROGRAMS = {"lab": "overlay.app.lab_program", "gossip": "overlay.app.gossip_program"}
"""These have their words behind their own."""

STORE = dict.fromkeys(("put", "get", "delete", "list", "status"), "overlay.app.store_program")
ACTIONS = {**STORE, **dict.fromkeys(("up", "down"), "overlay.app.up_program")}


def main(arguments: Sequence[str] | None = None) -> int:
    """The whole program; the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words and words[0] in PROGRAMS:
        return int(importlib.import_module(PROGRAMS[words[0]]).main(words[1:]))
    if words and words[0] in ACTIONS:
        return int(importlib.import_module(ACTIONS[words[0]]).main(words))
    options = overlay_arguments(words)
    output = Output(no_color=options.no_color)
    if options.action == "params":
        from overlay.app.parameters import text

        output.write(text().rstrip("\n"))
        return output.status(0)
    from overlay.peer.visitor import Visitor

    visitor = Visitor()
    if options.action == "lookup":
        return _look_up(output, visitor, options)
    broken: list[bool] = []
    output.on_broken = lambda: broken.append(True)
    drawn = 0
    try:
        while True:
            try:
                ring = visitor.ring(*options.at)
                lines = [jsonlines.encode(reporter.ring_object(ring))] if options.json else _block(ring)
                output.write("\n".join([over(drawn) + lines[0], *lines[1:]]))
                # In place of the one before, where that is still to be seen as a whole.
                drawn = len(lines) if options.watch and not options.json and can_draw_over(output, lines) else 0
                status = 0
            except OverlayError as error:
                output.error(str(error))
                drawn, status = 0, 1
            if not options.watch or broken:
                return output.status(status)
            time.sleep(WATCH_S)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _look_up(output: Output, visitor: Visitor, options: argparse.Namespace) -> int:
    host, port = options.at
    try:
        bits = visitor.describe(host, port).shape.bits
        key, began = Key(key_of_name(options.name, bits)), time.monotonic()
        path = [contact.id for contact in visitor.lookup(host, port, key, bits)]
    except OverlayError as error:
        output.error(str(error))
        return 1
    ms = 1000 * (time.monotonic() - began)
    if options.json:
        found = {"name": options.name, "key": key, "peer": path[-1], "path": path, "ms": round(ms, 3)}
        output.write(jsonlines.encode(jsonlines.make("Lookup", **found)))
    else:
        hops = narrator.count(len(path) - 1, "hop")
        output.write(
            f"{options.name} (key {label(key)}) belongs to Peer {label(path[-1])}: "
            f"{' > '.join(map(label, path))}, {hops}, {ms:.1f} ms"
        )
    return output.status(0)


def _block(ring: Iterable[Any]) -> list[str]:
    return reporter.block(reporter.rows_of_ring(ring))


def over(lines: int) -> str:
    """Back to where so many lines began, and clean from there."""
    return f"\x1b[{lines}A\x1b[J" if lines else ""


def can_draw_over(output: Output, lines: Sequence[str]) -> bool:
    """Whether these lines, once printed, are still to be seen as a whole."""
    size = shutil.get_terminal_size()
    plain = os.environ.get("TERM") == "dumb" or not is_terminal(output.out)
    return not plain and len(lines) < size.lines and max(map(len, lines)) <= size.columns


if __name__ == "__main__":
    sys.exit(main())
