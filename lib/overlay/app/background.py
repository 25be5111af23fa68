"""The process that `overlay up` starts: a peer as peer.py's, without a prompt, which writes down where it is."""

from __future__ import annotations

import argparse
import os
import signal
from pathlib import Path
from typing import Any

import msgspec

from overlay.app.arguments import peer_arguments
from overlay.app.lasting_program import LastingProgram
from overlay.app.narrator import address
from overlay.app.peer_program import hidden_kinds, real_peer
from overlay.app.start import begin, end
from overlay.core.pending import Pending
from overlay.errors import LocalError
from overlay.peer.client.places import UP_FILE, Running, read_running
from overlay.store.disk.system import lock_file


class Background(LastingProgram):
    """Hears nobody but signals; what went wrong when it left is written down too."""

    def _listen(self) -> None:
        self._write(ready=self.peer.ready.done)
        self.loop.settled(self.peer.ready, lambda _: self._write(ready=True))

    def _write(self, **more: Any) -> None:
        file: Path = self.options.up_file
        temporary = file.with_suffix(".new")
        running = Running(os.getpid(), address(self.peer.host, self.peer.port), **more)
        temporary.write_bytes(msgspec.json.encode(running) + b"\n")
        temporary.replace(file)

    def _left(self, pending: Pending[None]) -> None:
        if pending.error is not None:
            self._write(left=str(pending.error))
        super()._left(pending)


def serve(options: argparse.Namespace) -> int:
    """Be the peer, until SIGTERM; the exit status."""
    folder: Path = options.folder
    try:
        lock = lock_file(folder / "up.lock")
    except BlockingIOError:
        raise LocalError(f"a peer runs already for {folder}") from None
    file = folder / UP_FILE
    file.unlink(missing_ok=True)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    words = _as_of_a_peer(options, file)
    output = begin(words, hidden_kinds(words))
    status = Background(words, output, real_peer).run()
    running = read_running(folder)
    if running is not None and not running.left:
        file.unlink(missing_ok=True)
    os.close(lock)
    return end(output, status)


def _as_of_a_peer(options: argparse.Namespace, up_file: Path) -> argparse.Namespace:
    """What was said to `overlay up`, as it would be to peer.py; what is for people here goes into a log."""
    own = ("action", "serve", "folder", "json")
    given = {name: value for name, value in vars(options).items() if name not in own}
    folder: Path = options.folder
    given |= {"data": str(folder / "peer"), "files": str(folder / "files"), "up_file": up_file}
    given["mode"] = "create" if options.at is None else "join"
    return argparse.Namespace(**{**vars(peer_arguments(["create"])), **given})
