"""S1 Supervisor silent past its duty.

Cheat: the supervisor stops working: it signs no status, or gives no verdict, and says nothing about that either.
Noticed by: every customer, whose status goes stale; the other auditor and anybody who reads the ledger, because the
    duty and its deadline stand in the charter.
Seen: exit 5 from the maximum age of the status on, or as long as the verdict is missing; the auditor's rule `duties`
    names the missed duty.
"""

import pytest
from glasshouse_verify.report import Outcome
from glasshouse_verify.statement import Verdict
from onlookers import alarms
from world import DAY, NOW, World, texts


def test_control_duties_done() -> None:
    world = World()
    world.honest()
    assert alarms(world) == {}
    for _ in range(3):
        world.now += DAY // 2
        world.status()
        assert world.verify().outcome == Outcome.VERIFIED
        assert alarms(world) == {}


@pytest.mark.parametrize("late", [1, DAY, 300 * DAY])
def test_attack_no_status_any_more(late: int) -> None:
    world = World()
    world.honest()
    due = NOW - 60 + DAY
    assert world.verify(at=due).outcome == Outcome.VERIFIED
    assert alarms(world, due) == {}
    report = world.verify(at=due + late)
    assert report.outcome == Outcome.UNDECIDED
    assert list(texts(report)) == ["status"]
    assert alarms(world, due + late)["duties"] == ["no status of lab, second has followed this one within 86400 s"]


def test_attack_the_other_auditor_cannot_replace_the_silent_one() -> None:
    """It goes on alone; the quorum is missing, the alarm is the only thing it can do, and it does that."""
    world = World()
    world.honest()
    world.now += 2 * DAY
    world.status("second")
    report = world.verify()
    assert report.outcome == Outcome.UNDECIDED
    assert "older than the 86400 s allowed" in texts(report)["status"]
    assert "duties" in alarms(world)


def test_attack_an_old_status_signed_again() -> None:
    """The same statement logged again is no younger: its time is what it says."""
    world = World()
    world.honest()
    world.now += 2 * DAY
    world.post_entry(world.entries[5])
    assert world.verify().outcome == Outcome.UNDECIDED


def test_attack_no_verdict_ever() -> None:
    world = World()
    release = world.release()
    world.rebuild(release, "second")
    world.status()
    report = world.verify()
    assert report.outcome == Outcome.UNDECIDED
    assert texts(report) == {"rebuild": "1 of the 2 rebuilds that the charter asks for"}
    world.now += DAY + 1
    world.status()
    assert alarms(world)["duties"] == ["lab gave no verdict on acme/engine 1.0 within a day"]


def test_control_a_negative_verdict_is_no_missed_duty() -> None:
    world = World()
    release = world.release()
    world.rebuild(release, "lab", Verdict.BUILD_FAILED)
    world.rebuild(release, "second")
    world.now += DAY + 1
    world.status()
    assert "duties" not in alarms(world)
