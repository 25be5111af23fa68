"""The folder of a peer that lasts: a secret that is made once, an id that stays, and what ring it was in."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from overlay.errors import LocalError
from overlay.peer.home import Home, Lasting, id_of
from overlay.ring.messages import Shape


def test_the_secret_is_made_once_whoever_asks_first_and_nobody_else_may_read_it(tmp_path: Path) -> None:
    found: list[bytes] = []
    threads = [threading.Thread(target=lambda: found.append(Home(tmp_path / "me").secret())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8 and len({*found, Home(tmp_path / "me").secret()}) == 1
    assert (tmp_path / "me" / "identity").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in (tmp_path / "me").iterdir()] == ["identity"]


def test_an_id_is_of_the_rings_bits_and_tells_nothing_of_the_secret() -> None:
    ids = {bits: id_of(bytes(32), bits) for bits in (8, 32, 160)}
    assert all(0 <= id < 1 << bits for bits, id in ids.items())
    assert ids[32] == ids[160] >> 128
    assert len({id_of(bytes(32), 160, number) for number in range(100)} | {id_of(bytes(31) + b"1", 160)}) == 101


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda path: path.chmod(0o644), "others can read"),
        (lambda path: path.write_bytes(b"\xff\xfe"), "is damaged"),
        (lambda path: path.write_text("ab"), "is damaged"),
        (lambda path: (path.unlink(), path.mkdir()), "identity"),
    ],
)
def test_a_secret_that_is_none_is_told_in_one_line(tmp_path: Path, spoil: object, says: str) -> None:
    home = Home(tmp_path)
    home.secret()
    spoil(tmp_path / "identity")  # type: ignore[operator]
    with pytest.raises(LocalError, match=says):
        home.secret()


def test_what_ring_it_was_in(tmp_path: Path) -> None:
    home, last = Home(tmp_path), Lasting(Shape(160, 8, True), 7001)
    assert home.last() is None
    home.remember(last)
    assert Home(tmp_path).last() == last
    (tmp_path / "ring.json").write_text('{"shape": 5}')
    with pytest.raises(LocalError, match=r"ring\.json"):
        home.last()
