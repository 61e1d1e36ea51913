"""R10 A second artifact for one customer under the same version.

Cheat: the vendor releases a version, all is well, and then logs a second release of the same version for one customer:
    other bytes under the same file name, or under another one, properly signed and even rebuilt.
Noticed by: the parties that sign the status, and through it both customers, the favoured and the ordinary; any auditor.
Seen: exit 3 for both files once the next status is out, exit 5 for the second file until then; the auditor's rule
    `releases` raises an alarm.
"""

import pytest
from forgery import clean_row, forge
from glasshouse_verify.report import Outcome
from onlookers import alarms
from world import FILE, World, texts

from glasshouse.ledger.history import MAX_NAMED

SECOND = b"the engine for one customer"
OTHER_NAME = "engine-1.0-1.whl"


def twice(name: str = FILE) -> tuple[World, str, str]:
    """The honest run, then a second release of the same version with its rebuilds, and no status yet."""
    world = World()
    first = world.honest()
    world.now += 60
    second = world.release(shipped=SECOND, name=name, time=world.now)
    for party in ("lab", "second"):
        world.rebuild(second, party, time=world.now)
    return world, first, second


def test_control_one_release_of_each_version() -> None:
    world = World()
    world.honest()
    release = world.release("1.1", shipped=SECOND, name="engine-1.1.whl")
    for party in ("lab", "second"):
        world.rebuild(release, party)
    world.status()
    assert world.verify().outcome == Outcome.VERIFIED
    assert world.verify(shipped=SECOND).outcome == Outcome.VERIFIED
    assert alarms(world) == {}


@pytest.mark.parametrize("name", [FILE, OTHER_NAME])
def test_attack_second_release_of_a_version(name: str) -> None:
    world, _, second = twice(name)
    status = world.status()
    for shipped in (world.verify(), world.verify(shipped=SECOND)):
        assert shipped.outcome == Outcome.MISMATCH
        assert list(texts(shipped)) in (["status"], ["rebuild", "status"])
    assert any("1.0" in text for text in alarms(world)["releases"])
    report = world.verify(forge(world, second, rebuilds=[8, 9], status=status), SECOND)
    assert report.outcome == Outcome.MISMATCH


@pytest.mark.parametrize("name", [FILE, OTHER_NAME])
def test_attack_hurried_before_the_next_status(name: str) -> None:
    """The status in hand speaks of the first release only: the second file is never verified by it."""
    world, first, second = twice(name)
    report = world.verify(shipped=SECOND)
    assert report.outcome in (Outcome.UNDECIDED, Outcome.MISMATCH)
    assert world.verify().outcome == Outcome.VERIFIED
    row = clean_row(world, second)
    report = world.verify(forge(world, second, rebuilds=[8, 9], status=5, row=row), SECOND)
    assert report.outcome == Outcome.NOT_AUTHORISED
    assert world.statement(first).version == world.statement(second).version


def hiding_status(world: World, second: str) -> bytes:
    """A status that shows the second release as the only one."""
    given = world.history.verdicts(world.history.records[second])
    return world.status_of([clean_row(world, second, [given["lab"][0].id, given["second"][0].id])])


@pytest.mark.parametrize("signers", [("lab",), ("second",), ("acme", "lab"), ("mallory",)])
def test_attack_status_that_hides_the_other_release(signers: tuple[str, ...]) -> None:
    """One status party in league with the vendor leaves the conflict out; the other one does not sign that."""
    world, _, second = twice()
    status = world.post(hiding_status(world, second), *signers)
    report = world.verify(forge(world, second, rebuilds=[8, 9], status=status), SECOND)
    assert report.outcome == (Outcome.UNDECIDED if {"lab", "second"} & set(signers) else Outcome.NOT_AUTHORISED)
    assert list(texts(report)) == ["status"]


def test_control_that_status_would_pass_if_both_parties_lied() -> None:
    """What the attack above lacks is the second signature: nothing else stopped it. Monitors still see the conflict."""
    world, _, second = twice()
    status = world.post(hiding_status(world, second), "lab", "second")
    assert world.verify(forge(world, second, rebuilds=[8, 9], status=status), SECOND).outcome == Outcome.VERIFIED
    assert "releases" in alarms(world)


def test_attack_so_many_releases_that_no_row_could_hold_them() -> None:
    """A flood of second releases must not make the status, which speaks of every vendor's files, impossible."""
    world, _, _ = twice()
    for n in range(3 * MAX_NAMED):
        world.release(shipped=b"flood %d" % n, time=world.now + n)
    (row,) = world.history.status_rows()
    assert len(row["conflicts"]) == MAX_NAMED
    world.status()
    assert world.verify().outcome == Outcome.MISMATCH


def test_control_another_vendor_cannot_spoil_a_version() -> None:
    """Releases of acme's product signed by somebody else are no second releases."""
    world = World(parties={"lab": {"keys": {}}})
    world.honest()
    foreign = world.release(shipped=SECOND, by="lab")
    forged = world.release(shipped=SECOND, by="second", party="second")
    world.status()
    assert world.verify().outcome == Outcome.VERIFIED
    assert foreign not in world.history.records
    assert forged not in world.history.records
