"""A ring's store by command, with real processes: put, get, delete, list, status, up, down, and what they exit with."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from overlay import AsyncClient
from overlay.errors import OverlayError
from tests.end_to_end.processes import DEADLINE_S, ROOT, Program, free_base_port
from tests.end_to_end.test_lasting import Start, start, wait_for_ring

__all__ = ["start"]
FILE_BYTES = 20 << 20


class Shell:
    """Runs `overlay` with these words."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.environment = {**os.environ, "PYTHONPATH": str(ROOT / "lib"), "XDG_DATA_HOME": str(folder / "share")}
        self.environment.pop("OVERLAY_AT", None)

    def __call__(self, *words: str, says: str = "", status: int = 0, piped: bytes = b"") -> bytes:
        """What it printed; it is to end so, and to say that on stdout or stderr, in one line."""
        run = subprocess.run(
            [sys.executable, "-m", "overlay", *words],
            cwd=self.folder,
            env=self.environment,
            input=piped,
            capture_output=True,
            timeout=3 * DEADLINE_S,
            check=False,
        )
        assert run.returncode == status, (words, run.returncode, run.stdout[-500:], run.stderr)
        assert says in (run.stdout[-2000:] + run.stderr).decode(errors="replace"), (
            words,
            run.stdout[-500:],
            run.stderr,
        )
        assert b"Traceback" not in run.stderr
        if status:
            assert run.stderr.count(b"\n") == 1, run.stderr
        return run.stdout


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    shell = Shell(tmp_path)
    yield shell
    for data in tmp_path.glob("share*/overlay"):
        shell("down", "--data", str(data))


def test_what_was_put_is_read_back_after_one_peer_is_killed_and_one_has_quit(
    start: Start, shell: Shell, tmp_path: Path
) -> None:
    port = free_base_port(range(5))
    (tmp_path / "quick.toml").write_text("[store]\nsync_s = 2\n[pings]\ninterval_s = 0.5")
    peers: list[Program] = [start(f"create --port {port} --data p0 --config quick.toml")]
    peers[0].line("a ring begins here")
    for number in range(1, 5):
        peers.append(start(f"join --at 127.0.0.1:{port} --port {port + number} --data p{number} --config quick.toml"))
        peers[-1].line("Join request has been accepted")
    at = f"127.0.0.1:{port}"
    wait_for_ring(port, set(_ids(at)))
    body = random.Random(6).randbytes(FILE_BYTES)
    (tmp_path / "large.bin").write_bytes(body)
    records = {f"key {number}": random.Random(number).randbytes(100) for number in range(200)}

    shell("put", "large.bin", "--at", at, says="large.bin is stored: 20.0 MiB, 3 durable copies")
    asyncio.run(_put_all(at, records))
    assert shell("list", "key 19", "--at", at).count(b"\n") == 11
    peers[2].signal(signal.SIGKILL)
    peers[3].type("quit")
    assert peers[3].ended() == 0
    # The first address is one that nobody has any more.
    places = ["--at", f"127.0.0.1:{port + 2}", "--at", at]
    assert asyncio.run(_get_all(at, list(records))) == records
    shell("get", "large.bin", "-o", "copy.bin", *places, says="copy.bin: 20.0 MiB")
    assert hashlib.sha256((tmp_path / "copy.bin").read_bytes()).digest() == hashlib.sha256(body).digest()
    assert all(peers[number].is_running() for number in (0, 1, 4)), [peer.errors for peer in peers]
    shell("delete", "key 7", *places)
    shell("get", "key 7", *places, status=3, says="key 7 is not stored")
    _until_complete(shell, at)
    listed = [json.loads(line) for line in shell("list", "--json", "--at", at).splitlines()]
    assert {one["name"]: one["size"] for one in listed} == {
        **{name: 100 for name in records if name != "key 7"},
        "large.bin": FILE_BYTES,
    }


def _ids(at: str) -> list[int]:
    async def look() -> list[int]:
        async with AsyncClient(at) as client:
            return [int(contact.id) for contact in await client.ring()]

    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        try:
            ids = asyncio.run(look())
        except OverlayError:
            continue
        if len(ids) == 5:
            return ids
    raise AssertionError("there never were five peers")


async def _put_all(at: str, records: dict[str, bytes]) -> None:
    async with AsyncClient(at) as client:
        acked = await asyncio.gather(*(client.put(name, value) for name, value in records.items()))
        assert all(one.copies >= 3 for one in acked)


async def _get_all(at: str, names: list[str]) -> dict[str, bytes]:
    async with AsyncClient(at) as client:
        return dict(zip(names, await asyncio.gather(*map(client.get, names)), strict=True))


