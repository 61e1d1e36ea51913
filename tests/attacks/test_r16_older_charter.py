"""R16 Older charter or revoked party replayed.

Cheat: an amendment stopped a key or put a party out of office. What it signs afterwards is shown together with the
    charter from before the amendment, or the amendment is shown and the signature dated back.
Noticed by: the customer, because every status names the charter in force; by the age of the status where an old status
    is replayed as well.
Seen: exit 4 (stopped key, or a status made under a charter that the evidence does not show), exit 5 once an old status
    is all there is; the auditor's rules `entitlement` and `revocations` raise alarms.
"""

from dataclasses import replace
from typing import Any

import pytest
from forgery import clean_row, forge
from glasshouse_verify.report import Outcome
from onlookers import alarms
from world import DAY, SHIPPED, World, charter_key, seeded, texts

LATER = b"published with a stopped key"
FRESH = seeded("acme-fresh")
NEW_KEY = charter_key(FRESH, "zurich-1", ["source", "release", "provenance", "hold", "charter"])


def revoked(stops: int | None = None) -> tuple[World, str]:
    """The honest run; then the vendor's key is stopped (from now on, unless told otherwise) and replaced."""
    world = World()
    world.keys["acme-fresh"] = FRESH
    world.honest()
    acme = world.keys["acme"].keyid
    keys = {acme: {"stops": len(world.entries) if stops is None else stops}, FRESH.keyid: NEW_KEY}
    return world, world.amend({"parties": {"acme": {"keys": keys}}}, "lab", "ngo")


def published(world: World, by: str) -> tuple[str, list[str], str]:
    """Release, rebuilds and status after the amendment: everybody but the customer plays along."""
    release = world.release("1.1", shipped=LATER, by=by, built_by=by)
    verdicts = [world.rebuild(release, party) for party in ("lab", "second")]
    return release, verdicts, world.post(world.status_of([clean_row(world, release, verdicts)]), "lab", "second")


def test_control_new_key_under_the_new_charter() -> None:
    world, _ = revoked()
    published(world, "acme-fresh")
    assert world.verify(shipped=LATER).outcome == Outcome.VERIFIED
    world.status()
    assert world.verify().outcome == Outcome.VERIFIED


def test_attack_stopped_key_goes_on() -> None:
    """Rebuilders and status parties in league with the holder of the stopped key change nothing."""
    world, amendment = revoked()
    release, verdicts, status = published(world, "acme")
    report = world.verify(forge(world, release, rebuilds=verdicts, status=status, amendments=[amendment]), LATER)
    assert report.outcome == Outcome.NOT_AUTHORISED
    assert list(texts(report)) == ["source", "provenance", "release"]
    assert "entitlement" in alarms(world)


def test_attack_stopped_key_under_the_older_charter() -> None:
    """Without the amendment the key looks good; but the status says under which charter it was made."""
    world, _ = revoked()
    release, verdicts, status = published(world, "acme")
    report = world.verify(forge(world, release, rebuilds=verdicts, status=status), LATER)
    assert report.outcome == Outcome.NOT_AUTHORISED
    assert texts(report) == {"status": "the status was made under a charter that the evidence does not show"}


def test_attack_older_charter_with_the_older_status() -> None:
    """Everything from before the amendment verifies for as long as the old status is fresh, and not an hour longer."""
    world, _ = revoked(stops=0)
    world.status()
    old = forge(world, 2, rebuilds=[3, 4], status=5)
    assert world.verify(old).outcome == Outcome.VERIFIED
    report = world.verify(old, at=world.now + DAY)
    assert report.outcome == Outcome.UNDECIDED
    assert "is older than the 86400 s allowed" in texts(report)["status"]


def test_attack_older_charter_with_the_new_status() -> None:
    world, _ = revoked()
    status = world.status()
    report = world.verify(forge(world, 2, rebuilds=[3, 4], status=status))
    assert report.outcome == Outcome.NOT_AUTHORISED
    assert texts(report) == {"status": "the status was made under a charter that the evidence does not show"}


def test_attack_what_was_signed_before_a_stop_that_reaches_back() -> None:
    world, amendment = revoked(stops=1)
    evidence = forge(world, 2, rebuilds=[3, 4], status=5, amendments=[amendment])
    report = world.verify(evidence)
    assert report.outcome == Outcome.NOT_AUTHORISED
    assert "no key of acme" in texts(report)["release"]
    assert "revocations" in alarms(world)


def test_attack_amendment_shown_twice_or_out_of_order() -> None:
    world, first = revoked()
    second = world.amend({"status": {"maximum_age": 2 * DAY}}, "lab", "ngo")
    world.status()
    evidence = world.evidence()
    a, b = evidence.amendments
    assert world.verify(evidence).outcome == Outcome.VERIFIED
    for bent in ((b, a), (a, a), (b,), (a,), ()):
        report = world.verify(replace(evidence, amendments=bent))
        assert report.outcome == Outcome.NOT_AUTHORISED
    assert first != second


@pytest.mark.parametrize("stopped", [True, False])
def test_attack_party_put_out_of_office_signs_the_status(stopped: bool) -> None:
    """The second auditor is replaced. With its old colleague it goes on signing, over the ledger as it now is."""
    world = World()
    world.honest()
    third = seeded("third")
    world.keys["third"] = third
    uses = ["status", "rebuild", "hold"]
    parties: dict[str, Any] = {
        "third": {"name": "Third", "roles": ["auditor"], "keys": {third.keyid: charter_key(third, "oslo", uses)}}
    }
    if stopped:
        parties["second"] = {"keys": {world.keys["second"].keyid: {"stops": len(world.entries)}}}
    amendment = world.amend({"parties": parties, "status": {"parties": ["lab", "third"]}})
    posed = world.status("lab", "second")
    report = world.verify(forge(world, 2, rebuilds=[3, 4], status=posed, amendments=[amendment]))
    assert report.outcome == Outcome.UNDECIDED
    assert "1 of the 2 signatures" in texts(report)["status"]
    assert world.verify(forge(world, 2, rebuilds=[3, 4], status=posed)).outcome == Outcome.NOT_AUTHORISED


def test_control_the_new_party_signs_the_status() -> None:
    world = World()
    world.honest()
    third = seeded("third")
    world.keys["third"] = third
    key = charter_key(third, "oslo", ["status"])
    parties = {"third": {"name": "Third", "roles": ["auditor"], "keys": {third.keyid: key}}}
    world.amend({"parties": parties, "status": {"parties": ["lab", "third"]}})
    world.status("lab", "third")
    assert world.verify(shipped=SHIPPED).outcome == Outcome.VERIFIED


def test_attack_stopped_member_key_votes() -> None:
    """A member's key was stolen and stopped. The thief and one unfaithful member are no quorum any more."""
    world = World()
    spare = seeded("ngo-spare")
    ngo = world.keys["ngo"]
    keys = {ngo.keyid: {"stops": 1}, spare.keyid: charter_key(spare, "oslo", ["charter"])}
    world.amend({"parties": {"ngo": {"keys": keys}}}, "acme", "lab")
    weak = world.amend({"members": {"parties": ["acme"], "quorum": 1}}, "acme", "ngo")
    assert world.history.chain.newest.charter.version == 2
    release = world.honest()
    evidence = forge(world, release, amendments=[1, weak])
    report = world.verify(evidence)
    assert report.outcome == Outcome.NOT_AUTHORISED
    assert "charter 3 has 1 of the 2 member votes" in texts(report)["charter"]
