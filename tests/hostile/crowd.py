"""Strangers by the thousand: connections that say nothing, or a byte now and then, and come back when they are closed."""

from __future__ import annotations

import contextlib
import resource
import socket
import sys
import threading
from collections.abc import Iterator

PER_ADDRESS = 32
"""From one address no more are let in at all."""


def make_room(wanted: int) -> int:
    """How many sockets this process may have, up to `wanted`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = 65536 if hard == resource.RLIM_INFINITY else hard
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(limit, wanted + 500)), hard))
    return min(wanted, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 300)


def _connect(address: tuple[str, int], number: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    sock = socket.socket(family)
    sock.setblocking(False)
    if family == socket.AF_INET:
        # Linux has all of 127.0.0.0/8; elsewhere they all come from one address.
        with contextlib.suppress(OSError):
            sock.bind((f"127.0.1.{1 + number // PER_ADDRESS % 250}", 0))
    with contextlib.suppress(OSError):
        sock.connect(address)
    return sock


@contextlib.contextmanager
def crowd(address: tuple[str, int], dribbling: int, idle: int) -> Iterator[None]:
    """So many at the address, all the time."""
    count = make_room(dribbling + idle)
    dribbling = dribbling * count // (dribbling + idle)
    socks = [_connect(address, number) for number in range(count)]
    over = threading.Event()

    def dribble() -> None:
        number = 0
        # Each has its turn every few seconds: slower than that and a frame's time is over, faster is no dribble.
        while not over.wait(0.002):
            number = (number + 1) % count
            try:
                # The beginning of a frame of a hundred bytes that never ends, or nothing.
                socks[number].send(b"\0" if number < dribbling else b"")
                if socks[number].recv(1) == b"":
                    raise ConnectionResetError
            except BlockingIOError:
                continue
            except OSError:
                socks[number].close()
                socks[number] = _connect(address, number)

    thread = threading.Thread(target=dribble, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        for sock in socks:
            sock.close()


def main() -> None:
    """A crowd in a process of its own, until its input ends: `python -m tests.hostile.crowd HOST PORT DRIBBLING IDLE`."""
    host, port, dribbling, idle = sys.argv[1:]
    with crowd((host, int(port)), int(dribbling), int(idle)):
        print("all are there", flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
