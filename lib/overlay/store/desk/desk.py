"""The desk of one peer: clients put, get, delete and list here, and the peer does it in the ring for them.

A client is a stranger that asks over TCP and is answered on the same connection, so it needs no address of its own and may
be behind anything. What it asks is idempotent but for versions: asked again, a put is one more version of the same value.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from overlay.core.message import Contact, Message
from overlay.core.pending import Pending
from overlay.core.protocol import Protocol, on
from overlay.errors import Indefinite, LocalError, NoSpace
from overlay.ids import Key
from overlay.store.desk.messages import (
    AWAY,
    BUSY,
    FULL,
    LIST_BYTES,
    MISSING,
    PART_BYTES,
    SERVICE,
    UNKNOWN,
    WRONG,
    AskStatus,
    DeleteRecord,
    Failed,
    GetPart,
    GetRecord,
    Kept,
    Kind,
    ListRecords,
    Part,
    PutPart,
    PutRecord,
    Record,
    Records,
    StatusIs,
)
from overlay.store.desk.parts import Parts
from overlay.store.replicated.config import Acked, Got, NotFound
from overlay.store.replicated.messages import NEVER
from overlay.store.replicated.replicas import Replicas

MAX_OPEN = 512
"""Questions of clients that are being answered at a time; more are told to come again."""

AWAY_SAYS = "this peer is in no ring yet, or has just lost its neighbor"
FULL_SAYS = "no room for"
"""The words of NoSpace: a Failure carries no more of it than its text, and a root no more of its replicas' than that."""

ROW_BYTES = 64
"""What a listed record takes besides its name."""


class Desk(Protocol):
    """See the module."""

    __slots__ = ("_open", "_parts", "_replicas")
    service = SERVICE

    def __init__(self, replicas: Replicas):
        self._replicas = replicas
        self._open = 0
        self._parts: Parts

    def start(self) -> None:
        self._parts = Parts(self.ctx)

    @on(PutPart)
    def on_part(self, sender: Contact, part: PutPart) -> Message | None:
        why = self._parts.add(sender, part.ticket, part.offset, part.data)
        return Failed(BUSY, why) if why else None

    @on(PutRecord)
    def on_put(self, sender: Contact, put: PutRecord) -> Message | Pending[Message]:
        value, ttl_s = put.value, put.ttl_s or None
        if put.ticket:
            before = self._parts.take(sender, put.ticket)
            if before is None:
                return Failed(BUSY, "the parts of the value are not here")
            value = before + value
        return self._do(lambda: self._replicas.put(put.name, value, after=put.after, ttl_s=ttl_s), _kept)

    @on(DeleteRecord)
    def on_delete(self, sender: Contact, delete: DeleteRecord) -> Message | Pending[Message]:
        return self._do(lambda: self._replicas.delete(delete.name, after=delete.after), _kept)

    @on(GetRecord)
    def on_get(self, sender: Contact, get: GetRecord) -> Message | Pending[Message]:
        return self._do(lambda: self._replicas.get(get.name), lambda got: self._record(sender, got))

    def _record(self, asker: Contact, got: Got) -> Message:
        size = len(got.value)
        if size <= PART_BYTES:
            return Record(got.version, got.value, got.expires, size)
        ticket = self._parts.keep(asker, got.value)
        if not ticket:
            return Failed(BUSY, "too much is on its way through this peer")
        return Record(got.version, got.value[:PART_BYTES], got.expires, size, ticket)

    @on(GetPart)
    def on_get_part(self, sender: Contact, question: GetPart) -> Message:
        data = self._parts.part(sender, question.ticket, question.offset)
        return Part(data) if data is not None else Failed(BUSY, "this value is not held any more")

    @on(ListRecords)
    def on_list(self, sender: Contact, question: ListRecords) -> Message:
        span = self._replicas.router.range()
        if span is None:
            return Failed(AWAY, AWAY_SAYS)
        listed = sorted((one for one in self._replicas.list() if one.name > question.behind), key=lambda one: one.name)
        room = LIST_BYTES
        count = 0
        while count < len(listed) and room > 0:
            room -= len(listed[count].name) + ROW_BYTES
            count += 1
        return Records(tuple(listed[:count]), count < len(listed), Key(span[0]), Key(span[1]))

    @on(AskStatus)
    def on_status(self, sender: Contact, question: AskStatus) -> Message:
        config = self._replicas.config
        return StatusIs(self._replicas.status(), config.copies, config.durable)

    def _do(self, verb: Callable[[], Pending[Any]], answer_of: Callable[[Any], Message]) -> Message | Pending[Message]:
        if self._replicas.router.range() is None:
            return Failed(AWAY, AWAY_SAYS)
        if self._open >= MAX_OPEN:
            return Failed(BUSY, "too many ask this peer at once")
        try:
            pending = verb()
        except LocalError as error:
            return Failed(WRONG, str(error)[:512])
        answer: Pending[Message] = Pending()
        self._open += 1

        def done(ended: Pending[Any]) -> None:
            self._open -= 1
            answer.resolve(failed_by(ended.error) if ended.error is not None else answer_of(ended.result()))

        pending.when_done(done)
        return answer


def _kept(acked: Acked) -> Message:
    return Kept(acked.version, acked.copies)


def failed_by(error: Exception) -> Failed:
    """The answer that tells an error of the ring, or of this peer's disk."""
    kind: Kind = BUSY
    if isinstance(error, NotFound):
        kind = MISSING
    elif isinstance(error, NoSpace) or FULL_SAYS in str(error):
        kind = FULL
    elif isinstance(error, Indefinite):
        kind = UNKNOWN
    return Failed(kind, str(error)[:512], error.version if isinstance(error, NotFound) else NEVER)
