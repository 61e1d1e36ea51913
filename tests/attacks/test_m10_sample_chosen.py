"""M10 Sample chosen before the commitment, or its seed ground.

Cheat: the vendor learns which objects will be read, and keeps only those in order: a member reveals its secret before
    all destinations have spoken, commits after the source was listed or to no secret at all; the vendor, who runs the
    log, tries orders and times until a seed suits it; the supervisor reads by a seed of its own, or too little.
Noticed by: everybody who checks the move's evidence, offline; every auditor.
Seen: glasshouse verify ends with 3 (5 where too little was read); the rules relocation-steps and relocation-rows raise
    alarms. What the log's operator can vary does not change the seed.
"""

import pytest
from glasshouse_verify.relocation import Step, draw, seed_of
from glasshouse_verify.relocation_check import SAMPLE
from glasshouse_verify.report import Outcome
from region_world import refused
from relocation_world import MOVE, OLD, TO, MoveWorld, secret_of
from world import digest

from glasshouse.relocation.errors import NotYet


def come_to(step: Step) -> MoveWorld:
    world = MoveWorld()
    world.run(until=step)
    return world


def test_attack_revealed_before_all_had_arrived() -> None:
    world = come_to(Step.FENCE)
    one = world.say(Step.ARRIVAL, site="zurich-1")
    with pytest.raises(NotYet, match="no arrival of zurich-2 follows the fence"):
        world.course.before(Step.REVEAL, "lab")
    for party in ("lab", "ngo"):
        world.say(Step.REVEAL, party, previous=(one,))
    # Now zurich-2 knows what will be read there, and answers for no more than that.
    world.say(Step.ARRIVAL, site="zurich-2")
    world.say(Step.COUNTERSIGN)
    text = f"reveal of {MOVE} by lab: nothing had been said to have arrived at zurich-2"
    assert text in world.said()["relocation-steps"]
    refused(world.judge(), "sample", Outcome.MISMATCH, "lab revealed it before all arrived")


def test_attack_another_arrival_once_the_sample_is_known() -> None:
    world = come_to(Step.REVEAL)
    world.say(Step.ARRIVAL, site="zurich-2")
    world.say(Step.COUNTERSIGN)
    refused(world.judge(), "sample", Outcome.MISMATCH, "lab revealed it before all arrived")


def test_attack_committed_after_the_source_was_listed() -> None:
    world = come_to(Step.SCOPE)
    first = world.say(Step.COMMITMENT, "lab")
    with pytest.raises(NotYet, match="no member who stands apart from lab has made a commitment"):
        world.course.before(Step.OPEN, "acme", OLD)
    world.say(Step.OPEN, previous=(first,))
    world.run(until=Step.LISTING, since=Step.SOURCE)
    world.say(Step.COMMITMENT, "ngo")
    assert f"open of {MOVE} by acme: only lab had committed to a secret" in world.said()["relocation-steps"]
    refused(world.judge(), "opened", Outcome.MISMATCH, "opened when lab alone had committed")


def test_attack_a_reveal_that_does_not_open() -> None:
    world = come_to(Step.ARRIVAL)
    world.say(Step.REVEAL, "lab")
    world.say(Step.REVEAL, "ngo", secret=secret_of("chosen since"))
    with pytest.raises(NotYet, match="ngo has not revealed what it committed to"):
        world.course.before(Step.COUNTERSIGN, "lab")
    reveals = [record.id for record in world.course.records(Step.REVEAL)]
    arrivals = [record.id for record in world.course.arrivals.values()]
    secrets = {"lab": secret_of("lab"), "ngo": secret_of("chosen since")}
    seed = seed_of(world.rows, secrets)
    world.say(Step.COUNTERSIGN, previous=(*reveals, *arrivals), seed=seed)
    said = world.said()
    assert f"reveal of {MOVE} by ngo: the secret is another than it had committed to" in said["relocation-steps"]
    assert "before every secret was revealed" in said["relocation-rows"][0]
    refused(world.judge(), "sample", Outcome.MISMATCH, "ngo revealed another secret than it had committed to")


@pytest.mark.parametrize("step", [Step.COUNTERSIGN, Step.RESAMPLE])
def test_attack_read_by_a_seed_that_suits(step: Step) -> None:
    world = come_to(Step.REVEAL if step == Step.COUNTERSIGN else Step.ERASURE)
    # A seed under which the one object that is bad at zurich-1 is not read.
    bad = 4_711
    suits = next(s for n in range(50) if bad not in set(draw(s := digest(b"%d" % n), "zurich-1", 20_000, SAMPLE)))
    world.say(step, seed=suits)
    text = f"{step} of {MOVE} by lab: it was drawn from another seed than the secrets and the rows make"
    assert world.said() == {"relocation-rows": [text]}
    claim = "sample" if step == Step.COUNTERSIGN else "erasure"
    refused(world.judge(), claim, Outcome.MISMATCH, "lab drew from another seed than the secrets make")


def test_attack_less_was_read_than_finds_anything() -> None:
    world = come_to(Step.REVEAL)
    world.say(Step.COUNTERSIGN, read=dict.fromkeys(TO, 40))
    text = f"countersign of {MOVE} by lab: 40 objects were read at zurich-1, and 4603 were to be"
    assert text in world.said()["relocation-rows"]
    refused(world.judge(), "sample", Outcome.UNDECIDED, "lab read 40 objects, and 4603 were to be read")


def test_attack_the_log_orders_and_dates_as_it_likes() -> None:
    """Whoever runs the log chooses when and in which order entries come; the seed is the same each time."""
    seeds = set()
    for first, second, pause in (("lab", "ngo", 0), ("ngo", "lab", 0), ("lab", "ngo", 86_400), ("ngo", "lab", 5)):
        world = MoveWorld()
        world.run(until=Step.SCOPE)
        for step, since in ((Step.COMMITMENT, Step.OPEN), (Step.REVEAL, Step.COUNTERSIGN)):
            for party in (first, second):
                world.later(pause)
                world.say(step, party)
            world.run(since=since, until=Step.ARRIVAL if step == Step.COMMITMENT else Step.COUNTERSIGN)
        assert world.said() == {}
        seeds.add(world.course.need(Step.COUNTERSIGN).predicate.seed)
    assert len(seeds) == 1


def test_control_nobody_could_know_and_all_agree() -> None:
    world = come_to(Step.ARRIVAL)
    with pytest.raises(NotYet, match="lab, ngo has not revealed"):
        world.course.seed()
    world.run(since=Step.REVEAL)
    assert world.said() == {}
    assert world.judge().outcome == Outcome.VERIFIED


def test_control_a_full_reading_needs_no_secret_to_be_kept() -> None:
    world = come_to(Step.REVEAL)
    world.say(Step.ARRIVAL, site="zurich-2")
    world.say(Step.COUNTERSIGN, read=dict.fromkeys(TO, 20_000), full=True)
    assert world.said() == {}
    world.run(since=Step.QUARANTINE)
    assert world.judge().outcome == Outcome.VERIFIED
