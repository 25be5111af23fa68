"""Lists of successors that do not fit into a datagram: their rest comes over TCP, and is kept true."""

from __future__ import annotations

from overlay.core.codec import MAX_DATAGRAM_BYTES, Codec
from overlay.core.message import ONE_WAY, WIRE_VERSION, Contact, Envelope
from overlay.ids import Key
from overlay.ring.messages import MAX_LISTED, PADDING, Neighbors, Ping, Pong
from overlay.ring.neighborhood import RingConfig
from overlay.ring.parts import RingParts
from overlay.ring.tail import for_a_datagram
from overlay.sim import Faults, Simulation

LISTED, SIZE = 16, 30


class LongRing:
    """Peers of a simulation that join one after the other; every message is bytes on its way."""

    def __init__(self) -> None:
        self.sim = Simulation(1, Faults(loss=0.05), encode=True)
        self.members: dict[int, RingParts] = {}
        for index in range(SIZE):
            me = Contact(Key((index * 37 % SIZE << 155) + index), f"10.0.0.{index + 1}", 5000, 1)
            parts = RingParts(1.0, RingConfig(bits=160, successors=LISTED))
            self.sim.start(self.sim.add(me, *parts.protocols()))
            if index:
                self.sim.run_until(parts.admission.join("10.0.0.1", 5000, 10), 60)
            else:
                parts.chord.begin([], awaited=False)
            self.members[int(me.id)] = parts

    def is_right(self) -> bool:
        """Whether every list is the next sixteen."""
        line = sorted(self.members)
        return all(
            [contact.id for contact in parts.chord.successors] == (line[place + 1 :] + line[:place])[:LISTED]
            for place, parts in ((line.index(number), parts) for number, parts in self.members.items())
        )


def test_lists_of_sixteen_come_whole_and_survive_that_fifteen_in_a_row_die_at_once() -> None:
    ring = LongRing()
    ring.sim.run_until(ring.is_right, 60)
    # A list that is told to have a rest and nothing before it is a lie, and no worse than that.
    chord = next(iter(ring.members.values())).chord
    chord.acquaintances.pictures[chord.shown[-1].id] = Neighbors((), (), rest=1)
    ring.sim.call_soon(chord.beyond.refresh)
    ring.sim.run_for(0.5)
    ring.sim.run_until(ring.is_right, 10)
    for number in sorted(ring.members)[5 : 5 + LISTED - 1]:
        ring.sim.crash(ring.members.pop(number).chord.ctx.me)
    ring.sim.run_until(ring.is_right, 120)
    assert len(ring.members) == SIZE - LISTED + 1


def test_a_pong_fits_into_its_ping_however_long_the_list_and_says_when_its_rest_has_changed() -> None:
    hosts = [f"2001:db8:ffff:ffff:ffff:ffff:ffff:{number:x}" for number in range(0xF000, 0xF000 + 34)]
    contacts = tuple(Contact(Key((1 << 160) - 1 - i), host, 60000, 1 << 41) for i, host in enumerate(hosts))
    whole = Neighbors(contacts[:2], contacts[2:])
    short = for_a_datagram(whole)
    assert short.successors == whole.successors[:MAX_LISTED]
    assert short.rest != for_a_datagram(Neighbors(contacts[:2], contacts[2:-1])).rest != 0
    codec = Codec((Ping, Pong))

    def size(body: Ping | Pong) -> int:
        envelope = Envelope(WIRE_VERSION, ONE_WAY, contacts[0], contacts[1].id, 1 << 41, "pings", 0, 1 << 40, body)
        return len(codec.encode(envelope))  # type: ignore[arg-type]

    ping, pong = size(Ping(1 << 30, 0, 1 << 51, 1 << 30, PADDING)), size(Pong(1 << 30, 0, 1 << 51, 1 << 30, short))
    assert pong <= ping <= MAX_DATAGRAM_BYTES
