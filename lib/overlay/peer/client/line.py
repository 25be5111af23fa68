"""One connection to one peer, on an asyncio loop: many questions at a time, each answered on the same connection."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import random

from overlay.core.codec import Codec, DecodeError
from overlay.core.message import (
    CALL,
    REFUSAL,
    WIRE_VERSION,
    Contact,
    Envelope,
    Hello,
    Message,
    Refused,
    Welcome,
)
from overlay.errors import Indefinite, RemoteError
from overlay.ids import Key
from overlay.live.frames import FrameReader, frame
from overlay.peer.address import show_address
from overlay.peer.visitor import READ_BYTES, STRANGER
from overlay.ring import messages
from overlay.store.desk.messages import ANSWERS, QUESTIONS

CODEC = Codec((*QUESTIONS, *ANSWERS, messages.Ask, messages.Neighbors))
CONNECT_S = 3.0
LISTENING = "overlay-line"
"""The name of the task that waits for answers, as long as there is a line."""


class NoAnswer(Indefinite):
    """No peer could be reached, or the one that was asked fell silent: what was asked may have been done."""


class NoRoom(RemoteError):
    """There is no room for it in the ring."""


class Stranger:
    """Who asks: no peer, with an id that none can have."""

    def __init__(self) -> None:
        chance = random.SystemRandom()
        self._id = Key(STRANGER + chance.getrandbits(32))
        self._boot = chance.getrandbits(48) + 1
        self._numbers = itertools.count(1)

    def contact(self, host: str, port: int) -> Contact:
        """As it is told at this end of a connection."""
        return Contact(self._id, host, port, self._boot)

    def next_number(self) -> int:
        """Grows with every question, whoever is asked."""
        return next(self._numbers)


class Line:
    """See the module. `open` makes one; a line that has ended answers everything with NoAnswer."""

    def __init__(self, stranger: Stranger, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, where: str):
        here, there = writer.get_extra_info("sockname"), writer.get_extra_info("peername")
        if not (here and there):
            writer.close()
            raise NoAnswer(f"the peer at {where} is gone: the connection was reset")
        self._stranger = stranger
        self._me = stranger.contact(*here[:2])
        self._reader, self._writer = reader, writer
        self.where = where
        self._waiting: dict[int, asyncio.Future[Message]] = {}
        self._why = ""
        self.peer: Contact = Contact(Key(0), *there[:2])
        """Who is at the other end."""
        self._listening = asyncio.create_task(self._listen(), name=LISTENING)

    @classmethod
    async def open(cls, stranger: Stranger, host: str, port: int, timeout_s: float = CONNECT_S) -> Line:
        """Connect and say Hello. NoAnswer where nobody answers, RemoteError where something else does."""
        where = show_address(host, port)
        try:
            async with asyncio.timeout(timeout_s):
                reader, writer = await asyncio.open_connection(host, port)
        except (OSError, TimeoutError) as error:
            # Of what asyncio makes of an error only the number says what it was.
            said = os.strerror(error.errno) if error.errno else str(error)
            why = "timed out" if isinstance(error, TimeoutError) else said
            raise NoAnswer(f"no peer answers at {where}: {why}") from None
        line = cls(stranger, reader, writer, where)
        try:
            answer = await line.ask("", Hello(), timeout_s)
            if not isinstance(answer, Welcome):
                raise RemoteError(f"what answers at {where} is no peer")
            line.peer = answer.contact
        except BaseException:
            line.close()
            raise
        return line

    @property
    def is_open(self) -> bool:
        """Whether somebody is there, as far as is known."""
        return not self._why

    async def ask(self, service: str, question: Message, timeout_s: float) -> Message:
        """One question. NoAnswer when none comes in time, RemoteError when it is refused."""
        if self._why:
            raise NoAnswer(self._why)
        number = self._stranger.next_number()
        envelope: Envelope[Message] = Envelope(
            WIRE_VERSION, CALL, self._me, self.peer.id, self.peer.boot, service, number, number, question
        )
        data = frame(CODEC.encode(envelope))
        answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        try:
            self._writer.write(data)
            async with asyncio.timeout(timeout_s):
                await self._writer.drain()
                return await answer
        except TimeoutError:
            raise NoAnswer(f"the peer at {self.where} did not answer within {timeout_s:g} s") from None
        except OSError as error:
            self._end(f"the peer at {self.where} is gone: {error.strerror or error}")
            raise NoAnswer(self._why) from None
        finally:
            self._waiting.pop(number, None)
            if answer.done() and not answer.cancelled():
                answer.exception()  # whoever waited has heard; asyncio need not say it again

    def close(self) -> None:
        """Nobody asks any more."""
        self._end("this client is closed")
        self._listening.cancel()

    async def _listen(self) -> None:
        reader = FrameReader()
        try:
            while data := await self._reader.read(READ_BYTES):
                for piece in reader.feed(data):
                    self._take(piece)
                if reader.broken:
                    break
            self._end(f"the peer at {self.where} has closed the connection")
        except OSError as error:
            self._end(f"the peer at {self.where} is gone: {error.strerror or error}")
        except DecodeError as error:
            self._end(f"what answers at {self.where} is no peer of this version: {error}")

    def _take(self, piece: bytes) -> None:
        envelope = CODEC.decode(piece)
        answer = self._waiting.get(envelope.number)
        if answer is None or answer.done():
            return
        if envelope.kind == REFUSAL:
            answer.set_exception(RemoteError(_reason(envelope.body)))
        else:
            answer.set_result(envelope.body)

    def _end(self, why: str) -> None:
        if self._why:
            return
        self._why = why
        with contextlib.suppress(OSError, RuntimeError):
            self._writer.close()
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(NoAnswer(why))


def _reason(body: Message) -> str:
    return body.reason if isinstance(body, Refused) else "refused"
