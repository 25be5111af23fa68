"""One run of a replicated store: a seed decides who comes, goes, dies and returns while clients put, get and delete."""

from __future__ import annotations

import gc
import random
from functools import partial
from typing import Any

from overlay.core.pending import Pending
from overlay.errors import LocalError, OverlayError
from overlay.sim import Faults
from overlay.store.replicated.config import Acked, Got, NotFound, ReplicasConfig
from overlay.store.replicated.messages import NEVER, Version
from tests.sweep.history import FAILED, OK, History, Written
from tests.sweep.run import Wrong
from tests.sweep.stores import BITS, StorePeer, StoreRing

TROUBLE_S = 60.0
"""How long things go wrong."""
HEAL_S = 240.0
"""Within which all must be right again."""
JOIN_AGAIN_S = 2.0
SMALL: dict[str, Any] = {"peers": 12, "trouble_s": 20.0}
"""The same actions, closer together."""
NOTICE_S = 6.0
"""Besides an interval of pings: until a death is noticed."""
LAST_S = 2.0
TTLS = (5.0, 30.0)
CLOCKS_S = 12.0
"""The wall clocks of two peers are at most so far apart, and so are their ideas of what has expired."""


class Session:
    """One client. It works at one peer, and at another when that is gone."""

    def __init__(self, run: StoreRun, number: int):
        self.run = run
        self.number = number
        self.known = 0
        """The writes it knows of, a bit each."""
        self.after: Version = NEVER
        self.peer: StorePeer | None = None
        self.busy = False

    def act(self) -> None:
        """One operation, at a peer that is there."""
        run, rng = self.run, self.run.rng
        peer = self.peer
        if peer is None or not peer.is_member or peer.quitting or rng.random() < 0.05:
            members = run.free()
            if not members:
                return
            peer = self.peer = rng.choice(members)
        name = rng.choice(run.names)
        self.busy = True
        kind = rng.random()
        if kind < 0.45:
            value = b"%d" % len(run.history.writes)
            if rng.random() < 0.15:
                value += b" and more" * 2000
            ttl_s = rng.choice(TTLS) if rng.random() < 0.1 else None
            expires = 0.0 if ttl_s is None else run.ring.sim.now + ttl_s
            written = run.history.write(name, value, self.known, expires)
            self._wait(peer, peer.replicas.put(name, value, after=self.after, ttl_s=ttl_s), written)
        elif kind < 0.6:
            written = run.history.write(name, None, self.known)
            self._wait(peer, peer.replicas.delete(name, after=self.after), written)
        else:
            self._read(peer, name)

    def _wait(self, peer: StorePeer, pending: Pending[Acked], written: Written) -> None:
        def done(_: Pending[Acked]) -> None:
            self.busy = False
            if pending.error is None:
                written.outcome, written.version = OK, pending.result().version
                self.known |= written.known
                self.after = max(self.after, written.version)
                self.run.acknowledged(written, pending.result().copies)
            elif isinstance(pending.error, LocalError):
                written.outcome = FAILED

        self._when_done(peer, pending, done)

    def _read(self, peer: StorePeer, name: bytes) -> None:
        pending = peer.replicas.get(name)

        def done(_: Pending[Got]) -> None:
            self.busy = False
            if pending.error is None:
                got = pending.result()
                self.learn(name, got.value, got.version)
            elif isinstance(pending.error, NotFound):
                self.learn(name, None, pending.error.version)

        self._when_done(peer, pending, done)

    def learn(self, name: bytes, value: bytes | None, version: Version) -> None:
        """What was read is known from now on."""
        self.known |= self.run.history.read(name, value, version)
        self.after = max(self.after, version)

    def _when_done(self, peer: StorePeer, pending: Pending, done) -> None:  # type: ignore[no-untyped-def, type-arg]
        self.waits_at = peer
        self.done = done

        def once(_: object) -> None:
            if self.done is done and self.busy:
                done(pending)

        pending.when_done(once)

    def look(self) -> None:
        """Whoever waits for a peer that is gone hears nothing any more."""
        if self.busy and self.waits_at.gone:
            self.busy = False


