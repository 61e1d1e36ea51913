"""Status rows: their keys, their bounds, and the manifest that they make."""

from typing import Any

import pytest
from glasshouse_verify.alarm import Hold
from glasshouse_verify.codec import decode, encode
from glasshouse_verify.errors import FormatError
from glasshouse_verify.manifest import MAX_ROW, ManifestTree, format_row, parse_rows
from glasshouse_verify.statement import Action, ReleasedFile, Use, Verdict, make_statement
from glasshouse_verify.status import StandingVerdict, StatusRow, status_key
from world import FILE, NOW, PLATFORM, World, digest

from glasshouse.ledger.history import MAX_NAMED, MAX_REASON

KEY = f"acme/engine/1.0/{PLATFORM}/{FILE}"


def only_row(world: World) -> dict[str, Any]:
    (row,) = world.history.status_rows()
    return row


def test_a_row_of_the_honest_run() -> None:
    world = World()
    release = world.honest()
    rebuilds = {r.predicate.party: r.id for r in world.history.standing(Use.REBUILD)}
    assert only_row(world) == {
        "conflicts": [],
        "holds": [],
        "index": 2,
        "key": KEY,
        "release": release,
        "sha256": world.statement(release).files[0].sha256,
        "verdicts": {
            party: {"blind": False, "statement": rebuilds[party], "verdict": "identical"} for party in ("lab", "second")
        },
    }


def test_who_has_said_nothing_has_an_empty_verdict() -> None:
    world = World()
    world.release()
    assert only_row(world)["verdicts"] == {"lab": {}, "second": {}}
    assert encode(StandingVerdict()) == {}


def test_rows_parse_strictly() -> None:
    world = World()
    world.honest()
    row = only_row(world)
    assert encode(decode(StatusRow, row, "row")) == row
    for name in row:
        with pytest.raises(FormatError, match=f"row.{name}: is missing"):
            decode(StatusRow, {other: value for other, value in row.items() if other != name}, "row")
    with pytest.raises(FormatError, match="not a known member"):
        decode(StatusRow, row | {"stranger": 1}, "row")


def test_the_key_names_product_version_platform_and_file() -> None:
    world = World()
    release = world.statement(world.release())
    assert status_key(release, release.files[0]) == KEY


def test_rows_are_sorted_and_each_file_has_one() -> None:
    world = World()
    for version in ("2.0", "1.10", "1.9", "10"):
        files = tuple(
            ReleasedFile(platform=platform, name=name, sha256=digest((version + platform + name).encode()))
            for platform in ("linux-x86_64", "windows")
            for name in ("a.whl", "b.whl")
        )
        world.release(version, files=files)
    rows = list(world.history.status_rows())
    keys = [row["key"] for row in rows]
    assert keys == sorted(keys)
    assert len(set(keys)) == 16
    assert ManifestTree(rows).size == 16


def test_the_status_blob_holds_the_rows() -> None:
    world = World()
    world.honest()
    status = world.statement(world.status())
    rows = list(parse_rows(world.blobs[status.blob]))
    tree = ManifestTree(rows)
    assert (tree.root.hex(), tree.size) == (status.rows.root, status.rows.size)


@pytest.mark.parametrize(
    ("given", "standing"),
    [
        ([Verdict.IDENTICAL, Verdict.DIFFERS], Verdict.DIFFERS),
        ([Verdict.DIFFERS, Verdict.IDENTICAL], Verdict.DIFFERS),
        ([Verdict.BUILD_FAILED, Verdict.IDENTICAL], Verdict.BUILD_FAILED),
        ([Verdict.PACK_NOT_RECEIVED, Verdict.BUILD_FAILED], Verdict.BUILD_FAILED),
        ([Verdict.STABILISED_EQUAL, Verdict.IDENTICAL], Verdict.STABILISED_EQUAL),
    ],
)
def test_of_several_standing_verdicts_the_worst_is_shown(given: list[Verdict], standing: Verdict) -> None:
    world = World()
    release = world.release()
    for n, verdict in enumerate(given):
        world.rebuild(release, "lab", verdict, time=NOW + n)
    assert only_row(world)["verdicts"]["lab"]["verdict"] == standing


def test_of_two_equal_verdicts_the_earlier_is_shown() -> None:
    world = World()
    release = world.release()
    first = world.rebuild(release, "lab")
    world.rebuild(release, "lab", time=NOW)
    assert only_row(world)["verdicts"]["lab"]["statement"] == first


def test_a_verdict_on_other_digests_is_none_on_this_file() -> None:
    world = World()
    release = world.release()
    other = World()
    world.rebuild(release, "lab", files=other.rebuild_of(other.release(shipped=b"other"), "lab").files)
    assert only_row(world)["verdicts"]["lab"] == {}


def longest_world() -> World:
    """Everything that one party can do to make a row long: names, holds, reasons, and releases of one version."""
    world = World()
    name = "\U0001f600" * 255
    release = world.release("9" * 64, name=name)
    for n in range(3 * MAX_NAMED):
        hold = Hold(party="acme", action=Action.HOLD, release=release, reason='"' * 4_000, time=n)
        world.post(make_statement(Use.HOLD, hold), "acme")
        world.release("9" * 64, name=name, shipped=b"%d" % n, time=n)
    return world


def test_no_party_can_make_a_row_too_long_to_write() -> None:
    world = longest_world()
    row = only_row(world)
    assert len(row["holds"]) == len(row["conflicts"]) == MAX_NAMED
    assert {len(hold["reason"]) for hold in row["holds"]} == {MAX_REASON}
    assert len(format_row(row)) < MAX_ROW // 2
    assert world.status() in world.history.records
