"""S3 Charter amended without quorum.

Cheat: the vendor, which is one member and runs the log, weakens the charter alone: asks for one rebuild, lets a status
    live for a year, makes its friends auditors, or lowers the quorum so that its own vote is enough.
Noticed by: everybody who follows the ledger, and the customer, who goes from the pin to the newest charter by himself.
Seen: the charter in force stays what it was; exit 4 for evidence that shows the amendment, exit 4 or 1 for a charter
    that never was in the ledger or breaks a rule; the auditor's rule `charter-chain` raises an alarm where no member
    voted at all.
"""

from dataclasses import replace
from typing import Any

import pytest
from forgery import forge
from glasshouse_verify.charter import Charter
from glasshouse_verify.codec import decode, encode
from glasshouse_verify.errors import VerifyError
from glasshouse_verify.evidence import Amendment, Evidence
from glasshouse_verify.report import Outcome
from glasshouse_verify.statement import Use, make_statement, parse_statement
from onlookers import alarms
from world import DAY, PRODUCT, World, charter_key, seeded, texts

from glasshouse.ledger.evidence import make_patch

PUPPET = seeded("puppet")
WEAKER: dict[str, dict[str, Any]] = {
    "one rebuild is enough": {"products": {PRODUCT: {"gate": {"quorum": 1}}}},
    "a status for a year": {"status": {"maximum_age": 365 * DAY}},
    "the old country again": {"products": {PRODUCT: {"gate": {"build_in": ["CH", "RU"]}}}},
    "one auditor is enough": {"status": {"quorum": 1}},
    "its own vote is enough": {"members": {"parties": ["acme"], "quorum": 1}},
    "a friend as auditor": {
        "parties": {
            "puppet": {
                "name": "Puppet",
                "roles": ["auditor", "rebuilder", "member"],
                "keys": {PUPPET.keyid: charter_key(PUPPET, "bern", ["rebuild", "status", "charter"])},
            }
        },
        "status": {"parties": ["puppet"], "quorum": 1},
    },
}


@pytest.mark.parametrize("patch", WEAKER.values(), ids=WEAKER.keys())
def test_control_with_a_quorum_it_is_allowed(patch: dict[str, Any]) -> None:
    world = World()
    world.amend(patch, "acme", "ngo")
    assert world.history.chain.newest.charter.version == 2
    assert alarms(world) == {}


@pytest.mark.parametrize("patch", WEAKER.values(), ids=WEAKER.keys())
def test_attack_one_members_amendment(patch: dict[str, Any]) -> None:
    world = World()
    release = world.honest()
    entry = len(world.entries)
    world.amend(patch, "acme")
    status = world.status()
    assert world.history.chain.newest.charter.version == 1
    assert world.verify().outcome == Outcome.VERIFIED
    report = world.verify(forge(world, release, rebuilds=[3, 4], status=status, amendments=[entry]))
    assert report.outcome == Outcome.NOT_AUTHORISED
    assert texts(report) == {"charter": "charter 2 has 1 of the 2 member votes it needs"}


def test_attack_the_amendment_counts_its_own_voters() -> None:
    """The puppet votes for the charter that makes it a member: the charter before does not know it."""
    world = World()
    world.keys["puppet"] = PUPPET
    patch = WEAKER["a friend as auditor"] | {"members": {"parties": ["acme", "puppet"], "quorum": 2}}
    world.amend(patch, "acme", "puppet")
    assert world.history.chain.newest.charter.version == 1
    assert "1 of the 2" in texts(world.verify(forge(world, world.release(), amendments=[1])))["charter"]


def test_attack_nobody_voted() -> None:
    world = World()
    world.amend(WEAKER["a status for a year"], "second")
    assert world.history.chain.newest.charter.version == 1
    assert "0 of the 2 member votes" in alarms(world)["charter-chain"][0]


def test_attack_a_version_skipped() -> None:
    """Version 3 with all votes, but version 2 never was: it follows nothing."""
    world = World()
    document = encode(world.history.chain.newest.charter)
    document |= {"version": 3, "previous": world.history.pin_id}
    world.post(make_statement(Use.CHARTER, decode(Charter, document, "charter")), "acme", "ngo")
    assert world.history.chain.newest.charter.version == 1
    assert alarms(world)["charter-chain"] == ["entry 1: charter 3 does not follow version 1 by number and id"]
    report = world.verify(forge(world, world.release(), amendments=[1]))
    assert report.outcome == Outcome.NOT_AUTHORISED


def shown_only(world: World, evidence: Evidence, patch: dict[str, Any], *signers: str) -> Evidence:
    """The evidence with an amendment in the place of an entry that it does not show otherwise."""
    payload = world.amendment(patch)
    envelope = world.envelope(payload, *signers)
    delta = make_patch(encode(world.history.chain.newest.charter), encode(parse_statement(payload).predicate))
    amendment = Amendment(delta=delta, signatures=envelope.signatures, index=len(world.entries) - 2)
    return replace(evidence, amendments=(*evidence.amendments, amendment))


@pytest.mark.parametrize("signers", [("acme",), ("acme", "ngo"), ("acme", "lab", "ngo")])
def test_attack_amendment_that_was_never_logged(signers: tuple[str, ...]) -> None:
    """Even with every vote: what is not in the ledger is not in force, for nobody could know of it."""
    world = World()
    world.honest()
    world.status()
    bent = shown_only(world, world.evidence(), WEAKER["a status for a year"], *signers)
    report = world.verify(bent, at=world.now + 90 * DAY)
    assert report.outcome == Outcome.NOT_AUTHORISED
    assert list(texts(report)) == (["charter"] if len(signers) == 1 else ["ledger"])


@pytest.mark.parametrize(
    "delta",
    [
        {"status": {"quorum": 0}},
        {"members": {"quorum": 1}},
        {"products": None},
        {"unknown": 1},
        [],
        "charter",
        {"parties": {"lab": None}},
    ],
)
def test_attack_delta_that_makes_no_sound_charter(delta: Any) -> None:
    world = World()
    world.honest()
    world.amend({"time": 1}, "acme", "ngo")
    world.status()
    evidence = world.evidence()
    bent = replace(evidence, amendments=(replace(evidence.amendments[0], delta=delta),))
    try:
        outcome = world.verify(bent).outcome
    except VerifyError:
        return
    assert outcome == Outcome.NOT_AUTHORISED


def test_attack_the_pin_itself_rewritten() -> None:
    """Evidence that starts from a first charter of the vendor's making fits no customer's pin."""
    world, other = World(), World(members={"parties": ["acme"], "quorum": 1})
    other.honest()
    report = world.verify(other.evidence())
    assert report.outcome == Outcome.NOT_AUTHORISED
    assert list(texts(report)) == ["charter"]
