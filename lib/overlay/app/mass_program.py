"""overlay lab mass-join, mass-leave, mass-data, watch: many peers at once, in processes of their own or simulated."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import overlay
from overlay.app import jsonlines
from overlay.app.bar import Bar
from overlay.app.mass_processes import MassProcesses
from overlay.app.narrator import address, count
from overlay.app.options import Parser, convert, make_parser, of_a_ring
from overlay.app.program import can_draw_over, over
from overlay.app.store_arguments import make_action
from overlay.app.store_program import UNREACHABLE, status_of
from overlay.app.terminal import Output, clean, short
from overlay.errors import Indefinite, LocalError, OverlayError, RemoteError
from overlay.ids import in_full
from overlay.lab.mass import UNKNOWN, Seen, SimulatedMass, Step
from overlay.peer.client import Client
from overlay.peer.client.places import data_folder
from overlay.peer.visitor import Visitor

DONE, FAILED, INTERRUPTED = 0, 1, 130
MOST_PEERS = 1000
MAX_FILE_BYTES = 1 << 30
TELL_S = 1.0

EXAMPLES = """\
examples:
  overlay lab mass-join 20                          twenty peers, each a process of its own, in the background
  overlay lab mass-data records.json insert         {"name": "value", ...}
  overlay lab watch                                 each peer's successor, predecessor and keys, every second
  overlay lab mass-leave --percent 50               half of them hand over what they keep, and go
  overlay lab mass-leave --percent 50 --crash       half of them are killed
  overlay lab mass-data records.json lookup         and how many records are lost?
  overlay lab mass-leave --percent 100              all of them
  overlay lab mass-leave --percent 50 --crash --simulated --peers 200 --records 5000