def _until_complete(shell: Shell, at: str) -> None:
    deadline = time.monotonic() + 2 * DEADLINE_S
    while not (told := json.loads(shell("status", "--json", "--at", at)))["complete"]:
        assert time.monotonic() < deadline, told


def test_a_ring_in_the_background_is_begun_used_and_ended(shell: Shell, tmp_path: Path) -> None:
    shell("list", status=2, says="which ring?")
    up = json.loads(shell("up", "--json", "--interval", "0.5"))
    assert (up["already"], up["peer"]["ready"]) == (False, True)
    shell("params", "--help", says="every parameter")
    shell("lab", "nonsense", status=2, says="invalid choice")
    shell("up", says=f"a peer runs already at {up['peer']['at']} (process {up['peer']['pid']}")
    more = ("--data", str(tmp_path / "share-2" / "overlay"), "--interval", "0.5")
    other = json.loads(shell("up", "--at", up["peer"]["at"], "--json", *more))["peer"]

    shell("put", "-", "--name", "note", piped=b"remember", says="note is stored: 8 bytes, 2 durable copies")
    assert shell("get", "note", "-o", "-") == b"remember"
    shell("get", "note", says="note is in note: 8 bytes")
    assert (tmp_path / "note").read_bytes() == b"remember"
    shell("get", "note", status=1, says="note is here already: say -o FILE")
    shell("get", "note", "-o", "none/note", status=1, says='"none/note": No such file or directory')
    shell("put", "none", status=1, says='"none": No such file or directory')
    shell("put", "-", status=2, says="give it one by --name")
    shell("delete", "nothing", status=3, says="nothing is not stored")
    shell("get", "../note", "-o", "x", status=3)
    assert not (tmp_path / "x").exists()
    shell("down", says="the peer has handed over what others could take, and ended")
    shell("down", says="nothing runs in the background")
    assert shell("get", "note", "-o", "-", "--at", other["at"]) == b"remember"
    shell("get", "note", "--at", up["peer"]["at"], "-o", "x", status=4, says="no peer answers at")


def test_a_ring_that_is_full_says_so(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "soon.toml").write_text("[store]\ndeadline_s = 8\n[pings]\ninterval_s = 0.5")
    shell("up", "--quota", "1M", "--config", "soon.toml")
    (tmp_path / "large").write_bytes(random.Random(1).randbytes(2 << 20))
    shell("put", "large", status=6, says="no room for")
    shell("put", "-", "--name", "small", piped=b"1")
    assert shell("list", "--json").count(b"\n") == 1


def test_a_stale_process_number_is_nobodys(shell: Shell, tmp_path: Path) -> None:
    folder = tmp_path / "share" / "overlay"
    up = json.loads(shell("up", "--json"))["peer"]
    os.kill(up["pid"], signal.SIGKILL)
    deadline = time.monotonic() + DEADLINE_S
    while _answers(up["at"]):
        assert time.monotonic() < deadline
    # Somebody else has the number by now: ourselves.
    (folder / "up.json").write_text(json.dumps({"pid": os.getpid(), "at": up["at"]}))
    shell("down", says="nothing runs in the background")
    again = json.loads(shell("up", "--json"))["peer"]
    assert again["at"] == up["at"] and again["pid"] != up["pid"]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        busy = str(taken.getsockname()[1])
        shell("up", "--port", busy, "--data", "b", status=1, says=f"port {busy} (TCP) is in use by another program")
    shell("up", "--config", "none.toml", "--data", "b", status=2, says='cannot read "none.toml"')


def _answers(at: str) -> bool:
    try:
        socket.create_connection(("127.0.0.1", int(at.rpartition(":")[2])), 1.0).close()
    except OSError:
        return False
    return True


def test_many_peers_are_started_used_killed_and_ended_by_one_command_each(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "records.json").write_text(json.dumps({f"record {number}": f"{number}" * 9 for number in range(60)}))
    try:
        shell("lab", "mass-join", "4", "--interval", "0.5", says="4 of 4 joined, 0 failed")
        shell("lab", "mass-data", "records.json", "insert", says="60 of 60 inserted, 0 failed")
        watched = json.loads(shell("lab", "watch", "--for", "0.1", "--json"))["peers"]
        assert [one["after"] for one in watched] == [*[one["peer"] for one in watched[1:]], watched[0]["peer"]]
        assert sum(one["own"] for one in watched) == 60
        shell("lab", "mass-leave", "--percent", "25", "--crash", says="1 of 1 crashed, 0 failed")
        shell("lab", "mass-data", "records.json", "lookup", says="60 of 60 looked up, 0 failed (0.0 %)")
    finally:
        shell("lab", "mass-leave", "--percent", "100", "--crash", says="3 of 3 crashed")
    shell("lab", "mass-data", "records.json", "lookup", status=4, says="no peer runs in")
