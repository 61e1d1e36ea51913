"""A move against its evidence, claim by claim: what each says when it holds, and every way in which it does not."""

from dataclasses import replace
from typing import Any

import pytest
from glasshouse_verify.dsse import statement_id
from glasshouse_verify.errors import FormatError
from glasshouse_verify.region import Origin
from glasshouse_verify.relocation import Fault, Remaining, Step
from glasshouse_verify.relocation_check import (
    SAMPLE,
    check_relocation,
    format_relocation_evidence,
    parse_relocation_evidence,
)
from glasshouse_verify.report import Outcome, Report, utc
from region_world import refused
from relocation_world import DAY, MOVE, OLD, ORDER, TO, MoveWorld, rows, secret_of
from world import digest, texts

CLAIMS = ["charter", "ledger", "opened", "source", "arrival", "sample", "erasure", "watch"]
# The claim that a step belongs to: where it is missing, this is the first that is undecided.
CLAIM_OF = {
    **dict.fromkeys((Step.SCOPE, Step.COMMITMENT, Step.OPEN), "opened"),
    **dict.fromkeys((Step.SOURCE, Step.LISTING), "source"),
    **dict.fromkeys((Step.FENCE, Step.ARRIVAL), "arrival"),
    **dict.fromkeys((Step.REVEAL, Step.COUNTERSIGN), "sample"),
    **dict.fromkeys((Step.QUARANTINE, Step.ERASURE, Step.RESAMPLE), "erasure"),
    Step.WATCH: "watch",
}


def come_to(step: Step, source: Origin = Origin.SITE) -> MoveWorld:
    world = MoveWorld(source)
    world.run(until=step)
    world.later(60)
    return world


def before(step: Step, source: Origin = Origin.SITE) -> MoveWorld:
    return come_to(ORDER[ORDER.index(step) - 1], source)


def goes_on(world: MoveWorld, after: Step) -> Report:
    """What is said at the end, where everything after a step was honest."""
    world.run(since=ORDER[ORDER.index(after) + 1])
    return world.judge()


# --- honest -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", Origin)
def test_the_whole_answer(source: Origin) -> None:
    world = MoveWorld(source)
    world.run()
    report = world.judge()
    assert texts(report) == {}
    assert [claim.claim for claim in report.claims] == CLAIMS
    said = {claim.claim: claim.text for claim in report.claims}
    assert said["opened"] == (
        "au was let go from moscow (RU) to zurich-1 (CH), zurich-2 (CH); lab and ngo committed to secrets"
    )
    assert said["source"] == "moscow (RU) and lab list 20000 rows, 81920000 bytes"
    assert said["arrival"] == "zurich-1 (CH), zurich-2 (CH) each list the 20000 rows that moscow had at the fence"
    sample = "lab read at each site 4603 draws, which find 1 bad in 1000 with 99 %"
    assert said["sample"] == sample
    erased = world.course.need(Step.ERASURE).predicate.time
    assert said["erasure"] == f"nothing is at moscow since {utc(erased)}; after that {sample}"
    assert said["watch"].startswith("moscow refused all of 768 attempts")
    for claim in report.claims:
        assert claim.by
        assert claim.when is not None
        assert claim.recheck.startswith("glasshouse ")
        assert claim.limit
    evidence = world.evidence_of_move()
    assert parse_relocation_evidence(format_relocation_evidence(evidence)) == evidence


@pytest.mark.parametrize("step", ORDER)
def test_a_move_under_way_is_undecided_and_says_which_step_is_missing(step: Step) -> None:
    world = MoveWorld()
    world.open()
    if step != Step.SCOPE:
        world = before(step)
    report = world.judge()
    assert report.outcome == Outcome.UNDECIDED
    first = next(claim for claim in report.claims if claim.outcome)
    assert first.claim == CLAIM_OF[step]
    assert first.text.startswith(f"not ended yet: nobody has said {step}")


def test_everything_read_is_said_so() -> None:
    world = before(Step.COUNTERSIGN)
    world.say(Step.COUNTERSIGN, read=dict.fromkeys(TO, 20_000), full=True)
    said = {claim.claim: claim.text for claim in goes_on(world, Step.COUNTERSIGN).claims}
    assert said["sample"] == "lab read at each site 20000 objects"


def test_what_was_refused_once_and_read_in_full_then() -> None:
    world = before(Step.COUNTERSIGN)
    world.say(Step.REFUSAL)
    world.say(Step.ARRIVAL, site="zurich-2")
    world.say(Step.COUNTERSIGN, read=dict.fromkeys(TO, 20_000), full=True)
    assert texts(goes_on(world, Step.COUNTERSIGN)) == {}


