"""The disk: what is durable, what is shown, what is refused; with files in a temporary folder."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from overlay.core.storage import BlobRef, Entry, Export, Write
from overlay.errors import LocalError, NotThere, RemoteError
from overlay.store.disk import EMPTY, FolderDisk, originals
from overlay.store.disk.folder import digest
from overlay.store.disk.index import Index
from overlay.store.disk.system import System

BODY = random.Random(1).randbytes(3000)
OTHER = random.Random(2).randbytes(2000)
SHM = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""Where a sync costs nothing."""

INDEX = "files/peer-19/.overlay/index.db"


def ref_of(body: bytes) -> BlobRef:
    return BlobRef(hashlib.sha256(body).digest(), len(body))


def opened(root: Path, *, keep: bool = True, **more: Any) -> FolderDisk:
    disk = FolderDisk(root / "files/peer-19", root / "files", keep=keep, **more)
    disk.open()
    return disk


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[FolderDisk]:
    opened_disk = opened(tmp_path)
    yield opened_disk
    opened_disk.close()


def fetch(disk: FolderDisk, body: bytes, ref: BlobRef | None = None) -> BlobRef:
    """What a driver does with a body that comes."""
    ref = ref or ref_of(body)
    partial = disk.partial(ref)
    try:
        for start in range(partial.have, len(body), 700):
            piece = memoryview(body)[start : start + 700]
            partial.write(piece)
            partial.check(piece)
        partial.finish()
    finally:
        partial.close()
    return ref


def keep(disk: FolderDisk, name: str, body: bytes, value: bytes = b"v") -> None:
    disk.write("records", (Write(f"record/{name}", Entry(value, fetch(disk, body))),))


