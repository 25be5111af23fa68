"""Many peers in processes of their own, each a peer of `overlay up` with a folder of its own below one."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path

from overlay.app.terminal import last_line
from overlay.app.up_program import is_free, is_up, signal_peer, spawn
from overlay.errors import Indefinite, LocalError, OverlayError
from overlay.lab.mass import LEAVE_AT_ONCE, Step
from overlay.peer.client import AsyncClient
from overlay.peer.client.places import read_running

START_AT_ONCE = 4
START_S, LEAVE_S = 90.0, 180.0
LOOK_S = 0.05
ASK_AT_ONCE = 32
CLIENTS = 8
"""So many peers are asked, in turn."""


class MassProcesses:
    """Those of one folder, in the order in which they were started."""

    def __init__(self, data: Path, at: Sequence[str]):
        self.data = data
        self.why = ""
        """What the first one said that could not be started."""
        self._at = list(at)

    def running(self) -> list[Path]:
        """The folders of those that run."""
        return [folder for folder in self._folders() if is_up(folder)]

    def addresses(self) -> list[str]:
        """Where the ring is asked: where somebody said, or at those that run."""
        found = [running.at for folder in self.running() if (running := read_running(folder)) is not None]
        return self._at or found

    def _folders(self) -> list[Path]:
        return sorted(path for path in self.data.glob("[0-9][0-9][0-9][0-9]") if path.is_dir())

    # Peers ---------------------------------------------------------------------------------------------------

    def join(self, count: int, more: Sequence[str]) -> Iterator[Step]:
        """Start so many, with these words for `overlay up`; the first one begins a ring where there is none."""
        last = max([int(folder.name) for folder in self._folders()], default=0)
        waiting = deque(self.data / f"{last + number:04}" for number in range(1, count + 1))
        starting: dict[Path, tuple[subprocess.Popen[bytes], float]] = {}
        done = failed = 0
        while waiting or starting:
            at = self.addresses()
            # Whoever begins a ring is awaited by all the others.
            room = START_AT_ONCE if at else 1
            while waiting and len(starting) < room:
                folder = waiting.popleft()
                folder.mkdir(mode=0o700, parents=True)
                words = ["up", "--data", str(folder), *more, *(["--at", random.choice(at)] if at else [])]
                starting[folder] = spawn(words, folder / "up.log"), time.monotonic() + START_S
            for folder, (process, until) in tuple(starting.items()):
                running = read_running(folder)
                if running is not None and running.ready:
                    done += 1
                elif process.poll() is not None or time.monotonic() > until:
                    done, failed = done + 1, failed + 1
                    process.kill()
                    self.why = self.why or _said(folder)
                else:
                    continue
                del starting[folder]
            if not at and failed:
                raise LocalError(f"no peer could be started: {self.why}")
            yield Step(done, failed, count)
            time.sleep(LOOK_S)

    def leave(self, percent: float, seed: int, *, crash: bool) -> Iterator[Step]:
        """So many of a hundred, by chance: killed, or after they have handed over."""
        running = self.running()
        chosen = deque(random.Random(seed).sample(running, round(len(running) * percent / 100)))
        total, done, failed = len(chosen), 0, 0
        leaving: dict[Path, float] = {}
        while chosen or leaving:
            while chosen and (crash or len(leaving) < LEAVE_AT_ONCE):
                folder = chosen.popleft()
                known = read_running(folder)
                if known is not None and signal_peer(folder, known, signal.SIGKILL if crash else signal.SIGTERM):
                    leaving[folder] = time.monotonic() + LEAVE_S
                else:
                    done, failed = done + 1, failed + 1
            for folder, until in tuple(leaving.items()):
                if is_free(folder):
                    after = read_running(folder)
                    done, failed = done + 1, failed + bool(after is not None and after.left)
                elif time.monotonic() > until:
                    done, failed = done + 1, failed + 1
                else:
                    continue
                del leaving[folder]
            yield Step(done, failed, total)
            time.sleep(LOOK_S)

    # Records -------------------------------------------------------------------------------------------------

    def insert(self, records: Mapping[str, bytes], tell: Callable[[Step], None]) -> Step:
        """Put them all, through several peers in turn; what failed is counted."""

        async def one(client: AsyncClient, name: str) -> bool:
            await client.put(name, records[name])
            return True

        return asyncio.run(self._each(records, one, tell))

    def lookup(self, records: Mapping[str, bytes], tell: Callable[[Step], None]) -> Step:
        """Get them all; one that is not found, or is another, has failed."""

        async def one(client: AsyncClient, name: str) -> bool:
            return await client.get(name) == records[name]

        return asyncio.run(self._each(records, one, tell))

    async def _each(
        self,
        records: Mapping[str, bytes],
        work: Callable[[AsyncClient, str], Awaitable[bool]],
        tell: Callable[[Step], None],
    ) -> Step:
        at = self.addresses()
        if not at:
            raise Indefinite(f"no peer runs in {self.data}; overlay lab mass-join N starts some, and --at names others")
        clients = [AsyncClient([*at[first:], *at[:first]]) for first in range(min(CLIENTS, len(at)))]
        names = deque(enumerate(records))
        step = Step(0, 0, len(records))
        tell(step)

        async def worker() -> None:
            nonlocal step
            while names:
                number, name = names.popleft()
                try:
                    right = await work(clients[number % len(clients)], name)
                except OverlayError:
                    right = False
                step = Step(step.done + 1, step.failed + (not right), step.total)
                tell(step)

        try:
            await asyncio.gather(*(worker() for _ in range(ASK_AT_ONCE)))
        finally:
            for client in clients:
                await client.close()
        return step


def _said(folder: Path) -> str:
    return last_line((folder / "up.log").read_text(errors="replace")) or "it did not say why"
