"""Whatever a peer says, at whatever moment, no handler raises, nothing grows without a bound, and a wrong answer is a failure."""

from __future__ import annotations

import random
import types
import typing
from typing import Any

import msgspec
import pytest

from overlay.core.codec import pack, unpack
from overlay.core.context import Failure, Reason
from overlay.core.message import Contact, Done, Message
from overlay.core.pending import Pending
from overlay.gossip.base import Service
from overlay.gossip.detection.messages import SwimConfig
from overlay.gossip.detection.swim import Swim
from overlay.gossip.dissemination.base import Disseminator
from overlay.gossip.dissemination.brisa import Brisa, BrisaConfig
from overlay.gossip.dissemination.lpbcast import Lpbcast
from overlay.gossip.dissemination.mon import Mon, MonConfig
from overlay.gossip.dissemination.plumtree import Plumtree, PlumtreeConfig
from overlay.gossip.dissemination.push import Pusher
from overlay.gossip.membership.cyclon import Cyclon
from overlay.gossip.membership.hyparview import HyParView
from overlay.gossip.membership.newscast import Newscast
from overlay.gossip.membership.peer_sampling import PeerSampling, SamplingConfig
from overlay.ids import Key
from tests.fakes import alone, contact
from tests.gossip.hands import Few

NUMBERS = (-(2**62), -1, 0, 1, 2, 3, 5, 7, 255, 2**31, 2**32, 2**62)
FLOATS = (float("nan"), float("inf"), -float("inf"), -1.0, 0.0, 1e-9, 3.5, 1e300)
PEERS = tuple(contact(number) for number in range(1, 9))
IDS = tuple(bytes((number,)) * size for number in range(4) for size in (0, 8, 12, 13))


def anything(kind: Any, chance: random.Random) -> Any:
    """Some value of a type: seldom a reasonable one."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Contact:
        return chance.choice((*PEERS, contact(0), contact(0, boot=5), Contact(Key(1 << 62), "", -5, -1)))
    if origin in (typing.Union, types.UnionType):
        return anything(chance.choice(arguments), chance)
    if origin is tuple:
        return tuple(anything(arguments[0], chance) for _ in range(chance.choice((0, 1, 2, 40))))
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        hints = typing.get_type_hints(kind)
        return kind(*(anything(hints[field], chance) for field in kind.__struct_fields__))
    if kind is Key:
        return Key(chance.choice([number for number in NUMBERS if number >= 0]))
    simple = {int: NUMBERS, float: FLOATS, bytes: IDS, bool: (True, False), str: ("", "x"), type(None): (None,)}
    return chance.choice(simple[kind])


def services() -> list[Service]:
    """One of each, with a few neighbors."""
    few = Few(*PEERS[:4])
    return [
        Newscast("n"),
        PeerSampling("sampling/n", SamplingConfig(view_size=6, swapper=3)),
        Cyclon("n"),
        HyParView("n"),
        Swim("n"),
        Swim("n", SwimConfig(lifeguard=False, infection=False, suspicion=False)),
        Pusher("s", few),
        Lpbcast("s", few),
        Mon("s", few, MonConfig(dag=True)),
        Plumtree("s", few, PlumtreeConfig(threshold=1)),
        Brisa("s", few),
        Brisa("s", few, BrisaConfig(parents=2)),
    ]


def bounded(service: Service) -> bool:
    """Whether no table of a service is larger than what a few peers need."""
    tables = [value for value in vars(service).values() if hasattr(value, "__len__")]
    return all(len(table) < 3000 for table in tables)


@pytest.mark.parametrize("number", range(len(services())))
def test_no_word_of_a_peer_raises(number: int) -> None:
    chance = random.Random(number)
    service = services()[number]
    ctx = alone(service, contact(0))
    service.start()
    kinds = tuple(service.handlers)
    answers = (*service.answers, Done)
    for step in range(1500):
        message = anything(chance.choice(kinds), chance)
        if chance.random() < 0.1:
            # What is odd is said as it comes over the wire, too.
            message = unpack(pack(message), kinds)
        answer = service.handlers[type(message)](service, chance.choice(PEERS), message)
        assert answer is None or isinstance(answer, Message | Pending)
        while ctx.calls and chance.random() < 0.6:
            call = ctx.calls.pop(chance.randrange(len(ctx.calls)))
            if chance.random() < 0.3:
                call.on_failed(Failure(Reason.TIMEOUT))
            else:
                call.on_reply(anything(chance.choice(answers), chance))
        if step % 10 == 0:
            ctx.advance(0.3)
            ctx.take_sent()
            if isinstance(service, Disseminator):
                service.broadcast(b"x" * chance.choice((0, 10, 40_000)))
    assert bounded(service)
    service.stop()
    ctx.advance(100)
