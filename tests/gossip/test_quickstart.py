"""UnsServ's quickstart, word for word: its membership and dissemination parts with the package's name changed, in both editions.

Its port 77771 gets an error that says what to write; that is then written.
"""

from __future__ import annotations

import ast
import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import CodeType
from typing import Any

import pytest

from overlay import errors
from overlay.peer.unstructured.common import Node
from tests.gossip.test_programs import both_editions, run, until
from tests.peer.support import is_free_at

SETUP = """
from unsserv import join_network

first_membership = await join_network(("127.0.0.1", 77771), "network.id")
"""

JOIN = """
second_membership = await join_network(
        ("127.0.0.1", 7772), "network.id", bootstrap_nodes=[("127.0.0.1", 77771)]
    )
"""

NEIGHBOURS = """
neighbours = second_membership.get_neighbours()

async def handler(neighbours):
    ...

second_membership.add_neighbours_handler(handler)
"""

DISSEMINATION = """
from unsserv import get_dissemination_service

async def handler(broadcast_data):
    ...
dissemination = await get_dissemination_service(membership, "dissemination.id", broadcast_handler=handler)
"""

BROADCAST = """
await dissemination.broadcast(b"data")
"""

LEAVE = """
await membership.leave()
"""


class Session:
    """A prompt of Python with `await`, at which the quickstart is typed."""

    def __init__(self, **changes: str):
        self.names: dict[str, Any] = {}
        self.changes = {"from unsserv": "from overlay", **changes}

    async def type(self, text: str, **names: Any) -> None:
        for old, new in self.changes.items():
            text = text.replace(old, new)
        self.names |= names
        code = compile(text, "quickstart", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        assert isinstance(code, CodeType)
        coroutine = eval(code, self.names)
        if coroutine is not None:
            await coroutine


@contextmanager
def free_host() -> Iterator[str]:
    """A loopback address at which the quickstart's ports are free: other test runs type it too, at others."""
    for step in range(250):
        host = f"127.0.0.{2 + (os.getpid() + step) % 250}"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as guard:
            taken = True
            with suppress(OSError):
                guard.bind((host, 7770))
                taken = False
            if not taken and is_free_at(host, 7771) and is_free_at(host, 7772):
                yield host
                return
    raise AssertionError("no free address")


def test_its_port_gets_an_error_that_says_what_to_write() -> None:
    with pytest.raises(errors.LocalError, match=r"no port 77771: ports go up to 65535; write \('127.0.0.1', 7771\)"):
        asyncio.run(Session().type(SETUP))


@both_editions
def test_the_quickstart_runs_with_the_packages_name_changed(is_extreme: bool) -> None:
    changes = {"77771": "7771"}
    if not is_extreme:
        changes['"network.id"'] = '"network.id", is_extreme=False'

    async def main(host: str) -> None:
        changes["127.0.0.1"] = host
        prompt = Session(**changes)
        await prompt.type(SETUP)
        await prompt.type(JOIN)
        await prompt.type(NEIGHBOURS)
        first, second = prompt.names["first_membership"], prompt.names["second_membership"]
        assert prompt.names["neighbours"] == [Node((host, 7771))]
        heard: list[bytes] = []
        await prompt.type(DISSEMINATION, membership=first)
        prompt.names["dissemination"].add_broadcast_handler(heard.append)
        await prompt.type(DISSEMINATION, membership=second)
        await prompt.type(BROADCAST)
        await until(lambda: heard == [b"data"])
        for membership in (second, first):
            await prompt.type(LEAVE, membership=membership)
            assert not membership.running

    with free_host() as host:
        run(main(host))
