"""How a program with peers begins and ends: room for its sockets, its streams and its log, and an end that comes."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import threading
from pathlib import Path
from typing import TextIO

from overlay.app.terminal import Output, clean

LEFT, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
"""Exit statuses."""

STALL_S, INTERRUPTED_STALL_S = 2.0, 0.3
"""So long nothing of what was printed may be read at the end before the rest is given up."""


class _ToLog(logging.Handler):
    """What the peers' own log has, a defect's whole traceback above all, is for the log file: people get one line."""

    def __init__(self, output: Output):
        super().__init__()
        self._output = output

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler`."""
        self._output.note(self.format(record))


def begin(options: argparse.Namespace, hidden: frozenset[str]) -> Output:
    """What the program prints to; 256 peers and their sockets fit into it. Exits where the log cannot be written."""
    output = Output(no_color=options.no_color, log=_open_log(options.log_file), hidden=hidden)
    logging.getLogger("overlay").addHandler(_ToLog(output))
    raise_descriptor_limit()
    output.detach()
    return output


def _open_log(path: str | None) -> TextIO | None:
    if path is None:
        return None
    try:
        return Path(path).open("a", encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        sys.stderr.write(f"cannot write the log {clean(path)}: {error.strerror}\n")
        sys.exit(FAILED)


def end(output: Output, status: int) -> int:
    """The status to exit with, once all that was printed is read, or is not going to be."""
    drained = output.drain(INTERRUPTED_STALL_S if status == INTERRUPTED else STALL_S)
    status = output.status(status)
    stuck = any(thread.name == "console" for thread in threading.enumerate())
    if not drained or stuck or not output.whole:
        # The interpreter would flush the streams once more, and wait for whoever does not read.
        os._exit(status)
    return status


def raise_descriptor_limit() -> None:
    """As many descriptors as this process may have: many systems begin with 1024, and a peer takes up to a dozen."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):
        # Some systems call the hard limit infinite and yet allow less; then it stays as it was.
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
