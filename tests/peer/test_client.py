"""Clients of a ring's store: they ask one peer after the other, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from overlay import AsyncClient, Client, NoAnswer, NotFound, Peer
from overlay.core.pending import Pending
from overlay.errors import LocalError, RemoteError
from overlay.peer import Outcome
from overlay.peer.address import show_address
from overlay.peer.client.aio import Replaced
from overlay.peer.client.places import default_places
from overlay.peer.client.segments import MAGIC, RESERVED, SEGMENT_BYTES
from overlay.peer.preset import chord
from overlay.store.desk.messages import PART_BYTES
from overlay.store.replicated.config import ReplicasConfig
from tests.peer.support import PATIENCE_S

IDS = (1 << 28, 5 << 28, 9 << 28, 13 << 28)


def wait(pending: Pending[Any]) -> Any:
    assert isinstance(pending, Outcome)
    return pending.wait(PATIENCE_S)


def make(folder: Path, id: int, **more: Any) -> Peer:
    more = {"store": ReplicasConfig(sync_s=1.0), **more}
    return Peer(
        id, ping_interval_s=0.5, preset=chord(32, 4), files=folder / "files", data=folder / f"peer-{id}", **more
    )


def address(peer: Peer) -> str:
    return show_address(peer.host, peer.port)


@pytest.fixture
def ring(tmp_path: Path) -> Iterator[list[Peer]]:
    """Four peers with a store."""
    peers = [make(tmp_path, id) for id in IDS]
    wait(peers[0].create())
    for peer in peers[1:]:
        wait(peer.join(address(peers[0])))
    yield peers
    for peer in peers:
        peer.kill()


def test_what_is_put_is_read_listed_and_deleted_also_when_the_peer_that_was_named_is_gone(ring: list[Peer]) -> None:
    with Client(address(ring[1])) as client:
        first = client.put("a", b"1")
        assert first.copies >= 3 and client.get("a") == b"1"
        assert client.put("a", b"2").version > first.version
        client.put(b"\xff", b"")
        assert [(one.name, one.size) for one in client.list()] == [(b"a", 1), (b"\xff", 0)]
        assert [peer.contact.id for peer in client.status().peers] == list(IDS)
        ring[1].kill()
        assert client.get("a") == b"2"
        assert client.delete("a").version > first.version
        with pytest.raises(NotFound, match="a is not stored"):
            client.get("a")


def test_values_of_any_size_pass_between_any_two_peers(ring: list[Peer]) -> None:
    sizes = (0, 9_000, 16 * 1024, 16 * 1024 + 1, PART_BYTES + 1, SEGMENT_BYTES, SEGMENT_BYTES + 1)
    with Client(address(ring[0])) as writer, Client(address(ring[2])) as reader:
        for size in sizes:
            value = random.Random(size).randbytes(size)
            for number in range(3):
                writer.put(f"{size} {number}", value)
                assert reader.get(f"{size} {number}") == value
        assert {one.name: one.size for one in reader.list()} == {b"%d %d" % (s, n): s for s in sizes for n in range(3)}
        looks_like_an_index = MAGIC + b"but is none"
        writer.put("strange", looks_like_an_index)
        assert reader.get("strange") == looks_like_an_index


def test_of_a_long_value_that_is_replaced_nothing_stays(ring: list[Peer]) -> None:
    def segments() -> int:
        return sum(one.name.startswith(RESERVED) for peer in ring for one in peer.stored())

    with Client(address(ring[0])) as client:
        for _ in range(2):
            client.put("a", bytes(3 * SEGMENT_BYTES))
            assert segments() == 3
        client.put("a", b"short")
        assert segments() == 0
        client.put("a", bytes(SEGMENT_BYTES + 1))
        client.delete("a")
        assert segments() == 0 and client.list() == ()
        with pytest.raises(LocalError, match="the store's own"):
            client.get(b"\0abc")


def test_of_a_long_value_that_was_not_put_nothing_stays(ring: list[Peer]) -> None:
    class Broken:
        """A file whose disk fails."""

        left = 4

        def read(self, size: int) -> bytes:
            self.left -= 1
            if not self.left:
                raise OSError("the disk fails")
            return random.Random(self.left).randbytes(size)

    with Client(address(ring[0])) as client:
        with pytest.raises(OSError, match="the disk fails"):
            client.put_file(Broken(), "a")
        with pytest.raises(NotFound):
            client.get("a")
    assert not any(peer.stored() for peer in ring)


def test_a_session_goes_on_at_another_peer(ring: list[Peer]) -> None:
    with Client(address(ring[0])) as one:
        for _ in range(5):
            one.put("x", b"old")
        told = one.session
    with Client(address(ring[2]), session=told) as other:
        # Peer 2 has seen no version of this name's writers, and yet what it writes comes after them.
        assert other.put("y", b"new").version > told


def test_a_peer_that_is_in_no_ring_yet_is_passed_over(ring: list[Peer], tmp_path: Path) -> None:
    lost = make(tmp_path, 7)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        # Whoever it asks to be let in accepts, and says nothing.
        lost.join(show_address(*silent.getsockname()), PATIENCE_S)
        with Client([address(lost), address(ring[0])]) as client:
            client.put("a", b"1")
            assert client.get("a") == b"1"
    with Client(address(lost), timeout_s=0.5) as client, pytest.raises(NoAnswer, match="in no ring yet"):
        client.get("a")
    lost.kill()


def test_a_mapping_is_one(ring: list[Peer]) -> None:
    with Client([address(ring[0])]) as client:
        records = client.mapping()
        records.update({"a": b"1", "b": b"2"})
        client.put(b"\xff", b"no text")
        assert (dict(records), len(records), "c" in records) == ({"a": b"1", "b": b"2"}, 2, False)
        del records["a"]
        assert records.get("a") is None and records.pop("b") == b"2"
        with pytest.raises(KeyError):
            del records["a"]


def test_many_at_a_time_on_one_connection(ring: list[Peer]) -> None:
    async def main() -> None:
        async with AsyncClient(address(ring[3])) as client:
            await asyncio.gather(*(client.put(f"{number}", b"%d" % number) for number in range(40)))
            values = await asyncio.gather(*(client.get(f"{number}") for number in range(40)))
            assert values == [b"%d" % number for number in range(40)]
            assert len(await client.list()) == 40

    asyncio.run(main())


def test_what_cannot_be_is_told(ring: list[Peer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Client(address(ring[0])) as client:
        for name in ("", "n" * 1025):
            with pytest.raises(LocalError, match="a name has 1 to 1024 bytes"):
                client.put(name, b"")
    with pytest.raises(LocalError, match="closed"):
        client.get("a")
    plain = make(tmp_path, 7, store=None)
    wait(plain.create())
    with Client(address(plain)) as client, pytest.raises(RemoteError, match="keeps no store"):
        client.get("a")
    plain.kill()
    with Client(address(plain)) as client:
        for ask in (lambda: client.get("a"), client.list):
            with pytest.raises(NoAnswer, match=r"^no peer answers at [0-9.:]+: Connection refused$"):
                ask()
    monkeypatch.setenv("OVERLAY_AT", "")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    with pytest.raises(LocalError, match="needs the address of a peer"):
        Client()
    monkeypatch.setenv("OVERLAY_AT", "127.0.0.1:7001, [::1]:7002")
    assert default_places() == ["127.0.0.1:7001", "[::1]:7002"]


def test_a_long_value_that_is_replaced_all_the_time_is_read_as_one_of_its_versions(ring: list[Peer]) -> None:
    values = [bytes([number]) * (2 * SEGMENT_BYTES) for number in range(4)]

    async def main() -> None:
        async with AsyncClient(address(ring[0])) as writer, AsyncClient(address(ring[1])) as reader:
            await writer.put("a", values[0])

            async def write() -> None:
                for value in values * 2:
                    await writer.put("a", value)

            writing = asyncio.create_task(write())
            while not writing.done():
                # A reader that is slower than the writer four times in a row is told so, and has read nothing.
                with contextlib.suppress(Replaced):
                    assert await reader.get("a") in values
            await writing
            assert await reader.get("a") == values[-1]

    asyncio.run(main())
