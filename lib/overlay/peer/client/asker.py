"""Whom a client asks: one peer after the other until one answers, and that one from then on."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

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

MAX_RING = 1024
MAX_KNOWN = 32


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

    async def ask(self, question: Message) -> Message:
        """At the desk of any peer that answers, the one that did so before first."""
        error: Exception = NoAnswer("no peer answers")
        for _ in range(len(self._places) + 1):
            line = await self._current()
            try:
                return await at_desk(line, question, self._timeout_s)
            except NoAnswer as silence:
                if line.is_open:
                    raise
                # The connection broke: another peer can do it, and once more is no harm.
                error = silence
        raise error

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
        raise NoAnswer("; ".join(silences[:3]))

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
    return RemoteError(failed.why)
