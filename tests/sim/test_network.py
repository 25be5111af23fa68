"""Delay, order, loss, doubles, and links that are cut."""

from __future__ import annotations

import pytest

from overlay.core.context import Reason
from overlay.sim import Faults, Network
from tests.sim.toys import A, B, C, Note, Order, Question, toys


@pytest.mark.parametrize("encode", [False, True])
def test_a_message_takes_a_delay_of_the_range(encode):
    sim, (a, b) = toys(2, Network(delay_s=(0.010, 0.020)), encode=encode)
    for number in range(50):
        a.ctx.send(B, Note(number))
        a.ctx.send(B, Order(number))
    sim.run_for(1)
    times = [at for at, _, message in b.heard if isinstance(message, Note)]
    assert len(times) == 50
    assert min(times) >= 0.010
    assert max(times) <= 0.020
    assert len(set(times)) > 40


def test_commands_keep_their_order_and_datagrams_do_not():
    sim, (a, b) = toys(2)
    for number in range(200):
        a.ctx.send(B, Order(number))
    sim.run_for(1)
    assert b.numbers == list(range(200))
    b.heard.clear()
    for number in range(200):
        a.ctx.send(B, Note(number))
    sim.run_for(1)
    assert sorted(b.numbers) == list(range(200))
    assert b.numbers != list(range(200))


def test_faults_lose_double_and_delay_datagrams_and_leave_commands_alone():
    sim, (a, b) = toys(2, Faults(loss=0.2, duplicate=0.2, reorder=0.2, reorder_s=0.5))
    for number in range(1000):
        a.ctx.send(B, Note(number))
        a.ctx.send(B, Order(number))
    sim.run_for(2)
    orders = [message.number for _, _, message in b.heard if isinstance(message, Order)]
    notes = [message.number for _, _, message in b.heard if isinstance(message, Note)]
    assert orders == list(range(1000))
    assert 700 < len(set(notes)) < 900, "a fifth is lost"
    assert 100 < len(notes) - len(set(notes)) < 230, "a fifth of the others comes twice"
    assert sim.drops["lost"] == 1000 - len(set(notes))
    late = [at for at, _, message in b.heard if isinstance(message, Note) and at > 0.01]
    assert 100 < len(late) < 300


def test_a_cut_is_one_way_and_is_healed():
    faults = Faults()
    sim, (a, b) = toys(2, faults)
    faults.cut(A, B)
    a.ctx.send(B, Note(1))
    a.ctx.send(B, Order(2))
    b.ctx.send(A, Order(3))
    a.ask(B)
    b.ask(A)
    sim.run_for(2)
    assert b.heard == []
    assert a.numbers == [3]
    assert a.outcomes == [Reason.TIMEOUT], "the question never came"
    assert b.outcomes == [Reason.TIMEOUT], "the answer never came"
    faults.heal()
    a.ask(B, Question(5))
    sim.run_for(1)
    assert a.outcomes[1:] == [Order(6)]


def test_a_partition_parts_groups_and_whoever_is_named_in_none_is_one_more():
    faults = Faults()
    sim, (a, b, c) = toys(3, faults)
    faults.partition([A, B])
    for peer in (B, C):
        a.ctx.send(peer, Order(1))
    sim.run_for(1)
    assert (b.numbers, c.numbers) == ([1], [])
    faults.heal()
    a.ctx.send(C, Order(2))
    sim.run_for(1)
    assert c.numbers == [2]
