"""The interface for programs: UnsServ's quickstart on real sockets in both editions, on threads, and in virtual time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
import pytest

from overlay import get_dissemination_service, get_node, join_network
from overlay.errors import Indefinite, LocalError, RemoteError
from overlay.gossip.dissemination.brisa import BrisaConfig
from overlay.gossip.dissemination.lpbcast import LpbcastConfig
from overlay.gossip.dissemination.mon import MonConfig
from overlay.gossip.dissemination.plumtree import PlumtreeConfig
from overlay.gossip.membership.hyparview import HyParViewConfig
from overlay.gossip.membership.newscast import NewscastConfig
from overlay.peer.unstructured import parameters, threads

PATIENCE_S = 100.0
"""A machine may be busy; whole programs have less than a test's own limit."""

LOCAL = ("127.0.0.1", 0)

both_editions = pytest.mark.parametrize("is_extreme", [True, False], ids=["extreme", "stable"])


def run(main: Coroutine[Any, Any, None]) -> None:
    """One program on a loop of its own, with patience."""
    asyncio.run(asyncio.wait_for(main, PATIENCE_S))


async def until(holds: Callable[[], object]) -> None:
    """Until something comes true that no event tells of."""
    deadline = asyncio.get_running_loop().time() + PATIENCE_S
    while not holds():
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.02)


@both_editions
def test_the_quickstart(is_extreme: bool) -> None:
    async def main() -> None:
        first = await join_network(LOCAL, "network.id", is_extreme=is_extreme)
        host = first.my_node.address_info
        second = await join_network(LOCAL, "network.id", bootstrap_nodes=[host], is_extreme=is_extreme)
        assert [node.address_info for node in second.get_neighbours()] == [host]
        told: list[list[Any]] = []

        async def on_neighbours(neighbours: list[Any]) -> None:
            told.append(neighbours)

        second.add_neighbours_handler(on_neighbours)
        third = await join_network(LOCAL, "network.id", bootstrap_nodes=[get_node(*host)], is_extreme=is_extreme)
        await until(lambda: told and third.my_node in told[-1])

        heard: asyncio.Queue[bytes] = asyncio.Queue()

        async def handler(broadcast_data: bytes) -> None:
            await heard.put(broadcast_data)

        for membership in (first, second, third):
            service = await get_dissemination_service(membership, "dissemination.id", broadcast_handler=handler)
        await until(lambda: len(third.get_neighbours()) == 2)
        await service.broadcast(b"data")
        assert [await heard.get(), await heard.get()] == [b"data", b"data"]
        for membership in (third, second, first):
            await membership.leave()
        assert heard.empty(), "the third does not hear itself"

    run(main())


@both_editions
def test_networks_and_services_behind_one_socket_are_told_apart(is_extreme: bool) -> None:
    async def main() -> None:
        heard: dict[str, list[bytes]] = {}
        red = await join_network(LOCAL, "red", is_extreme=is_extreme)
        place = red.my_node.address_info
        blue = await join_network(place, "blue", is_extreme=not is_extreme)
        far = {
            name: await join_network(LOCAL, name, [place], extreme)
            for name, extreme in (("red", is_extreme), ("blue", not is_extreme))
        }
        for name, near in (("red", red), ("blue", blue)):
            for service in ("one", "two"):
                key = f"{name}/{service}"
                await get_dissemination_service(near, service, broadcast_handler=heard.setdefault(key, []).append)
        plain = await get_dissemination_service(far["red"], "two")
        other = await get_dissemination_service(far["blue"], "one")
        await plain.broadcast(b"to red two")
        await other.broadcast(b"to blue one")
        await until(lambda: heard["red/two"] and heard["blue/one"])
        assert heard == {"red/one": [], "red/two": [b"to red two"], "blue/one": [b"to blue one"], "blue/two": []}
        with pytest.raises(LocalError, match="is in the network 'red' already"):
            await join_network(place, "red")
        with pytest.raises(LocalError, match="runs already"):
            await get_dissemination_service(red, "one")
        await red.leave()
        assert blue.get_neighbours(), "the other network goes on"
        with pytest.raises(LocalError, match="the network 'red' was left; join again"):
            red.get_neighbours()
        for membership in (blue, *far.values()):
            await membership.leave()
        again = await join_network(place, "green")
        await again.leave()

    run(main())


