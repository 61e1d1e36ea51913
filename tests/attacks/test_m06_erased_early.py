"""M6 Erased before its time, as the statements show it.

Cheat: the old site says that it has erased, although the supervisor has not countersigned, before the quarantine that
    the members asked for has ended, or before they have closed the move; it signs with its real key, and backdates.
Noticed by: everybody who checks the move's evidence, offline; every auditor. The site's own software refuses to begin.
Seen: glasshouse verify ends with 3, or with 4 where no charter had closed the move; the rule relocation-erasure raises
    an alarm that says what had not been done.
"""

import pytest
from glasshouse_verify.region import Origin
from glasshouse_verify.relocation import Step
from glasshouse_verify.report import Outcome
from glasshouse_verify.shards import Sharded
from region_world import refused
from relocation_world import DAY, MOVE, OLD, MoveWorld
from world import digest

from glasshouse.relocation.errors import NotYet

EMPTY = {"erased": {"objects": 20_000}, "remains": (), "rows": Sharded(root=digest(b"empty"), size=0, depth=4)}


def come_to(step: Step, source: Origin = Origin.SITE) -> MoveWorld:
    world = MoveWorld(source)
    world.run(until=step)
    return world


def erased(world: MoveWorld, *previous: Step) -> list[str]:
    """The old site says it all the same, naming the newest of some steps; returns what auditors say."""
    named = tuple(world.course.need(step).id for step in previous)
    world.say(Step.ERASURE, previous=named, **EMPTY)
    return world.said()["relocation-erasure"]


@pytest.mark.parametrize("source", Origin)
@pytest.mark.parametrize("come", [Step.SOURCE, Step.FENCE, Step.ARRIVAL, Step.REVEAL])
def test_attack_nobody_has_countersigned(come: Step, source: Origin) -> None:
    world = come_to(come, source)
    with pytest.raises(NotYet, match="lab has not said countersign"):
        world.course.before(Step.ERASURE, "acme", OLD, world.now + 90 * DAY)
    world.close()
    world.later(30 * DAY)
    assert f"moscow erased for {MOVE}: no quarantine had been declared" in erased(world, come)
    refused(world.judge(), "erasure", Outcome.MISMATCH, "erasure without quarantine before it")
    assert world.judge().outcome == Outcome.MISMATCH


def test_attack_a_quarantine_without_a_countersignature() -> None:
    world = come_to(Step.REVEAL)
    fence = world.course.need(Step.FENCE).id
    world.say(Step.QUARANTINE, previous=(fence,))
    world.close()
    world.later(30 * DAY)
    assert erased(world, Step.QUARANTINE) == [f"moscow erased for {MOVE}: lab had not countersigned"]
    refused(world.judge(), "erasure", Outcome.MISMATCH, "quarantine without countersign before it")


def test_attack_the_old_site_countersigns_itself() -> None:
    world = come_to(Step.REVEAL)
    previous = world.course.before(Step.COUNTERSIGN, "lab")
    countersign = world.say(Step.COUNTERSIGN, "acme", OLD, previous=previous)
    quarantine = world.say(Step.QUARANTINE, previous=(countersign,))
    world.close()
    world.later(30 * DAY)
    world.say(Step.ERASURE, previous=(quarantine,), **EMPTY)
    said = world.said()
    assert f"moscow erased for {MOVE}: lab had not countersigned" in said["relocation-erasure"]
    assert any(f"acme says countersign of {MOVE}" in text for text in said["relocation-steps"])
    assert world.judge().outcome in (Outcome.MISMATCH, Outcome.UNDECIDED)
    assert world.judge().outcome != Outcome.VERIFIED


def test_attack_within_the_quarantine() -> None:
    world = come_to(Step.QUARANTINE)
    world.close()
    world.later(6 * DAY)
    with pytest.raises(NotYet, match="nothing is erased before"):
        world.course.before(Step.ERASURE, "acme", OLD, world.now)
    assert "before the quarantine ended on" in erased(world, Step.QUARANTINE)[0]
    refused(world.judge(), "erasure", Outcome.MISMATCH, "before the quarantine ended on")


def test_attack_a_quarantine_of_its_own_making() -> None:
    world = come_to(Step.COUNTERSIGN)
    world.say(Step.QUARANTINE, until=world.now, time=world.now - 30 * DAY)
    world.close()
    world.later(DAY)
    assert "before the quarantine ended on" in erased(world, Step.QUARANTINE)[0]
    refused(world.judge(), "erasure", Outcome.MISMATCH, "before the quarantine ended on")


def test_attack_before_the_members_have_closed_the_move() -> None:
    world = come_to(Step.QUARANTINE)
    world.later(8 * DAY)
    with pytest.raises(NotYet, match="the members have not closed it"):
        world.course.before(Step.ERASURE, "acme", OLD, world.now)
    assert "the members had not closed the move" in erased(world, Step.QUARANTINE)[0]
    refused(world.judge(), "erasure", Outcome.NOT_AUTHORISED, "erased under no charter that had closed the move")
    assert world.judge().outcome == Outcome.NOT_AUTHORISED


def test_attack_after_the_supervisor_has_refused() -> None:
    world = come_to(Step.QUARANTINE)
    world.say(Step.REFUSAL)
    world.close()
    world.later(8 * DAY)
    with pytest.raises(NotYet, match="lab has refused: other bytes"):
        world.course.before(Step.ERASURE, "acme", OLD, world.now)
    assert "lab had refused since it countersigned" in erased(world, Step.QUARANTINE)[0]
    refused(world.judge(), "sample", Outcome.MISMATCH, "lab refused")


@pytest.mark.parametrize("source", Origin)
def test_control_erased_when_it_was_time(source: Origin) -> None:
    world = come_to(Step.QUARANTINE, source)
    world.close()
    world.later(8 * DAY)
    world.say(Step.ERASURE)
    assert world.said() == {}
    refused(world.judge(), "erasure", Outcome.UNDECIDED, "not ended yet: nobody has said resample")
    world.run(since=Step.RESAMPLE)
    assert world.said() == {}
    assert world.judge().outcome == Outcome.VERIFIED
