"""overlay put, get, delete, list, status: a ring's store by command, from outside."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from overlay.app import jsonlines
from overlay.app.narrator import address, count, size_text
from overlay.app.store_arguments import store_arguments
from overlay.app.terminal import Output, clean, short
from overlay.errors import Indefinite, LocalError, NoSpace, OverlayError
from overlay.ids import label
from overlay.peer.client import Client, NoRoom
from overlay.peer.client.places import AT, default_places
from overlay.store.replicated.config import NotFound

DONE, ERROR, USAGE, MISSING, UNREACHABLE, FULL, INTERRUPTED = 0, 1, 2, 3, 4, 6, 130
"""Exit statuses; scripts rely on them."""


def status_of(error: Exception) -> int:
    """The exit status that tells an error."""
    match error:
        case NotFound():
            return MISSING
        case NoRoom() | NoSpace():
            return FULL
        case Indefinite():
            return UNREACHABLE
    return ERROR


def main(words: Sequence[str]) -> int:
    """One command, its action first; the exit status."""
    options = store_arguments(words)
    output = Output(no_color=options.no_color)
    at = options.at or default_places()
    if not at:
        output.error("which ring? Name a peer by --at HOST:PORT or OVERLAY_AT, or begin one here by: overlay up")
        return USAGE
    program = StoreProgram(options, output)
    try:
        client = Client(at, timeout_s=options.timeout)
    except LocalError as error:
        output.error(f"{AT}: {error}")
        return USAGE
    try:
        with client:
            getattr(program, options.action)(client)
        return output.status(DONE)
    except (OverlayError, OSError) as error:
        return program.failed(error)
    except KeyboardInterrupt:
        return INTERRUPTED


class StoreProgram:
    """One command. A method an action."""

    name_a_file = "say -o FILE"

    def __init__(self, options: argparse.Namespace, output: Output, *, bars: bool = True):
        self.options = options
        self.output = output
        self._bars = bars and not options.json

    def failed(self, error: Exception) -> int:
        """Say what went wrong; the exit status."""
        status = status_of(error)
        why = str(error)
        if isinstance(error, OSError):
            why = f"{short(str(error.filename))}: {error.strerror}" if error.filename else error.strerror or why
        if self.options.json:
            self.output.write(jsonlines.encode(jsonlines.make("Failed", status=status, why=why)))
        self.output.error(why)
        return status

    def put(self, client: Client) -> None:
        """Store a file, or what is piped in."""
        options = self.options
        with self._source() as (file, length), self._bar(options.name, length) as bar:
            counted = Counted(file)
            acked = client.put_file(counted, options.name, ttl_s=options.ttl, progress=bar)
        size = counted.size
        self._tell(
            "Stored",
            f"{options.name} is stored: {size_text(size)}, {count(acked.copies, 'durable copy', 'durable copies')}",
            name=options.name,
            size=size,
            copies=acked.copies,
            version=acked.version,
        )

    @contextlib.contextmanager
    def _source(self) -> Iterator[tuple[IO[bytes], int | None]]:
        if self.options.file == "-":
            yield sys.stdin.buffer, None
        else:
            with Path(self.options.file).open("rb") as file:
                yield file, os.fstat(file.fileno()).st_size

    def get(self, client: Client) -> None:
        """Read a record into a file, which is there as a whole or not at all, or to stdout."""
        options = self.options
        if options.output == "-":
            got = client.get_file(options.name, sys.stdout.buffer)
            sys.stdout.buffer.flush()
            return
        target = Path(options.output) if options.output is not None else new_file(options.name, self.name_a_file)
        with _replacing(target) as file, self._bar(options.name, None) as bar:
            got = client.get_file(options.name, file, progress=bar)
            size = file.tell()
        self._tell(
            "Got",
            f"{options.name} is in {target}: {size_text(size)}",
            name=options.name,
            file=str(target),
            size=size,
            version=got.version,
            expires=got.expires,
        )

    def delete(self, client: Client) -> None:
        """Delete a record; one that is not there is NotFound."""
        name = self.options.name
        client.find(name)
        acked = client.delete(name)
        self._tell("Deleted", f"{name} is deleted", name=name, copies=acked.copies, version=acked.version)

    def list(self, client: Client) -> None:
        """All records, by name."""
        prefix = self.options.prefix.encode(errors="surrogateescape")
        listed = [one for one in client.list() if one.name.startswith(prefix)]
        if self.options.json:
            for one in listed:
                record = jsonlines.make("Listed", name=text_of(one.name), size=one.size, version=one.version)
                self.output.write(jsonlines.encode({**record, "expires": one.expires}))
            return
        now = time.time()
        for one in listed:
            left = f"  {_left(one.expires - now)} left" if one.expires else ""
            self.output.write(f"{size_text(one.size):>12}  {clean(text_of(one.name))}{left}")
        self.output.say(count(len(listed), "record"))

    def status(self, client: Client) -> None:
        """Every peer's part."""
        status = client.status()
        if self.options.json:
            peers = [
                {"peer": jsonlines.plain(one.contact), "status": jsonlines.plain(one.status)} for one in status.peers
            ]
            fields = {"records": status.records, "copies": status.copies, "durable": status.durable}
            whole = jsonlines.make("Status", **fields, complete=status.complete)
            self.output.write(jsonlines.encode({**whole, "peers": peers}))
            return
        for one in status.peers:
            part = "does not answer, or keeps no store"
            if one.status is not None:
                part = f"{count(one.status.own, 'entry', 'entries')} of its own, {one.status.keys} on its disk" + (
                    "" if one.status.complete else ", copies are on their way"
                )
            self.output.answer([f"Peer {label(one.contact.id)} at {address(*one.contact.address)}: {part}"])
        told = "everything is where it belongs" if status.complete else "copies are being made or moved"
        self.output.answer(
            [
                f"{count(status.records, 'entry', 'entries')} at {count(len(status.peers), 'peer')}, "
                f"{count(min(status.copies, len(status.peers)), 'copy', 'copies')} of each: {told}"
            ]
        )

    def _tell(self, event: str, text: str, **fields: Any) -> None:
        if self.options.json:
            self.output.write(jsonlines.encode(jsonlines.make(event, **fields)))
        else:
            self.output.answer([text])

    def _bar(self, name: str, size: int | None) -> Any:
        from overlay.app.bar import Bar

        return Bar(clean(name), size, hidden=not self._bars)


