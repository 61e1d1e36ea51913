"""R4 Logged, but not rebuilt.

Cheat: the vendor logs source and release properly and offers the file before, or without, anybody having rebuilt it; or
    with one rebuild where the charter asks for two; or with verdicts on the version before.
Noticed by: the customer, offline, from the evidence alone.
Seen: exit 5, undecided: how many of the rebuilds that the charter asks for there are, and that no status speaks of it.
"""

import pytest
from glasshouse_verify.report import Outcome
from glasshouse_verify.statement import Verdict
from world import World, texts

NEXT = b"the next version as shipped"


@pytest.fixture
def world() -> World:
    return World()


def test_attack_nobody_has_rebuilt_it(world: World) -> None:
    world.release()
    report = world.verify()
    assert report.outcome == Outcome.UNDECIDED
    assert "0 of the 2 rebuilds" in texts(report)["rebuild"]
    assert "no status" in texts(report)["status"]


def test_attack_a_status_does_not_stand_for_a_rebuild(world: World) -> None:
    world.release()
    world.status()
    report = world.verify()
    assert report.outcome == Outcome.UNDECIDED
    assert set(texts(report)) == {"rebuild"}


def test_attack_one_rebuild_where_two_are_asked_for(world: World) -> None:
    world.rebuild(world.release(), "lab")
    world.status()
    assert "1 of the 2 rebuilds" in texts(world.verify())["rebuild"]


def test_attack_verdicts_on_the_version_before(world: World) -> None:
    world.honest()
    world.release("2.0", shipped=NEXT)
    world.status()
    report = world.verify(shipped=NEXT)
    assert report.outcome == Outcome.UNDECIDED
    assert "0 of the 2 rebuilds" in texts(report)["rebuild"]


@pytest.mark.parametrize("verdict", [Verdict.BUILD_FAILED, Verdict.PACK_NOT_RECEIVED])
def test_attack_a_rebuild_without_a_result(world: World, verdict: Verdict) -> None:
    release = world.release()
    world.rebuild(release, "lab")
    world.rebuild(release, "second", verdict)
    world.status()
    assert world.verify().outcome == Outcome.UNDECIDED


def test_control_both_have_rebuilt_it(world: World) -> None:
    world.honest()
    assert world.verify().outcome == Outcome.VERIFIED
