"""peer.py: one peer of a ring, its lines, and a prompt."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from overlay.app import hosts, jsonlines, narrator, reporter
from overlay.app.arguments import peer_arguments
from overlay.app.commands import PEER_COMMANDS, Typed, help_lines, parse
from overlay.app.progress import Progress
from overlay.app.session import Session
from overlay.app.start import FAILED, LEFT, begin, end
from overlay.app.terminal import HINT, PING, ROUTE, Output, is_terminal, last_line
from overlay.core.pending import Pending
from overlay.errors import LocalError, OverlayError
from overlay.ids import label

if TYPE_CHECKING:
    import msgspec

    from overlay.peer import Peer


def hidden_kinds(options: argparse.Namespace) -> frozenset[str]:
    """What the options hide. Routes are for terminals, and for whoever asks; so are the pings of a peer that lasts."""
    hidden = {PING, HINT} if options.quiet else {PING} if options.lasts and not options.verbose else set()
    if options.quiet or not (options.verbose or is_terminal(sys.stderr)):
        hidden.add(ROUTE)
    return frozenset(hidden)


STILL_HERE_S = 3.0
"""After so long whoever quits is told what keeps the peer here."""


class PeerProgram(Session):
    """A peer and its user. `on_event` and `on_crash` are called from the peer's threads."""

    commands = PEER_COMMANDS
    """What may be typed."""
    waiting_commands: tuple[str, ...] = ("store", "request", "ring")
    """What waits until the peer is in its ring."""

    def __init__(self, options: argparse.Namespace, output: Output, make_peer: Callable[..., Peer]):
        super().__init__(output, json=options.json)
        self.options = options
        self.make_peer = make_peer
        self.peer: Peer
        self._progress = Progress()
        self._open: set[Pending[Any]] = set()
        self._waiting: list[Typed] = []
        self._ended = False
        self._leaving = False
        self._commands: dict[str, Callable[..., None]] = {
            "store": lambda name: self._follow(self.peer.store(name)),
            "request": lambda name: self._follow(self.peer.request(name)),
            "ring": self._ring,
            "cancel": self._cancel,
            "status": self._status,
            "files": self._files,
            "pings": self._pings,
            "help": lambda: self.answers.tell(help_lines(self.commands)),
            "quit": self.quit,
        }

    def _start(self) -> None:
        options = self.options
        self.peer = self._make(options.id, base_port=options.base_port, data=options.data, keep=options.keep)
        self._warn_if_open(self.options)
        try:
            if options.mode == "init":
                self.peer.setup(options.first, options.second)
            else:
                joining = self.peer.join(options.known)
                self.loop.settled(joining, self._joined)
                known = hosts.place(options.known, options.host, options.base_port)
                self.loop.patience(joining, known, self.output.say)
        except BaseException:
            self.peer.kill()
            raise
        self.loop.settled(self.peer.ready, lambda _: self._issue_waiting())

    def _make(self, id: int, **more: Any) -> Peer:
        """A peer as the options say, not started."""
        options = self.options
        return self.make_peer(
            id,
            ping_interval_s=options.interval,
            host=options.host,
            bind=options.bind,
            files=options.files,
            on_event=self.on_event,
            on_crash=self.on_crash,
            **{"quota": options.quota, **more},
        )

    def _stop(self) -> None:
        if not self.peer.closed.is_set():
            self.peer.kill()

    def _terminal(self) -> Any:
        from overlay.app.completion import Words, file_names, record_names
        from overlay.app.prompt import Prompt

        # No command of a peer names another one, and who keeps which records of a store is not known here.
        known = {"NAME": lambda: record_names(self.options.files), "FILE": file_names}
        words = Words(self.commands, lambda place: known.get(place, list)())
        return Prompt(
            label(self.peer.id),
            self.loop,
            self.output,
            words,
            self.on_line,
            self.on_end,
            self.interrupt,
            toolbar=self._toolbar,
        )

    def _toolbar(self) -> str:
        """The ring from here, for the line below the prompt."""
        view = self.peer.view()
        texts = [reporter.around(reporter.row_of(view)), *self._progress.texts(view.transfers, time.monotonic())]
        texts.append(narrator.count(len(view.records), "record"))
        if view.awaited:
            texts.append(f"waiting for {', '.join(map(str, view.awaited))}")
        return "  |  ".join(texts)

    # From the peer's threads ---------------------------------------------------------------------------------

    def on_event(self, peer: Peer, event: msgspec.Struct) -> None:
        """Tell what happened, in order, on the thread where it did."""
        lines = narrator.narrate(event)
        if self.options.json:
            self.output.write(jsonlines.encode(jsonlines.event_object(peer.id, event, lines)))
            return
        for line in lines:
            self.output.show(line, self._before(peer))

    def _before(self, peer: Peer) -> str:
        """What tells its lines from another peer's."""
        return ""

    def on_crash(self, peer: Peer, why: str) -> None:
        """A defect of ours ended the peer: say so and end."""
        self.output.error(f"peer {label(peer.id)} ends because of a defect: {last_line(why)}")
        self.loop.post(self.loop.exit, FAILED)

    # The peer's outcomes -------------------------------------------------------------------------------------

    def _joined(self, pending: Pending[Any]) -> None:
        if pending.error is not None and not self._leaving:
            self.output.error(str(pending.error))
            self.loop.exit(FAILED)

    def _issue_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        for typed in waiting:
            self._do(typed)
        self._quit_at_end()

    def _follow(self, pending: Pending[Any]) -> None:
        """Its events say how it goes; here it is only known whether it is done."""
        self._open.add(pending)
        self.loop.settled(pending, self._followed)

    def _followed(self, pending: Pending[Any]) -> None:
        self._open.discard(pending)
        self._quit_at_end()

    # What the user says --------------------------------------------------------------------------------------

    def on_line(self, text: str) -> None:
        """One typed line."""
        try:
            typed = parse(text, self.commands)
            if typed is None:
                return
            if typed.name in self.waiting_commands and not self.peer.ready.done:
                self.output.say(f"{typed.name} waits until this peer is in the ring")
                self._waiting.append(typed)
            else:
                self._do(typed)
        except LocalError as error:
            self.output.error(str(error))

    def _do(self, typed: Typed) -> None:
        try:
            self._commands[typed.name](*typed.values)
        except OverlayError as error:
            self.output.error(str(error))

    def on_end(self, quits: bool) -> None:
        """No more input. Where lines came before, or on a terminal, that is Quit, after what they asked for is done.

        A terminal may say so again: then it is Quit at once."""
        if self._ended:
            self.quit()
        elif quits:
            self._ended = True
            self._quit_at_end()
            if not self._leaving:
                self.output.say("this peer quits when what it was asked for is done; Ctrl-D again: now")

    def _quit_at_end(self) -> None:
        if self._ended and not self._open and not self._waiting and not self._leaving:
            self.quit()

    def quit(self) -> None:
        """Leave in good order; the second time at once."""
        if self._leaving:
            self.loop.exit(LEFT)
            return
        self._leaving = True
        self.output.say("leaving the ring; quit again to leave at once")
        self.loop.settled(self.peer.quit(), self._left)
        self.loop.later(STILL_HERE_S, self._still_here)

    def _still_here(self) -> None:
        if kept := self.peer.view().records:
            self.output.say(f"looking for a peer that takes {narrator.count(len(kept), 'record')}")

    def _left(self, pending: Pending[None]) -> None:
        if pending.error is not None:
            self.output.error(str(pending.error))
        self.loop.exit(LEFT if pending.error is None else FAILED)

    def terminate(self) -> None:
        """SIGTERM: Quit, and once more changes nothing."""
        if not self._leaving:
            self.quit()

    # Answers -------------------------------------------------------------------------------------------------

    def _ring(self) -> None:
        pending = self.peer.ring()
        self._follow(pending)
        self.loop.settled(pending, self.answers.ring)

    def _status(self) -> None:
        self.answers.status(self.peer.view(), ready=self.peer.ready.done)

    def _files(self) -> None:
        view = self.peer.view()
        self.answers.give([reporter.files_object(view)], [" ".join(view.records) or "no records are kept here"])

    def _cancel(self, name: str | None) -> None:
        self.answers.tell([f"{narrator.count(self.peer.cancel(name), 'transfer')} cancelled"])

    def _pings(self, shown: bool) -> None:
        (self.output.hidden.discard if shown else self.output.hidden.add)(PING)


def real_peer(*args: Any, **keywords: Any) -> Peer:
    """A Peer, or several; imported only when the arguments are right, which keeps their errors quick."""
    if "others" in keywords:
        from overlay.peer.virtual import VirtualPeer

        return VirtualPeer(*args, **keywords)
    from overlay.peer import Peer

    return Peer(*args, **keywords)


def main(arguments: Sequence[str] | None = None) -> int:
    """The whole program; the exit status."""
    options = peer_arguments(arguments)
    output = begin(options, hidden_kinds(options))
    if options.lasts:
        from overlay.app.lasting_program import LastingProgram

        return end(output, LastingProgram(options, output, real_peer).run())
    return end(output, PeerProgram(options, output, real_peer).run())


if __name__ == "__main__":
    sys.exit(main())
