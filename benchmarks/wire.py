"""Two nodes and nothing but calls: frames a second on one connection, and what the codec takes of it."""

from __future__ import annotations

import asyncio
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.figures import Figure
from overlay.core.codec import Codec
from overlay.core.message import ONE_WAY, WIRE_VERSION, Command, Contact, Envelope, Message
from overlay.core.pending import Pending
from overlay.core.protocol import Answer, Protocol, on
from overlay.ids import Key
from overlay.live.aio import AsyncioDriver
from overlay.live.threads import ThreadDriver
from overlay.ring.messages import Neighbors, Ping, Pong
from overlay.store.disk import FolderDisk

CALLS = 20_000
AT_ONCE = 64


class Question(Command, frozen=True):
    """Wants to be answered with itself."""

    number: int


class Echo(Protocol):
    """Answers a question with it, and asks many."""

    service = "echo"

    @on(Question)
    def on_question(self, sender: Contact, message: Question) -> Answer:
        """See `Question`."""
        return message

    def ask(self, peer: Contact, count: int, at_once: int) -> Pending[None]:
        """So many calls, some of them at a time."""
        over: Pending[None] = Pending()
        left = [count, count]

        def answered(_: object) -> None:
            left[1] -= 1
            if not left[1]:
                over.resolve(None)
            begin()

        def begin() -> None:
            if left[0]:
                left[0] -= 1
                self.ctx.call(peer, Question(1), answered, lambda why: over.fail(why.as_error()), timeout_s=30)

        for _ in range(at_once):
            begin()
        return over


async def frames(driver: str) -> list[Figure]:
    """Calls a second from one node to another, one at a time and many at once."""
    with tempfile.TemporaryDirectory() as root:
        disks = [FolderDisk(Path(root) / name, Path(root), keep=False) for name in ("one", "two")]
        kind: Any = {"threads": ThreadDriver, "asyncio": AsyncioDriver}[driver]
        nodes = [kind(Contact(Key(number), "127.0.0.1", 0), blobs=disk) for number, disk in enumerate(disks)]
        for node, disk in zip(nodes, disks, strict=True):
            disk.open()
            node.open()
            node.node.add(Echo())
            started = node.start()
            if started is not None:
                await started

        async def calls_a_second(count: int, at_once: int) -> float:
            began = time.perf_counter()
            over = nodes[0].call(nodes[0].node.protocols["echo"].ask, nodes[1].me, count, at_once)
            await (nodes[0].future(over) if driver == "asyncio" else asyncio.to_thread(nodes[0].wait, over, 60))
            return count / (time.perf_counter() - began)

        await calls_a_second(200, 1)
        one, many = await calls_a_second(CALLS // 10, 1), await calls_a_second(CALLS, AT_ONCE)
        for node, disk in zip(nodes, disks, strict=True):
            node.kill()
            disk.close()
    bare_one, bare_many = bare_echo(CALLS // 10, 1), bare_echo(CALLS, AT_ONCE)
    return [
        Figure(f"calls one after the other, {driver}", one, "a second", {"bare echo": bare_one}),
        Figure(f"calls, {AT_ONCE} at once, {driver}", many, "a second", {"bare echo": bare_many}),
        Figure(f"frames of these, {driver}", 2 * many, "a second", {"bare echo": 2 * bare_many}),
    ]


def bare_echo(count: int, at_once: int) -> float:
    """The same bytes between two plain sockets, on two threads."""
    size = len(encoded(Question(1))) + 4
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with listener.accept()[0] as sock:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                while data := sock.recv(1 << 16):
                    sock.sendall(data)

        threading.Thread(target=serve).start()
        with socket.create_connection(listener.getsockname()) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            began, left, rest = time.perf_counter(), count - at_once, 0
            sock.sendall(bytes(size * at_once))
            answered = 0
            while answered < count:
                whole, rest = divmod(rest + len(sock.recv(1 << 16)), size)
                answered += whole
                if more := min(whole, left):
                    left -= more
                    sock.sendall(bytes(size * more))
            return count / (time.perf_counter() - began)


# Codec ---------------------------------------------------------------------------------------------------------

ME = Contact(Key(14), "127.0.0.1", 12014, 1_790_000_000_000)
LINE = tuple([Contact(Key(n), "127.0.0.1", 12000 + n, 1_790_000_000_000 + n) for n in (19, 2, 4, 5)])
CODEC = Codec([Ping, Pong, Question])


def encoded(message: Message) -> bytes:
    """A message on its way."""
    return CODEC.encode(Envelope(WIRE_VERSION, ONE_WAY, ME, Key(19), ME.boot, "pings", 0, 12345, message))


def codec() -> list[Figure]:
    """Microseconds for one message to bytes, and back."""
    figures = []
    for message in (Question(1), Ping(7, 1, 1 << 51, 99), Pong(7, 1, 1 << 51, 99, Neighbors(LINE[2:], LINE))):
        data, name = encoded(message), type(message).__name__
        envelope = CODEC.decode(data)
        # The same values as plain lists: what msgspec does with bytes of this shape, without types.
        plain = msgspec.msgpack.decode(data)
        beside = {"encode": micros(msgspec.msgpack.encode, plain), "decode": micros(msgspec.msgpack.decode, data)}
        ours = {"encode": micros(CODEC.encode, envelope), "decode": micros(CODEC.decode, data)}
        for way, value in ours.items():
            what = f"{way} {name}, {len(data)} bytes"
            figures.append(Figure(what, value, "us", {"untyped lists": beside[way]}))
    return figures


def micros(function: Callable[[Any], object], value: object) -> float:
    """Of one call; the best of five."""
    best = float("inf")
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(10_000):
            function(value)
        best = min(best, time.perf_counter() - began)
    return best * 100