def tree(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def restarted(disk: FolderDisk, root: Path, *, keep: bool = True) -> FolderDisk:
    disk.close()
    return opened(root, keep=keep)


# What is kept ------------------------------------------------------------------------------------------------


def test_a_record_is_durable_and_shown_and_forgotten(disk: FolderDisk, tmp_path: Path) -> None:
    keep(disk, "2067", BODY)
    disk = restarted(disk, tmp_path)
    shown = tmp_path / "files/peer-19/2067.pdf"
    assert disk.entries("records") == {"record/2067": Entry(b"v", ref_of(BODY))}
    assert disk.entries("other") == {}
    source = disk.source(ref_of(BODY))
    assert source is not None
    assert source.read_bytes() == shown.read_bytes() == BODY
    disk.write("records", (Write("record/2067", None),))
    assert not shown.exists()
    assert not source.exists()
    disk = restarted(disk, tmp_path)
    assert disk.entries("records") == {}
    disk.close()


def test_a_newer_body_takes_the_place_of_the_older(disk: FolderDisk, tmp_path: Path) -> None:
    keep(disk, "2067", BODY)
    keep(disk, "2067", OTHER, b"w")
    assert (tmp_path / "files/peer-19/2067.pdf").read_bytes() == OTHER
    assert disk.source(ref_of(BODY)) is None
    assert disk.entries("records") == {"record/2067": Entry(b"w", ref_of(OTHER))}


def test_a_body_lives_as_long_as_one_entry_has_it(disk: FolderDisk) -> None:
    keep(disk, "2067", BODY)
    keep(disk, "2068", BODY)
    disk.write("records", (Write("record/2067", None),))
    assert disk.source(ref_of(BODY)) is not None
    disk.write("records", (Write("record/2068", None),))
    assert disk.source(ref_of(BODY)) is None


def test_a_body_that_only_passes_costs_no_commit_and_goes_and_an_entry_that_was_there_goes_too(
    disk: FolderDisk,
) -> None:
    def passing(body: bytes) -> tuple[Write, Write]:
        return Write("k", Entry(b"", fetch(disk, body))), Write("k", None)

    disk.write("s", passing(BODY))
    assert disk.source(ref_of(BODY)) is None and not (disk.path / ".overlay/index.db").exists()
    outcomes: list[LocalError | None] = []
    commits = [
        disk.write_all([("s", batch)], outcomes.extend)
        for batch in ((Write("k", Entry(b"v", fetch(disk, BODY))),), passing(OTHER))
    ]
    for commit in commits:
        commit()
    # While it was being written, too.
    assert outcomes == [None, None] and disk.entries("s") == {}
    assert disk.source(ref_of(BODY)) is None and disk.source(ref_of(OTHER)) is None
    disk.write("s", (Write("k", Entry(b"v")),))
    disk.write("s", passing(BODY))
    assert disk.entries("s") == {}


def test_a_file_of_the_shared_folder_is_copied_when_it_is_kept(disk: FolderDisk, tmp_path: Path) -> None:
    original = tmp_path / "files/2067.pdf"
    original.write_bytes(BODY)
    ref = disk.find("2067.pdf")
    assert ref == ref_of(BODY)
    assert disk.source(ref) == original
    disk.write("records", (Write("record/2067", Entry(b"", ref)),))
    original.write_bytes(OTHER)
    assert (tmp_path / "files/peer-19/2067.pdf").read_bytes() == BODY
    assert disk.find("2067.pdf") == ref_of(OTHER)


def test_a_found_file_that_changed_is_no_longer_served(disk: FolderDisk, tmp_path: Path) -> None:
    original = tmp_path / "files/2067.pdf"
    original.write_bytes(BODY)
    ref = disk.find("2067.pdf")
    original.write_bytes(OTHER)
    assert disk.source(ref) is None
    with pytest.raises(LocalError, match="not here"):
        disk.write("records", (Write("record/2067", Entry(b"", ref)),))


def test_an_unchanged_file_is_hashed_once_unless_it_has_just_been_written(
    disk: FolderDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[int] = []
    monkeypatch.setattr(originals, "digest", lambda fd: hashed.append(fd) or digest(fd))
    monkeypatch.setattr(originals, "SETTLED_S", 3600.0)
    (tmp_path / "files/2067.pdf").write_bytes(BODY)
    refs = {disk.find("2067.pdf") for _ in range(2)}
    assert len(hashed) == 2, "it may have changed between, within one tick of the file system's clock"
    monkeypatch.setattr(originals, "SETTLED_S", -3600.0)
    refs |= {disk.find("2067.pdf") for _ in range(3)}
    assert len(hashed) == 3
    assert refs == {ref_of(BODY)}


def test_an_export_replaces_and_shares_no_bytes_with_a_record(disk: FolderDisk, tmp_path: Path) -> None:
    received = tmp_path / "files/received_4103.pdf"
    received.write_bytes(b"what was there")
    disk.write("records", (Export("received_4103.pdf", fetch(disk, BODY)),))
    assert received.read_bytes() == BODY
    assert disk.source(ref_of(BODY)) is None, "nothing needs the body any more"
    keep(disk, "4103", BODY)
    disk.write("records", (Export("received_4103.pdf", ref_of(BODY)),))
    assert not received.samefile(tmp_path / "files/peer-19/4103.pdf")
    assert received.read_bytes() == BODY


def test_the_empty_body_of_a_placeholder_is_always_here(disk: FolderDisk, tmp_path: Path) -> None:
    disk.write("records", (Write("record/0001", Entry(b"", EMPTY)), Write("record/0001", None)))
    source = disk.source(EMPTY)
    assert source is not None
    assert source.read_bytes() == b""


def test_without_keep_our_own_things_go_and_a_strangers_stay(disk: FolderDisk, tmp_path: Path) -> None:
    keep(disk, "2067", BODY)
    own = tmp_path / "files/peer-19"
    (own / "notes.txt").write_bytes(b"mine")
    (own / "9999.pdf").write_bytes(b"a stranger's")
    (own / "copy.pdf").write_bytes(BODY)
    (tmp_path / "files/2067.pdf").write_bytes(OTHER)
    disk = restarted(disk, tmp_path, keep=False)
    assert disk.entries("records") == {}
    assert {name for name in tree(own) if not name.startswith(".overlay")} == {"notes.txt", "9999.pdf", "copy.pdf"}
    assert (tmp_path / "files/2067.pdf").read_bytes() == OTHER
    keep(disk, "9999", BODY)
    assert (own / "9999.pdf").read_bytes() == b"a stranger's"
    disk.close()


def test_a_damaged_entry_is_named_and_hides_no_other(disk: FolderDisk, tmp_path: Path) -> None:
    for name, body in (("2067", BODY), ("2068", OTHER), ("2069", BODY + OTHER)):
        keep(disk, name, body)
    gone = disk.source(ref_of(BODY + OTHER))
    assert gone is not None
    disk.close()
    gone.unlink()
    with sqlite3.connect(tmp_path / INDEX) as database:
        database.execute(
            "UPDATE entries SET data = substr(data, 1, 40) || x'00' || substr(data, 42) WHERE key LIKE '%67'"
        )
    database.close()
    for _ in range(2):
        disk = restarted(disk, tmp_path)
        assert list(disk.entries("records")) == ["record/2068"]
        assert disk.damaged == ("record/2067", "record/2069")
        assert disk.source(ref_of(BODY)) is not None, "nobody knows whose it is"
    keep(disk, "2067", BODY)
    keep(disk, "2069", BODY + OTHER)
    disk = restarted(disk, tmp_path)
    assert (len(disk.entries("records")), disk.damaged) == (3, ())
    disk.close()


def test_an_index_that_is_none_any_more_is_set_aside(disk: FolderDisk, tmp_path: Path) -> None:
    keep(disk, "2067", BODY)
    disk.close()
    (tmp_path / INDEX).write_bytes(b"no database" * 1000)
    disk = restarted(disk, tmp_path)
    assert (disk.entries("records"), disk.damaged) == ({}, ("index.damaged-0",))
    assert (tmp_path / "files/peer-19/2067.pdf").read_bytes() == BODY
    keep(disk, "2067", BODY)
    disk = restarted(disk, tmp_path)
    assert (len(disk.entries("records")), disk.damaged) == (1, ())
    disk.close()


def test_what_can_be_read_of_a_damaged_index_is_kept(disk: FolderDisk, tmp_path: Path) -> None:
    keep(disk, "2067", BODY)
    disk.write("notes", tuple(Write(f"{number:04}", Entry(b"%d" % number * 20)) for number in range(3000)))
    before = disk.entries("notes")
    disk.close()
    pages = (tmp_path / INDEX).stat().st_size // 4096
    with (tmp_path / INDEX).open("r+b") as file:
        file.seek(pages // 2 * 4096)
        file.write(b"\xff" * 4096)
    for damaged in (("index.damaged-0",), ()):
        disk = restarted(disk, tmp_path)
        assert disk.damaged == damaged
        assert disk.entries("records") == {"record/2067": Entry(b"v", ref_of(BODY))}
        kept = disk.entries("notes")
        assert kept.items() <= before.items()
        assert 2900 < len(kept) < 3000
    disk.close()


def as_the_first_version(root: Path) -> list[str]:
    """Lay the entries of a closed disk into files, as they were before there was an index; their names."""
    with sqlite3.connect(root / INDEX) as database:
        rows = list(database.execute("SELECT service, key, data FROM entries"))
    database.close()
    (root / INDEX).unlink()
    folder = (root / INDEX).with_name("entries")
    folder.mkdir()
    names = [hashlib.sha256(f"{service}\0{key}".encode()).hexdigest()[:40] for service, key, _ in rows]
    for name, (_, _, data) in zip(names, rows, strict=True):
        (folder / name).write_bytes(data)
    return names


def test_a_folder_of_the_first_version_is_taken_over(disk: FolderDisk, tmp_path: Path) -> None:
    keep(disk, "2067", BODY)
    keep(disk, "2068", OTHER, b"w")
    before = disk.entries("records")
    disk.close()
    as_the_first_version(tmp_path)
    for _ in range(2):
        disk = restarted(disk, tmp_path)
        assert disk.entries("records") == before
        assert not (tmp_path / "files/peer-19/.overlay/entries").exists()
    disk.close()
    damaged = as_the_first_version(tmp_path)[0]
    (tmp_path / "files/peer-19/.overlay/entries" / damaged).write_bytes(b"nothing")
    for _ in range(2):
        disk = restarted(disk, tmp_path)
        assert disk.entries("records") == {"record/2068": Entry(b"w", ref_of(OTHER))}
        assert disk.damaged == (damaged,)
        assert disk.source(ref_of(BODY)) is not None
    disk = restarted(disk, tmp_path, keep=False)
    assert not (tmp_path / "files/peer-19/2068.pdf").exists()
    assert (disk.entries("records"), disk.damaged) == ({}, ())
    disk.close()


def test_peers_with_one_index_share_it_and_take_their_entries_home_again(tmp_path: Path) -> None:
    common = Index(tmp_path / "index.db")
    roots = [tmp_path / name for name in ("one", "two")]

    def all_of_them(index: Index | None) -> list[FolderDisk]:
        return [opened(root, index=index) for root in roots]

    disks = all_of_them(common)
    for disk, body in zip(disks, (BODY, OTHER), strict=True):
        keep(disk, "2067", body)
    for index in (common, Index(tmp_path / "other.db"), None, None, common):
        for disk in disks:
            disk.close()
        disks = all_of_them(index)
        for disk, body, root in zip(disks, (BODY, OTHER), roots, strict=True):
            assert disk.entries("records") == {"record/2067": Entry(b"v", ref_of(body))}
            assert disk.damaged == ()
            assert (root / INDEX).exists() == (index is None)
    disks[0].close()
    disks[0] = opened(roots[0], keep=False, index=common)
    assert [disk.entries("records") != {} for disk in disks] == [False, True]
    for disk in disks:
        disk.close()


def test_another_process_does_not_get_an_index_that_is_in_use(tmp_path: Path) -> None:
    disk = opened(tmp_path / "one", index=Index(tmp_path / "index.db"))
    keep(disk, "2067", BODY)
    code = (
        "import sys; sys.path[:0] = ['lib', '.']\nfrom pathlib import Path\nfrom tests.store.test_disk import *\n"
        "disk = opened(Path(sys.argv[1]) / 'two', index=Index(Path(sys.argv[1]) / 'index.db'))\nkeep(disk, '2067', BODY)"
    )
    run = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert "index.db: it is used by another process" in run.stderr
    assert run.returncode == 1
    keep(disk, "2068", OTHER)
    disk.close()


def test_a_folder_with_an_index_in_it_can_be_moved(tmp_path: Path) -> None:
    before, behind = tmp_path / "before", tmp_path / "behind"
    disk = opened(before / "one", index=Index(before / "index.db"))
    keep(disk, "2067", BODY)
    disk.close()
    before.rename(behind)
    for index in (Index(behind / "index.db"), None):
        disk = opened(behind / "one", index=index)
        assert disk.entries("records") == {"record/2067": Entry(b"v", ref_of(BODY))}
        disk.close()
    disk = opened(behind / "one", index=Index(behind / "index.db"))
    disk.close()
    (behind / "index.db").unlink()
    disk = opened(behind / "one")
    assert (disk.entries("records"), disk.damaged) == ({}, ("shared",))
    assert disk.source(ref_of(BODY)) is not None, "nobody knows whose it is"
    disk.close()


def test_writes_that_wait_together_share_their_commits_and_one_that_is_wrong_fails_alone(tmp_path: Path) -> None:
    class Counting(System):
        commits = 0

        def commit(self, connection: sqlite3.Connection) -> None:
            self.commits += 1
            super().commit(connection)

    counting = Counting()
    disk = opened(tmp_path, system=counting)
    batches = [("a", (Write(f"{number % 60}", Entry(b"%d" % number)),)) for number in range(100)]
    batches[50] = "a", (Write("huge", Entry(bytes(2 << 20))),)
    outcomes: list[LocalError | None] = []
    disk.write_all(batches[:70], outcomes.extend)
    commit = disk.write_all(batches[70:], outcomes.extend)
    assert (counting.commits, outcomes) == (0, [])
    commit()
    assert [number for number, outcome in enumerate(outcomes) if outcome is not None] == [50]
    assert counting.commits == 1
    entries = disk.entries("a")
    assert {key: int(entry.value) for key, entry in entries.items()} == {
        f"{number % 60}": number for number in (*range(40, 50), *range(51, 100), 110 - 60) if number != 50
    }
    disk.close()


def test_a_folder_of_originals_is_nobodys_own(tmp_path: Path) -> None:
    files, other = tmp_path / "files", tmp_path / "other"
    files.mkdir()
    other.symlink_to(files)
    (files / "2067.pdf").write_bytes(BODY)
    for data in (files, other):
        with pytest.raises(LocalError, match="is the folder of the originals too; choose another --data"):
            FolderDisk(data, files, keep=False).open()
    assert tree(tmp_path) == {"files/2067.pdf": BODY}


def test_two_do_not_share_a_folder(disk: FolderDisk, tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="used by another process; choose --data"):
        opened(tmp_path)
    disk.close()
    opened(tmp_path).close()


@pytest.mark.parametrize("entry", [Entry(b"1"), None])
def test_a_key_that_is_no_text_is_refused_and_harms_no_other(disk: FolderDisk, entry: Entry | None) -> None:
    outcomes: list[LocalError | None] = []
    disk.write_all([("a", (Write("\udcff", entry),)), ("a", (Write("\0x", Entry(b"2")),))], outcomes.extend)()
    assert "is no text" in str(outcomes[0])
    assert outcomes[1] is None
    assert disk.entries("a") == {"\0x": Entry(b"2")}


def test_whoever_is_told_that_something_is_durable_may_close_the_disk(disk: FolderDisk, tmp_path: Path) -> None:
    outcomes: list[LocalError | None] = []
    disk.write_all([("a", (Write("1", Entry(b"1")),))], lambda _: disk.close())
    commit = disk.write_all([("a", (Write("2", Entry(b"2")),))], outcomes.extend)
    commit()
    assert outcomes == [None]
    with pytest.raises(LocalError, match="closed"):
        disk.write("a", (Write("3", Entry(b"3")),))
    disk = opened(tmp_path)
    assert disk.entries("a") == {"1": Entry(b"1"), "2": Entry(b"2")}
    disk.close()


def test_an_export_does_not_wait_for_a_commit_that_stands_in_line_behind_it(disk: FolderDisk, tmp_path: Path) -> None:
    told: list[str] = []
    ref = fetch(disk, BODY)
    one = disk.write_all([("a", (Write("1", Entry(b"1")),))], lambda outcomes: told.append(f"entry {outcomes}"))
    two = disk.write_all([("a", (Export("4103.pdf", ref),))], lambda outcomes: told.append(f"file {outcomes}"))
    assert told == ["entry [None]"]
    two()
    one()
    assert told == ["entry [None]", "file [None]"]
    assert (tmp_path / "files/4103.pdf").read_bytes() == BODY


def test_an_end_commits_what_is_still_to_be(disk: FolderDisk, tmp_path: Path) -> None:
    outcomes: list[LocalError | None] = []
    commit = disk.write_all([("a", (Write("1", Entry(b"1")),))], outcomes.extend)
    disk.close()
    assert outcomes == [None]
    commit()
    disk = opened(tmp_path)
    assert disk.entries("a") == {"1": Entry(b"1")}
    disk.close()


# Bodies that come --------------------------------------------------------------------------------------------


def test_wrong_bytes_and_too_many_leave_nothing(disk: FolderDisk, tmp_path: Path) -> None:
    before = tree(tmp_path)
    with pytest.raises(RemoteError, match="not the bytes"):
        fetch(disk, OTHER, BlobRef(ref_of(BODY).sha256, len(OTHER)))
    partial = disk.partial(ref_of(BODY))
    with pytest.raises(RemoteError, match="more than"):
        partial.write(memoryview(BODY + b"!"))
    partial.close()
    assert tree(tmp_path) == before


def test_a_cut_body_goes_on_where_it_was_checked(disk: FolderDisk) -> None:
    partial = disk.partial(ref_of(BODY))
    partial.write(memoryview(BODY)[:1000])
    partial.check(memoryview(BODY)[:1000])
    partial.write(memoryview(BODY)[1000:1500])
    with pytest.raises(LocalError, match="already"):
        disk.partial(ref_of(BODY))
    partial.close()
    again = disk.partial(ref_of(BODY))
    assert again.have == 1000
    again.close()
    fetch(disk, BODY)
    source = disk.source(ref_of(BODY))
    assert source is not None
    assert source.read_bytes() == BODY


def test_nothing_of_a_cut_body_stays_behind_a_disk_that_is_closed(disk: FolderDisk, tmp_path: Path) -> None:
    before = tree(tmp_path)
    cut, open_still = disk.partial(ref_of(BODY)), disk.partial(ref_of(OTHER))
    cut.write(memoryview(BODY)[:1000])
    cut.check(memoryview(BODY)[:1000])
    cut.close()
    assert len(tree(tmp_path)) == len(before) + 2
    disk.close()
    assert tree(tmp_path) == before
    open_still.write(memoryview(OTHER))
    open_still.check(memoryview(OTHER))
    with pytest.raises(LocalError):
        open_still.finish()
    assert tree(tmp_path) == before


def test_a_quota_counts_what_is_still_to_come(tmp_path: Path) -> None:
    disk = opened(tmp_path, quota=4000)
    partial = disk.partial(ref_of(BODY))
    with pytest.raises(LocalError, match=r"peer-19: no room for 2000 bytes within the quota of 4000"):
        disk.partial(ref_of(OTHER))
    partial.close()
    keep(disk, "2067", OTHER)
    disk.close()


def test_memory_does_not_grow_with_the_file(disk: FolderDisk, tmp_path: Path) -> None:
    with (tmp_path / "files/2067.pdf").open("wb") as file:
        file.truncate(64 << 20)
    tracemalloc.start()
    ref = disk.find("2067.pdf")
    disk.write("records", (Write("record/2067", Entry(b"", ref)),))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 << 20


# Names and links ---------------------------------------------------------------------------------------------


NASTY = [
    "..",
    "a/../../b",
    "/etc/passwd",
    "CON",
    "nul.pdf",
    "x\0y",
    "\x1b[2J",
    "2067.pdf",
    "link.pdf",
    "link",
    "dangling.pdf",
]


def nodes(root: Path) -> dict[str, bytes | str]:
    """Everything below a folder: files by their bytes, links by what they name."""
    found: dict[str, bytes | str] = {}
    for path in root.rglob("*"):
        kind = "a folder" if path.is_dir() else path.read_bytes() if path.is_file() else "nothing"
        found[str(path.relative_to(root))] = f"> {path.readlink()}" if path.is_symlink() else kind
    return found


@settings(max_examples=150, deadline=None)
@given(name=st.text(max_size=300) | st.sampled_from(NASTY))
@example(name="../outside.pdf")
@example(name="peer-19/.overlay/lock")
@example(name="link.pdf")
@example(name="link")
@example(name="dangling.pdf")
@example(name="\udcff")
def test_no_name_leads_anywhere_else(name: str) -> None:
    with tempfile.TemporaryDirectory(dir=SHM) as folder:
        top, root = Path(folder), Path(folder) / "house"
        (top / "secret.pdf").write_bytes(b"secret")
        (top / "elsewhere").mkdir()
        disk = opened(root, keep=False)
        for own in (root / "files", root / "files/peer-19"):
            (own / "link.pdf").symlink_to(top / "secret.pdf")
            (own / "dangling.pdf").symlink_to(top / "outside.pdf")
            (own / "link").symlink_to(top / "elsewhere")
        before = nodes(top)
        with contextlib.suppress(LocalError):
            assert disk.find(name) != ref_of(b"secret")
        assert nodes(top) == before
        with contextlib.suppress(LocalError):
            disk.write("records", (Export(name, EMPTY),))
        with contextlib.suppress(LocalError):
            disk.write("records", (Write(f"record/{name}", Entry(b"", EMPTY)),))
        disk.close()
        after = nodes(top)
        assert before.keys() <= after.keys()
        for path in (path for path, node in after.items() if before.get(path) != node):
            # A file of exactly this name in one of the two folders, or the index with the entry.
            own = {f"house/files/{name}", f"house/files/peer-19/{name}.pdf"}
            assert path in own or path.startswith(f"house/{INDEX}")
            assert not (root / path).is_symlink()


@pytest.mark.parametrize("kind", ["link", "folder", "pipe"])
def test_only_a_regular_file_is_found(disk: FolderDisk, tmp_path: Path, kind: str) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    path = tmp_path / "files/2067.pdf"
    make: dict[str, Callable[[], Any]] = {
        "link": lambda: path.symlink_to(secret),
        "folder": path.mkdir,
        "pipe": lambda: os.mkfifo(path),
    }
    make[kind]()
    with pytest.raises(LocalError, match=r"2067\.pdf") as caught:
        disk.find("2067.pdf")
    assert not isinstance(caught.value, NotThere), "a placeholder would hide that it is there"


def test_an_export_takes_the_place_of_a_link_and_not_of_what_it_names(disk: FolderDisk, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    (tmp_path / "files/received_4103.pdf").symlink_to(secret)
    disk.write("records", (Export("received_4103.pdf", fetch(disk, BODY)),))
    assert secret.read_bytes() == b"secret"
    assert (tmp_path / "files/received_4103.pdf").read_bytes() == BODY


def test_a_missing_file_is_named(disk: FolderDisk) -> None:
    with pytest.raises(NotThere, match=r"there is no file 2067\.pdf in .*files/"):
        disk.find("2067.pdf")


# A full disk -------------------------------------------------------------------------------------------------

SMALL = """
import os, random, sys
from pathlib import Path
sys.path[:0] = ["lib", "."]
from overlay.core.storage import Entry, Write
from overlay.errors import NoSpace
from tests.store.test_disk import fetch, keep, opened, ref_of
root, chance, kept = Path(sys.argv[1]), random.Random(11), {}
disk = opened(root)

def fill(name, body):
    for number in range(10_000):
        value = chance.randbytes(300)
        try:
            ref = fetch(disk, body := chance.randbytes(7000)) if body else None
            disk.write("records", (Write(f"{name}/{number:04}", Entry(value, ref)),))
        except NoSpace as error:
            assert str(root) in str(error) and "no room" in str(error), error
            return
        kept[f"{name}/{number:04}"] = value, body

def check():
    entries = disk.entries("records")
    assert entries.keys() == kept.keys()
    for key, (value, body) in kept.items():
        assert entries[key].value == value
        assert not body or disk.source(ref_of(body)).read_bytes() == body

for turn in range(3):
    fill(f"record{turn}", b"with a body")
    fill(f"note{turn}", b"")
    check()
    for key in list(kept)[:5]:
        disk.write("records", (Write(key, None),))
        del kept[key]
    disk.close()
    disk = opened(root)
    check()
for key in list(kept):
    disk.write("records", (Write(key, None),))
assert disk.entries("records") == {}
disk.close()
print(len(kept))
"""


def test_row_11_a_full_disk_refuses_by_name_goes_on_reading_and_can_be_emptied(tmp_path: Path) -> None:
    mount = 'mount -t tmpfs -o size=256k tmpfs "$1" && exec "$2" -c "$3" "$1"'
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-rm", "true"], check=False).returncode:
        pytest.skip("this system gives nobody a small file system of his own")
    command = ["unshare", "-rm", "sh", "-c", mount, "sh", str(tmp_path), sys.executable, SMALL]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) > 5


# Rot ---------------------------------------------------------------------------------------------------------


def flip(path: Path, chance: random.Random) -> None:
    """One bit, as a disk does it: nobody is told when."""
    status, data = path.stat(), bytearray(path.read_bytes())
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def scrubbed(disk: FolderDisk) -> list[tuple[str, BlobRef | None]]:
    """What is rotten, by key."""
    found: list[tuple[str, BlobRef | None]] = []
    assert disk.scrub().run(lambda place, ref: found.append((place[1], ref)))
    return sorted(found, key=str)


@pytest.mark.parametrize("seed", range(10))
def test_a_scrub_finds_every_flipped_bit_and_what_is_fetched_again_is_whole(
    disk: FolderDisk, tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    bodies = {f"{number:04}": chance.randbytes(1 + number * 500) for number in range(12)}
    for name, body in bodies.items():
        keep(disk, name, body)
    keep(disk, "9999", bodies["0005"])
    assert scrubbed(disk) == []
    bad = sorted(chance.sample(sorted(bodies), 4))
    for name in bad:
        path = disk.source(ref_of(bodies[name]))
        assert path is not None
        flip(path, chance)
    names = sorted([*bad, *(["9999"] if "0005" in bad else [])])
    bodies["9999"] = bodies["0005"]
    assert scrubbed(disk) == [(f"record/{name}", ref_of(bodies[name])) for name in names]
    for name in names:
        assert disk.source(ref_of(bodies[name])) is None, "wrong bytes are not served"
        assert not (tmp_path / f"files/peer-19/{name}.pdf").exists()
    for name in bad:
        keep(disk, name, bodies[name])
    disk = restarted(disk, tmp_path) if seed % 2 else disk
    assert (scrubbed(disk), disk.damaged) == ([], ())
    assert {f"{name}.pdf": body for name, body in bodies.items()} == {
        path.name: path.read_bytes() for path in (tmp_path / "files/peer-19").glob("*.pdf")
    }
    disk.close()


def test_a_scrub_finds_a_damaged_row_and_leaves_what_people_have_written(disk: FolderDisk, tmp_path: Path) -> None:
    keep(disk, "2067", BODY)
    for number in range(500):
        disk.write(
            "records", (Write(f"note/{number:03}", Entry(b"a value that is to be found in the file %d" % number)),)
        )
    disk = restarted(disk, tmp_path)
    assert scrubbed(disk) == []
    index = tmp_path / INDEX
    index.write_bytes(index.read_bytes().replace(b"found in the file 333", b"found in the file 334"))
    shown = tmp_path / "files/peer-19/2067.pdf"
    shown.write_bytes(b"a remark of mine")
    assert scrubbed(disk) == [("note/333", None), ("record/2067", ref_of(BODY))]
    disk.write("records", (Write("note/333", Entry(b"again")),))
    keep(disk, "2067", BODY)
    assert scrubbed(disk) == []
    assert shown.read_bytes() == b"a remark of mine"
    disk = restarted(disk, tmp_path)
    index.write_bytes(index.read_bytes()[:4096] + bytes(len(index.read_bytes()) - 4096))
    assert len(scrubbed(disk)) == 501, "the whole index is gone; who has the values writes them again"
    disk.write("records", (Write("note/333", Entry(b"again")),))
    disk = restarted(disk, tmp_path)
    assert disk.entries("records") == {"note/333": Entry(b"again")}
    disk.close()


def test_a_scrub_is_throttled_and_can_be_cancelled(disk: FolderDisk) -> None:
    keep(disk, "2067", BODY)
    scrub, outcome = disk.scrub(bytes_per_s=0.001), list[bool]()
    looking = threading.Thread(target=lambda: outcome.append(scrub.run(lambda *_: None)))
    looking.start()
    disk.write("records", (Write("note", Entry(b"meanwhile")),))
    scrub.cancel()
    looking.join(60)
    assert outcome == [False]


# Faults ------------------------------------------------------------------------------------------------------

FAULTS = ["pwrite", "fsync", "replace", "posix_fallocate", "link", "unlink"]


class Failing:
    """Every call of a function counts; the n-th fails like a full disk, and so do all that follow for a while."""

    def __init__(self, function: Callable[..., Any], at: int):
        self.function, self.at, self.calls = function, at, 0

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        self.calls += 1
        if self.calls == self.at:
            raise OSError(28, "No space left on device")
        return self.function(*args, **keywords)


def work(disk: FolderDisk) -> None:
    keep(disk, "2067", BODY, b"new")
    disk.write("records", (Export("received_2067.pdf", ref_of(BODY)), Write("record/2068", None)))
    disk.write("records", (Export("received_4103.pdf", fetch(disk, OTHER)),))


@pytest.mark.parametrize("name", FAULTS)
def test_whatever_fails_is_a_local_error_and_nothing_is_torn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for at in range(1, 100):
        root = tmp_path / str(at)
        disk = opened(root)
        keep(disk, "2067", b"old", b"old")
        keep(disk, "2068", b"other", b"old")
        failing = Failing(getattr(os, name), at)
        with monkeypatch.context() as patch:
            patch.setattr(os, name, failing)
            try:
                work(disk)
                failed = False
            except LocalError as error:
                failed = True
                assert str(root / "files") in str(error)
        disk = restarted(disk, root)
        entries = disk.entries("records")
        assert entries["record/2067"] in {Entry(b"old", ref_of(b"old")), Entry(b"new", ref_of(BODY))}
        for key, entry in entries.items():
            shown = root / "files/peer-19" / f"{key.removeprefix('record/')}.pdf"
            assert entry.blob is not None
            assert ref_of(shown.read_bytes()) == entry.blob
        names = {path.name for path in (root / "files").iterdir()}
        assert names <= {"peer-19", "received_2067.pdf", "received_4103.pdf"}
        for received, body in (("received_2067.pdf", BODY), ("received_4103.pdf", OTHER)):
            if received in names:
                assert (root / "files" / received).read_bytes() == body
        work(disk)
        assert disk.entries("records") == {"record/2067": Entry(b"new", ref_of(BODY))}
        assert len(tree(root / "files/peer-19/.overlay/bodies")) == 2, "the body and the empty one"
        disk.close()
        if failing.calls < at:
            assert not failed
            assert at > 1 or name == "link"
            return
    pytest.fail("never came to an end")


# Other systems -----------------------------------------------------------------------------------------------

ELSEWHERE = """
import os, shutil, subprocess, sys, types
from pathlib import Path
import hypothesis, pytest
sys.path[:0] = ["lib", "."]
sys.modules["fcntl"] = None
for name in ("posix_fallocate", "pread", "pwrite", "O_NOFOLLOW", "O_NONBLOCK", "O_DIRECTORY", "O_CLOEXEC", "eventfd"):
    if hasattr(os, name):
        delattr(os, name)
locked = []
def locking(fd, how, count):
    if os.fstat(fd).st_ino in locked:
        raise PermissionError(13, "locked")
    locked.append(os.fstat(fd).st_ino)
def link(*_, **__):
    raise NotImplementedError
os.link = link
root, has_locks = Path(sys.argv[1]), sys.argv[2] == "locks"
sys.modules["msvcrt"] = types.SimpleNamespace(LK_NBLCK=2, locking=locking) if has_locks else None
from overlay.errors import LocalError
from overlay.peer import Peer
from tests.store import test_disk as tests
disk = tests.opened(root)
tests.test_a_cut_body_goes_on_where_it_was_checked(disk)
tests.keep(disk, "2067", tests.BODY)
tests.work(disk)
(root / "files/4103.pdf").symlink_to(root / "files/received_2067.pdf")
try:
    disk.find("4103.pdf")
    print("a link was followed")
except LocalError:
    pass
shutil.disk_usage = lambda path: types.SimpleNamespace(free=10)
try:
    disk.partial(tests.ref_of(b"more than that"))
    print("no room, and nobody said so")
except LocalError as error:
    assert "no room for 14 bytes" in str(error), error
try:
    tests.opened(root)
    print("two have the folder")
except LocalError:
    print("locked")
"""


@pytest.mark.parametrize("locks", ["locks", "none"])
def test_a_disk_works_where_the_calls_of_linux_are_missing(tmp_path: Path, locks: str) -> None:
    child = [sys.executable, "-c", ELSEWHERE, str(tmp_path), locks]
    assert subprocess.run(child, stdout=subprocess.PIPE, text=True, check=True).stdout == "locked\n"
    disk = opened(tmp_path)
    assert disk.entries("records") == {"record/2067": Entry(b"new", ref_of(BODY))}
    disk.close()
