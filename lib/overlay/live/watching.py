"""Hello, and what is built of it: who lives at an address, and whether a peer that is watched still lives there."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from overlay.core.codec import is_sound
from overlay.core.context import Failure, OnFailed, Reason, Timer
from overlay.core.message import Contact, Message, Refused, Welcome
from overlay.live.addresses import route_to

if TYPE_CHECKING:
    from overlay.live.driver import Driver

FIRST_NUMBER = 1 << 48
"""Hellos are numbered from here on, far above the calls of any node."""

MAX_HELLOS = 1024
HEARTBEAT_S = 20.0
"""A watched peer is greeted so often: often enough that neither side closes the connection for being idle."""

HELLO_S = 5.0

OnContact = Callable[[Contact], None]


class Hellos:
    """Greetings that wait for their Welcome. Everything happens inside the monitor."""

    def __init__(self, driver: Driver):
        self._driver = driver
        self._number = FIRST_NUMBER
        self._open: dict[int, tuple[OnContact, OnFailed, Timer]] = {}

    def __contains__(self, number: int) -> bool:
        return number in self._open

    def ask(self, address: tuple[str, int], on_contact: OnContact, on_failed: OnFailed, timeout_s: float) -> None:
        """Say Hello at an address."""
        if len(self._open) >= MAX_HELLOS:
            self._driver.later(on_failed, Failure(Reason.OVERLOADED, "too many greetings wait for an answer"))
            return
        self._number = number = self._number + 1
        timer = self._driver.after(self._driver.node, timeout_s, self.failed, (number, Failure(Reason.TIMEOUT)))
        self._open[number] = on_contact, on_failed, timer
        self._driver.send_hello(address, number)

    def answered(self, number: int, message: Message) -> bool:
        """A Welcome, or a refusal. False when nobody waits for it."""
        if number not in self._open:
            return False
        if isinstance(message, Welcome) and is_sound(message.contact) and route_to(message.contact.address):
            on_contact, _, timer = self._open.pop(number)
            timer.cancel()
            on_contact(message.contact)
        else:
            self.failed(number, Failure(Reason.REFUSED, message.reason if isinstance(message, Refused) else ""))
        return True

    def failed(self, number: int, failure: Failure) -> None:
        """There will be no answer."""
        if number in self._open:
            _, on_failed, timer = self._open.pop(number)
            timer.cancel()
            on_failed(failure)


class Watch:
    """One peer that somebody watches."""

    __slots__ = ("asking", "doubted", "listeners", "peer", "timer")

    def __init__(self, peer: Contact):
        self.peer = peer
        self.listeners: dict[str, Callable[[Contact], None]] = {}
        self.timer: Timer | None = None
        self.asking = False
        self.doubted = False
        """Its connection was lost or refused once; the second time in a row it is down."""


class Watches:
    """Whoever is watched is greeted now and then over the one connection to it, and at once when that is lost.

    Silence alone is not death here: that judgment is a failure detector's.
    """

    def __init__(self, driver: Driver):
        self._driver = driver
        self._watches: dict[Contact, Watch] = {}

    def add(self, service: str, peer: Contact, on_down: Callable[[Contact], None]) -> None:
        """Begin, or take the place of the same service's earlier one."""
        watch = self._watches.get(peer)
        if watch is None:
            watch = self._watches[peer] = Watch(peer)
            self._greet(watch)
        watch.listeners[service] = on_down

    def remove(self, service: str, peer: Contact) -> None:
        """No longer."""
        watch = self._watches.get(peer)
        if watch is not None:
            watch.listeners.pop(service, None)
            if not watch.listeners:
                del self._watches[peer]

    def forget(self, service: str) -> None:
        """None of a service's any more."""
        for peer in tuple(self._watches):
            self.remove(service, peer)

    def lost(self, address: tuple[str, int]) -> None:
        """The connection to an address is gone."""
        for watch in [w for w in self._watches.values() if w.peer.address == address]:
            self._greet(watch)

    def _greet(self, watch: Watch) -> None:
        if not watch.asking and self._watches.get(watch.peer) is watch:
            watch.asking = True
            self._driver.hellos.ask(
                watch.peer.address, lambda found: self._met(watch, found), lambda why: self._missed(watch, why), HELLO_S
            )

    def _met(self, watch: Watch, found: Contact) -> None:
        watch.asking = watch.doubted = False
        if found.id == watch.peer.id and (not watch.peer.boot or found.boot == watch.peer.boot):
            self._again_later(watch)
        else:
            self._down(watch)

    def _missed(self, watch: Watch, failure: Failure) -> None:
        watch.asking = False
        if failure.reason is not Reason.UNREACHABLE:
            self._again_later(watch)
        elif watch.doubted:
            self._down(watch)
        else:
            watch.doubted = True
            self._greet(watch)

    def _again_later(self, watch: Watch) -> None:
        if watch.timer is not None:
            watch.timer.cancel()
        watch.timer = self._driver.after(self._driver.node, HEARTBEAT_S, self._greet, (watch,))

    def _down(self, watch: Watch) -> None:
        if self._watches.get(watch.peer) is watch:
            del self._watches[watch.peer]
            for on_down in watch.listeners.values():
                self._driver.later(on_down, watch.peer)
