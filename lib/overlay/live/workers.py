"""The pools that a process shares: what blocks (bodies, hashes, disk syncs) is done here and nowhere else."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable

IDLE_S = 2.0
"""A worker with nothing to do ends after so long."""

log = logging.getLogger(__name__)
Job = Callable[[], None]


class Workers:
    """At most `limit` threads, started when they are needed. A job handles its own errors."""

    def __init__(self, name: str, limit: int):
        self._name = name
        self._limit = limit
        self._jobs: deque[Job] = deque()
        self._changed = threading.Condition()
        self._threads = 0
        self._idle = 0

    def submit(self, job: Job) -> None:
        """Run it when a worker is free; the first come are the first served."""
        with self._changed:
            self._jobs.append(job)
            if self._idle >= len(self._jobs):
                self._changed.notify()
            elif self._threads < self._limit:
                self._threads += 1
                threading.Thread(target=self._work, name=self._name, daemon=True).start()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._idle += 1
                self._changed.wait_for(lambda: self._jobs, IDLE_S)
                self._idle -= 1
                if not self._jobs:
                    self._threads -= 1
                    return
                job = self._jobs.popleft()
            try:
                job()
            except Exception:
                # Jobs tell their own peer what went wrong; the pool is everybody's and goes on.
                log.exception("a job of %s failed", self._name)
            del job


class Lane:
    """Jobs that are done one after the other, in order, on whichever worker is free."""

    def __init__(self, workers: Workers):
        self._workers = workers
        self._jobs: list[Job] = []
        self._lock = threading.Lock()
        self._running = False
        self._over: threading.Event | None = None
        """Set when nothing is left to do; made by whoever waits for that."""

    def submit(self, job: Job) -> None:
        """Run it after those before it."""
        with self._lock:
            self._jobs.append(job)
            if self._running:
                return
            self._running = True
        self._workers.submit(self._work)

    def drain(self, timeout_s: float) -> bool:
        """Wait until nothing is left to do."""
        with self._lock:
            if not self._running:
                return True
            over = self._over = self._over or threading.Event()
        return over.wait(timeout_s)

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._jobs:
                    self._running = False
                    over, self._over = self._over, None
                    if over is not None:
                        over.set()
                    return
                job = self._jobs.pop(0)
            try:
                job()
            except Exception:
                log.exception("a job failed")


DISK = Workers("overlay-disk", 4)
BODIES = Workers("overlay-body", 8)
HASHES = Workers("overlay-hash", 8)
SCRUBS = Workers("overlay-scrub", 1)
