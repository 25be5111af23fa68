"""A client of a ring's store on an asyncio loop: it is no peer, it asks peers.

Sessions: the greatest version that a client was told goes with what it writes next, so that this is newer, also when another
peer is asked (Lamport, CACM 1978). `session` may be handed on to another client.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Protocol

import msgspec

from overlay.core.message import Contact, Message
from overlay.errors import LocalError, RemoteError
from overlay.peer.client.asker import ASK_S, Asker, Nobody, at_desk
from overlay.peer.client.line import NoAnswer
from overlay.peer.client.segments import (
    INDEX_BYTES,
    RESERVED,
    SEGMENT_BYTES,
    Index,
    index_in,
    needs_segments,
    new_id,
    segment_name,
)
from overlay.store.desk import messages as desk
from overlay.store.replicated.config import Acked, Got, Listed, NotFound, Status
from overlay.store.replicated.messages import MAX_NAME, NEVER, Version

ANSWER_S = 35.0
"""A peer looks for 30 s for those who can do what it was asked (ReplicasConfig.deadline_s)."""

AGAIN_S = 0.5
READ_AGAIN = 3
"""So often a value is read once more that was replaced meanwhile."""

WINDOW = 3
"""Segments that are on their way at a time: no more than a link of a megabit a second carries within the patience for one."""

DROPS = 6
"""Segments that are deleted at a time."""


class Replaced(RemoteError):
    """The segments of a value are gone: in between another one was put in its place."""


class Source(Protocol):
    """What is read from: any binary file."""

    def read(self, size: int, /) -> bytes:
        """The next bytes, at most so many; none at the end."""


class Target(Protocol):
    """What is written to: any binary file."""

    def write(self, data: bytes, /) -> object:
        """Take these bytes."""


Progress = Callable[[int, int | None], None]
"""Told of the bytes that are done, and of how many there are, where that is known."""


class PeerStatus(msgspec.Struct, frozen=True):
    """One peer of the ring, and its part of the store; None where it did not say."""

    contact: Contact
    status: Status | None


class RingStatus(msgspec.Struct, frozen=True):
    """The store as a whole."""

    peers: tuple[PeerStatus, ...]
    records: int
    """Those that peers are the roots of; tombstones and the segments of long values too."""
    copies: int
    """k: so many copies there are to be of each."""
    durable: int
    """w: so many are durable before a put is acknowledged."""
    complete: bool
    """Whether all peers say that every record is where it belongs."""


class AsyncClient:
    """`async with AsyncClient("127.0.0.1:7001") as client: await client.put("name", b"value")`.

    `at` is the address of a peer, or several: where the first is gone the next is asked, and then the others of the ring that
    were heard of. Without, OVERLAY_AT says it, or the peer that `overlay up` has started here is asked.
    """

    def __init__(self, at: str | Sequence[str] | None = None, *, timeout_s: float = ANSWER_S, session: Version = NEVER):
        self._asker = Asker(at, timeout_s)
        self.session = session
        """The greatest version that this client was told of."""
        self._timeout_s = timeout_s

    # Writing -------------------------------------------------------------------------------------------------

    async def put(self, name: str | bytes, value: bytes, *, ttl_s: float | None = None) -> Acked:
        """Store a value of any size; returns when it is durable at as many peers as the ring promises.

        With `ttl_s` it is gone after so many seconds. NoAnswer when nobody knows whether it was stored, NoRoom, and
        LocalError for a name or a value that cannot be.
        """
        if needs_segments(value):
            return await self.put_file(io.BytesIO(value), name, ttl_s=ttl_s)
        data = _name(name)
        before = await self._index(data)
        acked = await self._put(data, value, ttl_s)
        await self._drop(before)
        return acked

    async def put_file(
        self, file: Source, name: str | bytes, *, ttl_s: float | None = None, progress: Progress | None = None
    ) -> Acked:
        """Store all that a file gives from here on, without ever having more than a little of it in memory."""
        data = _name(name)
        head = await asyncio.to_thread(file.read, SEGMENT_BYTES + 1)
        if not needs_segments(head):
            return await self.put(data, head, ttl_s=ttl_s)
        before = await self._index(data)
        index = await self._put_segments(head, file, ttl_s, progress)
        try:
            acked = await self._put(data, index.pack(), ttl_s)
        except (LocalError, RemoteError):
            # Of any other end nobody knows whether it was stored; then it may be read, and nothing of it may go.
            await self._drop(index)
            raise
        await self._drop(before)
        return acked

    async def _put_segments(self, head: bytes, file: Source, ttl_s: float | None, progress: Progress | None) -> Index:
        id, digest = new_id(), hashlib.sha256()
        size = done = 0
        rest = head
        room = asyncio.Semaphore(WINDOW)

        async def one(number: int, data: bytes) -> None:
            nonlocal done
            try:
                await self._put(segment_name(id, number), data, ttl_s)
            finally:
                room.release()
            done += len(data)
            if progress is not None:
                progress(done, None)

        tasks: list[asyncio.Task[None]] = []
        try:
            while rest or not tasks:
                piece, rest = rest[:SEGMENT_BYTES], rest[SEGMENT_BYTES:]
                size += len(piece)
                await room.acquire()
                _raise_first(tasks)
                tasks.append(asyncio.create_task(one(len(tasks), piece)))
                rest += await asyncio.to_thread(_hash_and_read, digest, piece, file)
            await asyncio.wait(tasks)
            _raise_first(tasks)
        except BaseException:
            # First what is on its way, so that nothing comes after its deletion.
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._drop(Index(id, size, b""))
            raise
        return Index(id, size, digest.digest())

    async def delete(self, name: str | bytes) -> Acked:
        """Delete a record, whether there is one or not; returns when that is durable."""
        data = _name(name)
        before = await self._index(data)
        acked = self._kept(await self._asker.ask(desk.DeleteRecord(data, self.session)))
        await self._drop(before)
        return acked

    async def _put(self, name: bytes, value: bytes, ttl_s: float | None) -> Acked:
        return self._kept(await self._asker.put(desk.PutRecord(name, value, self.session, ttl_s or 0.0)))

    async def _drop(self, index: Index | None) -> None:
        """Delete the segments of a version that nobody needs any more. What cannot be asked for now is left behind."""
        if index is None:
            return
        for names in _batches(index.names(), DROPS):
            asked = [self._asker.ask(desk.DeleteRecord(name, self.session)) for name in names]
            for answer in await asyncio.gather(*asked, return_exceptions=True):
                if isinstance(answer, NoAnswer):
                    return

    # Reading -------------------------------------------------------------------------------------------------

    async def get(self, name: str | bytes) -> bytes:
        """The value of a record. NotFound where there is none, NoAnswer where nobody knows."""
        return (await self.read(name)).value

    async def read(self, name: str | bytes) -> Got:
        """A record with its version and its end; see `get`."""
        for again in range(READ_AGAIN, -1, -1):
            file = io.BytesIO()
            try:
                got = await self.get_file(name, file)
                break
            except Replaced:
                if not again:
                    raise
        return msgspec.structs.replace(got, value=file.getvalue())

    async def get_file(self, name: str | bytes, file: Target, *, progress: Progress | None = None) -> Got:
        """Write the value of a record into a file; what is returned has no value.

        RemoteError, after some of it was written, where what came is not what was stored; Replaced where somebody stored
        another value meanwhile."""
        data = _name(name)
        got = await self._read(data)
        index = index_in(got.value)
        if index is None:
            file.write(got.value)
        else:
            await self._get_segments(index, file, progress)
        return msgspec.structs.replace(got, value=b"")

    async def find(self, name: str | bytes) -> Listed:
        """What is known of a record without reading it. NotFound where there is none."""
        got = await self._read(_name(name))
        index = index_in(got.value)
        return Listed(got.name, len(got.value) if index is None else index.size, got.version, got.expires)

    async def _read(self, name: bytes) -> Got:
        try:
            answer = await self._asker.get(name)
        except NotFound as error:
            self._saw(error.version)
            raise
        self._saw(answer.version)
        return Got(name, answer.version, answer.value, answer.expires)

    async def _index(self, name: bytes) -> Index | None:
        """The segments that a record has, if it has."""
        try:
            return index_in((await self._read(name)).value)
        except NotFound:
            return None

    async def _get_segments(self, index: Index, file: Target, progress: Progress | None) -> None:
        digest, done = hashlib.sha256(), 0
        names = index.names()
        coming = deque(map(self._coming, itertools.islice(names, WINDOW)))
        try:
            while coming:
                piece = (await coming.popleft()).value
                coming.extend(map(self._coming, itertools.islice(names, 1)))
                await asyncio.to_thread(_hash_and_write, digest, piece, file)
                done += len(piece)
                if progress is not None:
                    progress(done, index.size)
        except NotFound:
            raise Replaced("the record was replaced while it was read, or a part of it is lost: try again") from None
        finally:
            for task in coming:
                task.cancel()
            await asyncio.gather(*coming, return_exceptions=True)
        if done != index.size or digest.digest() != index.sha256:
            raise RemoteError("what came is not what was stored")

    def _coming(self, segment: bytes) -> asyncio.Task[Got]:
        return asyncio.create_task(self._read(segment))

    # The whole ring ------------------------------------------------------------------------------------------

    async def list(self) -> tuple[Listed, ...]:
        """All records of the ring, by name. NoAnswer when that part of the ring which knows some cannot be asked."""
        until = asyncio.get_running_loop().time() + self._timeout_s
        while True:
            try:
                found = await self._list_once()
                return tuple([await self._with_size(one) for one in found if not one.name.startswith(RESERVED)])
            except (NoAnswer, RemoteError) as error:
                if isinstance(error, Nobody) or "keeps no store" in str(error):
                    raise
                if asyncio.get_running_loop().time() + AGAIN_S >= until:
                    raise NoAnswer(f"the records cannot be listed: {error}") from None
                await asyncio.sleep(AGAIN_S)

    async def _with_size(self, listed: Listed) -> Listed:
        if listed.size != INDEX_BYTES:
            return listed
        try:
            return await self.find(listed.name)
        except NotFound:
            return listed

    async def _list_once(self) -> Iterable[Listed]:
        found: dict[bytes, Listed] = {}
        spans: list[tuple[int, int]] = []
        for peer in await self._asker.ring():
            spans.append(await self._list_of(peer, found))
        spans.sort(key=lambda span: span[1])
        if len(spans) > 1 and any(span[0] != spans[index - 1][1] for index, span in enumerate(spans)):
            raise RemoteError("the ring has just changed")
        return [found[name] for name in sorted(found)]

    async def _list_of(self, peer: Contact, found: dict[bytes, Listed]) -> tuple[int, int]:
        behind = b""
        async with self._asker.line_to(peer) as line:
            while True:
                answer = await at_desk(line, desk.ListRecords(behind), ASK_S)
                if not isinstance(answer, desk.Records):
                    raise RemoteError("the peer's answer was none")
                for listed in answer.listed:
                    if listed.name not in found or found[listed.name].version < listed.version:
                        found[listed.name] = listed
                if not answer.more or not answer.listed:
                    return answer.low, answer.high
                behind = answer.listed[-1].name

    async def status(self) -> RingStatus:
        """Every peer's part of the store."""
        peers: list[PeerStatus] = []
        copies = durable = 0
        for contact in await self._asker.ring():
            status: Status | None = None
            try:
                async with self._asker.line_to(contact) as line:
                    answer = await at_desk(line, desk.AskStatus(), ASK_S)
            except (NoAnswer, RemoteError):
                answer = None
            if isinstance(answer, desk.StatusIs):
                status, copies, durable = answer.status, answer.copies, answer.durable
            peers.append(PeerStatus(contact, status))
        told = [peer.status for peer in peers if peer.status is not None]
        complete = len(told) == len(peers) and all(status.complete for status in told)
        return RingStatus(tuple(peers), sum(status.own for status in told), copies, durable, complete)

    async def ring(self) -> tuple[Contact, ...]:
        """All peers that answer, by walking the successors."""
        return await self._asker.ring()

    # Going ---------------------------------------------------------------------------------------------------

    async def close(self) -> None:
        """Let the connection go."""
        self._asker.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _kept(self, answer: Message) -> Acked:
        if not isinstance(answer, desk.Kept):
            raise RemoteError("the peer's answer was none")
        self._saw(answer.version)
        return Acked(answer.version, answer.copies)

    def _saw(self, version: Version) -> None:
        self.session = max(self.session, version)


def _hash_and_read(digest: hashlib._Hash, piece: bytes, file: Source) -> bytes:
    digest.update(piece)
    return file.read(SEGMENT_BYTES)


def _hash_and_write(digest: hashlib._Hash, piece: bytes, file: Target) -> None:
    digest.update(piece)
    file.write(piece)


def _raise_first(tasks: Iterable[asyncio.Task[None]]) -> None:
    """The error of the first of those that have failed by now."""
    for task in tasks:
        if task.done():
            task.result()


def _batches(names: Iterable[bytes], count: int) -> Iterator[tuple[bytes, ...]]:
    left = iter(names)
    while batch := tuple(itertools.islice(left, count)):
        yield batch


def _name(name: str | bytes) -> bytes:
    data = name.encode() if isinstance(name, str) else name
    if not 1 <= len(data) <= MAX_NAME:
        raise LocalError(f"a name has 1 to {MAX_NAME} bytes, not {len(data)}")
    if data.startswith(RESERVED):
        raise LocalError("names that begin with a zero byte are the store's own")
    return data
