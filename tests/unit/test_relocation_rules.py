"""The auditors' rules on moves: an honest one raises nothing at any time; a test for each alarm."""

from typing import Any

import pytest
from glasshouse_verify.region import Origin
from glasshouse_verify.relocation import Fault, Relocation, Remaining, Step
from glasshouse_verify.relocation_check import SAMPLE
from glasshouse_verify.report import utc
from glasshouse_verify.shards import Sharded
from glasshouse_verify.statement import Use, make_statement
from relocation_world import DAY, MOVE, NOW, OLD, ORDER, TO, MoveWorld, rows, secret_of
from world import digest

STEPS, ROWS, ERASURE, DATES = (f"relocation-{name}" for name in ("steps", "rows", "erasure", "dates"))


def come_to(step: Step, source: Origin = Origin.SITE) -> MoveWorld:
    """An honest move, up to and with a step."""
    world = MoveWorld(source)
    world.run(until=step)
    assert world.said() == {}
    world.later(60)
    return world


def before(step: Step, source: Origin = Origin.SITE) -> MoveWorld:
    return come_to(ORDER[ORDER.index(step) - 1], source)


# --- honest -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", Origin)
def test_an_honest_move_raises_nothing_at_any_step(source: Origin) -> None:
    world = MoveWorld(source)
    world.programme(NOW + 30 * DAY)
    for step in ORDER:
        world.take(step)
        assert world.said() == {}, step
    world.later(300 * DAY)
    assert world.said() == {}


def test_a_refusal_is_a_finding_until_the_end_and_a_full_reading_goes_on() -> None:
    world = before(Step.COUNTERSIGN)
    world.say(Step.REFUSAL)
    refused = f"lab refuses {MOVE}: zurich-2: other bytes"
    assert world.said() == {ROWS: [refused]}
    world.say(Step.ARRIVAL, site="zurich-2")
    everything = dict.fromkeys(TO, world.rows.size)
    world.say(Step.COUNTERSIGN, read=everything, full=True)
    assert world.said() == {ROWS: [refused]}


# --- steps ------------------------------------------------------------------------------------------------------------


def test_a_move_that_nobody_opened() -> None:
    world = MoveWorld()
    world.say(Step.SCOPE)
    world.say(Step.COMMITMENT, "lab")
    assert world.said() == {}
    said = Relocation(
        party="acme",
        region="au",
        relocation="au-2099",
        step=Step.QUARANTINE,
        time=NOW,
        previous=(digest(b"before"),),
        site=OLD,
        until=NOW,
    )
    world.post(make_statement(Use.RELOCATION, said), OLD)
    assert world.said() == {STEPS: ["acme says quarantine of au-2099, which no charter has opened"]}


@pytest.mark.parametrize(
    ("step", "party", "signer", "changes"),
    [
        (Step.OPEN, "acme", "zurich-1", {}),
        (Step.OPEN, "lab", "lab", {}),
        (Step.OPEN, "acme", OLD, {"site": "zurich-1"}),
        (Step.LISTING, "acme", OLD, {}),
        (Step.LISTING, "second", "second", {}),
        (Step.ARRIVAL, "acme", OLD, {"site": "zurich-1"}),
        (Step.ARRIVAL, "acme", "zurich-1", {"site": "zurich-2"}),
        (Step.ARRIVAL, "acme", OLD, {"site": OLD}),
        (Step.COMMITMENT, "second", "second", {}),
        (Step.COUNTERSIGN, "acme", OLD, {}),
        (Step.COUNTERSIGN, "ngo", "ngo", {}),
        (Step.ERASURE, "acme", "zurich-1", {}),
        (Step.WATCH, "ngo", "ngo", {}),
    ],
)
def test_a_step_that_is_for_another_to_say(step: Step, party: str, signer: str, changes: dict[str, Any]) -> None:
    world = before(step)
    if step == Step.ERASURE:
        world.close()
        world.later(7 * DAY)
    honest, _ = world.honest(step)
    previous = world.course.before(step, honest, "zurich-1" if step == Step.ARRIVAL else None, world.now)
    world.say(step, party, signer, previous=previous, **changes)
    text = f"{party} says {step} of {MOVE}, which is not for it to say, there and with that key"
    assert world.said()[STEPS] == [text]


