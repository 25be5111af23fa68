"""Rings outside the classroom on real sockets: long ids, long lists, fingers by proximity, on threads and asyncio."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import msgspec

from overlay.ids import Key, distance
from overlay.peer import Outcome, Peer
from overlay.peer.aio import AsyncPeer
from overlay.peer.preset import chord
from overlay.ring.fingers import FingerConfig
from tests.peer.support import House

LISTED = 12
PRESET = msgspec.structs.replace(chord(160, LISTED), fingers=FingerConfig(candidates=4, fix_s=0.5))


def test_lists_that_are_longer_than_a_datagram_come_whole(house: House) -> None:
    line = [Key((place << 156) + 7) for place in range(LISTED + 1)]
    for index, id in enumerate(line):
        peer = house.make(id, preset=PRESET, data=house.root / str(index))
        entering = house.peers[line[0]].create() if not index else peer.join(f"127.0.0.1:{house.peers[line[0]].port}")
        assert isinstance(entering, Outcome)
        entering.wait(30)

    def is_whole(id: Key) -> bool:
        return house.peers[id].view().successors == tuple(sorted(set(line) - {id}, key=lambda o: distance(id, o, 160)))

    house.until(lambda: all(is_whole(id) for id in line))


def test_coroutines_begin_a_ring_and_threads_come_in(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "4103.pdf").write_text("of all")
    place = {"preset": PRESET, "ping_interval_s": 0.5, "files": tmp_path / "files"}

    second = Peer((1 << 158) + 1, data=tmp_path / "b", **place)  # type: ignore[arg-type]

    async def begin() -> None:
        async with AsyncPeer(1 << 159, data=tmp_path / "a", **place) as first:
            assert await first.create() is False
            joining = second.join(f"127.0.0.1:{first.port}")
            assert isinstance(joining, Outcome)
            await asyncio.to_thread(joining.wait, 30)
            stored = await first.store("4103")
            assert stored.peer in (first.id, second.id)
            assert (await first.request("4103")).size == len("of all")
        assert second.view().records == ("4103",)

    try:
        asyncio.run(begin())
    finally:
        second.kill()


def test_a_port_that_was_its_own_and_is_taken_now_is_given_up(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        peer = Peer(1, preset=PRESET, last_port=taken, files=tmp_path, data=tmp_path / "a")
        try:
            creating = peer.create()
            assert isinstance(creating, Outcome) and creating.wait(30) is False
            assert peer.port not in (0, taken)
        finally:
            peer.kill()
