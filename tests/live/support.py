"""A protocol that asks and answers, a folder of bodies, and peers that are gone when the test is over."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from overlay.core.context import Failure, Reason, Transfer
from overlay.core.message import Command, Contact, Datagram
from overlay.core.pending import Pending
from overlay.core.protocol import Answer, Protocol, on
from overlay.core.storage import Batch, BlobRef, Entry, Export, Write
from overlay.errors import LocalError, NoSpace, NotThere, RemoteError
from overlay.ids import Key

PATIENCE_S = 30.0


class Ask(Command, frozen=True):
    text: str


class Tell(Command, frozen=True):
    text: str


class Later(Command, frozen=True):
    """Asks for an answer that is given when the test says so."""


class Ping(Datagram, frozen=True):
    round: int


class Pong(Datagram, frozen=True):
    round: int


class Failed(Exception):
    """A Failure, to be looked at."""

    def __init__(self, failure: Failure):
        super().__init__(failure)
        self.reason: Reason = failure.reason
        self.detail = failure.detail


def settle(pending: Pending[None]) -> tuple[Callable[[], None], Callable[[Failure], None]]:
    """What an effect without a value is given to end in a Pending."""

    def done() -> None:
        pending.resolve(None)

    def failed(why: Failure) -> None:
        pending.fail(Failed(why))

    return done, failed


class Talker(Protocol):
    """Answers Ask with Tell, Ping with Pong; remembers everything it hears."""

    service = "talk"
    answers = (Pong,)

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.late: list[Pending[Any]] = []
        self.waiting: list[tuple[Callable[[], bool], Pending[None]]] = []

    @on(Ask)
    def on_ask(self, sender: Contact, message: Ask) -> Answer:
        return Tell(message.text.upper())

    @on(Tell)
    def on_tell(self, sender: Contact, message: Tell) -> None:
        self.hear(message.text)

    @on(Later)
    def on_later(self, sender: Contact, message: Later) -> Answer:
        self.late.append(Pending())
        self.hear("later")
        return self.late[-1]

    @on(Ping)
    def on_ping(self, sender: Contact, message: Ping) -> Answer:
        self.hear(message.round)
        return Pong(message.round)

    def hear(self, what: Any) -> None:
        """Remember it, and settle whoever waits for what is true by now."""
        self.heard.append(what)
        for condition, pending in self.waiting:
            if condition():
                pending.resolve(None)

    def until(self, condition: Callable[[], bool]) -> Pending[None]:
        """Resolved when the condition is true after something was heard."""
        pending: Pending[None] = Pending()
        if condition():
            pending.resolve(None)
        self.waiting.append((condition, pending))
        return pending

    def ask(self, peer: Contact, message: Any, timeout_s: float = PATIENCE_S) -> Pending[Any]:
        pending: Pending[Any] = Pending()
        self.ctx.call(peer, message, pending.resolve, lambda why: pending.fail(Failed(why)), timeout_s=timeout_s)
        return pending

    def meet(self, host: str, port: int, timeout_s: float = PATIENCE_S) -> Pending[Contact]:
        pending: Pending[Contact] = Pending()
        self.ctx.meet(host, port, pending.resolve, lambda why: pending.fail(Failed(why)), timeout_s=timeout_s)
        return pending

    def watch(self, peer: Contact) -> Pending[Contact]:
        pending: Pending[Contact] = Pending()

        def down(gone: Contact) -> None:
            self.hear(("down", gone))
            pending.resolve(gone)

        self.ctx.watch(peer, down)
        return pending

    def persist(self, *batch: Write | Export) -> Pending[None]:
        pending: Pending[None] = Pending()
        self.ctx.persist(batch, *settle(pending))
        return pending

    def find(self, name: str) -> Pending[BlobRef]:
        pending: Pending[BlobRef] = Pending()
        self.ctx.find_blob(name, pending.resolve, lambda why: pending.fail(Failed(why)))
        return pending

    def fetch(self, peer: Contact, ref: BlobRef, end: int | None = None) -> tuple[Transfer, Pending[None]]:
        pending: Pending[None] = Pending()
        transfer = self.ctx.fetch_blob(
            peer,
            ref,
            0,
            ref.size if end is None else end,
            *settle(pending),
        )
        return transfer, pending


class Folder:
    """A BlobStore as small as can be: files named by their hash, entries in memory that outlive a driver."""

    def __init__(self, path: Path):
        self.path = path
        self.kept: dict[str, dict[str, Entry]] = {}
        self.found: dict[BlobRef, Path] = {}
        self.open: set[BlobRef] = set()
        self.lock = threading.Lock()
        self.full = False
        path.mkdir(parents=True, exist_ok=True)

    def entries(self, service: str) -> Mapping[str, Entry]:
        return dict(self.kept.get(service, {}))

    def write_all(
        self, batches: Sequence[tuple[str, Batch]], on_done: Callable[[list[LocalError | None]], None]
    ) -> Callable[[], None]:
        for service, batch in () if self.full else batches:
            self.write(service, batch)
        return lambda: on_done([NoSpace("no room") if self.full else None] * len(batches))

    def write(self, service: str, batch: Batch) -> None:
        entries = self.kept.setdefault(service, {})
        for step in batch:
            if isinstance(step, Export):
                (self.path / step.name).write_bytes((self.path / step.blob.sha256.hex()).read_bytes())
            elif step.entry is None:
                entries.pop(step.key, None)
            else:
                entries[step.key] = step.entry

    def find(self, name: str) -> BlobRef:
        path = self.path / name
        if not path.exists():
            raise NotThere(f"there is no file {name}")
        with path.open("rb") as file:
            ref = BlobRef(hashlib.file_digest(file, "sha256").digest(), path.stat().st_size)
        self.found[ref] = path
        return ref

    def source(self, ref: BlobRef) -> Path | None:
        if ref in self.found:
            return self.found[ref]
        path = self.path / ref.sha256.hex()
        return path if path.exists() else None

    def partial(self, ref: BlobRef) -> FolderPartial:
        if self.full:
            raise NoSpace("no room")
        return FolderPartial(self, ref)


class FolderPartial:
    """See `Partial`."""

    def __init__(self, folder: Folder, ref: BlobRef):
        with folder.lock:
            if ref in folder.open:
                raise LocalError("open already")
            folder.open.add(ref)
        self.folder, self.ref = folder, ref
        self.whole = folder.path / ref.sha256.hex()
        self.path = self.whole if self.whole.exists() else self.whole.with_suffix(".part")
        self.file = self.path.open("ab", buffering=0)
        self.hash = hashlib.sha256(self.path.read_bytes())
        self.have = self.path.stat().st_size

    def write(self, data: memoryview) -> None:
        while data:
            count = self.file.write(data)
            self.have += count
            data = data[count:]

    def check(self, data: memoryview) -> None:
        self.hash.update(data)

    def finish(self) -> None:
        if self.hash.digest() != self.ref.sha256:
            self.path.unlink()
            raise RemoteError("wrong bytes")
        self.path.rename(self.whole)

    def close(self) -> None:
        self.file.close()
        with self.folder.lock:
            self.folder.open.discard(self.ref)


def contact(number: int, host: str = "127.0.0.1", boot: int = 0) -> Contact:
    """A contact whose port is any free one."""
    return Contact(Key(number), host, 0, boot)
