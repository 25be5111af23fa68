"""overlay up and down: a peer in the background, which outlives the terminal.

DIR/peer      what makes the peer, and what it keeps
DIR/up.lock   locked as long as it runs, so whoever finds it locked knows that the process of up.json is the one
DIR/up.json   its process and its address
DIR/up.log    what it said
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import overlay
from overlay.app import hosts, jsonlines
from overlay.app.options import address_options, convert, lasting_options, make_parser, of_a_ring, seconds, settle
from overlay.app.terminal import Output, last_line
from overlay.errors import LocalError
from overlay.peer.client.places import UP_FILE, Running, data_folder, read_running
from overlay.store.disk.system import lock_file

DONE, ERROR, UNREACHABLE, INTERRUPTED = 0, 1, 4, 130
START_S = 30.0
LOOK_S = 0.05
"""Between two looks at what the other process has written."""

EXAMPLES = """\
examples:
  overlay up                                    a ring of one, on a free port of this machine
  overlay up --port 7001 --host 192.168.1.7     one that other machines can join
  overlay up --at 192.168.1.7:7001              on another machine: join it
  overlay up --data b --at 127.0.0.1:7001       one more peer on this machine, with a folder of its own
  overlay down                                  hand over what it keeps, and end
"""


def up_arguments(words: Sequence[str]) -> argparse.Namespace:
    """`action` up or down, `data`, and for up what a peer of peer.py create or join needs."""
    action = words[0]
    text = "Start a peer in the background." if action == "up" else "End the peer in the background, in good order."
    parser = make_parser(f"overlay {action}", text, EXAMPLES)
    add = parser.add_argument
    add("--data", metavar="DIR", default=str(data_folder()), help=f"its state ({data_folder()})")
    if action == "up":
        add("--at", type=convert(of_a_ring), metavar="HOST:PORT", help="join the ring of this peer")
        lasting_options(parser)
        address_options(parser)
        add("--serve", action="store_true", help=argparse.SUPPRESS)
    else:
        add("--timeout", type=convert(seconds), default=90.0, metavar="S", help="for the hand-over (90)")
    add("--json", action="store_true", help='a JSON object, with "v": 1')
    add("--no-color", action="store_true", help="no colors")
    add("--version", action="version", version=overlay.__version__)
    options = parser.parse_args(words[1:])
    if action == "up":
        settle(options)
    options.action = action
    options.folder = Path(options.data).absolute()
    return options


def main(words: Sequence[str]) -> int:
    """One command, `up` or `down` first; the exit status."""
    options = up_arguments(words)
    output = Output(no_color=options.no_color)
    try:
        if options.action == "down":
            return Down(options, output).run()
        if options.serve:
            from overlay.app import background

            return background.serve(options)
        return Up(options, output, words).run()
    except LocalError as error:
        output.error(str(error))
        return ERROR
    except OSError as error:
        output.error(f"{error.filename or options.folder}: {error.strerror}")
        return ERROR
    except KeyboardInterrupt:
        return INTERRUPTED


@contextlib.contextmanager
def held(folder: Path) -> Iterator[bool]:
    """The folder's lock, for a moment; False where the peer in the background has it."""
    try:
        fd = lock_file(folder / "up.lock")
    except BlockingIOError:
        yield False
        return
    try:
        yield True
    finally:
        os.close(fd)


def is_free(folder: Path) -> bool:
    """Whether no peer in the background has this folder."""
    with held(folder) as free:
        return free


def is_up(folder: Path) -> bool:
    """Whether a peer runs in the background for this folder."""
    if not folder.is_dir():
        return False
    with held(folder) as free:
        if free:
            # Whoever wrote it has ended, without a word; its process may be somebody else's by now.
            (folder / UP_FILE).unlink(missing_ok=True)
    return not free


def until(holds: Callable[[], Any], timeout_s: float) -> Any:
    """Wait until something that another process does is so; what `holds` returned last."""
    deadline = time.monotonic() + timeout_s
    while not (found := holds()) and time.monotonic() < deadline:
        time.sleep(LOOK_S)
    return found


