"""The same verbs on an asyncio loop, in one ring with a peer on threads."""

from __future__ import annotations

import asyncio
import logging

import pytest

from overlay.errors import Indefinite, LocalError, RemoteError
from overlay.peer.aio import AsyncPeer
from overlay.ring.events import JoinAccepted
from overlay.store.events import Received, Stored
from tests.peer.support import PATIENCE_S, House
from tests.peer.test_peer import done


def test_coroutines_and_threads_are_one_ring(house: House) -> None:
    (house.files / "0009.pdf").write_bytes(b"nine" * 1000)
    house.ring((4,))
    place = {"base_port": house.base_port, "files": house.files, "ping_interval_s": 0.5}

    async def main() -> None:
        told: list[object] = []
        async with AsyncPeer(9, on_event=lambda _, event: told.append(event), **place) as peer:
            with pytest.raises(LocalError, match="was not started"):
                await peer.store("0009")
            await peer.join(4)
            await asyncio.wait_for(peer.ready(), PATIENCE_S)
            assert JoinAccepted(4, 9) in told
            assert await peer.store("0009") == Stored("0009", 9, 4000)
            assert peer.view().records == ("0009",)
            assert [member.contact.id for member in await peer.ring()] == [4, 9]
            with pytest.raises(RemoteError, match="not stored"):
                await peer.request("0004")
            with pytest.raises(LocalError, match=f"Peer 4 is already running at 127.0.0.1:{house.base_port + 4}"):
                await AsyncPeer(4, **place).setup(9, 4)
        assert peer.closed

    asyncio.run(asyncio.wait_for(main(), 3 * PATIENCE_S))
    assert house.peers[4].view().records == ("0009",), "the leaver handed it over"
    assert done(house.peers[4].request("0009")) == Received("0009", 4000)


def test_who_waits_can_stop_waiting_and_hears_of_the_end(house: House, caplog: pytest.LogCaptureFixture) -> None:
    place = {"base_port": house.base_port, "files": house.files, "ping_interval_s": 0.5}

    async def main() -> None:
        tasks = asyncio.all_tasks()
        peer = AsyncPeer(4, **place)
        await peer.setup(5, 8)
        waits = [asyncio.create_task(peer.ready()) for _ in range(3)]
        storing = asyncio.create_task(peer.store("0007"))
        await asyncio.sleep(0)
        waits[0].cancel()
        with pytest.raises(asyncio.CancelledError):
            await waits[0]
        assert not peer.closed, "a cancelled wait is nobody's end"
        peer.kill()
        for waiting in (*waits[1:], storing):
            with pytest.raises(Indefinite, match="has ended"):
                await asyncio.wait_for(waiting, PATIENCE_S)
        with pytest.raises(LocalError, match="has ended"):
            await peer.request("0007")
        with pytest.raises(LocalError, match="was started already"):
            await peer.join(5)
        await peer.quit()
        assert asyncio.all_tasks() == tasks

    asyncio.run(asyncio.wait_for(main(), 3 * PATIENCE_S), debug=True)
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