def test_the_charter_may_go_on_meanwhile_and_sites_may_leave_it() -> None:
    world = come_to(Step.LISTING)
    world.open(due=world.now + 60 * DAY)
    report = goes_on(world, Step.LISTING)
    world.amend({"sites": {"zurich-2": {"name": "Zurich, Altstetten"}}})
    assert texts(report) == texts(world.judge()) == {}


# --- opened -----------------------------------------------------------------------------------------------------------


def test_no_charter_lets_it_move() -> None:
    world = MoveWorld()
    world.run()
    evidence = replace(world.evidence_of_move(), relocation="au-2099")
    refused(world.judge(evidence), "opened", Outcome.NOT_AUTHORISED, "no charter lets au move as au-2099")


def test_a_proposal_without_its_quorum_opens_nothing() -> None:
    world = come_to(Step.SCOPE)
    evidence = world.evidence_of_move()
    amendment = replace(evidence.amendments[0], signatures=evidence.amendments[0].signatures[:1])
    report = world.judge(replace(evidence, amendments=(amendment,)))
    assert report.outcome == Outcome.NOT_AUTHORISED
    assert [claim.claim for claim in report.claims] == ["charter"]


def test_opened_under_another_charter() -> None:
    world = before(Step.OPEN)
    world.say(Step.OPEN, charter=world.history.chain.links[0].id)
    refused(world.judge(), "opened", Outcome.NOT_AUTHORISED, "does not let the region move")


@pytest.mark.parametrize("party", ["lab", "ngo"])
def test_opened_when_one_alone_had_committed(party: str) -> None:
    world = come_to(Step.SCOPE)
    commitment = world.say(Step.COMMITMENT, party)
    world.say(Step.OPEN, previous=(commitment,))
    refused(world.judge(), "opened", Outcome.MISMATCH, f"opened when {party} alone had committed")


def test_commitments_after_the_opening_do_not_count() -> None:
    world = come_to(Step.SCOPE)
    first = world.say(Step.COMMITMENT, "lab")
    world.say(Step.OPEN, previous=(first,))
    world.say(Step.COMMITMENT, "ngo", previous=(world.course.need(Step.SCOPE).id,))
    refused(world.judge(), "opened", Outcome.MISMATCH, "lab alone")


# --- source and arrival -----------------------------------------------------------------------------------------------


def test_the_supervisor_lists_other_rows() -> None:
    world = before(Step.LISTING)
    world.say(Step.LISTING, rows=rows("more", 20_001))
    refused(world.judge(), "source", Outcome.MISMATCH, "lab lists other rows there than moscow itself")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rows": rows("fewer", 19_999), "sealed": rows("s", 19_999)}, "zurich-2 has other rows than the fence left"),
        ({"rows": rows("others", 20_000)}, "zurich-2 has other rows"),
        ({"size": 1}, "zurich-2 has other rows"),
        ({"sealed": rows("s", 19_999)}, "zurich-2 has no ciphertexts for 1 rows"),
        ({"sealed": rows("s", 20_001)}, "zurich-2 has no ciphertexts for -1 rows"),
        ({"sealed": rows("sealed at zurich-1", 20_000)}, "destinations have the same ciphertexts"),
    ],
)
def test_an_arrival_that_differs(changes: dict[str, Any], words: str) -> None:
    world = before(Step.ARRIVAL)
    world.say(Step.ARRIVAL, site="zurich-1")
    world.say(Step.ARRIVAL, site="zurich-2", **changes)
    refused(world.judge(), "arrival", Outcome.MISMATCH, words)


def test_one_destination_is_missing() -> None:
    world = before(Step.ARRIVAL)
    world.say(Step.ARRIVAL, site="zurich-2")
    refused(world.judge(), "arrival", Outcome.UNDECIDED, "not ended yet: nobody has said arrival at zurich-1")


def test_delete_markers_have_no_ciphertext() -> None:
    world = before(Step.ARRIVAL, Origin.STORE)
    world.say(Step.ARRIVAL, site="zurich-1", sealed=rows("one", 19_000))
    world.say(Step.ARRIVAL, site="zurich-2", sealed=rows("two", 19_000))
    assert "arrival" not in texts(world.judge())