def test_what_goes_wrong_is_told_by_name() -> None:
    async def main() -> None:
        with pytest.raises(LocalError, match=r"ports go up to 65535; write \('127\.0\.0\.1', 7771\)"):
            await join_network(("127.0.0.1", 77771), "network.id")
        with pytest.raises(LocalError, match=r"'localhost' is not the numeric .* write \('127\.0\.0\.1', 7771\)"):
            await join_network(LOCAL, "network.id", [("localhost", 7771)])
        with pytest.raises(LocalError, match="no address; write"):
            await join_network("127.0.0.1:7771", "network.id")  # type: ignore[arg-type]
        with pytest.raises(LocalError, match="did you mean view_size"):
            await join_network(LOCAL, "network.id", view_sise=3)
        with pytest.raises(LocalError, match="out of range: a view holds 1 to 200"):
            await join_network(LOCAL, "network.id", local_view_size=0)
        with pytest.raises(LocalError, match="Expected `int`, got `str`"):
            await join_network(LOCAL, "network.id", view_size="ten")
        with pytest.raises(LocalError, match="nothing is polled: leave it out"):
            await join_network(LOCAL, "network.id", is_extreme=False, maintenance_sleep=1)
        with pytest.raises(LocalError, match="period_s is given by two of its names"):
            await join_network(LOCAL, "network.id", gossiping_frequency=1, period_s=1)
        for wrong in (5, None, b"network.id", "", "two\nlines", "x" * 49):
            with pytest.raises(LocalError, match="an id has 1 to 48 printable characters"):
                await join_network(LOCAL, wrong)  # type: ignore[arg-type]
        with pytest.raises(LocalError, match="a list of addresses, not int"):
            await join_network(LOCAL, "network.id", 7771)  # type: ignore[arg-type]
        first = await join_network(LOCAL, "network.id")
        place = first.my_node.address_info
        with pytest.raises(LocalError, match=r"in use by another program; give another port"):
            await asyncio.to_thread(threads.join_network, place, "network.id")
        with pytest.raises(RemoteError, match="is not in the network 'unknown'"):
            await join_network(LOCAL, "unknown", [place])
        with pytest.raises(Indefinite, match=r"127\.0\.0\.1:1 unreachable; 127\.0\.0\.1:2 unreachable"):
            await join_network(LOCAL, "network.id", [("127.0.0.1", 1), ("127.0.0.1", 2)])
        for wrong in (None, "", "x" * 45):
            with pytest.raises(LocalError, match=r"a service in the network 'network\.id' has 1 to 44 printable"):
                await get_dissemination_service(first, wrong)  # type: ignore[arg-type]
        service = await get_dissemination_service(first, "service")
        with pytest.raises(LocalError, match="bytes, not str; encode it first"):
            await service.broadcast("text")  # type: ignore[arg-type]
        with pytest.raises(LocalError, match="a handler is a function"):
            first.add_neighbours_handler(5)  # type: ignore[arg-type]
        with pytest.raises(LocalError, match="was not added"):
            service.remove_broadcast_handler(print)
        await first.leave()
        with pytest.raises(LocalError, match="was left"):
            await service.broadcast(b"late")
        with pytest.raises(LocalError, match="was left"):
            await first.leave()

    run(main())


VALUES = {"peer_selection": "head", "view_selection": "rand", "view_propagation": "push", "rpc_timeout": 0.9}
UNSSERV = [
    (
        NewscastConfig,
        "local_view_size gossiping_frequency peer_selection view_selection view_propagation rpc_timeout",
        "",
    ),
    (
        HyParViewConfig,
        "local_view_size gossiping_frequency rpc_timeout ttl active_view_size",
        "peer_selection view_selection view_propagation maintenance_sleep",
    ),
    (LpbcastConfig, "fanout buffer_limit", ""),
    (MonConfig, "timeout tree_life fanout", ""),
    (PlumtreeConfig, "retrieve_timeout buffer_limit", "maintenance_sleep"),
    (BrisaConfig, "maintenance_sleep", "fanout"),
]
"""What its documentation lists: what has a counterpart here, and what is told why it has none."""


@pytest.mark.parametrize(("config", "names", "without"), UNSSERV)
def test_every_parameter_that_unsserv_documents_has_a_counterpart_or_a_reason(
    config: type[msgspec.Struct], names: str, without: str
) -> None:
    for name in names.split():
        value = VALUES.get(name, 7)
        made = parameters.config_of(config, {name: value})
        assert value in msgspec.structs.astuple(made) and made != config()
    for name in without.split():
        with pytest.raises(LocalError, match=f"^{name}: .*(leave it out|another active_size)$"):
            parameters.config_of(config, {name: 1})