With --simulated a ring of --peers is made, with --records in it, and ends with the command. The exit status is 1 where something
failed, 4 where no peer answers.
"""


def mass_arguments(words: Sequence[str]) -> argparse.Namespace:
    """`action`, its values, and where the peers are."""
    parser = make_parser("overlay lab", "Many peers at once.", EXAMPLES)
    actions = parser.add_subparsers(dest="action", required=True, parser_class=Parser)

    def action(name: str, text: str) -> Callable[..., Any]:
        one = make_action(actions, name, text, EXAMPLES)
        add = one.add_argument
        mass = data_folder() / "mass"
        add("--data", metavar="DIR", type=Path, default=mass, help=f"the processes' folders ({mass})")
        add("--at", action="append", type=convert(_place), default=[], metavar="HOST:PORT", help="a peer of the ring")
        add("--simulated", action="store_true", help="in one process, in virtual time")
        add("--peers", type=convert(_peers), default=50, metavar="N", help="simulated: in the ring before (50)")
        add("--records", type=convert(_peers), default=1000, metavar="N", help="simulated: kept before (1000)")
        add("--seed", type=int, default=1, help="of what is left to chance (1)")
        add("--json", action="store_true", help='JSON lines, each with "v": 1')
        add("--no-color", action="store_true", help="no colors")
        add("--version", action="version", version=overlay.__version__)
        return add

    add = action("mass-join", "Start many peers.")
    add("count", type=convert(_peers), metavar="N")
    add("--interval", default="3", metavar="S", help="between pings (3)")
    add = action("mass-leave", "End some of them, by chance.")
    add("--percent", type=convert(_percent), required=True, metavar="P", help="of those that run, 0 to 100")
    add("--crash", action="store_true", help="kill them; otherwise they hand over what they keep")
    add = action("mass-data", "Insert or look up all records of a file, and count the failures.")
    add("file", metavar="FILE.json", help='{"name": "value", ...}')
    add("what", choices=("insert", "lookup"))
    add = action("watch", "Show each peer's predecessor, successor and keys.")
    add("--for", dest="seconds", type=float, default=0.0, metavar="S", help="end after S seconds (at Ctrl-C)")
    return parser.parse_args(words)


def _place(text: str) -> str:
    return address(*of_a_ring(text))


def _peers(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= 1_000_000):
        raise LocalError(f"{short(text)} is not a number from 1 to 1,000,000")
    return int(text)


def _percent(text: str) -> float:
    try:
        percent = float(text.removesuffix("%"))
    except ValueError:
        percent = -1.0
    if not 0 <= percent <= 100:
        raise LocalError(f"{short(text)} is not a percentage: 0 to 100")
    return percent


def main(words: Sequence[str]) -> int:
    """One command, its action first; the exit status."""
    options = mass_arguments(words)
    output = Output(no_color=options.no_color)
    program = MassProgram(options, output)
    try:
        return int(getattr(program, options.action.replace("-", "_"))())
    except OverlayError as error:
        output.error(str(error))
        return status_of(error)
    except OSError as error:
        output.error(f"{short(str(error.filename or options.data))}: {error.strerror}")
        return FAILED
    except KeyboardInterrupt:
        program.interrupted()
        return INTERRUPTED


class MassProgram:
    """One command. A method an action; each returns the exit status."""

    def __init__(self, options: argparse.Namespace, output: Output):
        self.options = options
        self.output = output
        self._processes = MassProcesses(options.data, options.at)
        self._last: tuple[str, Step] | None = None
        self._told = 0.0
        self._drawn = 0
        self._began = time.monotonic()

    def mass_join(self) -> int:
        """Start many."""
        options = self.options
        if options.simulated:
            mass = SimulatedMass(options.seed, options.peers)
            began = mass.sim.now
            step = self._follow("peers", mass.join(options.count))
            return self._end("MassJoin", step, "joined", f"{mass.sim.now - began:.1f} s of the simulation")
        if options.count > MOST_PEERS:
            raise LocalError(f"{options.count} processes are too many: at most {MOST_PEERS}; more by --simulated")
        step = self._follow("peers", self._processes.join(options.count, ["--interval", options.interval]))
        why = f"; the first that failed said: {self._processes.why}" if self._processes.why else ""
        text = f"{len(self._processes.running())} run in {options.data}{why}"
        return self._end("MassJoin", step, "joined", text, why=self._processes.why)

    def mass_leave(self) -> int:
        """End some."""
        options = self.options
        how = "crashed" if options.crash else "left"
        if not options.simulated:
            if not self._processes.running():
                self.output.error(f"no peer runs in {options.data}; overlay lab mass-join N starts some")
                return UNREACHABLE
            step = self._follow("peers", self._processes.leave(options.percent, options.seed, crash=options.crash))
            return self._end("MassLeave", step, how, f"{len(self._processes.running())} run in {options.data}")
        mass = SimulatedMass(options.seed, options.peers)
        records = {f"record {number}": b"%d" % number for number in range(options.records)}
        self._follow("records", mass.insert(records))
        step = self._follow("peers", mass.leave(options.percent, crash=options.crash))
        seconds = mass.settle() if mass.peers else 0.0
        found = self._follow("records", mass.lookup(records)) if mass.peers else Step(len(records), len(records), 0)
        lost = f"{found.failed} of {found.done} records lost ({found.percent:.2f} %), copies complete after {seconds:.0f} s"
        self._end("MassLeave", step, how, lost, lost=found.failed, records=found.done, repaired_s=round(seconds, 1))
        return FAILED if step.failed or (found.failed and not options.crash) else DONE

    def mass_data(self) -> int:
        """Insert or look up."""
        options = self.options
        records = read_records(options.file)
        if options.simulated:
            mass = SimulatedMass(options.seed, options.peers)
            step = self._follow("records", mass.insert(records))
            if options.what == "lookup":
                step = self._follow("records", mass.lookup(records))
        else:
            step = self._counted(getattr(self._processes, options.what), records)
        seconds = time.monotonic() - self._began
        rate = f"{step.done / seconds:,.0f} a second" if not options.simulated else f"{options.peers} peers, simulated"
        return self._end("MassData", step, {"insert": "inserted", "lookup": "looked up"}[options.what], rate)

    def watch(self) -> int:
        """Every second, until Ctrl-C."""
        options = self.options
        until = time.monotonic() + options.seconds if options.seconds else float("inf")
        simulated = SimulatedMass(options.seed, options.peers) if options.simulated else None
        while True:
            if simulated is not None:
                simulated.sim.run_for(TELL_S)
            try:
                self._show(simulated.picture() if simulated is not None else self._look())
            except Indefinite as error:
                # It may answer again; whoever looks on will see.
                self.output.error(str(error))
                self._drawn = 0
            if time.monotonic() + TELL_S > until:
                return DONE
            time.sleep(TELL_S)

    def _look(self) -> list[Seen]:
        at = self._processes.addresses()
        if not at:
            raise LocalError(f"no peer runs in {self.options.data}: name one of another ring by --at")
        with Client(at) as client:
            told = {one.contact.id: one for one in client.status().peers}
        found = []
        for one in told.values():
            me = in_full(one.contact.id)
            before = after = UNKNOWN
            # One that has just gone is shown for the last time.
            with contextlib.suppress(Indefinite, RemoteError):
                ring = Visitor().ask(one.contact)
                before = in_full(ring.predecessors[0].id) if ring.predecessors else me
                after = in_full(ring.successors[0].id) if ring.successors else me
            own, keys = (-1, -1) if one.status is None else (one.status.own, one.status.keys)
            found.append(Seen(me, before, after, own, keys))
        return found

    def _show(self, seen: Iterable[Seen]) -> None:
        seen = list(seen)
        if self.options.json:
            rows = [jsonlines.plain(one) for one in seen]
            self.output.write(jsonlines.encode({**jsonlines.make("Watch"), "peers": rows}))
            return
        lines = [f"{'predecessor':>10} > {'[peer]':^10} > {'successor':<10}  entries of its own, on its disk"]
        lines += [f"{_id(o.before):>11} > [{_id(o.peer):^8}] > {_id(o.after):<10}  {o.own:6} {o.keys:6}" for o in seen]
        lines.append(f"{count(len(seen), 'peer')}, {sum(max(0, one.own) for one in seen)} entries")
        self.output.write("\n".join([over(self._drawn) + lines[0], *lines[1:]]))
        self._drawn = len(lines) if can_draw_over(self.output, lines) else 0

    # How far it is -------------------------------------------------------------------------------------------

    def _follow(self, what: str, steps: Iterable[Step]) -> Step:
        step = Step(0, 0, 0)
        with Bar(self.options.action, None, hidden=self.options.json, unit=what) as bar:
            for step in steps:
                self._tell(what, step, bar)
        return step

    def _counted(self, work: Callable[..., Step], records: Mapping[str, bytes]) -> Step:
        with Bar(self.options.what, None, hidden=self.options.json, unit="records") as bar:
            return work(records, lambda step: self._tell("records", step, bar))

    def _tell(self, what: str, step: Step, bar: Bar) -> None:
        self._last = what, step
        bar(step.done, step.total, f", {step.percent:.1f} % failed")
        now = time.monotonic()
        if self.options.json and now - self._told >= TELL_S:
            self._told = now
            fields = {"what": what, "done": step.done, "failed": step.failed, "total": step.total}
            self.output.write(jsonlines.encode(jsonlines.make("Progress", **fields)))

    def _end(self, event: str, step: Step, how: str, text: str, **more: Any) -> int:
        seconds = time.monotonic() - self._began
        if self.options.json:
            fields = {"done": step.done, "failed": step.failed, "percent_failed": round(step.percent, 3)}
            self.output.write(jsonlines.encode(jsonlines.make(event, **fields, seconds=round(seconds, 3), **more)))
        else:
            failed = f"{step.failed} failed ({step.percent:.1f} %)"
            self.output.answer([f"{step.done - step.failed} of {step.total} {how}, {failed}, {seconds:.1f} s; {text}"])
        return FAILED if step.failed else DONE

    def interrupted(self) -> None:
        """Ctrl-C: what was done by then."""
        if self._last is not None:
            what, step = self._last
            self.output.say(f"interrupted: {step.done} of {step.total} {what} are done, {step.failed} failed")


def _id(text: str) -> str:
    return text[:8] if len(text) > 10 else text


def read_records(path: str) -> dict[str, bytes]:
    """The records of a file: a JSON object of names and texts. LocalError for anything else."""
    if Path(path).stat().st_size > MAX_FILE_BYTES:
        raise LocalError(f"{short(path)} is too long")
    try:
        found = json.loads(Path(path).read_bytes())
    except ValueError as error:
        raise LocalError(f"{short(path)} is no JSON: {clean(str(error))}") from None
    if not isinstance(found, dict) or not all(isinstance(value, str) and name for name, value in found.items()):
        raise LocalError(f'{short(path)} is no object of names and texts, such as {{"name": "value"}}')
    return {name: value.encode() for name, value in found.items()}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
