"""Small protocols for the simulator's tests."""

from __future__ import annotations

from typing import Any

from overlay.core.message import Command, Contact, Datagram, Message
from overlay.core.pending import Pending
from overlay.core.protocol import Protocol, on
from overlay.sim import Network, Simulation
from tests.fakes import contact


class Note(Datagram, frozen=True):
    number: int


class Order(Command, frozen=True):
    number: int


class Question(Command, frozen=True):
    number: int


class Later(Command, frozen=True):
    """A question that is answered when the test says so."""


class Toy(Protocol):
    """Writes down what it hears, with the time."""

    service = "toy"

    def __init__(self) -> None:
        self.heard: list[tuple[float, int, Message]] = []
        self.outcomes: list[Any] = []
        self.late: list[Pending[Message]] = []
        self.stopped = False

    def stop(self) -> None:
        self.stopped = True

    @on(Note, Order)
    def on_message(self, sender: Contact, message: Note | Order) -> None:
        self.heard.append((self.ctx.now, sender.id, message))

    @on(Question)
    def on_question(self, sender: Contact, message: Question) -> Message:
        return Order(message.number + 1)

    @on(Later)
    def on_later(self, sender: Contact, message: Later) -> Pending[Message]:
        self.late.append(Pending())
        return self.late[-1]

    @property
    def numbers(self) -> list[int]:
        """What was heard, without time and sender."""
        return [message.number for _, _, message in self.heard]  # type: ignore[attr-defined]

    def ask(self, peer: Contact, question: Message | None = None, timeout_s: float = 1.0) -> None:
        """Call; the answer or the failure's reason ends up in `outcomes`."""
        self.ctx.call(
            peer,
            question or Question(1),
            self.outcomes.append,
            lambda failure: self.outcomes.append(failure.reason),
            timeout_s=timeout_s,
        )


def toys(count: int, network: Network | None = None, *, seed: int = 7, **options: Any) -> tuple[Simulation, list[Toy]]:
    """A simulation of so many peers 1, 2, ..., started."""
    sim = Simulation(seed, network, **options)
    protocols = [Toy() for _ in range(count)]
    for number, toy in enumerate(protocols, 1):
        sim.start(sim.add(contact(number), toy))
    return sim, protocols


A, B, C = contact(1), contact(2), contact(3)
