"""What clients of a replicated store were told, and whether what they read in the end is right.

The promise that is tested (docs/store.md): the final value of a name is that of a write which was acknowledged, or of which
nobody knows; it is not causally older than an acknowledged one; and of those that are concurrent it is the one with the
greatest version. Causality is the order of a session's answered operations and what they read, transitively, over all names.
"""

from __future__ import annotations

from overlay.store.replicated.messages import NEVER, Version

UNKNOWN, OK, FAILED = "unknown", "ok", "failed"


class Written:
    """One write of a session: a put of a value that nobody else puts, or a delete."""

    def __init__(self, number: int, name: bytes, value: bytes | None, before: int, expires: float):
        self.number = number
        self.name = name
        self.value = value
        self.before = before
        """The writes that happened before this one, a bit each."""
        self.expires = expires
        self.outcome = UNKNOWN
        self.version = NEVER

    @property
    def known(self) -> int:
        """Whoever knows of this write knows of these."""
        return self.before | 1 << self.number

    def __repr__(self) -> str:
        return f"<{self.number} {self.name!r} {self.value and self.value[:9]!r} {self.outcome} {self.version}>"


class History:
    """All writes of a run."""

    def __init__(self) -> None:
        self.writes: list[Written] = []
        self._by_value: dict[bytes, Written] = {}
        self.complaints: list[str] = []

    def write(self, name: bytes, value: bytes | None, known: int, expires: float = 0.0) -> Written:
        """A write begins; `known` is what its session knows of."""
        written = Written(len(self.writes), name, value, known, expires)
        self.writes.append(written)
        if value is not None:
            self._by_value[value] = written
        return written

    def of(self, name: bytes) -> list[Written]:
        """The writes of one name."""
        return [written for written in self.writes if written.name == name]

    def read(self, name: bytes, value: bytes | None, version: Version) -> int:
        """Somebody read this: what he knows of now. A tombstone is known by its version alone."""
        if value is None:
            told = [w for w in self.of(name) if w.version == version != NEVER]
            return told[0].known if told else 0
        written = self._by_value.get(value)
        if written is None or written.name != name or written.outcome == FAILED:
            self.complaints.append(f"{name!r} was read as {value[:9]!r}, which nobody wrote")
            return 0
        return written.known

    def judge(self, name: bytes, value: bytes | None, version: Version, now: float) -> str:
        """What is wrong with this final value of a name; nothing if it is right."""
        writes = self.of(name)
        acknowledged = [w for w in writes if w.outcome == OK]
        newer = [w for w in acknowledged if w.version > version]
        if newer:
            return f"{name!r} is {value and value[:9]!r} of {version}, and lost are {newer}"
        if value is None:
            ends = [w for w in writes if w.outcome != FAILED and (w.value is None or 0 < w.expires <= now)]
            good = not acknowledged or any(not _is_older(end, acknowledged) for end in ends)
            return "" if good else f"{name!r} is lost; acknowledged were {acknowledged}"
        final = self._by_value.get(value)
        if final is None or final.name != name or final.outcome == FAILED:
            return f"{name!r} is {value[:9]!r}, which nobody wrote"
        if _is_older(final, acknowledged):
            return f"{name!r} is {final}, which is older than one of {acknowledged}"
        return ""


def _is_older(write: Written, others: list[Written]) -> bool:
    return any(other.before >> write.number & 1 for other in others)
