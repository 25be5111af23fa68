"""Whom a client asks: one peer after the other until one answers, and that one from then on."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import msgspec

from overlay.core.message import Contact, Message
from overlay.errors import LocalError, RemoteError
from overlay.peer.address import parse_address
from overlay.peer.client.line import Line, NoAnswer, NoRoom, Stranger
from overlay.peer.client.places import default_places
from overlay.ring import messages as ring
from overlay.store.desk import messages as desk
from overlay.store.replicated.config import NotFound

ASK_S = 3.0
"""For what a peer answers of itself."""

READS = 16
"""Answers with values that are waited for at a time: a peer drops what it cannot send, beyond a MiB."""

LONG_PUTS = 8
"""Values in parts that are sent at a time."""

BUSY_S = 0.2
"""Before a peer is asked again that has too much to do."""

MAX_RING = 1024
MAX_KNOWN = 32


class Nobody(NoAnswer):
    """None of the addresses that are known is a peer's, or none of these peers is there."""


class Busy(RemoteError):
    """Not now: the peer does too much already."""


class Away(Busy):
    """Not here now: the peer does not know its place in the ring; another one may."""


class Asker:
    """The connections of one client."""

    def __init__(self, at: str | Sequence[str] | None, timeout_s: float):
        named = (at,) if isinstance(at, str) else default_places() if at is None else at
        self._places = [parse_address(text) for text in named]
        if not self._places:
            raise LocalError("a client needs the address of a peer, such as 127.0.0.1:7001")
        self._timeout_s = timeout_s
        self._stranger = Stranger()
        self._line: Line | None = None
        self._opening = asyncio.Lock()
        self._reads = asyncio.Semaphore(READS)
        self._long_puts = asyncio.Semaphore(LONG_PUTS)

    async def ask(self, question: Message) -> Message:
        """At the desk of any peer that answers, the one that did so before first."""
        return await self._on_line(lambda line: at_desk(line, question, self._timeout_s))

    async def put(self, record: desk.PutRecord) -> Message:
        """The same for a record of any length up to MAX_VALUE: in parts where it is longer than one."""
        value = record.value
        ends = range(desk.PART_BYTES, len(value), desk.PART_BYTES)
        if not ends:
            return await self.ask(record)
        ticket = self._stranger.next_number()
        parts = [desk.PutPart(ticket, end - desk.PART_BYTES, value[end - desk.PART_BYTES : end]) for end in ends]
        last = msgspec.structs.replace(record, value=value[ends[-1] :], ticket=ticket)

        async def put(line: Line) -> Message:
            # All go out at once and in order; the first failure is the one that counts.
            async with self._long_puts:
                asked = [asyncio.ensure_future(at_desk(line, part, self._timeout_s)) for part in [*parts, last]]
                try:
                    return (await asyncio.gather(*asked))[-1]
                finally:
                    for one in asked:
                        one.cancel()

        return await self._on_line(put)

    async def get(self, name: bytes) -> desk.Record:
        """A record with the whole of its value."""

        async def get(line: Line) -> Message:
            record = await self._read(line, desk.GetRecord(name))
            if not isinstance(record, desk.Record) or record.size <= len(record.value):
                return record
            offsets = range(len(record.value), record.size, desk.PART_BYTES)
            asked = [self._read(line, desk.GetPart(record.ticket, offset)) for offset in offsets]
            parts = [part.data for part in await asyncio.gather(*asked) if isinstance(part, desk.Part)]
            return msgspec.structs.replace(record, value=b"".join((record.value, *parts)))

        record = await self._on_line(get)
        if not isinstance(record, desk.Record) or record.size > len(record.value):
            raise RemoteError("the peer's answer was none")
        return record

    async def _read(self, line: Line, question: Message) -> Message:
        async with self._reads:
            return await at_desk(line, question, self._timeout_s)

    async def _on_line(self, work: Callable[[Line], Awaitable[Message]]) -> Message:
        """On the connection to any peer; once more where it breaks, and later where the peer has too much to do."""
        until = asyncio.get_running_loop().time() + self._timeout_s
        breaks = 0
        while True:
            line = await self._current()
            try:
                return await work(line)
            except NoAnswer:
                # The connection broke: another peer can do it, and once more is no harm.
                breaks += 1
                if line.is_open or breaks > len(self._places):
                    raise
            except Busy as error:
                if asyncio.get_running_loop().time() >= until:
                    raise NoAnswer(str(error)) from None
                if isinstance(error, Away) and line is self._line:
                    line.close()
                    self._places = [*self._places[1:], *self._places[:1]]
                await asyncio.sleep(BUSY_S)

    async def ring(self) -> tuple[Contact, ...]:
        """All peers that answer, by walking the successors."""
        ahead = [(await self._current()).peer]
        found: dict[int, Contact] = {}
        while ahead and len(found) < MAX_RING:
            contact = ahead.pop(0)
            if contact.id in found:
                break
            try:
                async with self.line_to(contact) as line:
                    answer = await line.ask("ring", ring.Ask(), ASK_S)
            except NoAnswer:
                continue
            if isinstance(answer, ring.Neighbors):
                found[contact.id] = contact
                ahead = [*answer.successors]
        return tuple(sorted(found.values(), key=lambda contact: contact.id))

    @contextlib.asynccontextmanager
    async def line_to(self, peer: Contact) -> AsyncIterator[Line]:
        """A connection to one peer, for a few questions."""
        if self._line is not None and self._line.is_open and self._line.peer == peer:
            yield self._line
            return
        line = await Line.open(self._stranger, *peer.address)
        try:
            yield line
        finally:
            line.close()

    def close(self) -> None:
        """Let the connection go."""
        if self._line is not None:
            self._line.close()

    async def _current(self) -> Line:
        """The connection to the peer that is asked."""
        async with self._opening:
            if self._line is None or not self._line.is_open:
                self._line = await self._open_any()
            return self._line

    async def _open_any(self) -> Line:
        silences: list[str] = []
        for place in tuple(self._places):
            try:
                line = await Line.open(self._stranger, *place)
                await self._remember(line, place)
            except NoAnswer as silence:
                silences.append(str(silence))
                continue
            return line
        raise Nobody("; ".join(silences[:3]))

    async def _remember(self, line: Line, place: tuple[str, int]) -> None:
        """The one that answers is asked first from now on; its neighbors may be asked when it is gone."""
        answer = await line.ask("ring", ring.Ask(), ASK_S)
        more = [contact.address for contact in answer.successors] if isinstance(answer, ring.Neighbors) else []
        self._places = [*dict.fromkeys([place, *self._places, *more])][:MAX_KNOWN]


async def at_desk(line: Line, question: Message, timeout_s: float) -> Message:
    """What a peer's desk answers; its failures are raised."""
    try:
        answer = await line.ask(desk.SERVICE, question, timeout_s)
    except RemoteError as error:
        if "understand" in str(error) or "not spoken" in str(error):
            raise RemoteError(f"the peer at {line.where} keeps no store for its ring") from None
        raise
    if isinstance(answer, desk.Failed):
        raise _error_of(answer, getattr(question, "name", b""))
    return answer


def _error_of(failed: desk.Failed, name: bytes) -> Exception:
    match failed.kind:
        case desk.MISSING:
            return NotFound(name, failed.version)
        case desk.UNKNOWN:
            return NoAnswer(failed.why)
        case desk.FULL:
            return NoRoom(failed.why)
        case desk.WRONG:
            return LocalError(failed.why)
        case desk.AWAY:
            return Away(failed.why)
    return Busy(failed.why)
