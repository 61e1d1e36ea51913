"""The private file of a trap: what a member refuses to sign."""

import json
from pathlib import Path
from typing import Any

import pytest
from glasshouse_verify.codec import encode
from glasshouse_verify.dsse import parse_envelope, statement_id
from glasshouse_verify.errors import VerifyError
from glasshouse_verify.statement import Use, make_statement
from glasshouse_verify.trap import Trap
from trapping import MEMBERS, Trapping, opening
from world import NOW, digest

from glasshouse.cli.trap import TrapFile, read_trap
from glasshouse.parties.errors import SettingsError


def trap_file(**changes: Any) -> TrapFile:
    world = Trapping()
    release = world.lay(*MEMBERS, sha256=changes.pop("sha256", None))
    payload = next(e.payload for e in map(parse_envelope, world.entries) if statement_id(e.payload) == release)
    opened = opening(release)
    commitment = make_statement(Use.TRAP, Trap(party="acme", commitment=opened.commitment, time=NOW))
    fields = {"release": payload.decode(), "opening": opened, "commitment": commitment.decode(), "signatures": ()}
    return TrapFile(**(fields | changes))


def written(place: Path, trap: TrapFile) -> Path:
    place.write_text(json.dumps(encode(trap)))
    return place


def test_a_trap_is_read_as_it_was_written(tmp_path: Path) -> None:
    trap = trap_file()
    assert read_trap(written(tmp_path / "trap.json", trap)) == trap


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"sha256": digest(b"the engine as shipped")}, "no trap"),
        ({"opening": opening(digest(b"another release"))}, "does not hold what opens"),
    ],
)
def test_what_could_be_installed_or_not_be_opened_is_not_signed(
    tmp_path: Path, changes: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(SettingsError, match=complaint):
        read_trap(written(tmp_path / "trap.json", trap_file(**changes)))


def test_another_kind_of_statement_is_not_signed(tmp_path: Path) -> None:
    trap = trap_file()
    for changes in ({"commitment": trap.release}, {"release": trap.commitment}):
        with pytest.raises((SettingsError, VerifyError)):
            read_trap(written(tmp_path / "trap.json", TrapFile(**(vars(trap) | changes))))
