"""Twenty nodes form a network without anybody in charge, and one of them tells all others something.

PYTHONPATH=lib python examples/broadcast.py
"""

import asyncio

from overlay import get_dissemination_service, join_network

NODES = 20


async def main() -> None:
    """Join, look around, broadcast, leave."""
    # Port 0 is a free one. A node in a program of its own would say ("127.0.0.1", 7771).
    networks = [await join_network(("127.0.0.1", 0), "example")]
    for _ in range(NODES - 1):
        networks.append(await join_network(("127.0.0.1", 0), "example", bootstrap_nodes=[networks[0].my_node]))

    everybody = asyncio.Event()
    heard: list[bytes] = []

    async def handler(data: bytes) -> None:
        heard.append(data)
        if len(heard) == NODES - 1:
            everybody.set()

    services = [await get_dissemination_service(network, "news", broadcast_handler=handler) for network in networks]
    print("the last node knows", len(networks[-1].get_neighbours()), "others")
    await services[-1].broadcast(b"good news")
    await asyncio.wait_for(everybody.wait(), 60)
    print(f"{len(heard)} of {NODES - 1} heard {set(heard)}")
    for network in networks:
        await network.leave()


asyncio.run(main())