@pytest.mark.parametrize("step", [step for step in ORDER if step not in (Step.SCOPE, Step.COMMITMENT)])
def test_a_step_without_the_one_before(step: Step) -> None:
    world = before(ORDER[ORDER.index(step) - 1])
    scope = world.course.need(Step.SCOPE).id
    party, site = world.honest(step)
    world.say(step, party, previous=(scope,), **world.enough(step, site))
    before_it = {Step.QUARANTINE: Step.COUNTERSIGN, Step.WATCH: Step.ERASURE}.get(step, ORDER[ORDER.index(step) - 1])
    assert f"{step} of {MOVE} by {party}: there is no {before_it} before it" in world.said()[STEPS]


def test_what_stands_nowhere() -> None:
    world = before(Step.SOURCE)
    world.say(Step.SOURCE, previous=(digest(b"nowhere"), world.course.need(Step.OPEN).id))
    assert world.said() == {STEPS: [f"source of {MOVE} by acme: it follows on what does not stand before it"]}


def test_who_has_committed() -> None:
    world = come_to(Step.SCOPE)
    commitment = world.say(Step.COMMITMENT, "ngo")
    world.say(Step.OPEN, previous=(commitment,))
    assert world.said() == {STEPS: [f"open of {MOVE} by acme: only ngo had committed to a secret"]}
    world = come_to(Step.SCOPE)
    commitment = world.say(Step.COMMITMENT, "lab")
    world.say(Step.OPEN, previous=(commitment,))
    assert world.said() == {STEPS: [f"open of {MOVE} by acme: only lab had committed to a secret"]}


def test_opened_under_another_charter_or_twice() -> None:
    world = before(Step.OPEN)
    world.say(Step.OPEN, charter=world.history.chain.links[0].id)
    fault = f"open of {MOVE} by acme: it names a charter that does not let the region move so"
    assert world.said() == {STEPS: [fault]}
    world = come_to(Step.OPEN)
    world.say(Step.OPEN)
    assert world.said() == {STEPS: [f"open of {MOVE} by acme: it was open already"]}


def test_reveals() -> None:
    world = before(Step.REVEAL)
    one = world.course.arrivals["zurich-1"].id
    world.say(Step.REVEAL, "lab", previous=(one,))
    assert world.said() == {STEPS: [f"reveal of {MOVE} by lab: nothing had been said to have arrived at zurich-2"]}
    world.say(Step.REVEAL, "ngo", secret=secret_of("lab"))
    assert f"reveal of {MOVE} by ngo: the secret is another than it had committed to" in world.said()[STEPS]
    world = come_to(Step.REVEAL)
    previous = tuple(sorted(record.id for record in world.course.arrivals.values()))
    world.say(Step.REVEAL, "acme", "acme-moves", previous=previous, secret=secret_of("acme"))
    assert world.said() == {STEPS: [f"reveal of {MOVE} by acme: it had committed to nothing that the opening names"]}


def test_a_countersignature_of_old_arrivals_or_over_a_refusal() -> None:
    world = before(Step.COUNTERSIGN)
    previous = world.course.before(Step.COUNTERSIGN, "lab")
    world.later(60)
    world.say(Step.ARRIVAL, site="zurich-2")
    world.say(Step.COUNTERSIGN, previous=previous)
    assert world.said() == {
        STEPS: [f"countersign of {MOVE} by lab: it does not follow on the newest arrival at zurich-2"]
    }
    world = before(Step.COUNTERSIGN)
    previous = world.course.before(Step.COUNTERSIGN, "lab")
    world.say(Step.REFUSAL)
    world.say(Step.COUNTERSIGN, previous=previous)
    assert world.said()[STEPS] == [
        f"countersign of {MOVE} by lab: it does not name the refusal before it",
        f"countersign of {MOVE} by lab: a sample that was refused is known to all, and it read no more than that",
    ]


# --- rows -------------------------------------------------------------------------------------------------------------


def test_a_listing_of_other_rows() -> None:
    world = before(Step.LISTING)
    world.say(Step.LISTING, rows=rows("fewer", 19_999))
    text = f"listing at moscow of {MOVE} by lab: 19999 rows that are not the 20000 of the source"
    assert world.said() == {ROWS: [text]}


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"rows": rows("fewer", 19_999)}, "19999 rows that are not the 20000 of the fence"),
        ({"rows": rows("others", 20_000)}, "20000 rows that are not the 20000 of the fence"),
        ({"size": 5}, "5 bytes, and the fence left 81920000"),
        ({"sealed": rows("s", 19_999)}, "19999 ciphertexts for 20000 rows"),
        ({"sealed": rows("s", 20_001)}, "20001 ciphertexts for 20000 rows"),
        ({"inventory": digest(b"nowhere")}, "it names no inventory before it"),
        ({"inventory": None}, "it names no inventory before it"),
    ],
)
def test_arrivals_that_differ(changes: dict[str, Any], text: str) -> None:
    world = before(Step.ARRIVAL)
    world.say(Step.ARRIVAL, site="zurich-1")
    world.say(Step.ARRIVAL, site="zurich-2", **changes)
    assert f"arrival at zurich-2 of {MOVE} by acme: {text}" in world.said()[ROWS]