def spawn(words: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    """The process in the background for the words of `overlay up`, the first of them too."""
    library = str(Path(overlay.__file__).parent.parent)
    path = os.pathsep.join([library, *filter(None, [os.environ.get("PYTHONPATH")])])
    with log.open("ab") as said:
        return subprocess.Popen(
            [sys.executable, "-m", "overlay", *words, "--serve"],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": path},
        )


def signal_peer(folder: Path, running: Running, number: signal.Signals) -> bool:
    """Send a signal to the process that holds the folder's lock. False where nobody can be sure that it is the one."""
    if not hasattr(os, "pidfd_open"):
        if is_free(folder):
            return False
        os.kill(running.pid, number)
        return True
    try:
        fd = os.pidfd_open(running.pid)
    except OSError:
        return False
    try:
        # Between the look at the file and now it may have ended, and another have its number: so look again.
        if is_free(folder) or read_running(folder) != running:
            return False
        signal.pidfd_send_signal(fd, number)
        return True
    except ProcessLookupError:
        return False
    finally:
        os.close(fd)


class Up:
    """The command `up`, which starts the peer and waits until it is in its ring."""

    def __init__(self, options: argparse.Namespace, output: Output, words: Sequence[str]):
        self.options = options
        self.output = output
        self._words = words

    def run(self) -> int:
        """The exit status."""
        folder: Path = self.options.folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if is_up(folder):
            running = until(lambda: read_running(folder), START_S)
            return self._tell(running, already=True)
        log = folder / "up.log"
        size = log.stat().st_size if log.exists() else 0
        process = spawn(self._words, log)

        def looked() -> Running | int | None:
            running = read_running(folder)
            if running is not None and running.pid == process.pid and running.ready:
                return running
            return process.poll()

        found = until(lambda: looked() is not None, START_S) and looked()
        if isinstance(found, int) and not isinstance(found, bool):
            with log.open(encoding="utf-8", errors="replace") as file:
                file.seek(size)
                said = file.read()
            self.output.error(last_line(said) or f"the peer ended with status {found}; see {log}")
            return found or ERROR
        return self._tell(read_running(folder), already=False)

    def _tell(self, running: Running | None, *, already: bool) -> int:
        folder = self.options.folder
        if running is None:
            self.output.error(f"the peer does not say where it is; see {folder / 'up.log'}")
            return UNREACHABLE
        if self.options.json:
            fields = {"at": running.at, "pid": running.pid, "data": str(folder), "ready": running.ready}
            told = {**jsonlines.make("Up", already=already), "peer": fields}
            self.output.write(jsonlines.encode(told))
            return DONE
        where = f"at {running.at} (process {running.pid}, its state is in {folder})"
        data = "" if folder == data_folder() else f" --data {self.options.data}"
        if already:
            self.output.answer([f"a peer runs already {where}"])
        else:
            self.output.answer([f"a peer is up {where}"])
            if hosts.is_open(self.options.bind or self.options.host):
                self.output.say(hosts.OPEN)
            at = f" --at {running.at}" if data else ""
            self.output.say(f"store a file in its ring by: overlay put FILE{at}; end it by: overlay down{data}")
        if not running.ready:
            self.output.say(f"it has not found its ring yet, and goes on looking; see {folder / 'up.log'}")
        return DONE


class Down:
    """The command `down`, which waits until the peer has handed over what it keeps, and ended."""

    def __init__(self, options: argparse.Namespace, output: Output):
        self.options = options
        self.output = output

    def run(self) -> int:
        """The exit status."""
        folder: Path = self.options.folder
        if not is_up(folder):
            return self._tell("nothing runs in the background" + f" for {folder}", DONE)
        running: Running | None = until(lambda: read_running(folder), START_S)
        sent = running is not None and signal_peer(folder, running, signal.SIGTERM)
        if not sent and not is_free(folder):
            return self._tell(f"the peer of {folder} does not say which process it is", ERROR)
        if not until(lambda: is_free(folder), self.options.timeout):
            why = f"it still hands over after {self.options.timeout:g} s, and goes on; see {folder / 'up.log'}"
            return self._tell(why, UNREACHABLE)
        after = read_running(folder)
        if after is not None and after.left:
            return self._tell(after.left, ERROR)
        return self._tell("the peer has handed over what others could take, and ended", DONE)

    def _tell(self, text: str, status: int) -> int:
        if self.options.json:
            self.output.write(jsonlines.encode(jsonlines.make("Down", status=status, why=text)))
        elif status == DONE:
            self.output.answer([text])
        else:
            self.output.error(text)
        return status
