"""A peer in a process of its own, for the runner: commands go to its stdin, its JSON lines come back."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

import overlay
from overlay.app.fleet import Happening
from overlay.app.terminal import Line
from overlay.core.pending import Pending
from overlay.errors import Indefinite, OverlayError, RemoteError
from overlay.peer.visitor import Visitor

VIEW_S = 0.5
"""How often a process is asked for its picture."""

_OUTCOMES: dict[str, tuple[str, bool]] = {
    "Stored": ("store", True),
    "StoreFailed": ("store", False),
    "Received": ("request", True),
    "RequestFailed": ("request", False),
    "NotStored": ("request", False),
}


class Moving(msgspec.Struct, frozen=True):
    """A transfer, as the process tells it."""

    name: str
    done_bytes: int
    size: int


class RemoteView(msgspec.Struct, frozen=True):
    """A PeerView, as the process tells it."""

    id: int
    second_predecessor: int | None = None
    first_predecessor: int | None = None
    first: int | None = None
    second: int | None = None
    successors: tuple[int, ...] = ()
    records: tuple[str, ...] = ()
    transfers: tuple[Moving, ...] = ()
    awaited: tuple[int, ...] = ()


class ProcessPeer:
    """What the runner asks of a peer, asked of another process."""

    def __init__(
        self,
        id: int,
        *,
        ping_interval_s: float,
        host: str,
        bind: str | None,
        base_port: int,
        files: str,
        keep: bool,
        on_event: Callable[[Any, Any], None],
        on_crash: Callable[[Any, str], None],
        on_happening: Callable[[Happening], None],
        observers: Any = (),
    ):
        self.id = id
        self.ready: Pending[None] = Pending()
        self._address = host, base_port + id
        self._interval = ping_interval_s
        self._options = ["--host", host, "--base-port", str(base_port), "--files", files, "--json"]
        self._options += ["--keep"] if keep else []
        self._options += ["--bind", bind] if bind is not None else []
        self._tell = on_happening
        self._on_crash = on_crash
        self._view = RemoteView(id)
        self._open: dict[tuple[str, str], list[Pending[Any]]] = {}
        self._joining: Pending[None] | None = None
        self._gone: Pending[None] = Pending()
        self._errors = ""
        self._ending = False
        self._process: subprocess.Popen[str]

    # Starting and ending -------------------------------------------------------------------------------------

    def setup(self, first: int | str, second: int | str) -> None:
        """Start it with `init`."""
        self._start("init", str(self.id), str(first), str(second), f"{self._interval:g}")

    def join(self, known: int | str, timeout_s: float = 5.0) -> Pending[None]:
        """Start it with `join`."""
        self._joining = Pending()
        self._start("join", str(self.id), str(known), f"{self._interval:g}")
        return self._joining

    def _start(self, *arguments: str) -> None:
        source = str(Path(overlay.__file__).parents[1])
        path = os.pathsep.join(filter(None, (source, os.environ.get("PYTHONPATH"))))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "overlay.app.peer_program", *arguments, *self._options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
            env={**os.environ, "PYTHONPATH": path},
            # Ctrl-C at the terminal is for the runner, which then ends them all.
            start_new_session=True,
        )
        for name, run in (("read", self._read), ("errors", self._read_errors), ("views", self._ask_views)):
            threading.Thread(target=run, name=f"{name}-{self.id}", daemon=True).start()

    def quit(self, timeout_s: float = 60.0) -> Pending[None]:
        """Have it leave."""
        self._ending = True
        self._say("quit")
        return self._gone

    def kill(self) -> None:
        """SIGKILL."""
        self._ending = True
        if hasattr(self, "_process"):
            self._process.kill()
            self._process.wait()

    # Commands ------------------------------------------------------------------------------------------------

    def _say(self, line: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            assert self._process.stdin is not None
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()

    def _ask(self, command: str, name: str) -> Pending[Any]:
        pending: Pending[Any] = Pending()
        self._open.setdefault((command, name), []).append(pending)
        self._say(f"{command} {name}")
        return pending

    def store(self, name: str) -> Pending[Any]:
        """Resolved when the process says so."""
        return self._ask("store", name)

    def request(self, name: str) -> Pending[Any]:
        """Resolved when the process says so."""
        return self._ask("request", name)

    def cancel(self, name: str | None = None) -> int:
        """Pass it on; how many there were is known from the last picture only."""
        self._say(f"cancel {name or ''}")
        return sum(name in (None, moving.name) for moving in self._view.transfers)

    def ring(self, timeout_s: float = 10.0) -> Pending[Any]:
        """The ring as a visitor finds it who begins at this peer."""
        pending: Pending[Any] = Pending()
        threading.Thread(target=self._walk, args=(pending,), name=f"walk-{self.id}", daemon=True).start()
        return pending

    def _walk(self, pending: Pending[Any]) -> None:
        try:
            pending.resolve(Visitor().ring(*self._address))
        except OverlayError as error:
            pending.fail(error)

    def view(self) -> RemoteView:
        """The last picture."""
        return self._view

    # What the process writes ---------------------------------------------------------------------------------

    def _ask_views(self) -> None:
        waited = threading.Event()
        while self._process.poll() is None:
            self._say("status")
            waited.wait(VIEW_S)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with contextlib.suppress(ValueError, KeyError, msgspec.ValidationError):
                self._heard(json.loads(line))
        status = self._process.wait()
        self._ended(status)

    def _read_errors(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._errors = line.strip()
            if not self._ending and "waiting for" in line:
                self._tell(Happening(self.id, "Hint", (Line(self._errors, "hint"),)))

    def _heard(self, thing: dict[str, Any]) -> None:
        event = thing["event"]
        if event == "View":
            self._view = msgspec.convert(thing, RemoteView)
            if thing["ready"]:
                self._arrived()
            return
        if event == "Answer":  # to a cancel, which the runner has answered
            return
        if event in _OUTCOMES:
            command, good = _OUTCOMES[event]
            for pending in self._open.pop((command, thing.get("name", "")), []):
                if good:
                    pending.resolve(None)
                else:
                    pending.fail(RemoteError(thing.get("why", f"{thing.get('name')} is not stored in the network")))
        lines = tuple(Line(text, kind) for kind, text in thing["lines"])
        self._tell(Happening(self.id, event, lines, tuple(thing.get("path", ())), thing))

    def _arrived(self) -> None:
        if self._joining is not None:
            self._joining.resolve(None)
        self.ready.resolve(None)

    def _ended(self, status: int) -> None:
        # What it said last is no reason where it had no time to say anything.
        killed = f"its process was ended by signal {-status}" if status < 0 else ""
        error: OverlayError = Indefinite(killed or self._errors or f"its process ended with status {status}")
        if self._joining is not None and self._joining.fail(error):
            self._ending = True
        elif not self._ending:
            self._on_crash(self, str(error))
        for pending in [pending for waiting in self._open.values() for pending in waiting]:
            pending.fail(error)
        self._gone.resolve(None)