def test_a_store_has_delete_markers_and_no_inventories() -> None:
    world = before(Step.ARRIVAL, Origin.STORE)
    world.say(Step.ARRIVAL, site="zurich-1", sealed=rows("s", 19_000))
    assert world.said() == {}


def test_ciphertexts_of_another() -> None:
    world = before(Step.ARRIVAL)
    world.say(Step.ARRIVAL, site="zurich-1", sealed=rows("s", 20_000))
    world.say(Step.ARRIVAL, site="zurich-2", sealed=rows("s", 20_000))
    text = f"zurich-1 and zurich-2 have the same ciphertexts of {MOVE}: one sealed nothing itself"
    assert world.said() == {ROWS: [text]}


def test_an_inventory_that_says_other_things() -> None:
    world = before(Step.FENCE)
    fewer: Sharded = rows("fewer", 19_999)
    world.say(Step.FENCE, **world.inventory(OLD, 8, held=fewer))
    text = f"fence at moscow of {MOVE} by acme: inventory 8 there has 19999 rows, and other ones"
    assert world.said() == {ROWS: [text]}
    world = before(Step.FENCE)
    world.say(Step.FENCE, **world.inventory(OLD, 9))
    assert world.said() == {ROWS: [f"fence at moscow of {MOVE} by acme: it names inventory 9 of au at moscow"]}


@pytest.mark.parametrize("step", [Step.COUNTERSIGN, Step.RESAMPLE])
@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"seed": digest(b"mine")}, "it was drawn from another seed than the secrets and the rows make"),
        (
            {"read": {"zurich-1": SAMPLE, "zurich-2": SAMPLE - 1}},
            "4602 objects were read at zurich-2, and 4603 were to be",
        ),
        ({"read": {"zurich-1": SAMPLE}}, "0 objects were read at zurich-2, and 4603 were to be"),
        (
            {"read": {"zurich-1": 20_000, "zurich-2": SAMPLE}, "full": True},
            "4603 objects were read at zurich-2, and 20000 were to be",
        ),
    ],
)
def test_readings(step: Step, changes: dict[str, Any], text: str) -> None:
    world = before(step)
    world.say(step, **changes)
    assert world.said() == {ROWS: [f"{step} of {MOVE} by lab: {text}"]}


def test_the_second_sample_has_a_seed_of_its_own() -> None:
    world = before(Step.RESAMPLE)
    world.say(Step.RESAMPLE, seed=world.course.seed())
    text = f"resample of {MOVE} by lab: it was drawn from another seed than the secrets and the rows make"
    assert world.said() == {ROWS: [text]}


# --- erasure ----------------------------------------------------------------------------------------------------------


def test_erased_without_a_quarantine() -> None:
    world = come_to(Step.COUNTERSIGN)
    world.close()
    world.later(30 * DAY)
    world.say(Step.ERASURE, previous=(world.course.need(Step.COUNTERSIGN).id,))
    assert world.said()[ERASURE] == [f"moscow erased for {MOVE}: no quarantine had been declared"]


def test_erased_before_the_quarantine_ended() -> None:
    world = before(Step.ERASURE)
    quarantine = world.course.need(Step.QUARANTINE)
    world.close()
    world.later(DAY)
    world.say(Step.ERASURE, previous=(quarantine.id,))
    day, end = utc(world.now), utc(quarantine.predicate.until)
    assert world.said() == {ERASURE: [f"moscow erased for {MOVE}: on {day}, before the quarantine ended on {end}"]}


def test_a_quarantine_shorter_than_the_members_asked_for() -> None:
    world = before(Step.QUARANTINE)
    quarantine = world.say(Step.QUARANTINE, until=world.now)
    world.close()
    world.later(DAY)
    world.say(Step.ERASURE, previous=(quarantine,))
    assert "before the quarantine ended on" in world.said()[ERASURE][0]


