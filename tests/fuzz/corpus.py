"""Where fuzzing begins: what peers of a simulated ring say to each other, and inputs found earlier that reached more."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import msgspec

from overlay.core.message import (
    CALL,
    REFUSAL,
    REPLY,
    WIRE_VERSION,
    Contact,
    Datagram,
    Envelope,
    Message,
    Refused,
    Welcome,
)
from overlay.core.storage import BlobRef
from overlay.core.trace import Observer
from overlay.ids import Key
from overlay.live.gate import BodyRequest
from tests.fuzz.still import ME, NEIGHBORS, Still
from tests.fuzz.targets import CODEC, Target, frame, split
from tests.rings import SimRing

FOLDER = Path(__file__).parent / "corpus"
BASE_PORT = 12000


class Recorder(Observer):
    """Keeps one message of each kind, service and class."""

    def __init__(self) -> None:
        self.heard: dict[tuple[int, str, type[Message]], tuple[Contact, Message]] = {}

    def sent(self, now: float, node: Contact, peer: Contact, kind: int, service: str, message: Message) -> None:
        self.heard.setdefault((kind, service, type(message)), (node, message))


@functools.cache
def heard() -> Recorder:
    """All that is said in a ring that is joined, left, hurt, and given and asked for records."""
    recorder = Recorder()
    ring = SimRing(1, observers=[recorder])
    ring.form((2, 4, 8, 14), {14: {"0004.pdf": 100, "0260.pdf": 200}})
    ring.sim.run_until(ring.join(6, 4), 30)
    ring.sim.run_until(ring.peers[14].records.store("0004"), 30)
    ring.sim.run_until(ring.peers[14].records.store("0260"), 30)
    ring.sim.run_until(ring.peers[8].records.request("0260"), 30)
    ring.sim.run_until(ring.join(3, 8), 30)
    ring.sim.run_until(ring.quit(3), 60)
    ring.sim.run_until(ring.quit(6), 60)
    ring.kill(8)
    ring.sim.run_for(30)
    return recorder


def _sealed(kind: int, sender: Contact, service: str, number: int, counter: int, message: Message) -> bytes:
    sealed = CODEC.encode(Envelope(WIRE_VERSION, kind, sender, ME.id, 0, service, number, counter, message))
    return msgspec.msgpack.encode(_at_home(msgspec.msgpack.decode(sealed)))


def _at_home(value: Any) -> Any:
    """Ports at which nobody listens: a peer under test may believe all it is told."""
    if isinstance(value, list):
        return [_at_home(item) for item in value]
    if isinstance(value, bytes) and b"\xa9127.0.0.1" in value:
        return msgspec.msgpack.encode(_at_home(msgspec.msgpack.decode(value)))
    return value - BASE_PORT if isinstance(value, int) and BASE_PORT <= value < BASE_PORT + 256 else value


def _questions() -> list[tuple[bool, bytes]]:
    said = [(kind, sender, service, m) for (kind, service, _), (sender, m) in heard().heard.items() if kind < REPLY]
    said.append((CALL, Contact(Key(8), "127.0.0.1", 8, 1), "", BodyRequest(BlobRef(bytes(32), 5), 0, 5)))
    return [
        (
            isinstance(message, Datagram),
            _sealed(kind, sender, service, counter if kind == CALL else 0, counter, message),
        )
        for counter, (kind, sender, service, message) in enumerate(said, 1)
    ]


def _replies() -> list[bytes]:
    """Every answer there is, to every question that is open."""
    driver = Still.busy()
    peers = [Contact(Key(number), "127.0.0.1", number, 1) for number in NEIGHBORS]
    greetings = [(number, Welcome(peer)) for number in driver.hellos._open for peer in peers]
    said = [(service, message) for (kind, service, _), (_, message) in heard().heard.items() if kind == REPLY]
    answers = [
        _sealed(REPLY, peer, service, number, number, message)
        for number in driver.node.calls
        for service, message in said
        for peer in peers
    ]
    answers += [_sealed(REPLY, peer, "", number, 1, message) for number, message in greetings for peer in peers]
    return answers + [_sealed(REFUSAL, peer, "", 1, 1, Refused("no")) for peer in peers]


def seeds(target: Target) -> list[bytes]:
    """Where a target begins when nothing was found yet."""
    match target.name:
        case "codec":
            return [message for _, message in _questions()] + _replies()[:200]
        case "answers":
            return [frame(reply) for reply in _replies()]
        case _:
            wanted = [message for by_datagram, message in _questions() if by_datagram is (target.name == "udp")]
            return [*(frame(message) for message in wanted), b"".join(map(frame, wanted[:8]))]


def path(target: Target) -> Path:
    """The file of what was found: an input a line, in hexadecimal digits."""
    return FOLDER / f"{target.name}.hex"


def load(target: Target) -> list[bytes]:
    """Seeds and what was found."""
    file = path(target)
    found = [bytes.fromhex(line) for line in file.read_text().split()] if file.exists() else []
    return seeds(target) + found


def keep(target: Target, inputs: list[bytes]) -> None:
    """Keep what was found, in the place of what was kept."""
    FOLDER.mkdir(exist_ok=True)
    path(target).write_text("".join(f"{data.hex()}\n" for data in inputs))


__all__ = ["heard", "keep", "load", "path", "seeds", "split"]