class Counted:
    """A file that is read, and how much of it there was: what is piped in has no size."""

    def __init__(self, file: IO[bytes]):
        self.size = 0
        self._file = file

    def read(self, size: int) -> bytes:
        """The next bytes."""
        data = self._file.read(size)
        self.size += len(data)
        return data


def text_of(name: bytes) -> str:
    """A name for people and JSON."""
    return name.decode("utf-8", "backslashreplace")


def new_file(name: str, how: str) -> Path:
    """Where a record is put that nobody said a place for: in this folder, and never over a file that is there.

    `how` says how to name another one."""
    target = Path(Path(name.replace("\\", "/").replace("\0", "")).name)
    if not target.name or target.name in (".", "..") or not target.name.isprintable():
        raise LocalError(f"{short(name)} is no name of a file: {how}")
    if target.exists() or target.is_symlink():
        raise LocalError(f"{target} is here already: {how}")
    return target


@contextlib.contextmanager
def _replacing(target: Path) -> Iterator[IO[bytes]]:
    """A file that takes the target's place when it is whole."""
    if target.exists() and not target.is_file():
        # A pipe or a device, which is written to as it stands.
        with target.open("wb") as file:
            yield file
        return
    try:
        fd, path = tempfile.mkstemp(prefix=f".{target.name[:64]}-", dir=target.parent)
    except OSError as error:
        error.filename = str(target)
        raise
    try:
        with os.fdopen(fd, "w+b") as file:
            yield file
        Path(path).chmod(0o666 & ~_umask())
        Path(path).replace(target)
    except BaseException:
        Path(path).unlink(missing_ok=True)
        raise


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def _left(seconds: float) -> str:
    from overlay.app.progress import duration

    return duration(seconds)