# --- sample -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "outcome", "words"),
    [
        ({"seed": digest(b"mine")}, Outcome.MISMATCH, "lab drew from another seed than the secrets make"),
        ({"read": dict.fromkeys(TO, SAMPLE - 1)}, Outcome.UNDECIDED, "lab read 4602 objects, and 4603 were to be read"),
        ({"read": {"zurich-1": SAMPLE}}, Outcome.UNDECIDED, "lab read 0 objects"),
        ({"read": {}, "full": True}, Outcome.UNDECIDED, "lab read 0 objects, and 20000 were to be read"),
    ],
)
@pytest.mark.parametrize("step", [Step.COUNTERSIGN, Step.RESAMPLE])
def test_readings(step: Step, changes: dict[str, Any], outcome: Outcome, words: str) -> None:
    world = before(step)
    world.say(step, **changes)
    refused(world.judge(), "sample" if step == Step.COUNTERSIGN else "erasure", outcome, words)


def test_a_secret_that_is_not_revealed_or_another() -> None:
    world = before(Step.REVEAL)
    reveal = world.say(Step.REVEAL, "lab")
    members = {"previous": (reveal,), "seed": digest(b"seed")}
    world.say(Step.COUNTERSIGN, **members)
    refused(world.judge(), "sample", Outcome.MISMATCH, "countersigned without all arrivals")
    arrivals = tuple(record.id for record in world.course.arrivals.values())
    world.say(Step.COUNTERSIGN, previous=(reveal, *arrivals), seed=digest(b"seed"))
    refused(world.judge(), "sample", Outcome.UNDECIDED, "not ended yet: ngo has not revealed its secret")
    world.say(Step.REVEAL, "ngo", secret=secret_of("another"))
    refused(world.judge(), "sample", Outcome.MISMATCH, "ngo revealed another secret than it had committed to")


def test_a_secret_that_was_known_before_all_had_arrived() -> None:
    world = before(Step.REVEAL)
    one = world.course.arrivals["zurich-1"].id
    world.say(Step.REVEAL, "lab", previous=(one,))
    world.say(Step.REVEAL, "ngo")
    world.say(Step.COUNTERSIGN)
    refused(world.judge(), "sample", Outcome.MISMATCH, "lab revealed it before all arrived")
    world.say(Step.COUNTERSIGN, read=dict.fromkeys(TO, 20_000), full=True)
    assert "sample" not in texts(world.judge())


def test_a_refusal_stands() -> None:
    world = before(Step.COUNTERSIGN)
    world.say(Step.REFUSAL)
    refused(world.judge(), "sample", Outcome.MISMATCH, "lab refused: zurich-2: other bytes")
    world.say(Step.COUNTERSIGN)
    refused(world.judge(), "sample", Outcome.MISMATCH, "the sample that was refused")
    world = come_to(Step.COUNTERSIGN)
    world.say(Step.REFUSAL)
    refused(world.judge(), "sample", Outcome.MISMATCH, "lab refused")


def test_refused_once_the_old_site_was_cut_off_and_read_in_full_then() -> None:
    world = before(Step.RESAMPLE)
    world.say(Step.REFUSAL)
    refused(world.judge(), "sample", Outcome.MISMATCH, "lab refused: zurich-2: other bytes")
    world.say(Step.RESAMPLE, read=dict.fromkeys(TO, 20_000), full=True)
    assert texts(goes_on(world, Step.RESAMPLE)) == {}


# --- erasure ----------------------------------------------------------------------------------------------------------


def test_what_remains_under_lock() -> None:
    world = before(Step.ERASURE)
    world.close()
    world.later(8 * DAY)
    world.say(Step.ERASURE, rows=rows("locked", 3), remains=(Remaining(name="contracts"),))
    refused(world.judge(), "erasure", Outcome.UNDECIDED, "3 objects are at moscow still: contracts")
    world.say(Step.ERASURE, rows=rows("locked", 3))
    refused(world.judge(), "erasure", Outcome.UNDECIDED, "nothing is said to hold them")
    world.say(Step.ERASURE, remains=(Remaining(name="the journal"),))
    report = goes_on(world, Step.ERASURE)
    assert texts(report) == {}
    assert ", but the journal; after that lab read" in {c.claim: c.text for c in report.claims}["erasure"]


def test_the_second_sample_is_drawn_anew() -> None:
    world = before(Step.RESAMPLE)
    world.say(Step.RESAMPLE, seed=world.course.seed())
    refused(world.judge(), "erasure", Outcome.MISMATCH, "lab drew from another seed")


