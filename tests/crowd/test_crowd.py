"""Many peers in one process, on threads and on one loop: a ring that works, is hurt, heals, and leaves nothing behind.

256 of them keep a machine busy that has other things to do, so they are for `make test-slow`; `make test` has a smaller crowd.
"""

from __future__ import annotations

import asyncio
import resource
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks.peers import Member, Threaded
from overlay.live.aio import run
from overlay.peer.aio import AsyncPeer
from tests.peer.support import take_slot

SIZES = (80, pytest.param(256, marks=pytest.mark.slow))


def who_dies(crowd: int) -> frozenset[int]:
    """Three in a row at many places: as many as the four known successors are sure to survive."""
    return frozenset([number + step for number in range(0, crowd, 15) for step in range(3)][: crowd // 5])


FAR = 16
"""A record is fetched from a peer so many places further on: from all around the ring it would be the same, but longer."""

WAVE = 32
DESCRIPTORS = 4096
PATIENCE_S = 60.0


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


async def until_lists_are_full(line: list[Member]) -> None:
    """Until each has four successors: one that has fewer survives fewer deaths."""

    def successors(peer: Member) -> int:
        inside = peer.peer if isinstance(peer, Threaded) else peer
        return len(inside._parts.ring.chord.successors)

    deadline = time.monotonic() + PATIENCE_S
    while wrong := [peer.id for peer in line if successors(peer) < 4]:
        assert time.monotonic() < deadline, f"lists are not full after {PATIENCE_S} s: {wrong}"
        await asyncio.sleep(0.1)


async def live(kind: Callable[..., Member], root: Path, base_port: int, crowd: int) -> None:
    files = root / "files"
    files.mkdir()
    place = {"base_port": base_port, "files": files, "ping_interval_s": 2}
    line = [kind(number, data=root / str(number), **place) for number in range(crowd)]
    dead = who_dies(crowd)
    try:
        await each(lambda peer: peer.setup((peer.id + 1) % crowd, (peer.id + 2) % crowd), line)
        await each(lambda peer: peer.ready(), line)
        await until_right(line)

        names = [f"{number:04}" for number in range(crowd)]
        for name in names:
            (files / f"{name}.pdf").write_bytes(name.encode() * 100)
        stored = await each(lambda peer: peer.store(names[(peer.id + 1) % crowd]), [line[-1], *line[:-1]])
        assert [(one.name, one.peer) for one in stored] == list(zip(names, range(crowd), strict=True))
        for name in names:
            (files / f"{name}.pdf").unlink()
        await each(lambda peer: peer.request(names[(peer.id + FAR) % crowd]), line)
        assert all((files / f"received_{name}.pdf").read_bytes() == name.encode() * 100 for name in names)

        await until_lists_are_full(line)
        for peer in line:
            if peer.id in dead:
                peer.kill()
        line = [peer for peer in line if peer.id not in dead]
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
@pytest.mark.parametrize("crowd", SIZES)
@pytest.mark.parametrize("kind", [Threaded, AsyncPeer])
def test_a_crowd_lives_is_hurt_heals_and_leaves_nothing(
    kind: Callable[..., Member], crowd: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run(asyncio.sleep(0))  # Some event loops keep two descriptors for the process from their first use on.
    threads, sockets = left_over()
    base_port, guard = take_slot(range(crowd))
    with guard:
        run(live(kind, tmp_path, base_port, crowd))
    threads_now, sockets_now = left_over()
    assert threads_now <= threads
    assert sockets_now <= sockets
    assert [record.getMessage() for record in caplog.records] == [], "nothing went wrong, no task was left pending"
