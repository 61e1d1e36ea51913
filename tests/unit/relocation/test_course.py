"""The course of a move: what stands, what is owed next and by whom, what a step has to name, and the programme."""

import pytest
from glasshouse_verify.region import Origin
from glasshouse_verify.relocation import Step
from relocation_world import DAY, MOVE, NOW, OLD, ORDER, TO, MoveWorld, rows, secret_of

from glasshouse.relocation.course import Course, Line, Owed, courses, programme
from glasshouse.relocation.errors import InvalidInput, NotYet
from glasshouse.relocation.evidence import assemble_relocation


def come_to(step: Step, source: Origin = Origin.SITE) -> MoveWorld:
    world = MoveWorld(source)
    world.run(until=step)
    return world


def owed(world: MoveWorld) -> list[tuple[Step, str, str | None]]:
    return [(one.step, one.party, one.site) for one in world.course.owed()]


# --- what is owed -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", Origin)
def test_who_owes_what_next(source: Origin) -> None:
    world = MoveWorld(source)
    assert world.course.state == "programme"
    assert [one.party for one in world.course.owed()] == ["members"]
    here = {
        Step.SCOPE: [(Step.COMMITMENT, "lab", None)],
        Step.COMMITMENT: [(Step.OPEN, "acme", OLD)],
        Step.OPEN: [(Step.SOURCE, "acme", OLD)],
        Step.SOURCE: [(Step.LISTING, "lab", OLD)],
        Step.LISTING: [(Step.FENCE, "acme", OLD)],
        Step.FENCE: [(Step.ARRIVAL, "acme", site) for site in TO],
        Step.ARRIVAL: [(Step.REVEAL, "lab", None), (Step.REVEAL, "ngo", None)],
        Step.REVEAL: [(Step.COUNTERSIGN, "lab", None)],
        Step.COUNTERSIGN: [(Step.QUARANTINE, "acme", OLD)],
        Step.QUARANTINE: [(Step.ERASURE, "members", OLD)],
        Step.ERASURE: [(Step.RESAMPLE, "lab", None)],
        Step.RESAMPLE: [(Step.WATCH, "lab", OLD)],
        Step.WATCH: [],
    }
    for step in ORDER:
        world.take(step)
        assert world.course.state == ("ended" if step == Step.WATCH else step)
        assert owed(world) == here[step], step


def test_what_is_half_done() -> None:
    world = come_to(Step.FENCE)
    world.say(Step.ARRIVAL, site="zurich-1")
    assert world.course.owed() == [
        Owed(step=Step.ARRIVAL, party="acme", site="zurich-2", why="zurich-2 has not said what arrived")
    ]
    world.say(Step.ARRIVAL, site="zurich-2")
    world.say(Step.REVEAL, "ngo")
    assert owed(world) == [(Step.REVEAL, "lab", None)]
    world = come_to(Step.QUARANTINE)
    world.close()
    assert owed(world) == [(Step.ERASURE, "acme", OLD)]


def test_a_refusal_shows_until_something_follows() -> None:
    world = come_to(Step.REVEAL)
    world.say(Step.REFUSAL)
    assert world.course.state == "refusal"
    world.say(Step.ARRIVAL, site="zurich-2")
    assert world.course.state == "arrival"


def test_what_a_refusal_undoes() -> None:
    world = come_to(Step.QUARANTINE)
    world.say(Step.REFUSAL)
    assert owed(world) == [(Step.COUNTERSIGN, "lab", None)]
    world.say(Step.COUNTERSIGN, read=dict.fromkeys(TO, 20_000), full=True)
    assert owed(world) == [(Step.QUARANTINE, "acme", OLD)]
    world.close()
    with pytest.raises(NotYet, match="no quarantine follows the newest countersignature"):
        world.course.before(Step.ERASURE, "acme", OLD, world.now + 30 * DAY)
    world.say(Step.QUARANTINE)
    assert owed(world) == [(Step.ERASURE, "acme", OLD)]


# --- what a step names ------------------------------------------------------------------------------------------------