def test_a_handler_that_fails_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        heard: list[bytes] = []

        def broken(data: bytes) -> None:
            raise ValueError("a bug of the program")

        async with await join_network(LOCAL, "n") as first:
            service = await get_dissemination_service(first, "s", broadcast_handler=broken)
            service.add_broadcast_handler(heard.append)
            async with await join_network(LOCAL, "n", [first.my_node]) as second:
                await (await get_dissemination_service(second, "s")).broadcast(b"x")
                await until(lambda: heard)

    run(main())
    assert "a bug of the program" in caplog.text


def test_a_node_that_crashed_is_forgotten_and_its_address_can_be_used_again(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        first = await join_network(LOCAL, "n")
        driver = first._home.driver
        driver.post(lambda: 1 / 0)
        await until(driver.closed.is_set)
        with pytest.raises(LocalError, match="has ended"):
            first.get_neighbours()
        again = await join_network(first.my_node, "n")
        assert again.get_neighbours() == []
        await again.leave()

    run(main())
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize("many_to_many", [True, False], ids=["many", "one"])
@both_editions
def test_a_long_broadcast_reaches_everybody_on_real_sockets(is_extreme: bool, many_to_many: bool) -> None:
    body = bytes(range(256)) * 800

    async def main() -> None:
        heard: list[bytes] = []
        networks, services = [], []
        for _ in range(8):
            first = [networks[0].my_node] if networks else []
            networks.append(await join_network(LOCAL, "n", first, is_extreme))
            services.append(
                await get_dissemination_service(
                    networks[-1], "s", many_to_many=many_to_many, broadcast_handler=heard.append
                )
            )
        # HyParView's links are enough from the start; where seven know all others, the eighth may find them full.
        known = 7 if is_extreme else 1
        await until(lambda: all(len(network.get_neighbours()) >= known for network in networks))
        await services[3].broadcast(body)
        await until(lambda: len(heard) == 7)
        assert set(heard) == {body}
        for network in networks:
            await network.leave()

    run(main())


@both_editions
def test_the_same_on_threads(is_extreme: bool) -> None:
    before = threading.active_count()
    arrived, heard = threading.Event(), []

    def handler(data: bytes) -> None:
        heard.append(data)
        arrived.set()

    with threads.join_network(LOCAL, "n", is_extreme=is_extreme) as first:
        threads.get_dissemination_service(first, "s", broadcast_handler=handler)
        with threads.join_network(LOCAL, "n", [first.my_node], is_extreme) as second:
            service = threads.get_dissemination_service(second, "s")
            assert second.get_neighbours() == [first.my_node]
            service.broadcast(b"data")
            assert arrived.wait(PATIENCE_S)
            service.leave()
            with pytest.raises(LocalError, match="was left"):
                service.broadcast(b"data")
    assert heard == [b"data"]
    names = [thread.name for thread in threading.enumerate() if thread.name.startswith(("tcp-", "udp-"))]
    assert not names, f"{before} threads before"


def test_on_threads_a_handler_may_be_slow_and_may_leave() -> None:
    entered, go_on, heard, left = threading.Event(), threading.Event(), threading.Event(), threading.Event()

    def slow(data: bytes) -> None:
        entered.set()
        assert go_on.wait(PATIENCE_S)
        second.leave()
        left.set()

    async def coroutine(data: bytes) -> None:
        raise AssertionError("nobody would await it")

    with threads.join_network(LOCAL, "n") as first:
        second = threads.join_network(LOCAL, "n", [first.my_node])
        with pytest.raises(LocalError, match="a plain function here"):
            threads.get_dissemination_service(second, "s", broadcast_handler=coroutine)
        threads.get_dissemination_service(second, "s", broadcast_handler=slow)
        threads.get_dissemination_service(first, "s").broadcast(b"data")
        assert entered.wait(PATIENCE_S)
        # The second goes on meanwhile: it lets somebody in, and passes on what comes.
        with threads.join_network(LOCAL, "n", [second.my_node]) as third:
            threads.get_dissemination_service(third, "s", broadcast_handler=lambda data: heard.set())
            second.services["s"].broadcast(b"more")  # type: ignore[attr-defined]
            assert heard.wait(PATIENCE_S)
        go_on.set()
        assert left.wait(PATIENCE_S)
