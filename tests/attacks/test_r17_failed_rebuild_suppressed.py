"""R17 Failed rebuild suppressed and a passing one requested elsewhere.

Cheat: one rebuilder fails or gets other bytes. The vendor asks others until enough rebuilds pass, leaves the failed one
    out of the evidence, or has somebody say that it is replaced.
Noticed by: the status parties, who list every rebuilder's standing verdict, and so every customer; the auditors.
Seen: exit 3 where a rebuild differs, exit 5 where one failed or got no pack, although the quorum passed; the auditor's
    rule `verdicts` raises an alarm.
"""

from typing import Any

import pytest
from forgery import clean_row, forge
from glasshouse_verify.report import Outcome
from glasshouse_verify.statement import Use, Verdict, make_statement
from onlookers import alarms
from world import PRODUCT, World, charter_key, seeded, texts

THIRD = seeded("third")
FAILURES = {
    Verdict.DIFFERS: Outcome.MISMATCH,
    Verdict.BUILD_FAILED: Outcome.UNDECIDED,
    Verdict.PACK_NOT_RECEIVED: Outcome.UNDECIDED,
}


def three_rebuilders() -> tuple[World, str]:
    """Two of three rebuilds are enough."""
    key = charter_key(THIRD, "oslo", ["rebuild"])
    party: dict[str, Any] = {"name": "Third", "roles": ["rebuilder"], "keys": {THIRD.keyid: key}}
    gate = {"gate": {"rebuilders": ["lab", "second", "third"]}}
    world = World(parties={"third": party}, products={PRODUCT: gate})
    world.keys["third"] = THIRD
    return world, world.release()


def test_control_two_of_three_and_the_third_still_at_work() -> None:
    world, release = three_rebuilders()
    for party in ("second", "third"):
        world.rebuild(release, party)
    world.status()
    assert world.verify().outcome == Outcome.VERIFIED
    world.rebuild(release, "lab")
    world.status()
    assert world.verify().outcome == Outcome.VERIFIED


@pytest.mark.parametrize("failure", FAILURES)
def test_attack_passing_rebuilds_requested_elsewhere(failure: Verdict) -> None:
    world, release = three_rebuilders()
    world.rebuild(release, "lab", failure)
    passing = [world.rebuild(release, party) for party in ("second", "third")]
    status = world.status()
    assert world.verify().outcome == FAILURES[failure]
    report = world.verify(forge(world, release, rebuilds=passing, status=status))
    assert report.outcome == FAILURES[failure]
    assert list(texts(report)) == ["status"]
    assert "lab on acme/engine 1.0" in alarms(world)["verdicts"][0]


def test_attack_the_row_bent_to_show_no_verdict() -> None:
    world, release = three_rebuilders()
    world.rebuild(release, "lab", Verdict.DIFFERS)
    passing = [world.rebuild(release, party) for party in ("second", "third")]
    status = world.status()
    row = clean_row(world, release, passing) | {"verdicts": {}}
    report = world.verify(forge(world, release, rebuilds=passing, status=status, row=row))
    assert report.outcome == Outcome.NOT_AUTHORISED
    assert "does not lead to the root" in texts(report)["status"]


def test_attack_replaced_by_somebody_else() -> None:
    """Only the party that gave a verdict can replace it."""
    world, release = three_rebuilders()
    failed = world.rebuild(release, "lab", Verdict.DIFFERS)
    for party in ("second", "third"):
        world.rebuild(release, party, replaces=failed)
    in_its_name = make_statement(Use.REBUILD, world.rebuild_of(release, "lab", replaces=failed))
    world.post(in_its_name, "acme", "second")
    world.status()
    assert world.verify().outcome == Outcome.MISMATCH


def test_attack_passing_verdict_beside_the_failed_one() -> None:
    """A second verdict of the same party that does not name the first leaves both standing: the worse one counts."""
    world, release = three_rebuilders()
    world.rebuild(release, "lab", Verdict.DIFFERS)
    again = world.rebuild(release, "lab", time=world.now)
    passing = [world.rebuild(release, party) for party in ("second", "third")]
    status = world.status()
    assert world.verify().outcome == Outcome.MISMATCH
    report = world.verify(forge(world, release, rebuilds=[again, *passing], status=status))
    assert report.outcome == Outcome.MISMATCH
    assert "another verdict of lab" in texts(report)["rebuild"]


@pytest.mark.parametrize("failure", FAILURES)
def test_control_the_party_itself_tries_again(failure: Verdict) -> None:
    world, release = three_rebuilders()
    failed = world.rebuild(release, "lab", failure)
    world.status()
    assert world.verify().outcome == FAILURES[failure]
    for party in ("second", "third"):
        world.rebuild(release, party)
    world.rebuild(release, "lab", replaces=failed)
    world.status()
    assert world.verify().outcome == Outcome.VERIFIED
    assert world.history.records[failed].predicate.verdict == failure


def test_attack_rebuild_by_one_who_is_not_asked() -> None:
    """A party that may sign rebuilds, but not for this product, adds nothing to the quorum."""
    key = charter_key(THIRD, "oslo", ["rebuild"])
    world = World(parties={"third": {"name": "Third", "roles": ["rebuilder"], "keys": {THIRD.keyid: key}}})
    world.keys["third"] = THIRD
    release = world.release()
    verdicts = [world.rebuild(release, party) for party in ("lab", "third")]
    status = world.status()
    for evidence in (world.evidence(), forge(world, release, rebuilds=verdicts, status=status)):
        report = world.verify(evidence)
        assert report.outcome == Outcome.UNDECIDED
        assert texts(report)["rebuild"].startswith("1 of the 2 rebuilds")


def test_control_one_who_is_not_asked_spoils_nothing() -> None:
    """Nor can such a party, or one that may sign no rebuilds at all, make the honest evidence useless."""
    key = charter_key(THIRD, "oslo", ["rebuild"])
    world = World(parties={"third": {"name": "Third", "roles": ["rebuilder"], "keys": {THIRD.keyid: key}}})
    world.keys["third"] = THIRD
    release = world.release()
    for party in ("lab", "second"):
        world.rebuild(release, party)
    world.rebuild(release, "third", Verdict.DIFFERS)
    world.rebuild(release, "ngo")
    world.rebuild(release, "lab", Verdict.DIFFERS, signer="ngo")
    world.rebuild(release, "second", Verdict.DIFFERS, signer="mallory")
    world.status()
    assert world.verify().outcome == Outcome.VERIFIED