def test_each_step_names_the_one_before() -> None:
    world = MoveWorld()
    for step in ORDER:
        world.take(step)
    course = world.course

    def named(step: Step) -> set[str]:
        return {name for record in course.records(step) for name in record.predicate.previous}

    def ids(*steps: Step) -> set[str]:
        return {record.id for step in steps for record in course.records(step)}

    assert named(Step.SCOPE) == set()
    assert named(Step.OPEN) == ids(Step.COMMITMENT)
    assert named(Step.REVEAL) == ids(Step.ARRIVAL)
    assert named(Step.COUNTERSIGN) == ids(Step.ARRIVAL, Step.REVEAL)
    assert named(Step.ERASURE) == ids(Step.QUARANTINE)
    watched = course.records(Step.WATCH)
    assert [record.predicate.previous for record in watched[1:]] == [(record.id,) for record in watched[:-1]]
    assert watched[0].predicate.previous == (course.need(Step.ERASURE).id,)


def test_a_refusal_and_an_alarm_follow_on_what_is_newest() -> None:
    world = come_to(Step.LISTING)
    assert world.course.before(Step.REFUSAL, "lab") == (world.course.need(Step.LISTING).id,)
    world.run(since=Step.FENCE, until=Step.ARRIVAL)
    arrivals = sorted(record.id for record in world.course.records(Step.ARRIVAL))
    assert list(world.course.before(Step.REFUSAL, "lab")) == arrivals
    world.run(since=Step.REVEAL)
    assert world.course.before(Step.ALARM, "second") == (world.course.need(Step.WATCH).id,)
    alarm = world.say(Step.ALARM)
    newest = {alarm, world.course.need(Step.WATCH).id}
    assert set(world.course.before(Step.WATCH, "lab", OLD)) == newest


@pytest.mark.parametrize(
    ("step", "party", "site", "words"),
    [
        (Step.COMMITMENT, "lab", None, "acme of moscow has not said scope"),
        (Step.OPEN, "acme", OLD, "lab has made no commitment"),
        (Step.SOURCE, "acme", OLD, "acme of moscow has not said open"),
        (Step.LISTING, "lab", OLD, "acme of moscow has not said source"),
        (Step.FENCE, "acme", OLD, "lab has not said listing"),
        (Step.ARRIVAL, "acme", "zurich-1", "acme of moscow has not said fence"),
        (Step.REVEAL, "lab", None, "lab made no commitment that open names"),
        (Step.COUNTERSIGN, "lab", None, "nobody has committed to a secret"),
        (Step.QUARANTINE, "acme", OLD, "lab has not said countersign"),
        (Step.ERASURE, "acme", OLD, "lab has not said countersign"),
        (Step.RESAMPLE, "lab", None, "acme of moscow has not said erasure"),
        (Step.WATCH, "lab", OLD, "acme of moscow has not said erasure"),
        (Step.REFUSAL, "lab", None, "acme of moscow has not said scope"),
        (Step.ALARM, "ngo", None, "acme of moscow has not said scope"),
    ],
)
def test_nothing_begins_without_its_predecessor(step: Step, party: str, site: str | None, words: str) -> None:
    world = MoveWorld()
    world.open()
    with pytest.raises(NotYet, match=words):
        world.course.before(step, party, site, NOW)


@pytest.mark.parametrize("step", [step for step in Step if step not in (Step.PROGRAMME, Step.SCOPE, Step.COMMITMENT)])
def test_nothing_begins_before_the_members_have_opened_it(step: Step) -> None:
    world = MoveWorld()
    with pytest.raises(NotYet, match=f"the members have not opened {MOVE}"):
        world.course.before(step, "acme", OLD, NOW)
    assert world.course.before(Step.SCOPE, "acme", OLD) == ()


@pytest.mark.parametrize(
    ("step", "party", "site"),
    [
        (Step.OPEN, "lab", OLD),
        (Step.LISTING, "acme", OLD),
        (Step.ARRIVAL, "acme", OLD),
        (Step.ARRIVAL, "lab", "zurich-1"),
        (Step.COUNTERSIGN, "ngo", None),
        (Step.WATCH, "acme", OLD),
        (Step.COMMITMENT, "second", None),
    ],
)
def test_a_step_that_is_for_another(step: Step, party: str, site: str | None) -> None:
    with pytest.raises(InvalidInput):
        come_to(Step.WATCH).course.before(step, party, site)


