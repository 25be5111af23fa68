"""Peers on real threads and sockets: the assignment's ring from its beginning to its end, and what is refused on the way."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from typing import Any

import pytest

from overlay.core.pending import Pending
from overlay.errors import Indefinite, LocalError, RemoteError
from overlay.live import threads
from overlay.peer import Outcome, Peer
from overlay.peer.address import parse_address, show_address
from overlay.ring.events import (
    Departed,
    DepartureReceived,
    JoinAccepted,
    JoinReceived,
    JoinRefused,
    PeerDied,
    PingAnswered,
    PingReceived,
    PingsSent,
    SuccessorChangeReceived,
    SuccessorsChanged,
)
from overlay.store.events import (
    FileFound,
    FileHere,
    HandedOver,
    LeftBehind,
    NotStored,
    PlaceholderMade,
    Received,
    Receiving,
    Sending,
    Sent,
    StoreAccepted,
    Stored,
    StorePlaced,
    TookOver,
)
from tests.peer.support import PATIENCE_S, House, threads_of


def done(pending: Pending[Any]) -> Any:
    """Its value, or its error raised."""
    assert isinstance(pending, Outcome)
    return pending.wait(PATIENCE_S)


# The assignment's ring ---------------------------------------------------------------------------------------


def test_the_example_ring_forms_takes_in_lets_go_and_heals(house: House) -> None:
    house.ring()
    house.hear(2, PingsSent((4, 5)), PingAnswered(4))
    house.hear(4, PingReceived(2))
    assert house.told(2) == [], "nothing changed"

    newcomer = house.make(15)
    done(newcomer.join(4))
    assert newcomer.ready.done
    house.hear(14, JoinReceived(15), SuccessorsChanged(15, 19))
    house.hear(9, SuccessorChangeReceived(), SuccessorsChanged(14, 15))
    assert house.told(15) == [JoinAccepted(19, 2)]
    assert [member.contact.id for member in done(house.peers[2].ring())] == [2, 4, 5, 8, 9, 14, 15, 19]

    done(house.peers[9].quit())
    house.hear(8, DepartureReceived(9), SuccessorsChanged(14, 15))
    house.hear(5, DepartureReceived(9), SuccessorsChanged(8, 14))
    assert house.told(9)[-1] == Departed()
    assert house.peers[9].closed.is_set()

    house.until(lambda: house.around(8) == (4, 5, 14, 15) and house.around(14) == (5, 8, 15, 19))
    house.peers[14].kill()
    house.hear(8, PeerDied(14), SuccessorsChanged(15, 19))
    house.hear(5, PeerDied(14), SuccessorsChanged(8, 15))
    house.until(lambda: house.around(15) == (5, 8, 19, 2))


def test_a_record_is_stored_and_fetched(house: House) -> None:
    body = bytes(range(256)) * 5000
    (house.files / "2067.pdf").write_bytes(body)
    house.ring()
    assert done(house.peers[8].store("2067")) == Stored("2067", 19, len(body))
    assert done(house.peers[2].request("2067")) == Received("2067", len(body))
    assert (house.files / "received_2067.pdf").read_bytes() == body
    assert (house.files / f"peer-19-{house.base_port}" / "2067.pdf").read_bytes() == body
    assert house.peers[19].view().records == ("2067",)
    house.hear(19, StoreAccepted("2067"), FileHere("2067"), Sending("2067", 2), Sent("2067"))
    assert house.told(8) == [StorePlaced("2067", 19, (8, 9, 14, 19)), Stored("2067", 19, len(body))]
    route = (2, 4, 5, 8, 9, 14, 19)
    size = len(body)
    assert house.told(2) == [FileFound("2067", 19, route), Receiving("2067", 19, size), Received("2067", size)]


def test_what_nobody_has_and_what_is_no_name(house: House) -> None:
    house.ring((4, 8))
    with pytest.raises(RemoteError, match="File 0159 is not stored in the network"):
        done(house.peers[4].request("0159"))
    assert house.told(4) == [NotStored("0159")]
    for name in ("a912", "32134", "159", "٠١٥٩", "0159.pdf", ""):
        with pytest.raises(LocalError):
            house.peers[4].store(name)
        with pytest.raises(LocalError):
            house.peers[4].request(name)
    done(house.peers[4].store("0159"))
    house.hear(4, PlaceholderMade("0159"), Stored("0159", 4, 0))
    assert house.peers[4].cancel() == 0


def test_a_leaver_hands_its_records_over(house: House) -> None:
    (house.files / "0009.pdf").write_bytes(b"nine" * 1000)
    house.ring((4, 9, 14))
    done(house.peers[4].store("0009"))
    assert house.peers[9].view().records == ("0009",)
    done(house.peers[9].quit())
    house.hear(9, Departed(), HandedOver("0009", 14))
    house.hear(14, TookOver("0009", 9))
    (house.files / "0009.pdf").unlink()
    done(house.peers[4].request("0009"))
    assert (house.files / "received_0009.pdf").read_bytes() == b"nine" * 1000


def test_a_leaver_whose_records_nobody_took_says_so(house: House) -> None:
    (house.files / "0009.pdf").write_bytes(b"nine")
    house.ring((4, 9))
    done(house.peers[4].store("0009"))
    house.peers[4]._disk.quota = 0
    with pytest.raises(RemoteError, match="Peer 9 left with 1 of its records, which nobody took"):
        done(house.peers[9].quit(timeout_s=2))
    told = house.told(9)[-1]
    assert isinstance(told, LeftBehind)
    assert (told.names, told.folder) == (("0009",), str(house.files / f"peer-9-{house.base_port}"))
    with house.make(9, keep=True) as again:
        again.setup(9, 9)
        assert again.view().records == ("0009",)


@pytest.mark.parametrize("keep", [True, False])
def test_a_restart_keeps_its_records_if_asked_to(house: House, keep: bool) -> None:
    (house.files / "0009.pdf").write_bytes(b"nine")
    house.ring((9,))
    done(house.peers[9].store("0009"))
    house.peers[9].kill()
    peer = house.make(9, keep=keep)
    peer.setup(9, 9)
    assert peer.view().records == (("0009",) if keep else ())


# Addresses ---------------------------------------------------------------------------------------------------


def test_one_ring_on_several_addresses(house: House) -> None:
    (house.files / "0150.pdf").write_bytes(b"across")
    house.ring((3,))
    way_in = show_address("127.0.0.1", house.base_port + 3)
    for number, host in {100: "127.0.0.2", 200: "::1"}.items():
        done(house.make(number, host=host, base_port=0).join(way_in))
        way_in = show_address(host, house.peers[number].port)
    house.until(
        lambda: [house.around(n) for n in (3, 100, 200)] == [(100, 200, 100, 200), (200, 3, 200, 3), (3, 100, 3, 100)]
    )
    assert {member.contact.host for member in done(house.peers[200].ring())} == {"127.0.0.1", "127.0.0.2", "::1"}
    assert done(house.peers[100].store("0150")).peer == 200
    done(house.peers[3].request("0150"))
    assert (house.files / "received_0150.pdf").read_bytes() == b"across"


def test_a_successor_named_by_address_tells_its_id_when_it_starts(house: House) -> None:
    peer, later = house.make(4), house.make(8)
    peer.setup(show_address("127.0.0.1", later.port), 4)
    assert peer.view().awaited == (f"127.0.0.1:{later.port}",)
    assert not peer.ready.done
    later.setup(4, 8)
    assert peer.wait_ready(PATIENCE_S)
    assert later.wait_ready(PATIENCE_S)
    assert house.around(4)[2:] == (8, 4)


@pytest.mark.parametrize(
    "text",
    ["", "4", "localhost:12004", "::1:12002", "[::1]", "127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:٤", "0.0.0.0:1"],
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(LocalError, match="is no address such as"):
        parse_address(text)


@pytest.mark.parametrize("address", [("127.0.0.2", 12004), ("::1", 12002)])
def test_an_address_is_read_as_it_is_shown(address: tuple[str, int]) -> None:
    assert parse_address(show_address(*address)) == address


@pytest.mark.parametrize(
    "wrong",
    [
        {"id": -1},
        {"id": 256},
        {"ping_interval_s": 0.05},
        {"ping_interval_s": 3601},
        {"host": "0.0.0.0"},
        {"host": "::"},
        {"base_port": 65535},
    ],
)
def test_what_cannot_be_a_peer(wrong: dict[str, Any]) -> None:
    with pytest.raises(LocalError):
        Peer(**{"id": 4, **wrong})


# Refusals ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_port_of_another_program_is_named_and_nothing_is_half_started(house: House, kind: socket.SocketKind) -> None:
    peer = house.make(4)
    own = house.files / f"peer-4-{house.base_port}"
    transport = "TCP" if kind == socket.SOCK_STREAM else "UDP"
    with socket.socket(socket.AF_INET, kind) as other:
        if kind == socket.SOCK_STREAM:
            # Connections of an earlier test may still stand on this port, in TIME_WAIT.
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", house.base_port + 4))
        if kind == socket.SOCK_STREAM:
            other.listen()
        text = rf"^port {house.base_port + 4} \({transport}\) is in use by another program; choose --base-port$"
        with pytest.raises(LocalError, match=text):
            peer.setup(5, 8)
    assert threads_of(4) == []
    assert not own.exists()
    house.make(4).setup(4, 4)


def test_a_port_of_a_peer_is_told_as_that_peer_which_keeps_its_records(house: House) -> None:
    (house.files / "0004.pdf").write_bytes(b"four")
    house.ring((4,))
    done(house.peers[4].store("0004"))
    running = house.peers[4]
    with pytest.raises(LocalError, match=f"^Peer 4 is already running at 127.0.0.1:{house.base_port + 4}$"):
        Peer(4, base_port=house.base_port, files=house.files).join(5)
    assert running.view().records == ("0004",)
    done(running.request("0004"))


def test_an_id_that_is_there_is_refused(house: House) -> None:
    house.ring((4, 8))
    known = show_address("127.0.0.1", house.base_port + 4)
    twin = Peer(
        8, base_port=0, files=house.files, data=house.root / "twin", on_event=lambda _, event: told.append(event)
    )
    told: list[Any] = []
    try:
        with pytest.raises(RemoteError, match="Peer 8 is in the ring already"):
            done(twin.join(known))
        assert told == [JoinRefused("Peer 8 is in the ring already")]
    finally:
        twin.kill()
    assert house.around(4) == (4, 8, 8, 4)


def test_a_known_peer_that_is_not_there_is_said_to_be_unreachable(house: House) -> None:
    with pytest.raises(Indefinite, match=f"no peer answers at 127.0.0.1:{house.base_port + 5}"):
        done(house.make(4).join(5, timeout_s=0.5))


def test_a_folder_of_another_peer_is_not_shared(house: House) -> None:
    house.ring((4,))
    own = house.files / f"peer-4-{house.base_port}"
    with pytest.raises(LocalError, match="is used by another process; choose --data"):
        house.make(5, data=own).setup(5, 5)


# Life --------------------------------------------------------------------------------------------------------


def test_before_the_start_and_after_the_end(house: House) -> None:
    peer = house.make(4)
    assert peer.view().first is None
    with pytest.raises(LocalError, match="was not started"):
        peer.store("0004")
    peer.setup(5, 8)
    assert peer.view().awaited == (5, 8)
    with pytest.raises(LocalError, match="was started already"):
        peer.join(5)
    peer.kill()
    peer.kill()
    assert peer.closed.is_set()
    with pytest.raises(Indefinite, match="Peer 4 has ended"):
        done(peer.ready)
    with pytest.raises(LocalError, match="has ended"):
        peer.request("0004")
    done(peer.quit())
    assert not peer.wait_ready(PATIENCE_S)


def test_a_block_is_left_by_quitting_and_by_an_error_abruptly(house: House) -> None:
    house.ring((4, 8))
    with house.make(14) as guest:
        done(guest.join(8))
        house.hear(8, SuccessorsChanged(14, 4))
    house.hear(8, DepartureReceived(14))
    assert guest.closed.is_set()
    with pytest.raises(KeyError), house.make(14) as guest:
        done(guest.join(8))
        raise KeyError
    assert guest.closed.is_set()
    assert Departed() not in house.told(14)


def test_an_error_in_the_program_ends_the_peer_and_says_so(house: House) -> None:
    crashes: list[str] = []
    crashed = threading.Event()

    def on_event(peer: Peer, event: object) -> None:
        raise ZeroDivisionError

    def on_crash(peer: Peer, text: str) -> None:
        crashes.append(text)
        crashed.set()

    peer = Peer(4, base_port=0, files=house.files, on_event=on_event, on_crash=on_crash)
    peer.setup(4, 4)
    peer.store("0004")
    assert crashed.wait(PATIENCE_S)
    assert "ZeroDivisionError" in crashes[0]
    assert peer.closed.wait(PATIENCE_S)


def test_a_program_that_holds_a_thread_does_not_hold_up_the_end(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(threads, "JOIN_S", 0.3)
    held, let_go = threading.Event(), threading.Event()

    def on_event(peer: Peer, event: object) -> None:
        if threading.current_thread().name.endswith("-4"):
            held.set()
            let_go.wait()

    peer = Peer(4, ping_interval_s=0.1, base_port=house.base_port, files=house.files, on_event=on_event)
    peer.setup(8, 14)
    assert held.wait(PATIENCE_S)
    ending = threading.Thread(target=peer.kill, daemon=True)
    ending.start()
    ending.join(PATIENCE_S)
    assert not ending.is_alive()
    assert peer.closed.is_set()
    let_go.set()
    house.until(lambda: not threads_of(4))
    assert not caplog.records


def test_a_second_quit_is_the_first_and_a_kill_cuts_it_short(house: House) -> None:
    house.ring((4, 8))
    leaving = house.peers[8].quit()
    assert house.peers[8].quit() is leaving
    house.peers[8].kill()
    done(leaving)
    assert house.peers[8].closed.is_set()


def test_the_package_is_light_until_a_peer_is_wanted() -> None:
    code = "import sys, overlay; assert 'overlay.peer' not in sys.modules; assert 'msgspec' not in sys.modules; overlay.Peer"
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": "lib"})