@pytest.mark.parametrize("source", Origin)
def test_erased_under_a_charter_of_before(source: Origin) -> None:
    world = before(Step.ERASURE, source)
    world.later(8 * DAY)
    world.close()
    for link in world.history.chain.links[:2]:
        world.say(Step.ERASURE, charter=link.id)
        refused(world.judge(), "erasure", Outcome.NOT_AUTHORISED, "erased under no charter that had closed the move")


def test_erased_before_the_amendment_that_it_names() -> None:
    world = before(Step.ERASURE)
    world.later(8 * DAY)
    quarantine = world.course.need(Step.QUARANTINE).id
    amendment = world.amendment({"regions": {"au": {"moving": None, "sites": world.sites_after()}}})
    world.say(Step.ERASURE, previous=(quarantine,), charter=statement_id(amendment))
    world.post(amendment, "acme", "ngo")
    refused(world.judge(), "erasure", Outcome.NOT_AUTHORISED, "erased under no charter")


# --- watch ------------------------------------------------------------------------------------------------------------


def test_the_watch() -> None:
    world = before(Step.WATCH)
    world.later(DAY // 2)
    world.say(Step.WATCH)
    refused(world.judge(), "watch", Outcome.UNDECIDED, "not ended yet: watched until")
    world.later(2 * DAY)
    world.say(Step.WATCH)
    refused(world.judge(), "watch", Outcome.UNDECIDED, f"for {2 * DAY} s nobody watched")


def test_nothing_was_refused() -> None:
    for tried in ({}, {"reads-unreached": 900, "writes-unreached": 900}):
        world = before(Step.WATCH)
        for _ in range(4):
            world.say(Step.WATCH, tried=tried)
            world.later(DAY)
        refused(world.judge(), "watch", Outcome.UNDECIDED, "nothing was refused at moscow: it could not be reached")


def test_an_alarm() -> None:
    world = come_to(Step.WATCH)
    world.say(Step.ALARM, faults=(Fault(site=OLD, text="a read was answered"),))
    refused(world.judge(), "watch", Outcome.MISMATCH, "lab raised an alarm: a read was answered")


# --- every statement --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [step for step in ORDER if step != Step.SCOPE])
def test_nothing_can_be_left_out_of_the_middle(step: Step) -> None:
    world = MoveWorld()
    world.run()
    evidence = world.evidence_of_move()
    kept = [logged for logged in evidence.steps if logged.predicate["step"] != step]
    report = world.judge(replace(evidence, steps=tuple(kept)))
    # The proof was made for other statements; whoever makes one that fits, leaves a gap.
    assert report.outcome == Outcome.NOT_AUTHORISED
    world.hide(step)
    report = world.judge(world.evidence_of_move())
    assert report.outcome in (Outcome.UNDECIDED, Outcome.MISMATCH)


def test_steps_of_another_move() -> None:
    world = MoveWorld()
    world.run()
    evidence = world.evidence_of_move()
    refused(world.judge(replace(evidence, region="jp")), "opened", Outcome.NOT_AUTHORISED, "no charter lets jp move")


def test_a_stopped_key_says_nothing_any_more() -> None:
    world = MoveWorld()
    world.run()
    evidence = world.evidence_of_move()
    lab = world.keys["lab"].keyid
    world.amend({"parties": {"lab": {"keys": {lab: {"stops": 5}}}}})
    assert world.judge(evidence).outcome == Outcome.VERIFIED
    # Whoever takes the newer charter in, loses what that key has said.
    report = world.judge()
    assert report.outcome in (Outcome.UNDECIDED, Outcome.NOT_AUTHORISED)


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"schema":"glasshouse.relocation-evidence/v2"}'])
def test_what_does_not_parse(data: bytes) -> None:
    with pytest.raises(FormatError):
        parse_relocation_evidence(data)


def test_another_statement_in_place_of_a_step() -> None:
    world = MoveWorld()
    world.run()
    evidence = world.evidence_of_move()
    for wrong in ({"party": "acme"}, {**evidence.steps[0].predicate, "extra": 1}):
        steps = (replace(evidence.steps[0], predicate=wrong), *evidence.steps[1:])
        with pytest.raises(FormatError, match=r"evidence\.relocation"):
            check_relocation(world.pin, replace(evidence, steps=steps), world.now)


def test_the_time_given_is_before_it_all() -> None:
    world = MoveWorld()
    world.run()
    report = world.judge(at=world.now - 100 * DAY)
    assert report.outcome == Outcome.UNDECIDED
    assert all("after the time given" in text for text in texts(report).values())
    world = come_to(Step.OPEN)
    assert MOVE in world.judge().claims[2].recheck
