"""256 peers in one process, on threads and on one loop: a ring that works, is hurt, heals, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import resource
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from overlay.core.pending import Pending
from overlay.live.aio import run
from overlay.peer import Peer, PeerView
from overlay.peer.aio import AsyncPeer
from tests.peer.support import take_slot

CROWD = 256
DEAD = frozenset([number + step for number in range(0, CROWD, 15) for step in range(3)][:50])
"""Three in a row at many places: as many as the four known successors are sure to survive."""

FAR = 16
"""A record is fetched from a peer so many places further on: from all around the ring it would be the same, but longer."""

WAVE = 32
DESCRIPTORS = 4096
PATIENCE_S = 60.0


class Threaded:
    """A `Peer` with the verbs of an `AsyncPeer`."""

    def __init__(self, id: int, **place: Any):
        self.peer = Peer(id, **place)

    @property
    def id(self) -> int:
        return self.peer.id

    def view(self) -> PeerView:
        return self.peer.view()

    async def setup(self, first: int, second: int) -> None:
        await asyncio.to_thread(self.peer.setup, first, second)

    async def ready(self) -> None:
        await done(self.peer.ready)

    async def store(self, name: str) -> Any:
        return await done(self.peer.store(name))

    async def request(self, name: str) -> Any:
        return await done(self.peer.request(name))

    def kill(self) -> None:
        self.peer.kill()


async def done(pending: Pending[Any]) -> Any:
    """What a Pending of another thread comes to."""
    loop, over = asyncio.get_running_loop(), asyncio.Event()
    pending.when_done(lambda _: loop.call_soon_threadsafe(over.set))
    await over.wait()
    return pending.result()


Member = Threaded | AsyncPeer


async def each(verb: Callable[[Member], Any], line: Sequence[Member]) -> list[Any]:
    """What the verb brings for each, in waves: what is shown here is that it works, not how much at once."""
    results: list[Any] = []
    for at in range(0, len(line), WAVE):
        results += await asyncio.wait_for(asyncio.gather(*map(verb, line[at : at + WAVE])), PATIENCE_S)
    return results


async def until_right(line: list[Member]) -> None:
    """Until each knows both neighbors on both sides."""
    ids = [peer.id for peer in line] * 2
    wanted = {ids[at]: (ids[at - 2], ids[at - 1], ids[at + 1], ids[at + 2]) for at in range(len(line))}

    def around(peer: Member) -> tuple[int | None, ...]:
        view = peer.view()
        return view.second_predecessor, view.first_predecessor, view.first, view.second

    deadline = time.monotonic() + PATIENCE_S
    while wrong := [peer.id for peer in line if around(peer) != wanted[peer.id]]:
        assert time.monotonic() < deadline, f"not right after {PATIENCE_S} s: {wrong}"
        await asyncio.sleep(0.1)


async def live(kind: Callable[..., Member], root: Path, base_port: int) -> None:
    files = root / "files"
    files.mkdir()
    place = {"base_port": base_port, "files": files, "ping_interval_s": 2}
    line = [kind(number, data=root / str(number), **place) for number in range(CROWD)]
    try:
        await each(lambda peer: peer.setup((peer.id + 1) % CROWD, (peer.id + 2) % CROWD), line)
        await each(lambda peer: peer.ready(), line)
        await until_right(line)

        names = [f"{number:04}" for number in range(CROWD)]
        for name in names:
            (files / f"{name}.pdf").write_bytes(name.encode() * 100)
        stored = await each(lambda peer: peer.store(names[(peer.id + 1) % CROWD]), [line[-1], *line[:-1]])
        assert [(one.name, one.peer) for one in stored] == list(zip(names, range(CROWD), strict=True))
        for name in names:
            (files / f"{name}.pdf").unlink()
        await each(lambda peer: peer.request(names[(peer.id + FAR) % CROWD]), line)
        assert all((files / f"received_{name}.pdf").read_bytes() == name.encode() * 100 for name in names)

        for peer in line:
            if peer.id in DEAD:
                peer.kill()
        line = [peer for peer in line if peer.id not in DEAD]
        await until_right(line)
        name = f"{line[-1].id:04}"
        assert (await line[0].request(name)).size == 400
    finally:
        for peer in line:
            peer.kill()


def left_over() -> tuple[set[threading.Thread], int]:
    """The threads and the descriptors of this process, once the workers that all peers share have gone home."""
    deadline = time.monotonic() + PATIENCE_S
    while any(thread.name.startswith("overlay-") for thread in threading.enumerate()):
        assert time.monotonic() < deadline, "the pools never ended"
        time.sleep(0.05)
    return set(threading.enumerate()), len(list(Path("/dev/fd").iterdir()))


@pytest.fixture
def descriptors() -> Iterator[None]:
    """Room for two thousand sockets."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < DESCRIPTORS:
        pytest.skip(f"a process may have {hard} descriptors here, {DESCRIPTORS} are needed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, DESCRIPTORS), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("descriptors")
@pytest.mark.parametrize("kind", [Threaded, AsyncPeer])
def test_a_crowd_lives_is_hurt_heals_and_leaves_nothing(
    kind: Callable[..., Member], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    threads, sockets = left_over()
    base_port, guard = take_slot(range(CROWD))
    with guard:
        run(live(kind, tmp_path, base_port))
    threads_now, sockets_now = left_over()
    assert threads_now <= threads
    assert sockets_now <= sockets
    assert [record.getMessage() for record in caplog.records] == [], "nothing went wrong, no task was left pending"
