"""The parameters of a file: config/params.toml says what the structs say, and what cannot be is told in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec import structs

from overlay.app import parameters
from overlay.app.arguments import peer_arguments
from overlay.errors import LocalError
from overlay.ring.admission import unlike
from overlay.store.replicated.config import ReplicasConfig

FILE = Path(__file__).resolve().parents[2] / "config" / "params.toml"


def test_the_file_is_what_the_structs_are_and_says_why() -> None:
    text = FILE.read_text()
    assert text == parameters.text(), "write it again: overlay params > config/params.toml"
    there = {name: default for name, default in parameters.SECTIONS.items() if name not in parameters.OPTIONAL}
    assert parameters.read(text).sections == there == parameters.read("").sections
    everything = "\n".join(line.removeprefix("# ") if "=" in line or "[" in line else "" for line in text.splitlines())
    optional = everything[everything.index("[swim]") :]
    assert parameters.read(optional).sections["swim"] == parameters.SECTIONS["swim"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[rng]", 'there is no section "rng"; did you mean ring?'),
        ("copies = 3", 'there is no section "copies"'),
        ("[store]\ncopis = 2", "there is no store.copis; did you mean copies?"),
        ("[store]\ncopies = 2.5", 'store.copies is a whole number, not "2.5"'),
        ("[store]\ncopies = true", 'store.copies is a whole number, not "True"'),
        ("[store]\nsync_s = -1", "store.sync_s is a number of seconds from 0.001"),
        ("[store]\nsync_s = nan", 'store.sync_s is a number of seconds, not "nan"'),
        ("[store]\ncopies = 2", "store: durable = 3 and copies = 2"),
        ("[ring]\nbits = 33", "ring: ids have 8 to 32, 64, 128 or 160 bits, not 33"),
        ("[swim]\ntimer = 1", 'swim.timer is true or false, not "1"'),
        ("[ring", "at end of document"),
    ],
)
def test_what_cannot_be_is_told_in_one_line(
    text: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "some.toml"
    path.write_text(text)
    with pytest.raises(SystemExit) as ended:
        peer_arguments(["create", "--config", str(path)])
    printed = capsys.readouterr().err
    assert (ended.value.code, printed.count("\n")) == (2, 1) and says in printed


def test_an_option_goes_before_the_file(tmp_path: Path) -> None:
    path = tmp_path / "some.toml"
    path.write_text("[ring]\nbits = 32\nsuccessors = 4\n[pings]\ninterval_s = 1")
    options = peer_arguments(["create", "--config", str(path), "--bits", "64"])
    assert (options.bits, options.successors, options.interval) == (64, 4, 1.0)
    with pytest.raises(LocalError, match="cannot read"):
        parameters.load(str(tmp_path / "none"))


def test_a_peer_that_does_not_fit_its_ring_is_told_by_which_parameter() -> None:
    ring = parameters.shape_of_new(parameters.read(""), 64, None)
    assert unlike(ring, parameters.shape_wanted(ring, parameters.read(""), None, None)) == ""
    for text, says in (
        ("[store]\ncopies = 5", "the ring has store.copies = 3, the newcomer store.copies = 5"),
        ("[store]\ntombstone_s = 60", "the ring has store.tombstone_s = 2592000, the newcomer store.tombstone_s = 60"),
        ("[swim]", "the ring has no SWIM for its failure detector, unlike the newcomer"),
    ):
        assert unlike(ring, parameters.shape_wanted(ring, parameters.read(text), None, None)) == says
    plain = structs.replace(ring, agreed=())
    assert unlike(ring, plain) == "the ring has store.copies = 3, the newcomer no store.copies"
    joining = parameters.read("[store]\nsync_s = 2")
    assert parameters.store_of(ring, joining) == ReplicasConfig(sync_s=2.0)
    assert parameters.preset_of(ring, joining).ring.bits == 64
