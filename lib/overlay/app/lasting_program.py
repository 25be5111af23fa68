"""peer.py create and join --at: a peer that lasts, in a ring of any size."""

from __future__ import annotations

import argparse
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from overlay.app.commands import LASTING_COMMANDS
from overlay.app.narrator import address, count
from overlay.app.parameters import Parameters, preset_of, shape_of_new, shape_wanted, store_of
from overlay.app.peer_program import PeerProgram
from overlay.app.terminal import Output
from overlay.core.pending import Pending
from overlay.errors import Indefinite, LocalError, OverlayError
from overlay.ids import in_full, label
from overlay.peer.home import Home, Lasting, id_of
from overlay.peer.outcome import Outcome
from overlay.peer.visitor import Visitor
from overlay.ring.admission import unlike
from overlay.ring.messages import Shape
from overlay.store.disk import Index

if TYPE_CHECKING:
    from overlay.peer import Peer


STORE_WORDS = ("put", "get", "delete", "list", "copies")


def words_of(shape: Shape) -> str:
    """What kind of ring it is."""
    copies = dict(shape.agreed).get("store.copies")
    kept = "" if copies is None else f", a store of {copies:.0f} copies"
    return f"ids of {shape.bits} bits{kept} and lists of {shape.successors} successors"


def _work(line: queue.SimpleQueue[Callable[[], None]]) -> None:
    while True:
        line.get()()


class LastingProgram(PeerProgram):
    """A peer whose id, port and contacts are those of its folder."""

    commands = LASTING_COMMANDS
    waiting_commands = (*PeerProgram.waiting_commands, *STORE_WORDS)
    _shape: Shape

    def __init__(self, options: argparse.Namespace, output: Output, make_peer: Callable[..., Peer]):
        super().__init__(options, output, make_peer)
        self._desk: queue.SimpleQueue[Callable[[], None]] | None = None
        self._commands |= {
            "put": lambda file, name: self._at_desk("put", file=file, name=name or Path(file).name, ttl=None),
            "get": lambda name, file: self._at_desk("get", name=name, output=file),
            "delete": lambda name: self._at_desk("delete", name=name),
            "list": lambda prefix: self._at_desk("list", prefix=prefix or ""),
            "copies": lambda: self._at_desk("status"),
        }

    def _start(self) -> None:
        options = self.options
        home = Home(Path(options.data))
        secret, last = home.secret(), home.last()
        silence = self._look(last)
        self.peer = self._members(secret, last)
        self._warn_if_open(self.options)
        try:
            self._enter(silence)
            home.remember(Lasting(self._shape, self.peer.port))
        except BaseException:
            self.peer.kill()
            raise
        self.loop.settled(self.peer.ready, lambda _: self._issue_waiting())

    def _members(self, secret: bytes, last: Lasting | None) -> Peer:
        options, bits = self.options, self._shape.bits
        parameters: Parameters = options.config
        preset, store = preset_of(self._shape, parameters), store_of(self._shape, parameters)
        more: dict[str, Any] = {"preset": preset, "keep": True, "store": store}
        if options.virtual > 1:
            # They live and die together, so they may share the syncs of the disk.
            more["index"] = Index(Path(options.data) / "index.db")
        if options.quota is not None:
            more["quota"] = options.quota // options.virtual
        others = [
            self._make(id_of(secret, bits, number), data=Path(options.data) / f"virtual-{number}", **more)
            for number in range(1, options.virtual)
        ]
        if others:
            more["others"] = others
        port, last_port = options.port or 0, last.port if last is not None else 0
        return self._make(id_of(secret, bits), port=port, last_port=last_port, data=options.data, **more)

    def _before(self, peer: Peer) -> str:
        return f"{label(peer.id)}: " if self.options.virtual > 1 else ""

    def _look(self, last: Lasting | None) -> Indefinite | None:
        """Find out what shape the ring has. What is returned says that nobody answers at the address that was given."""
        options, silence = self.options, None
        said = options.config, options.bits, options.successors
        known = None if last is None else last.shape
        shape = known if known is not None else shape_of_new(*said)
        if options.at is not None:
            try:
                shape = Visitor().describe(*options.at).shape
            except Indefinite as error:
                if known is None:
                    raise
                silence = error
        elif options.mode == "join" and known is None:
            raise LocalError(f"no ring is remembered in {options.data}: join --at HOST:PORT, or create")
        misfit = unlike(shape, shape_wanted(shape, *said)) if shape.fingers else ""
        if misfit:
            which = f" of {options.data}" if options.at is None else ""
            raise LocalError(f"{misfit.replace('the ring', f'the ring{which}', 1)}: leave it out")
        misfit = unlike(shape, known) if shape.fingers and known is not None else ""
        if misfit:
            raise LocalError(f"{misfit.replace('the newcomer', f'that of {options.data}')}; choose another --data")
        self._shape = shape
        return silence

    def _enter(self, silence: Indefinite | None) -> None:
        options = self.options
        if options.mode == "create":
            self.loop.settled(self.peer.create(), self._came_back)
        elif options.at is not None and silence is None:
            joining = self.peer.join(address(*options.at))
            self.loop.settled(joining, self._joined)
            self.loop.patience(joining, address(*options.at), self.output.say)
        else:
            if silence is not None:
                self.output.say(f"{silence}; looking for the others of the ring")
            coming = self.peer.come_back()
            self.loop.settled(coming, self._came_back)
            self.loop.patience(coming, "any peer that is remembered (create begins the ring anew)", self.output.say)

    def _came_back(self, pending: Pending[bool]) -> None:
        if pending.error is None and not pending.result():
            how = f"peer.py join --at {address(self.peer.host, self.peer.port)} --data DIR"
            self.output.say(f"a ring begins here; on another terminal or machine: {how}")
        self._joined(pending)

    def _at_desk(self, action: str, **values: Any) -> None:
        """What `overlay put` and the like do, asked of this peer: one after the other on a thread, for a file may be long."""
        from overlay.app.store_program import StoreProgram
        from overlay.peer.client import Client

        if "-" in (values.get("file"), values.get("output")):
            raise LocalError("- is for pipes; name a file")
        words = argparse.Namespace(json=self.options.json, **values)
        program = StoreProgram(words, self.output, bars=False)
        program.name_a_file = "say get RECORD FILE"
        done: Outcome[None] = Outcome()

        def work() -> None:
            try:
                with Client(address(self.peer.host, self.peer.port)) as client:
                    getattr(program, action)(client)
            except (OverlayError, OSError) as error:
                program.failed(error)
            done.resolve(None)

        if self._desk is None:
            self._desk = queue.SimpleQueue()
            threading.Thread(target=_work, args=(self._desk,), name="store-commands", daemon=True).start()
        self._desk.put(work)
        self._follow(done)

    def _status(self) -> None:
        if not self.options.json:
            place = address(self.peer.host, self.peer.port)
            kept = count(len(self.peer.remembered()), "peer")
            self.output.answer([f"Peer {in_full(self.peer.id)} at {place}"])
            self.output.answer([words_of(self._shape), f"remembers {kept}"])
            if self.options.virtual > 1:
                self.output.answer([f"{self.options.virtual} members of the ring are this peer; the first:"])
        super()._status()