def test_the_fence_waits_for_an_equal_listing() -> None:
    world = come_to(Step.SOURCE)
    world.say(Step.LISTING, rows=rows("fewer", 19_999))
    with pytest.raises(NotYet, match="lab listed other rows than the source says"):
        world.course.before(Step.FENCE, "acme", OLD)
    world.say(Step.LISTING)
    assert world.course.before(Step.FENCE, "acme", OLD)
    world.say(Step.REFUSAL)
    with pytest.raises(NotYet, match="lab has refused"):
        world.course.before(Step.FENCE, "acme", OLD)
    world.say(Step.SOURCE, rows=rows("more", 20_001))
    with pytest.raises(NotYet, match="has not listed what the newest source says"):
        world.course.before(Step.FENCE, "acme", OLD)


def test_nothing_is_erased_without_knowing_the_time() -> None:
    world = come_to(Step.QUARANTINE)
    world.close()
    for now in (None, world.now, world.now + 7 * DAY - 1):
        with pytest.raises(NotYet, match="nothing is erased before"):
            world.course.before(Step.ERASURE, "acme", OLD, now)
    assert world.course.before(Step.ERASURE, "acme", OLD, world.now + 7 * DAY)


# --- what counts ------------------------------------------------------------------------------------------------------


def test_what_others_say_in_its_name_is_put_aside() -> None:
    world = come_to(Step.FENCE)
    fence = world.course.need(Step.FENCE).id
    stray = world.say(Step.ARRIVAL, signer=OLD, site="zurich-1", previous=(fence,))
    assert world.course.arrivals == {}
    assert [record.id for record in world.course.strays] == [stray]


def test_an_arrival_counts_for_the_newest_fence() -> None:
    world = come_to(Step.ARRIVAL)
    world.later(60)
    world.say(Step.FENCE)
    assert world.course.arrivals == {}
    world.say(Step.ARRIVAL, site="zurich-1")
    assert set(world.course.arrivals) == {"zurich-1"}


def test_commitments_that_the_opening_names() -> None:
    world = come_to(Step.OPEN)
    scope = world.course.need(Step.SCOPE).id
    world.say(Step.COMMITMENT, "acme", "acme-moves", previous=(scope,))
    assert set(world.course.commitments) == {"lab", "ngo"}
    world.run(since=Step.SOURCE, until=Step.ARRIVAL)
    world.say(Step.REVEAL, "ngo", secret=secret_of("another"))
    assert world.course.reveals == {}


# --- all moves --------------------------------------------------------------------------------------------------------


def test_the_programme() -> None:
    world = MoveWorld()
    assert programme(world.history) == []
    world.programme(NOW + 5 * DAY)
    assert programme(world.history) == [
        Line(region="au", relocation=None, promised=NOW + 5 * DAY, done=None, late=False, state="programme")
    ]
    assert programme(world.history, NOW + 6 * DAY)[0].late
    world.run(until=Step.ARRIVAL)
    (line,) = programme(world.history, world.now)
    assert (line.relocation, line.done, line.late, line.state) == (MOVE, None, False, "arrival")
    world.run(since=Step.REVEAL)
    (line,) = programme(world.history, world.now)
    assert line.done == world.course.need(Step.RESAMPLE).predicate.time
    assert (line.late, line.state) == (True, "ended")
    assert [course.id for course in courses(world.history)] == [MOVE]


def test_the_members_word_is_the_promise_where_there_is_no_other() -> None:
    world = MoveWorld()
    world.open()
    (line,) = programme(world.history, NOW)
    assert (line.promised, line.late) == (NOW + 30 * DAY, False)


def test_there_is_no_evidence_of_a_move_that_nobody_opened() -> None:
    world = MoveWorld()
    with pytest.raises(NotYet, match="no charter in force lets a region move as au-2026"):
        assemble_relocation(world, world.history, MOVE)
    assert Course(world.history, "other").owed()[0].party == "members"