class StoreRun:
    """What a seed makes of a store. `run` raises Wrong, or returns."""

    def __init__(self, seed: int, peers: int = 32, trouble_s: float = TROUBLE_S):
        self.seed = seed
        self.trouble_s = trouble_s
        self.rng = rng = random.Random(f"store/{seed}")
        self.faults = Faults(loss=rng.choice((0.0, 0.0, 0.1, 0.2)), duplicate=rng.choice((0.0, 0.1)))
        self.count = peers
        self.least = peers * 2 // 3
        """So many members there must be, for one of them to leave or die; else a few would not come together any more."""
        self.config = ReplicasConfig(
            durable=rng.choice((3, 3, 3, 2)), sync_s=rng.choice((2.0, 4.0, 8.0)), tombstone_s=100_000.0
        )
        self.ring = StoreRing(
            seed,
            self.config,
            interval_s=rng.choice((0.5, 1.0, 2.0)),
            network=self.faults,
            write_s=rng.choice(((0.001, 0.005), (0.01, 0.05))),
        )
        self.history = History()
        self.names = [b"name-%d" % number for number in range(rng.choice((3, 10, 30)))]
        self.sessions = [Session(self, number) for number in range(6)]
        self.losses = 0
        """Peers that were lost for good since repair last reported k copies of everything."""
        self.lost_at = 0.0
        self.fewest = self.config.durable
        """Copies of which somebody was told since then: less in a ring that is smaller."""
        self.paused: dict[int, float] = {}
        self.calm_at = 0.0
        self.left_behind = 0
        self.end = 0.0
        self._look_at = 0.0
        self._is_calm = False

    def run(self) -> None:
        """The whole of it."""
        sim = self.ring.sim
        self.ring.form(self.rng.sample(range(1 << BITS), self.count))
        sim.run_for(3.0)
        self.end = sim.now + self.trouble_s
        while sim.now < self.end:
            sim.run_for(self.rng.choice((0.01, 0.1, 0.5, 2.0)) * self.rng.random())
            self._look()
            self._act()
        self.heal()
        try:
            sim.run_until(self._calm, HEAL_S)
        except OverlayError as error:
            raise Wrong(f"{error}: {'; '.join(self.wrong()[:6])}") from None
        self._judge()

    # What happens --------------------------------------------------------------------------------------------

    def free(self) -> list[StorePeer]:
        """Members to which something may happen."""
        return [peer for peer in self.ring.members() if peer.id not in self.paused]

    def _look(self) -> None:
        for session in self.sessions:
            session.look()
        # What a peer says before it can have noticed a loss is not about it.
        bad = self.losses or self.fewest < self.config.durable
        if bad and self.ring.sim.now > self.lost_at + self.ring.interval_s + NOTICE_S and self.is_repaired():
            self.losses = 0
            self.fewest = min(self.config.durable, len(self.ring.members()))

    def is_repaired(self) -> bool:
        """Whether every peer says that it knows of nothing that is missing."""
        peers = self.ring.peers.values()
        if (
            self.paused
            or self.ring.sim.now < self.calm_at
            or any(peer.away or (peer.quitting and not peer.gone) for peer in peers)
        ):
            return False
        return all(peer.is_member and peer.replicas.status().complete for peer in self.ring.live())

    def _act(self) -> None:
        for session in self.sessions:
            if not session.busy and self.rng.random() < 0.5:
                session.act()
        actions = {
            self._nothing: 20,
            self._join: 2,
            self._quit: 2,
            self._kill: 3,
            self._crash: 2,
            self._crash_keepers: 1,
            self._pause: 1,
            self._partition: 1,
        }
        self.rng.choices(list(actions), list(actions.values()))[0]()

    def _nothing(self) -> None:
        """Most of the time."""

    def _join(self) -> None:
        number = self.rng.randrange(1 << BITS)
        if number not in self.ring.peers and len(self.ring.live()) < self.count + 6:
            self._enter(self.ring.add(number))

    def _enter(self, peer: StorePeer) -> None:
        """Ask to be let in, until it is."""
        members = self.ring.members()
        if peer.gone or peer.is_member:
            return
        if not members:
            # The power failed everywhere: the first that is back begins, and the others find it there.
            if peer.contact.boot > 1:
                peer.parts.chord.begin((), awaited=False)
            else:
                self.ring.sim.at(self.ring.sim.now + JOIN_AGAIN_S, self._enter, peer)
            return
        known = self.rng.choice(members).contact

        def joined(pending: Pending[None]) -> None:
            if pending.error is not None:
                self.ring.sim.at(self.ring.sim.now + JOIN_AGAIN_S, self._enter, peer)

        peer.parts.admission.join(known.host, known.port).when_done(joined)

    def _quit(self) -> None:
        members = self.free()
        if len(members) > self.least:
            peer = self.rng.choice(members)
            self.ring.quit(peer).when_done(partial(self._left, peer))

    def _left(self, peer: StorePeer, pending: Pending[int]) -> None:
        """What it could not give away is still on its disk, and it was told so: it comes back."""
        if pending.result():
            self.left_behind += 1
            peer.away = True
            self.ring.sim.at(self.ring.sim.now + 5.0, self._return, peer.id)

    def _kill(self) -> None:
        members = self.free()
        most = self.fewest - 1
        if self.losses < most and len(members) > self.least:
            at = self.rng.randrange(len(members))
            for step in range(self.rng.randint(1, most - self.losses)):
                self.losses += 1
                self.lost_at = self.ring.sim.now
                self.ring.crash(members[(at + step) % len(members)])

    def _crash(self) -> None:
        if len(self.free()) > self.least:
            self.crash_and_return(self.rng.choice(self.free()))

    def _crash_keepers(self) -> None:
        self._cut_power(self.rng.choice(self.names))

    def acknowledged(self, written: Written, copies: int) -> None:
        """Now and then the power fails at that moment; most often in the end, when nobody writes over what is lost."""
        if copies < self.fewest:
            self.fewest, self.lost_at = copies, self.ring.sim.now
        if self.rng.random() < (0.5 if self.ring.sim.now > self.end - LAST_S else 0.06):
            self.ring.sim.call_soon(self._cut_power, written.name)

    def _cut_power(self, name: bytes) -> None:
        """All who keep a record crash at once, if enough others are there."""
        keepers = [peer for peer in self.ring.keepers(name) if peer.id not in self.paused]
        if len(self.ring.members()) > self.least:
            for peer in keepers:
                self.crash_and_return(peer)

    def crash_and_return(self, peer: StorePeer) -> None:
        """It loses what was not on disk, and comes back with what was."""
        peer.away = True
        self.ring.crash(peer)
        self.ring.sim.at(self.ring.sim.now + self.rng.choice((0.2, 1.0, 3.0, 15.0)), self._return, peer.id)

    def _return(self, number: int) -> None:
        if self.ring.peers[number].away:
            self._enter(self.ring.restart(number))

    def _pause(self) -> None:
        members = self.free()
        if len(members) > 2:
            peer, seconds = self.rng.choice(members), self.rng.choice((0.5, 3.0, 15.0))
            self.ring.sim.pause(peer.contact)
            self.paused[peer.id] = self.ring.sim.now + seconds
            self.ring.sim.at(self.ring.sim.now + seconds, self._resume, peer)

    def _resume(self, peer: StorePeer) -> None:
        if self.paused.pop(peer.id, None) is not None and not peer.gone:
            self.ring.sim.resume(peer.contact)

    def _partition(self) -> None:
        members = [peer.contact for peer in self.ring.live()]
        seconds = self.rng.choice((1.0, 10.0, 20.0))
        if self.rng.random() < 0.3 and len(members) > 1:
            self.faults.cut(*self.rng.sample(members, 2))
        else:
            share = self.rng.choice((0.1, 0.5))
            self.faults.partition([contact for contact in members if self.rng.random() < share])
        self.calm_at = max(self.calm_at, self.ring.sim.now + seconds)
        self.ring.sim.at(self.ring.sim.now + seconds, self.faults.heal)

    def heal(self) -> None:
        """From now on nothing goes wrong; who was away is back within seconds."""
        self.faults.heal()
        self.faults.loss = self.faults.duplicate = 0.0
        for number in list(self.paused):
            self._resume(self.ring.peers[number])

    # What must hold ------------------------------------------------------------------------------------------

    def _calm(self) -> bool:
        """Asked after every event, so the cheap questions come first."""
        sim = self.ring.sim
        if sim.now >= self._look_at:
            self._look_at = sim.now + 0.5
            for session in self.sessions:
                session.look()
            busy = any(session.busy for session in self.sessions)
            self._is_calm = not busy and self.is_repaired() and not self.ring.wrong_ring()
        return self._is_calm

    def wrong(self) -> list[str]:
        """Why it is not over."""
        said = [f"session {session.number} waits" for session in self.sessions if session.busy]
        said += [f"{peer.id} is away" for peer in self.ring.peers.values() if peer.away]
        for peer in self.ring.live():
            if not peer.is_member or peer.quitting:
                said.append(f"{peer.id} member {peer.is_member} quitting {peer.quitting}")
            elif not peer.replicas.status().complete:
                said.append(f"{peer.id} {peer.replicas.status()}")
        return said + self.ring.wrong_ring() + self.ring.misplaced()

    def _judge(self) -> None:
        """Everything is at the right peers; everybody reads the same, and that is right."""
        complaints = self.history.complaints + self.ring.misplaced(left_over=False)
        expired = max((written.expires for written in self.history.writes), default=0.0) + CLOCKS_S
        self.ring.sim.run_for(max(4 * self.config.sync_s, expired - self.ring.sim.now))
        complaints += self.ring.misplaced()
        for name in self.names:
            values = {self._final(name, self.rng.choice(self.ring.members())) for _ in range(2)}
            if len(values) > 1:
                complaints.append(f"{name!r} is read as {values}")
            complaints += [self.history.judge(name, value, version, self.ring.sim.now) for value, version in values]
        complaints = [complaint for complaint in complaints if complaint]
        if complaints:
            raise Wrong("; ".join(complaints[:5]))

    def _final(self, name: bytes, peer: StorePeer) -> tuple[bytes | None, Version]:
        pending = peer.replicas.get(name)
        try:
            got = self.ring.sim.run_until(pending, 60)
        except NotFound as error:
            return None, error.version
        assert got is not None
        return got.value, got.version


def one_store(seed: int) -> tuple[int, str]:
    """Run a seed: what was wrong, or nothing."""
    # A run is one large circle, and the simulation lets the collector rest.
    gc.collect()
    try:
        StoreRun(seed).run()
    except Exception as error:
        return seed, f"{type(error).__name__}: {error}"
    return seed, ""