def test_erased_before_the_members_closed_it() -> None:
    world = before(Step.ERASURE)
    world.later(8 * DAY)
    world.say(Step.ERASURE, previous=(world.course.need(Step.QUARANTINE).id,))
    text = "the members had not closed the move: no charter then in force does without the old site"
    assert world.said() == {ERASURE: [f"moscow erased for {MOVE}: {text}"]}


def test_erased_although_the_supervisor_refused_since() -> None:
    world = before(Step.ERASURE)
    quarantine = world.course.need(Step.QUARANTINE).id
    world.say(Step.REFUSAL)
    world.close()
    world.later(8 * DAY)
    world.say(Step.ERASURE, previous=(quarantine,))
    assert world.said()[ERASURE] == [f"moscow erased for {MOVE}: lab had refused since it countersigned"]


def test_what_remains() -> None:
    world = before(Step.ERASURE)
    world.close()
    world.later(8 * DAY)
    lock = world.now + 10 * DAY
    world.say(Step.ERASURE, rows=rows("locked", 3))
    assert world.said() == {ERASURE: [f"moscow erased for {MOVE}: 3 objects remain, and nothing is said to hold them"]}
    world = before(Step.ERASURE)
    world.close()
    world.later(8 * DAY)
    world.say(Step.ERASURE, rows=rows("locked", 3), remains=(Remaining(name="contracts", until=lock),))
    for _ in range(12):
        assert ERASURE not in world.said()
        world.later(DAY)
        world.say(Step.WATCH)
    text = f"contracts was held at moscow until {utc(lock)}, and nobody says that it is gone"
    assert world.said()[ERASURE] == [text]
    world.say(Step.ERASURE)
    assert ERASURE not in world.said()


def test_an_alarm_is_a_finding() -> None:
    world = come_to(Step.WATCH)
    world.say(Step.ALARM, faults=(Fault(site=OLD, text="a read was answered", handle=digest(b"handle")),))
    assert world.said() == {ERASURE: [f"lab raises an alarm about {MOVE}: moscow: a read was answered"]}


# --- dates ------------------------------------------------------------------------------------------------------------


def test_a_promise_missed_before_anything_moved() -> None:
    world = MoveWorld()
    world.programme(NOW + DAY)
    assert world.said() == {}
    world.later(DAY + 1)
    assert world.said() == {DATES: [f"au was to have moved by {utc(NOW + DAY)}"]}


def test_a_promise_put_off_is_missed_all_the_same() -> None:
    world = MoveWorld()
    world.programme(NOW + DAY)
    world.programme(NOW + 40 * DAY)
    put_off = f"acme puts off au from {utc(NOW + DAY)} to {utc(NOW + 40 * DAY)}"
    assert world.said() == {DATES: [put_off]}
    world.run()
    assert world.said() == {DATES: [put_off, f"au was to have moved by {utc(NOW + DAY)}"]}


def test_what_the_members_promised_counts_where_nobody_else_did() -> None:
    world = come_to(Step.ARRIVAL)
    world.later(30 * DAY)
    assert world.said() == {DATES: [f"au was to have moved by {utc(NOW + 30 * DAY)}"]}


@pytest.mark.parametrize("late", [True, False])
def test_the_second_sample_is_due(late: bool) -> None:
    world = before(Step.RESAMPLE)
    due = world.now - 60 + 7 * DAY
    for _ in range(8 if late else 6):
        world.later(DAY)
        if not world.course.is_watched:
            world.say(Step.WATCH)
    text = f"lab read no sample of {MOVE} by {utc(due)}, with the old site cut off"
    assert world.said() == ({DATES: [text]} if late else {})
    world.say(Step.RESAMPLE)
    assert world.said() == ({DATES: [text]} if late else {})


def test_days_without_a_watch() -> None:
    world = before(Step.WATCH)
    erased = world.course.need(Step.ERASURE).predicate.time
    world.later(2 * DAY)
    missing = f"lab did not watch moscow from {utc(erased)}"
    assert world.said() == {DATES: [f"{missing} for more than a day"]}
    world.say(Step.WATCH)
    assert world.said() == {DATES: [f"{missing} until {utc(world.now)}"]}


def test_a_watch_that_stops_too_soon() -> None:
    world = before(Step.WATCH)
    world.later(DAY // 2)
    world.say(Step.WATCH)
    last = world.now
    assert world.said() == {}
    world.later(DAY + 7_200)
    assert world.said() == {DATES: [f"lab did not watch moscow from {utc(last)} for more than a day"]}
