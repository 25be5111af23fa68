"""runner.py --gossip N: so many nodes in this process; how they are linked, what they say, and a broadcast that spreads."""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
import signal
import time
from collections import Counter
from statistics import fmean

from overlay.app.terminal import Output
from overlay.core.message import Contact, Message
from overlay.core.trace import Observer
from overlay.errors import OverlayError
from overlay.live.aio import run
from overlay.peer.unstructured.aio import Dissemination, Membership, get_dissemination_service, join_network

BROADCAST_EVERY_S = 3.0
WIDTH = 40
NETWORK = "runner"


class Traffic(Observer):
    """Counts what is sent."""

    def __init__(self) -> None:
        self.sent_total = 0

    def sent(self, now: float, node: Contact, peer: Contact, kind: int, service: str, message: Message) -> None:
        self.sent_total += 1


class GossipRunner:
    """The nodes, and a picture of them each second."""

    def __init__(self, nodes: int, output: Output, *, host: str, stable: bool, seconds: float | None):
        self.nodes = nodes
        self.output = output
        self.host = host
        self.stable = stable
        self.seconds = seconds
        self.traffic = Traffic()
        self.networks: list[Membership] = []
        self.services: list[Dissemination] = []
        self.spreading = b""
        self.began = 0.0
        self.arrivals: list[float] = []
        self.broadcasts = 0
        self._drawn: list[str] = []
        self._over = asyncio.Event()

    async def run(self) -> None:
        """Until the time is over, nobody reads any more, or a signal."""
        loop = asyncio.get_running_loop()

        def broken() -> None:
            loop.call_soon_threadsafe(self._over.set)

        self.output.on_broken = broken
        # Neither on Windows nor beside the main thread.
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
            loop.add_signal_handler(signal.SIGTERM, self._over.set)
        try:
            await self._start()
            deadline = time.monotonic() + self.seconds if self.seconds else float("inf")
            last, counted = time.monotonic(), 0
            while time.monotonic() < deadline and not self._over.is_set():
                if time.monotonic() - self.began >= BROADCAST_EVERY_S:
                    await self._broadcast()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._over.wait(), min(1.0, max(deadline - time.monotonic(), 0)))
                now = time.monotonic()
                rate = (self.traffic.sent_total - counted) / max(now - last, 1e-3)
                last, counted = now, self.traffic.sent_total
                self._show(
                    picture(self.degrees(), rate, self.nodes, self.arrivals, self.broadcasts, stable=self.stable)
                )
        finally:
            self.output.on_broken = lambda: None
            for network in self.networks:
                with contextlib.suppress(OverlayError):
                    await network.leave()

    async def _start(self) -> None:
        for _ in range(self.nodes):
            known = [self.networks[0].my_node] if self.networks else []
            place = (self.host, 0)
            network = await join_network(place, NETWORK, known, not self.stable, observers=[self.traffic])
            self.networks.append(network)
            self.services.append(await get_dissemination_service(network, NETWORK, broadcast_handler=self._heard))

    async def _broadcast(self) -> None:
        self.broadcasts += 1
        self.spreading = str(self.broadcasts).encode()
        self.began, self.arrivals = time.monotonic(), []
        await random.choice(self.services).broadcast(self.spreading)

    def _heard(self, data: bytes) -> None:
        if data == self.spreading:
            self.arrivals.append(time.monotonic() - self.began)

    def degrees(self) -> list[int]:
        """How many nodes know each node."""
        known = Counter(node.address_info for network in self.networks for node in network.get_neighbours())
        return [known[network.my_node.address_info] for network in self.networks]

    def _show(self, lines: list[str]) -> None:
        if self.output.color_out:
            before, self._drawn = self._drawn, [line[: shutil.get_terminal_size().columns] for line in lines]
            self.output.write(above(before, shutil.get_terminal_size().columns) + "\n".join(self._drawn))
        else:
            self.output.write("\n".join(lines))


def above(lines: list[str], columns: int) -> str:
    """Go back to where these lines begin, and take them away; they have more rows where the terminal is narrower by now."""
    rows = sum(max(1, -(-len(line) // columns)) for line in lines)
    return f"\x1b[{rows}A\x1b[J" if rows else ""


def picture(
    degrees: list[int], rate: float, nodes: int, arrivals: list[float], broadcasts: int, *, stable: bool
) -> list[str]:
    """A block of lines: links, traffic, and how far the broadcast has come."""
    edition = "HyParView, Plumtree" if stable else "Newscast, lpbcast"
    reached = len(arrivals) / max(nodes - 1, 1)
    bar = "#" * round(WIDTH * reached)
    took = f"{max(arrivals) * 1000:.0f} ms" if arrivals else "-"
    low, mean, high = min(degrees), fmean(degrees), max(degrees)
    return [
        "=" * 64,
        f"{nodes} node{'s' * (nodes != 1)} ({edition})   in-degree {low} .. {mean:.1f} .. {high}   {rate:,.0f} messages/s",
        f"broadcast {broadcasts:3}  [{bar:{WIDTH}}] {len(arrivals)}/{nodes - 1}, the last after {took}",
    ]


def main(nodes: int, output: Output, *, host: str, stable: bool, seconds: float | None) -> int:
    """The exit status."""
    try:
        run(GossipRunner(nodes, output, host=host, stable=stable, seconds=seconds).run())
    except OverlayError as error:
        output.error(str(error))
        return 1
    except KeyboardInterrupt:
        return 130
    return 0
