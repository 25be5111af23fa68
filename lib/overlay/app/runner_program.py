"""runner.py: a whole ring of peers, commands for any of them, and the reporter."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from overlay.app import hosts, jsonlines, narrator, reporter, script
from overlay.app.arguments import runner_arguments
from overlay.app.commands import RUNNER_COMMANDS, Typed, help_lines, parse
from overlay.app.counting import Counters
from overlay.app.fleet import Fleet, Happening, Member, summary
from overlay.app.lecture import Lecture
from overlay.app.peer_program import hidden_kinds, real_peer
from overlay.app.progress import Progress
from overlay.app.reporter import Row, row_of
from overlay.app.session import Session
from overlay.app.start import FAILED, begin, end
from overlay.app.terminal import HINT, PING, ROUTE, SAY, Output, last_line
from overlay.core.pending import Pending
from overlay.errors import LocalError, OverlayError


class RunnerProgram(Session):
    """The peers and their user. `tell` and `crashed` are called from the peers' threads.

    All end together: nobody stays who would have to be told."""

    def __init__(self, options: argparse.Namespace, output: Output, make: Callable[..., Member]):
        super().__init__(output, json=options.json)
        self.options = options
        self.counters = Counters()
        # A process tells its happenings as JSON; a peer in here has its messages counted.
        more = {"on_happening": self.tell} if options.processes else {"observers": (self.counters,)}
        self.fleet = Fleet(options, make, self.tell, self.crashed, **more)
        self.strangers: dict[int, Row] = {}
        self._progress = Progress()
        self._walking = False
        self._open: set[Pending[Any]] = set()
        self._ended = False
        self._lecture: Lecture | None = None
        self._commands: dict[str, Callable[..., Pending[Any] | None]] = {
            "join": self._join,
            "quit": self._quit,
            "kill": self.fleet.kill,
            "store": lambda id, name: self._when_ready(id, lambda member: member.store(name)),
            "request": lambda id, name: self._when_ready(id, lambda member: member.request(name)),
            "cancel": self._cancel,
            "ring": self._ring,
            "status": self._status,
            "files": self._files,
            "pings": partial(self._switch, PING),
            "narration": self.narrate,
            "help": lambda: self.answers.tell(help_lines(RUNNER_COMMANDS)),
        }

    def _start(self) -> None:
        options = self.options
        if options.script is not None:
            steps = script.read(options.script)
            self._lecture = Lecture(steps, self.loop, self.output, self._do, self._look, self._lecture_over)
        if not options.json:
            for line in summary(options.peers):
                self.output.write(line)
        self._warn_if_open(options)
        self.fleet.launch(options.peers)
        if options.seconds is not None:
            self.loop.later(options.seconds, self.terminate)
        if self._lecture is not None:
            self._after(self._all_ready(), self._lecture.play)

    def _stop(self) -> None:
        self.fleet.kill_all()

    def _listen(self) -> None:
        super()._listen()
        if self.options.reporter and self._console is None:
            self.loop.every(1.0, self.report)
        if self.options.all:
            self.loop.every(1.0, self._ask_strangers)

    def _terminal(self) -> Any:
        from overlay.app.completion import Words, record_names

        words = {
            "PEER": lambda: [str(id) for id in sorted(self.fleet.members)],
            "NAME": lambda: record_names(self.options.files),
        }
        completer = Words(RUNNER_COMMANDS, lambda place: words[place]())
        common = "runner", self.loop, self.output, completer, self.on_line, self.on_end, self.interrupt
        if self.options.reporter:
            from overlay.app.screen import Screen

            return Screen(self, *common)
        from overlay.app.prompt import Prompt

        return Prompt(*common, toolbar=self._toolbar)

    def _toolbar(self) -> str:
        ids = sorted(self.fleet.members)
        shown = " > ".join(map(str, ids)) if len(ids) < 20 else f"{len(ids)} peers"
        return "  |  ".join([shown, *self.transfers(self.fleet.views().values())])

    def transfers(self, views: Iterable[Any]) -> list[str]:
        """What is on its way, for a line below the ring."""
        moving = {transfer.name: transfer for view in views for transfer in view.transfers}
        return self._progress.texts(list(moving.values())[:2], time.monotonic())

    def dead(self) -> set[int]:
        """Whom no pointer should point to any more."""
        return (self.fleet.killed | set(self.counters.deaths)) - set(self.fleet.members)

    def _look(self, id: int) -> Any:
        member = self.fleet.members.get(id)
        return None if member is None else member.view()

    def _lecture_over(self, well: bool) -> None:
        if not well:
            self.loop.exit(FAILED)
        elif self.options.seconds is None:
            self.terminate()

    # What the peers tell, on their threads -------------------------------------------------------------------

    def tell(self, happening: Happening) -> None:
        """Show it, as the options want it shown. What peers see of each other's end when all ends together is no news."""
        if self.loop.status is not None:
            return
        self.counters.count(happening)
        if self.options.json:
            if not self.options.reporter:
                self.output.write(jsonlines.encode(happening.as_object()))
            return
        for line in happening.lines:
            self.output.show(line, f"[{happening.me}] ")

    def crashed(self, id: int, why: str) -> None:
        """A peer has ended and nobody asked it to: a defect of ours, or somebody killed its process."""
        self.output.error(f"peer {id} has ended, which nobody asked for: {last_line(why)}")
        self.loop.post(self._lost, id)

    def _lost(self, id: int) -> None:
        self.fleet.members.pop(id, None)

    # The reporter --------------------------------------------------------------------------------------------

    def rows(self, views: Iterable[Any]) -> list[Row]:
        """Our peers, and with --all those of others."""
        rows = [row_of(view) for view in views]
        mine = {row.id for row in rows}
        return rows + [row for id, row in self.strangers.items() if id not in mine]

    def report(self) -> None:
        """One block, or one JSON object."""
        rows = self.rows(self.fleet.views().values())
        if self.options.json:
            counts = self.counters.totals()
            self.output.write(jsonlines.encode(reporter.rows_object(rows, **counts)))
        else:
            self.output.write("\n".join(reporter.block(rows)))

    def _ask_strangers(self) -> None:
        ready = [member for member in self.fleet.members.values() if member.ready.done]
        if ready and not self._walking:
            self._walking = True
            self.loop.settled(ready[0].ring(), self._asked)

    def _asked(self, pending: Pending[Any]) -> None:
        self._walking = False
        if pending.error is None:
            self.strangers = {row.id: row for row in reporter.rows_of_ring(pending.result())}

    # Commands ------------------------------------------------------------------------------------------------

    def on_line(self, text: str) -> None:
        """One typed line."""
        try:
            typed = parse(text, RUNNER_COMMANDS)
            if typed is not None:
                self._do(typed)
        except LocalError as error:
            self.output.error(str(error))

    def on_end(self, quits: bool) -> None:
        """No more input: after what was asked for is done, all ends, unless nothing was asked."""
        self._ended = quits and self._lecture is None
        self._end_if_done()

    def _end_if_done(self) -> None:
        if self._ended and not self._open:
            self.terminate()

    def _do(self, typed: Typed) -> Pending[Any]:
        """Carry a command out; what it returns is resolved when it is done, and fails with its error."""
        try:
            pending = self._commands[typed.name](*typed.values)
        except OverlayError as error:
            self.output.error(str(error))
            pending = Pending()
            pending.fail(error)
        if pending is None:
            pending = Pending()
            pending.resolve(None)
        else:
            self._open.add(pending)
            self.loop.settled(pending, self._done)
        return pending

    def _done(self, pending: Pending[Any]) -> None:
        self._open.discard(pending)
        self._end_if_done()

    def _after(self, pending: Pending[Any], call: Callable[[], None]) -> None:
        self.loop.settled(pending, lambda _: call())

    def _when_ready(self, id: int, call: Callable[[Member], Pending[Any]]) -> Pending[Any]:
        """What a peer is asked before it is in the ring, it does when it is."""
        member = self.fleet.get(id)
        if member.ready.done:
            return call(member)
        outcome: Pending[Any] = Pending()

        def start() -> None:
            try:
                pending = call(member)
            except OverlayError as error:
                self.output.error(str(error))
                outcome.fail(error)
                return
            pending.when_done(partial(_pass_on, outcome))

        self._after(member.ready, start)
        return outcome

    def _all_ready(self) -> Pending[None]:
        """Resolved when each of the peers launched is in the ring."""
        all_in: Pending[None] = Pending()
        left = set(self.fleet.members)

        def one(id: int) -> None:
            left.discard(id)
            if not left:
                all_in.resolve(None)

        for id, member in self.fleet.members.items():
            self._after(member.ready, partial(one, id))
        return all_in

    def _join(self, id: int, known: int | str) -> Pending[Any]:
        pending = self.fleet.join(id, known)
        member = self.fleet.members[id]

        def joined(done: Pending[None]) -> None:
            if done.error is not None and self.fleet.members.get(id) is member:
                self.output.error(str(done.error), f"[{id}] ")
                self.fleet.kill(id)

        self.loop.settled(pending, joined)
        where = hosts.place(known, self.options.host, self.options.base_port)
        self.loop.patience(pending, where, lambda text: self.output.say(text, f"[{id}] "))
        return pending

    def _quit(self, id: int | None) -> Pending[Any] | None:
        if id is None:
            self.terminate()
            return None
        member = self.fleet.get(id)
        pending = member.quit()
        self._after(pending, partial(self.fleet.forget, id, member))
        return pending

    def _cancel(self, id: int, name: str | None) -> None:
        self.answers.tell([f"[{id}] {narrator.count(self.fleet.get(id).cancel(name), 'transfer')} cancelled"])

    def _ring(self) -> Pending[Any]:
        if not self.fleet.members:
            raise LocalError("none of the peers is left")
        pending = self._when_ready(min(self.fleet.members), lambda member: member.ring())
        self.loop.settled(pending, self.answers.ring)
        return pending

    def _status(self, id: int | None) -> None:
        if id is None:
            rows = self.rows(self.fleet.views().values())
            self.answers.give([reporter.rows_object(rows)], reporter.block(rows))
        else:
            member = self.fleet.get(id)
            self.answers.status(member.view(), ready=member.ready.done)

    def _files(self, id: int | None) -> None:
        views = self.fleet.views() if id is None else {id: self.fleet.get(id).view()}
        self.answers.give(
            map(reporter.files_object, views.values()),
            (f"Peer {id}: {' '.join(view.records) or 'none'}" for id, view in views.items()),
        )

    def _switch(self, kind: str, shown: bool) -> None:
        (self.output.hidden.discard if shown else self.output.hidden.add)(kind)

    @property
    def narrates(self) -> bool:
        """Whether the peers' lines are shown. The log has them in any case."""
        return SAY not in self.output.hidden

    def narrate(self, shown: bool) -> None:
        """Show the peers' lines, or do not."""
        for kind in (SAY, HINT, ROUTE):
            self._switch(kind, shown)


def _pass_on(to: Pending[Any], done: Pending[Any]) -> None:
    """The same outcome once more."""
    if done.error is not None:
        to.fail(done.error)
    else:
        to.resolve(done.result())


def main(arguments: Sequence[str] | None = None) -> int:
    """The whole program; the exit status."""
    options = runner_arguments(arguments)
    hidden = hidden_kinds(options) | (frozenset({PING}) if options.reporter else frozenset())
    output = begin(options, hidden)
    if options.gossip:
        from overlay.app import gossip_runner

        status = gossip_runner.main(
            options.gossip, output, host=options.host, stable=options.stable, seconds=options.seconds
        )
        return end(output, status)
    make: Callable[..., Member] = real_peer
    if options.processes:
        from overlay.app.processes import ProcessPeer

        make = ProcessPeer
    return end(output, RunnerProgram(options, output, make).run())


if __name__ == "__main__":
    sys.exit(main())
