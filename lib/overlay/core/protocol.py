"""The base of every protocol: handlers by message class, a start, a stop, a view."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

import msgspec

from overlay.core.context import Context
from overlay.core.message import Message
from overlay.core.pending import Pending
from overlay.errors import LocalError

F = TypeVar("F", bound=Callable[..., Any])
Answer = Message | Pending[Message] | None
"""What a handler returns: an answer, an answer to come, or nothing: to a call that is Done."""


class EmptyView(msgspec.Struct, frozen=True):
    """The view of a protocol that has nothing to show."""


def on(*messages: type[Message]) -> Callable[[F], F]:
    """Mark a method as the handler of these message classes: `method(self, sender: Contact, message)`."""

    def mark(method: F) -> F:
        method.__handles__ = messages  # type: ignore[attr-defined]
        return method

    return mark


class Protocol:
    """State, handlers and timers, and no I/O: all it does to the world goes through `self.ctx`.

    The constructor only assigns; `ctx` is there from `start` on.
    """

    __slots__ = ("ctx",)
    service: str = ""
    """Its name on the wire, "kind" or "kind/instance"."""
    handlers: ClassVar[dict[type[Message], Callable[..., Answer]]] = {}
    """One table a class; the subclass's handler of a message takes the place of its base's."""
    answers: ClassVar[tuple[type[Message], ...]] = ()
    """Message classes that come only as answers to calls of ours, and so have no handler."""
    ctx: Context

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        table = {
            kind: handler
            for base in reversed(cls.__mro__[1:])
            for kind, handler in getattr(base, "handlers", {}).items()
        }
        own: set[type[Message]] = set()
        for method in vars(cls).values():
            for message in getattr(method, "__handles__", ()):
                if message in own:
                    raise LocalError(f"{cls.__name__} handles {message.__name__} twice")
                own.add(message)
                table[message] = method
        cls.handlers = table

    def start(self) -> None:
        """The first timers and messages."""

    def stop(self) -> None:
        """The node is about to stop; what is sent here still goes out."""

    def view(self) -> msgspec.Struct:
        """A frozen picture of the state."""
        return EmptyView()
