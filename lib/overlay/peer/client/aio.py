"""A client of a ring's store on an asyncio loop: it is no peer, it asks peers.

Sessions: the greatest version that a client was told goes with what it writes next, so that this is newer, also when another
peer is asked (Lamport, CACM 1978). `session` may be handed on to another client.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import TracebackType

import msgspec

from overlay.core.message import Contact, Message
from overlay.errors import LocalError, RemoteError
from overlay.peer.address import parse_address
from overlay.peer.client.line import Line, NoAnswer, NoRoom, Stranger
from overlay.peer.client.places import default_places
from overlay.ring import messages as ring
from overlay.store.desk import messages as desk
from overlay.store.replicated.config import Acked, Got, Listed, NotFound, Status
from overlay.store.replicated.messages import MAX_NAME, NEVER, Version

ANSWER_S = 35.0
"""A peer looks for 30 s for those who can do what it was asked (ReplicasConfig.deadline_s)."""

ASK_S = 3.0
AGAIN_S = 0.5
MAX_RING = 1024
MAX_KNOWN = 32


class PeerStatus(msgspec.Struct, frozen=True):
    """One peer of the ring, and its part of the store; None where it did not say."""

    contact: Contact
    status: Status | None


class RingStatus(msgspec.Struct, frozen=True):
    """The store as a whole."""

    peers: tuple[PeerStatus, ...]
    records: int
    """Those that peers are the roots of, tombstones too."""
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
        named = (at,) if isinstance(at, str) else default_places() if at is None else at
        self._places = [parse_address(text) for text in named]
        if not self._places:
            raise LocalError("a client needs the address of a peer, such as 127.0.0.1:7001")
        self.session = session
        """The greatest version that this client was told of."""
        self._timeout_s = timeout_s
        self._stranger = Stranger()
        self._line: Line | None = None
        self._opening = asyncio.Lock()

    # Records -------------------------------------------------------------------------------------------------

    async def put(self, name: str | bytes, value: bytes, *, ttl_s: float | None = None) -> Acked:
        """Store a value; returns when it is durable at as many peers as the ring promises.

        With `ttl_s` it is gone after so many seconds. NoAnswer when nobody knows whether it was stored, NoRoom, and
        LocalError for a name or a value that cannot be.
        """
        return self._kept(await self._ask(desk.PutRecord(_name(name), value, self.session, ttl_s or 0.0)))

    async def delete(self, name: str | bytes) -> Acked:
        """Delete a record, whether there is one or not; returns when that is durable."""
        return self._kept(await self._ask(desk.DeleteRecord(_name(name), self.session)))

    async def get(self, name: str | bytes) -> bytes:
        """The value of a record. NotFound where there is none, NoAnswer where nobody knows."""
        return (await self.read(name)).value

    async def read(self, name: str | bytes) -> Got:
        """A record with its version and its end; see `get`."""
        data = _name(name)
        try:
            answer = await self._ask(desk.GetRecord(data))
        except NotFound as error:
            self._saw(error.version)
            raise
        if not isinstance(answer, desk.Record):
            raise RemoteError("the peer's answer was none")
        self._saw(answer.version)
        return Got(data, answer.version, answer.value, answer.expires)

    # The whole ring ------------------------------------------------------------------------------------------

    async def list(self) -> tuple[Listed, ...]:
        """All records of the ring, by name. NoAnswer when that part of the ring which knows some cannot be asked."""
        until = asyncio.get_running_loop().time() + self._timeout_s
        while True:
            try:
                return await self._list_once()
            except (NoAnswer, RemoteError) as error:
                if asyncio.get_running_loop().time() + AGAIN_S >= until:
                    raise NoAnswer(f"the records cannot be listed: {error}") from None
                await asyncio.sleep(AGAIN_S)

    async def _list_once(self) -> tuple[Listed, ...]:
        found: dict[bytes, Listed] = {}
        spans: list[tuple[int, int]] = []
        for peer in await self.ring():
            span = await self._list_of(peer, found)
            spans.append(span)
        spans.sort(key=lambda span: span[1])
        if any(span[0] != spans[index - 1][1] for index, span in enumerate(spans)) and len(spans) > 1:
            raise RemoteError("the ring has just changed")
        return tuple([found[name] for name in sorted(found)])

    async def _list_of(self, peer: Contact, found: dict[bytes, Listed]) -> tuple[int, int]:
        line = await self._line_to(peer)
        behind = b""
        try:
            while True:
                answer = self._sound(behind, await self._at_desk(line, desk.ListRecords(behind), ASK_S))
                if not isinstance(answer, desk.Records):
                    raise RemoteError("the peer's answer was none")
                for listed in answer.listed:
                    if listed.name not in found or found[listed.name].version < listed.version:
                        found[listed.name] = listed
                if not answer.more or not answer.listed:
                    return answer.low, answer.high
                behind = answer.listed[-1].name
        finally:
            self._done_with(line)

    async def status(self) -> RingStatus:
        """Every peer's part of the store."""
        peers: list[PeerStatus] = []
        copies = durable = 0
        for contact in await self.ring():
            status: Status | None = None
            try:
                line = await self._line_to(contact)
                try:
                    answer = self._sound(b"", await self._at_desk(line, desk.AskStatus(), ASK_S))
                finally:
                    self._done_with(line)
                if isinstance(answer, desk.StatusIs):
                    status, copies, durable = answer.status, answer.copies, answer.durable
            except (NoAnswer, RemoteError):
                pass
            peers.append(PeerStatus(contact, status))
        told = [peer.status for peer in peers if peer.status is not None]
        complete = len(told) == len(peers) and all(status.complete for status in told)
        return RingStatus(tuple(peers), sum(status.own for status in told), copies, durable, complete)

    async def ring(self) -> tuple[Contact, ...]:
        """All peers that answer, by walking the successors."""
        first = (await self._current()).peer
        found: dict[int, Contact] = {}
        ahead = [first]
        while ahead and len(found) < MAX_RING:
            contact = ahead.pop(0)
            if contact.id in found:
                break
            try:
                line = await self._line_to(contact)
                try:
                    answer = await line.ask("ring", ring.Ask(), ASK_S)
                finally:
                    self._done_with(line)
            except NoAnswer:
                continue
            if isinstance(answer, ring.Neighbors):
                found[contact.id] = contact
                ahead = [*answer.successors]
        return tuple(sorted(found.values(), key=lambda contact: contact.id))

    # Who is asked --------------------------------------------------------------------------------------------

    async def _ask(self, question: Message) -> Message:
        """Of any peer that answers, the one that did so before first."""
        error: Exception = NoAnswer("no peer answers")
        for _ in range(len(self._places) + 1):
            line = await self._current()
            try:
                return self._sound(getattr(question, "name", b""), await self._at_desk(line, question, self._timeout_s))
            except NoAnswer as silence:
                if line.is_open:
                    raise
                # The connection broke: another peer can do it, and once more is no harm.
                error = silence
        raise error

    async def _at_desk(self, line: Line, question: Message, timeout_s: float) -> Message:
        try:
            return await line.ask(desk.SERVICE, question, timeout_s)
        except RemoteError as error:
            if "understand" in str(error) or "not spoken" in str(error):
                raise RemoteError(f"the peer at {line.where} keeps no store for its ring") from None
            raise

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
            except NoAnswer as silence:
                silences.append(str(silence))
                continue
            await self._remember(line, place)
            return line
        raise NoAnswer("; ".join(silences[:3]))

    async def _remember(self, line: Line, place: tuple[str, int]) -> None:
        """The one that answers is asked first from now on; its neighbors may be asked when it is gone."""
        answer = await line.ask("ring", ring.Ask(), ASK_S)
        more = [contact.address for contact in answer.successors] if isinstance(answer, ring.Neighbors) else []
        self._places = [*dict.fromkeys([place, *self._places, *more])][:MAX_KNOWN]

    async def _line_to(self, peer: Contact) -> Line:
        if self._line is not None and self._line.is_open and self._line.peer == peer:
            return self._line
        return await Line.open(self._stranger, *peer.address)

    def _done_with(self, line: Line) -> None:
        if line is not self._line:
            line.close()

    # What is answered ----------------------------------------------------------------------------------------

    def _sound(self, name: bytes, answer: Message) -> Message:
        if not isinstance(answer, desk.Failed):
            return answer
        match answer.kind:
            case desk.MISSING:
                raise NotFound(name, answer.version)
            case desk.UNKNOWN:
                raise NoAnswer(answer.why)
            case desk.FULL:
                raise NoRoom(answer.why)
            case desk.WRONG:
                raise LocalError(answer.why)
        raise RemoteError(answer.why)

    def _kept(self, answer: Message) -> Acked:
        if not isinstance(answer, desk.Kept):
            raise RemoteError("the peer's answer was none")
        self._saw(answer.version)
        return Acked(answer.version, answer.copies)

    def _saw(self, version: Version) -> None:
        self.session = max(self.session, version)

    # Going ---------------------------------------------------------------------------------------------------

    async def close(self) -> None:
        """Let the connection go."""
        if self._line is not None:
            self._line.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def _name(name: str | bytes) -> bytes:
    data = name.encode() if isinstance(name, str) else name
    if not 1 <= len(data) <= MAX_NAME:
        raise LocalError(f"a name has 1 to {MAX_NAME} bytes, not {len(data)}")
    return data
