"""One peer that is several members of a ring, on real sockets."""

from __future__ import annotations

from pathlib import Path

from overlay.lab.rings import root_of
from overlay.peer import Outcome, Peer
from overlay.peer.home import id_of
from overlay.peer.preset import chord
from overlay.peer.virtual import VirtualPeer
from overlay.store.names import key_of_name
from tests.peer.support import PATIENCE_S, threads_of

PRESET = chord(32, 4)
SECRET = b"\2" * 32
"""Each of its three members has some of the records below."""


def make(folder: Path, secret: bytes, number: int, **more: object) -> Peer:
    return (VirtualPeer if more else Peer)(
        id_of(secret, 32, number),
        ping_interval_s=0.5,
        preset=PRESET,
        files=folder / "files",
        data=folder / f"{secret[0]}-{number}",
        keep=True,
        **more,
    )


def wait(pending: object) -> object:
    assert isinstance(pending, Outcome)
    return pending.wait(PATIENCE_S)


def test_a_peer_of_three_members_begins_a_ring_keeps_records_and_leaves_them_to_another(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    names = [f"{number:04}" for number in range(12)]
    for name in names:
        (tmp_path / "files" / f"{name}.pdf").write_text(name)
    several = make(tmp_path, SECRET, 0, others=[make(tmp_path, SECRET, number) for number in (1, 2)])
    single = make(tmp_path, bytes(32), 0)
    try:
        assert wait(several.create()) is False
        wait(single.join(f"127.0.0.1:{several.port}"))
        assert {member.contact.id for member in wait(single.ring())} == {  # type: ignore[attr-defined]
            *(id_of(SECRET, 32, number) for number in range(3)),
            single.id,
        }
        keepers = {name: wait(single.store(name)).peer for name in names}  # type: ignore[attr-defined]
        line = sorted([*(id_of(SECRET, 32, number) for number in range(3)), single.id])
        assert keepers == {name: root_of(key_of_name(name, 32), line) for name in names}
        mine = tuple(name for name in names if keepers[name] != single.id)
        assert len({keepers[name] for name in mine}) == 3 and several.view().records == mine
        wait(several.quit())
        assert several.closed.is_set()
        assert single.view().records == tuple(names)
    finally:
        several.kill()
        single.kill()
    assert [threads_of(id_of(SECRET, 32, number)) for number in range(3)] == [[], [], []]
