"""overlay gossip: a node of an unstructured network, with a prompt."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import overlay
from overlay.app.commands import Command, did_you_mean, help_lines
from overlay.app.loop import LineReader, Loop, rich_terminal
from overlay.app.start import end
from overlay.app.terminal import Output, short
from overlay.errors import LocalError, OverlayError

if TYPE_CHECKING:
    from overlay.peer.unstructured.threads import Dissemination, Membership

EXAMPLES = """\
examples:
  overlay gossip --network chat --listen 127.0.0.1:7771      begin a network
  overlay gossip --network chat --at 127.0.0.1:7771          join it, in another window
  overlay gossip --network chat --at 127.0.0.1:7771 --stable the other edition; all of a network have the same

commands: neighbors, broadcast TEXT, status, leave, help
"""
COMMANDS = {
    name: Command(name, usage, text)
    for name, usage, text in (
        ("neighbors", "", "the nodes that we know now"),
        ("broadcast", "TEXT", "send the rest of the line to everybody"),
        ("status", "", "who and where we are, and what came and went"),
        ("help", "", "this list"),
        ("leave", "", "say goodbye and end"),
    )
}
SERVICE = "prompt"
"""The dissemination service of everybody who joins by this program."""


def _address(text: str) -> tuple[str, int]:
    """A host, by number or by name, and a port; 0, a free one, is for those who listen."""
    from overlay.app.hosts import of_one
    from overlay.peer.unstructured.common import check_address

    host, _, port = text.rpartition(":")
    try:
        if not host or not (port.isascii() and port.isdigit()) or (":" in host and not host.startswith("[")):
            raise LocalError(f"{short(text)} is no address; write it as 127.0.0.1:7771 or [::1]:7771")
        return check_address((of_one(host), int(port)))
    except LocalError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def gossip_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """`network`, `at`, `listen`, `stable`."""
    parser = argparse.ArgumentParser(
        prog="overlay gossip",
        description="Join an unstructured network, with a prompt.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--network", required=True, metavar="ID", help="which network; several can live at one address")
    add("--at", action="append", default=[], type=_address, metavar="HOST:PORT", help="a node of it; none begins it")
    add("--listen", default=("127.0.0.1", 0), type=_address, metavar="HOST:PORT", help="our own address (a free port)")
    add("--stable", action="store_true", help="HyParView and Plumtree, in the place of Newscast and lpbcast")
    add("--no-color", action="store_true", help="no colors")
    add("--version", action="version", version=overlay.__version__)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """The whole program; the exit status."""
    options = gossip_arguments(arguments)
    output = Output(no_color=options.no_color)
    output.detach()
    return end(output, GossipProgram(options, output).run())


def _neighbors(count: int) -> str:
    return "1 neighbor" if count == 1 else f"{count} neighbors"


class GossipProgram:
    """One node, and what is typed for it."""

    def __init__(self, options: argparse.Namespace, output: Output):
        self.options = options
        self.output = output
        self.loop = Loop()
        self.heard = self.sent = 0
        self._prompt: Any = None
        self._membership: Membership
        self._dissemination: Dissemination

    def run(self) -> int:
        """Until we leave; the exit status."""
        self.output.on_broken = lambda: self.loop.post(self.leave)
        try:
            # Ctrl-C ends this at once, before it becomes a call of the loop: nodes that do not answer take their time.
            self._join()
        except OverlayError as error:
            self.output.error(str(error))
            return 1
        except KeyboardInterrupt:
            return 130
        self.loop.handle_signals(lambda: self.loop.exit(130), self.leave)
        self._listen()
        try:
            return self.loop.run()
        finally:
            if self._prompt is not None:
                self._prompt.close()
            self._membership.leave()

    def _join(self) -> None:
        from overlay.peer.unstructured.threads import get_dissemination_service, join_network

        options = self.options
        self._membership = join_network(options.listen, options.network, options.at, not options.stable)
        self._dissemination = get_dissemination_service(
            self._membership, SERVICE, broadcast_handler=lambda data: self.loop.post(self._came, data)
        )
        self.output.say(f"in the network {options.network} at {self._place()}; try help")

    def _listen(self) -> None:
        if not rich_terminal(self.output):
            LineReader(self.loop, self.on_line, self._ended).start()
            return
        from overlay.app.completion import Words
        from overlay.app.prompt import Prompt

        self._prompt = Prompt(
            self.options.network,
            self.loop,
            self.output,
            Words(COMMANDS, lambda place: ()),
            self.on_line,
            lambda _: self.leave(),
            lambda: self.loop.exit(130),
            toolbar=self._status,
        )
        self._prompt.start()

    # Commands ------------------------------------------------------------------------------------------------

    def on_line(self, line: str) -> None:
        """What was typed."""
        word, _, rest = line.strip().partition(" ")
        try:
            if word:
                self._do(word, rest.strip())
        except OverlayError as error:
            self.output.error(str(error))

    def _do(self, word: str, rest: str) -> None:
        from overlay.peer.address import show_address

        match word.lower():
            case "neighbors" | "neighbours":
                nodes = sorted(node.address_info for node in self._membership.get_neighbours())
                self.output.answer(show_address(*node) for node in nodes)
                self.output.answer((_neighbors(len(nodes)),))
            case "broadcast" if rest:
                if not self._membership.get_neighbours():
                    self.output.say("nobody else is here now")
                self.sent += 1
                self._dissemination.broadcast(rest.encode(errors="replace"))
            case "broadcast":
                self.output.error("broadcast what? Type the text behind it")
            case "status":
                self.output.answer((self._status(),))
            case "help":
                self.output.answer(help_lines(COMMANDS))
            case "leave" | "quit" | "exit":
                self.leave()
            case _:
                near = did_you_mean(word.lower(), COMMANDS) or "; try help"
                self.output.error(f"{short(word)} is not a command{near}")

    def _ended(self, typed: bool) -> None:
        """No more input. Where there was none at all, this is a service that runs until a signal."""
        if typed:
            self.leave()

    def leave(self) -> None:
        """End in good order."""
        self.loop.exit(0)

    def _place(self) -> str:
        from overlay.peer.address import show_address

        return show_address(*self._membership.my_node.address_info)

    def _status(self) -> str:
        count = _neighbors(len(self._membership.get_neighbours()))
        edition = "stable" if self.options.stable else "extreme"
        network = self.options.network
        return f"{network} ({edition}) at {self._place()}, {count}, {self.sent} sent, {self.heard} heard"

    def _came(self, data: bytes) -> None:
        self.heard += 1
        self.output.answer((f"heard: {data.decode(errors='backslashreplace')}",))


if __name__ == "__main__":
    sys.exit(main())
