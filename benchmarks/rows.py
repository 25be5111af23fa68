"""The table: every row, its sizes, and the function that measures it. To add a row, add it here."""

from __future__ import annotations

from itertools import product

from benchmarks import disk, gossip, lookups, processes, records, rings, simulator, store, trust, wire
from benchmarks.figures import Case, Row

DRIVERS = ("threads", "asyncio")


def cases(**values: tuple[object, ...]) -> list[Case]:
    """Every combination."""
    return [dict(zip(values, chosen, strict=True)) for chosen in product(*values.values())]


ROWS = {
    "form": Row(
        "N peers to one right ring",
        rings.form,
        cases(driver=DRIVERS, count=(7, 32, 128, 256)),
        cases(driver=DRIVERS, count=(32,)),
    ),
    "operations": Row(
        "Store and request of 100 bytes",
        records.operations,
        cases(driver=DRIVERS, peers=(8, 32), clients=(1, 32)),
        cases(driver=("asyncio",), peers=(8,), clients=(32,)),
        2,
    ),
    "large": Row(
        "A record of 100 MiB, hashed, checked and durable",
        records.large,
        cases(driver=DRIVERS, where=("disk", "memory")),
        cases(driver=("asyncio",), where=("disk",)),
    ),
    "disk": Row(
        "Small durable writes",
        disk.persists,
        [
            *cases(peers=(1,), clients=(1, 32), common=(False,)),
            *cases(peers=(32,), clients=(32,), common=(False, True)),
            *cases(peers=(128,), clients=(128,), common=(False, True)),
        ],
        [{"peers": 1, "clients": 32, "common": False}],
    ),
    "memory": Row(
        "Memory of a peer beyond the first, in one process",
        rings.memory,
        cases(driver=DRIVERS, count=(129,)),
        cases(driver=("asyncio",), count=(33,)),
    ),
    "process": Row("The process of a peer", processes.memory, [{}], [{}], 1),
    "idle": Row("An idle ring in one process", rings.idle, cases(driver=DRIVERS, count=(32,)), runs=2),
    "idle-process": Row("An idle ring of processes", processes.idle, [{"seconds": 30.0}], runs=1),
    "start": Row("The start of a process", processes.start, [{}], [{}], 1),
    "death": Row(
        "A death is noticed",
        rings.death,
        cases(driver=DRIVERS, interval_s=(3.0,)),
        cases(driver=("asyncio",), interval_s=(1.0,)),
        2,
    ),
    "join": Row("128 nodes come into a ring of 160 bits", lookups.joins, [{"count": 128}], [{"count": 24}]),
    "lookup": Row(
        "Lookups among 128 nodes, 160 bits",
        lookups.lookups,
        cases(count=(128,), way=("recursive", "iterative")),
        cases(count=(24,), way=("recursive",)),
    ),
    "lookup-death": Row(
        "Lookups right after a fifth of 128 nodes died at once",
        lookups.deaths,
        cases(count=(128,), way=("recursive", "iterative")),
        cases(count=(24,), way=("recursive",)),
    ),
    "store": Row(
        "The replicated store: records of 100 bytes, three copies",
        store.operations,
        [
            *cases(driver=("asyncio",), peers=(128,), where=("disk", "one index", "memory")),
            *cases(driver=("asyncio", "threads"), peers=(8, 32), where=("disk",)),
        ],
        cases(driver=("asyncio",), peers=(8,), where=("disk",)),
        2,
    ),
    "store-apart": Row("The replicated store, each peer in a process", store.apart, [{"peers": 8}], [{"peers": 4}], 2),
    "store-large": Row(
        "The replicated store: 100 KiB, and 100 MiB in segments",
        store.large,
        [{"peers": 8}],
        [{"peers": 4, "megabytes": 10}],
        2,
    ),
    "store-death": Row(
        "The replicated store when a fifth of 128 peers died at once",
        store.deaths,
        [{"count": 128}],
        [{"count": 16}],
        1,
    ),
    "store-rest": Row("The replicated store at rest", store.rest, [{"count": 32}], [{"count": 8}], 1),
    "broadcast": Row(
        "Broadcasts among nodes of an unstructured network",
        gossip.broadcasts,
        cases(is_extreme=(True, False), many_to_many=(True, False), count=(100,)),
        cases(is_extreme=(False,), many_to_many=(True,), count=(20,)),
        2,
    ),
    "membership": Row(
        "Who knows whom in an unstructured network",
        gossip.membership,
        cases(is_extreme=(True, False), count=(100,)),
        cases(is_extreme=(False,), count=(20,)),
        2,
    ),
    "swim": Row("SWIM with Lifeguard", gossip.swim, [{"count": 128}], [{"count": 16}], 1),
    "frames": Row("Frames on one connection", wire.frames, cases(driver=DRIVERS), cases(driver=("asyncio",))),
    "codec": Row("The codec", wire.codec, [{}], [{}]),
    "simulator": Row(
        "The simulator", simulator.events, cases(count=(1_000, 10_000, 100_000)), cases(count=(1_000,)), runs=2
    ),
    "trust": Row("Live and simulated", trust.trust, [{}], [{}], 2),
}
