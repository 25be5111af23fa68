"""overlay lab mass-join, mass-leave, mass-data, watch: simulated here; with processes in tests/end_to_end/test_mass.py."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from overlay.app.lab_program import main
from overlay.app.mass_program import read_records
from overlay.errors import LocalError
from overlay.lab.mass import SimulatedMass


def told(capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    """The last line of JSON."""
    last: dict[str, object] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return last


def test_half_of_a_simulated_ring_leaves_and_every_record_is_read_back(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["mass-leave", "--percent", "50", "--simulated", "--peers", "24", "--records", "200", "--json"]
    assert main(words) == 0
    left = told(capsys)
    assert (left["done"], left["failed"], left["lost"], left["records"]) == (12, 0, 0, 200)


def test_half_of_a_simulated_ring_crashes_and_what_is_lost_is_counted() -> None:
    records = {f"record {number}": b"%d" % number for number in range(400)}
    mass = SimulatedMass(3, 24)
    (*_, put) = mass.insert(records)
    keepers = {name: {p.contact.id for p in mass.peers.values() if name.encode() in held(p)} for name in records}
    (*_, crashed) = mass.leave(50, crash=True)
    dead = {name for name, holders in keepers.items() if not holders & mass.peers.keys()}
    mass.settle()
    (*_, found) = mass.lookup(records)
    assert (put.failed, crashed.done, len(mass.peers)) == (0, 12, 12)
    # Exactly those of which every copy was at a peer that crashed, and of three copies there are some.
    assert found.failed == len(dead) > 0
    (*_, joined) = mass.join(5)
    assert (joined.done, joined.failed, len(mass.picture())) == (5, 0, 17)


def held(peer: object) -> set[bytes]:
    """The names on one peer's disk."""
    shelf = peer.replicas._site.shelf  # type: ignore[attr-defined]
    return {shelf.get(tag).name for tag in shelf.tags((b"\0" * 20, b"\xff" * 20))}


def test_what_was_typed_wrongly_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, says in (
        (["mass-leave", "--percent", "500"], '"500" is not a percentage'),
        (["mass-join", "many"], '"many" is not a number'),
        (["mass-data", "x.json", "drop"], "invalid choice"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert ended.value.code == 2 and says in capsys.readouterr().err
    assert main(["mass-leave", "--percent", "50", "--data", str(tmp_path)]) == 4
    assert "no peer runs in" in capsys.readouterr().err
    path = tmp_path / "records.json"
    for text, says in (("{", "is no JSON"), ('{"a": 1}', "is no object of names and texts"), ("[]", "is no object")):
        path.write_text(text)
        with pytest.raises(LocalError, match=says):
            read_records(str(path))
