"""BR1 to BR4: what Brisa's tree and DAG must be, by arithmetic."""

from __future__ import annotations

from collections.abc import Iterator

from overlay.gossip.dissemination.brisa import Brisa, BrisaConfig, Stream
from overlay.gossip.membership.hyparview import HyParView, HyParViewConfig
from overlay.lab import graphs
from overlay.lab.crowd import UNIT_DELAY, Crowd
from overlay.lab.experiment import Experiment, Progress, Report, Setting, at_least, at_most, exactly
from overlay.lab.hyparview import REPAIR_S
from overlay.sim import Network

BROADCAST_S = 2.0
REPAIRED_S = 5.0
"""For a parent to be replaced, hard repairs with their retries among them."""

Streams = Crowd[HyParView, Brisa]


def streams(setting: Setting, nodes: int, parents: int) -> Streams:
    """The overlay of H1 with Brisa on top."""
    crowd: Streams = Crowd(
        setting.seed,
        lambda: HyParView("lab", HyParViewConfig(period_s=0)),
        lambda member: Brisa("lab", member, BrisaConfig(parents=parents, buffer_limit=8)),
        Network(delay_s=UNIT_DELAY),
    )
    crowd.grow(nodes)
    for _ in range(10):
        crowd.round(HyParView.shuffle)
    return crowd


def broadcast(crowd: Streams) -> tuple[int, int]:
    """One message of node 0: how many heard it, and how many copies went."""
    services = [crowd.services[number] for number in crowd.alive]
    heard, copies = sum(s.heard for s in services), sum(s.duplicates for s in services)
    crowd.services[0].broadcast(b"a strand")
    crowd.sim.run_for(BROADCAST_S)
    heard = sum(s.heard for s in services) - heard
    return heard, heard + sum(s.duplicates for s in services) - copies


def places(crowd: Streams) -> dict[int, Stream]:
    """Where each node that lives is in the stream of node 0, by id."""
    return {number + 1: next(iter(crowd.services[number].streams.values())) for number in crowd.alive if number}


def depths(places: dict[int, Stream], root: int) -> dict[int, int]:
    """Steps from the root by the links of parents, in a tree; nodes that do not hang on the root are missing."""
    children: dict[int, list[int]] = {}
    for id, stream in places.items():
        for parent in stream.parents:
            children.setdefault(int(parent), []).append(id)
    found, layer = {root: 0}, [root]
    while layer:
        layer = [child for id in layer for child in children.get(id, ()) if child not in found]
        depth = max(found.values()) + 1
        found.update(dict.fromkeys(layer, depth))
    return found


def _tree(setting: Setting) -> Iterator[Report]:
    nodes = setting.pick(300, 10_000)
    note = f"N = {nodes}"
    yield Progress(f"{nodes} nodes join one by one", 0.0)
    crowd = streams(setting, nodes, 1)
    for number in range(5):
        yield Progress("broadcasting", 0.5 + number / 10)
        heard, copies = broadcast(crowd)
        if number >= 2:
            yield exactly("BR1", f"tree: copies of message {number + 1}", "closed form n-1", copies, nodes - 1, note)
            yield exactly("BR1", f"tree: reached by message {number + 1}", "all", heard, nodes - 1, note)
    tree = places(crowd)
    odd = sum(len(stream.parents) != 1 for stream in tree.values())
    yield exactly("BR1", "nodes without exactly one parent", "0", odd, 0, note)
    depth = depths(tree, 1)
    yield exactly("BR1", "nodes that hang on the source, without a circle", "all", len(depth), nodes, note)
    shallowest = max(graphs.depths(crowd.graph(), 0))
    yield at_most(
        "BR4", "depth of the tree beyond a breadth-first one", "<= 2", max(depth.values()) - shallowest, 1, note
    )


def _dag(setting: Setting) -> Iterator[Report]:
    nodes = setting.pick(300, 10_000)
    note = f"N = {nodes}"
    yield Progress(f"{nodes} nodes join one by one", 0.0)
    crowd = streams(setting, nodes, 2)
    for number in range(3):
        yield Progress("broadcasting", 0.6 + number / 10)
        heard, copies = broadcast(crowd)
    dag = places(crowd)
    levels = {id: len(stream.path) + 1 for id, stream in dag.items()} | {1: 1}
    wrong = 0
    for id, stream in dag.items():
        above = sum(levels[peer.id] < levels[id] for peer in crowd.members[id - 1].neighbors())
        wrong += len(stream.parents) != min(2, above)
    yield exactly("BR2", "DAG of p = 2: nodes with fewer parents than neighbors allow", "0", wrong, 0, note)
    parents = sum(len(stream.parents) for stream in dag.values())
    yield exactly("BR2", "DAG: copies, beside the sum of parents", "closed form", copies, parents, note)
    yield exactly("BR2", "DAG: reached", "all", heard, nodes - 1, note)
    uphill = sum(levels[parent] >= levels[id] for id, stream in dag.items() for parent in stream.parents)
    yield exactly("BR2", "links that do not go to a higher level", "0", uphill, 0, note)


def _failure(setting: Setting) -> Iterator[Report]:
    nodes = setting.pick(300, 10_000)
    note = f"N = {nodes}"
    yield Progress(f"{nodes} nodes join one by one", 0.0)
    crowd = streams(setting, nodes, 1)
    for _ in range(3):
        broadcast(crowd)
    crowd.alive.remove(0)
    crowd.kill(nodes // 10)
    crowd.alive.insert(0, 0)
    yield Progress("10 % crash", 0.8)
    crowd.sim.run_for(REPAIR_S + REPAIRED_S)
    heard, _ = broadcast(crowd)
    yield exactly(
        "BR3", "reached by the next message after 10 % have crashed", "all", heard, len(crowd.alive) - 1, note
    )
    soft = sum(crowd.services[number].soft_repairs for number in crowd.alive)
    hard = sum(crowd.services[number].hard_repairs for number in crowd.alive)
    yield at_least("BR3", "share of soft repairs", "soft >> hard", soft / max(soft + hard, 1), 0.8, note)


EXPERIMENTS = (
    Experiment(("BR1", "BR4"), "Brisa's tree", _tree),
    Experiment(("BR2",), "Brisa's DAG", _dag),
    Experiment(("BR3",), "Brisa after a failure", _failure),
)
