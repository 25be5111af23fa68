"""Virtual time: what is to happen, in order, and the loop that lets it happen.

The agenda is a calendar queue (Brown, Calendar Queues, CACM 1988): an event is appended to the bucket of its time,
and a bucket is sorted once, when its time comes. The sort is stable, so events of one moment happen in the order
in which they were planned, and no event needs a serial number.
"""

from __future__ import annotations

import gc
import math
from bisect import insort
from collections.abc import Callable
from heapq import heappop, heappush
from operator import itemgetter, length_hint
from typing import TYPE_CHECKING, Any

from overlay.core.context import Timer
from overlay.core.message import Contact
from overlay.errors import LocalError

if TYPE_CHECKING:
    from overlay.sim.context import SimContext

BUCKET_S = 1 / 1024
"""Buckets of a millisecond: measured best from 100 to 10,000 nodes. Narrower ones are too many to keep in order; in
wider ones, more of a LAN's messages fall into the bucket that is being worked on, and must be put in their place.
Their numbers are whole floats, for an `int` is made in three times the time."""

Event = tuple[float, Any, Contact | None, Any]
"""(time, SimContext, sender, message) is a message to be handled; (time, SimTimer, None, None) is a timer."""

moment = itemgetter(0)


class Home:
    """Where a timer goes off. What does not belong to a node is at home in the world, which is always up."""

    __slots__ = ("up",)

    def __init__(self, up: bool = True):
        self.up = up

    def hold(self, event: Event) -> None:
        """An event came while this home was not up."""

    def unheard(self, context: SimContext, sender: Contact, message: Any) -> None:
        """A message came that has no handler, or not now."""

    def answer(self, context: SimContext, peer: Contact, answer: Any) -> None:
        """A handler of a one-way message returned something."""


WORLD = Home()


class SimTimer(Timer, eq=False):
    """A callback to come, in one home."""

    home: Home


class _Buckets(dict[float, list[Event]]):
    """Lists of events by bucket number; a number that was not there yet is put in order."""

    __slots__ = ("order",)

    def __init__(self) -> None:
        super().__init__()
        self.order: list[float] = []

    def __missing__(self, number: float) -> list[Event]:
        heappush(self.order, number)
        bucket: list[Event] = []
        self[number] = bucket
        return bucket


class _Halt(Exception):
    """Leave the loop. It is raised by a timer, so that the loop itself need not look whether it should end."""


class Agenda:
    """Time, and what is planned."""

    __slots__ = ("buckets", "events", "now", "running")

    def __init__(self) -> None:
        self.now = 0.0
        self.buckets = _Buckets()
        self.events = 0
        """Messages delivered and timers fired so far."""
        self.running = False

    def put(self, event: Event) -> None:
        """Plan an event; `SimContext.send` and `after` do the same in line."""
        self.buckets[event[0] // BUCKET_S].append(event)

    def at(self, time: float, callback: Callable[..., None], *args: Any, home: Home = WORLD) -> SimTimer:
        """Call back at a time; not before now."""
        timer = SimTimer(callback, args, home)
        self.put((max(time, self.now), timer, None, None))
        return timer

    @staticmethod
    def timer(callback: Callable[..., None], *args: Any) -> SimTimer:
        """A timer of the world that somebody plans later."""
        return SimTimer(callback, args, WORLD)

    @staticmethod
    def leave() -> None:
        """End `run` at once; only a hook may."""
        raise _Halt

    def run(self, until: float, hook: Callable[[], None] | None = None) -> None:
        """Let everything happen up to and including the time `until`, with a call of `hook` after each event.

        An exception of a handler ends it and goes to the caller; the event that raised it is gone, the others stay.
        """
        if self.running:
            raise LocalError("the simulation runs already; a handler cannot run it")
        end = self.at(math.nextafter(until, math.inf), self.leave)
        thresholds = gc.get_threshold()
        self.running = True
        # What is here already lives long; without this, the collector walks through all nodes again and again.
        gc.freeze()
        gc.set_threshold(100_000, 50, 100)
        try:
            self._drain(hook)
        except _Halt:
            if not end.active:
                self.now = until
                self.events -= 1
        finally:
            end.cancel()
            self.running = False
            gc.set_threshold(*thresholds)
            gc.unfreeze()

    def _drain(self, hook: Callable[[], None] | None) -> None:
        """The one hot loop: every name in it is local, and a message costs one call, that of its handler."""
        buckets, order = self.buckets, self.buckets.order
        while order:
            number = heappop(order)
            bucket = buckets[number]
            # What is planned for this bucket from now on is found here, and put in its place after each event.
            late = buckets[number] = []
            bucket.sort(key=moment)
            coming = iter(bucket)
            try:
                for self.now, target, sender, message in coming:
                    if sender is not None:
                        try:
                            handler = target.handlers[type(message)]
                        except KeyError:
                            target.machine.unheard(target, sender, message)
                        else:
                            answer = handler(target.protocol, sender, message)
                            if answer is not None:
                                target.machine.answer(target, sender, answer)
                    elif (callback := target.callback) is None:
                        self.events -= 1
                    elif target.home.up:
                        args = target.args
                        target.callback = None
                        target.args = ()
                        callback(*args)
                    else:
                        self.events -= 1
                        target.home.hold((self.now, target, None, None))
                    if late:
                        for event in late:
                            insort(bucket, event, key=moment)
                        late.clear()
                    if hook is not None:
                        hook()
            finally:
                left = length_hint(coming)
                self.events += len(bucket) - left
                if left or late:
                    buckets[number] = bucket[len(bucket) - left :] + late
                    heappush(order, number)
                else:
                    del buckets[number]
