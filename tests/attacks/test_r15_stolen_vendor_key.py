"""R15 Stolen vendor key alone publishes.

Cheat: a thief has the vendor's release key, or every key that the vendor has, and publishes a file of its own: source,
    provenance and release logged in due form, rebuilds and status made up with the keys it holds.
Noticed by: the customer; the rebuilders, who are asked for a verdict and get other bytes; the vendor and every auditor,
    who read the ledger that the thief had to log in.
Seen: exit 5 as long as nobody has rebuilt, exit 3 once somebody has, exit 4 for what the thief signs in the names of
    others or outside the countries that the charter allows; after the vendor's keys are stopped, exit 4 for good.
"""

from typing import Any

import pytest
from forgery import clean_row, forge
from glasshouse_verify.alarm import Hold
from glasshouse_verify.dsse import parse_envelope
from glasshouse_verify.report import Outcome
from glasshouse_verify.statement import Action, ReleasedFile, Use, Verdict, make_statement
from onlookers import alarms
from world import FILE, PLATFORM, PRODUCT, World, charter_key, digest, seeded, texts

from glasshouse.ledger.errors import NotThere

STOLEN = b"the thief's engine"
CONVEYOR = seeded("acme-conveyor")


def separate_keys() -> World:
    """The vendor's release key and its conveyor's key are two, as `glasshouse init` makes them."""
    acme, uses = seeded("acme"), ["source", "release", "hold", "charter"]
    conveyor = charter_key(CONVEYOR, "zurich-1", ["provenance"])
    keys = {CONVEYOR.keyid: conveyor, acme.keyid: charter_key(acme, "zurich-1", uses)}
    world = World(parties={"acme": {"keys": keys}})
    world.keys["conveyor"] = CONVEYOR
    return world


def test_control_the_vendor_itself() -> None:
    world = separate_keys()
    release = world.release(built_by="conveyor")
    for party in ("lab", "second"):
        world.rebuild(release, party)
    world.status()
    assert world.verify().outcome == Outcome.VERIFIED


def test_attack_release_key_without_the_conveyors() -> None:
    world = separate_keys()
    world.release(shipped=STOLEN)
    report = world.verify(shipped=STOLEN)
    assert report.outcome == Outcome.NOT_AUTHORISED
    assert "no key of acme entitled" in texts(report)["provenance"]


def test_attack_conveyor_key_without_the_release_key() -> None:
    world = separate_keys()
    release = world.release(shipped=STOLEN, by="conveyor", built_by="conveyor")
    report = world.verify(forge(world, release), STOLEN)
    assert report.outcome == Outcome.NOT_AUTHORISED
    assert set(texts(report)) >= {"source", "release"}
    assert len(alarms(world)["entitlement"]) == 2


def test_attack_every_vendor_key_and_nobody_rebuilt() -> None:
    world = World()
    world.release(shipped=STOLEN)
    assert world.verify(shipped=STOLEN).outcome == Outcome.UNDECIDED
    world.status()
    report = world.verify(shipped=STOLEN)
    assert report.outcome == Outcome.UNDECIDED
    assert texts(report) == {"rebuild": "0 of the 2 rebuilds that the charter asks for"}


def test_attack_rebuilders_answer() -> None:
    world = World()
    release = world.release(shipped=STOLEN)
    world.rebuild(release, "lab", Verdict.DIFFERS)
    world.status()
    assert world.verify(shipped=STOLEN).outcome == Outcome.MISMATCH
    assert "verdicts" in alarms(world)


@pytest.mark.parametrize("name", ["acme", "lab", "second"])
def test_attack_rebuild_made_with_the_vendors_key(name: str) -> None:
    world = World()
    release = world.release(shipped=STOLEN)
    posed = [world.rebuild(release, party, signer="acme") for party in dict.fromkeys((name, "second"))]
    status = world.status()
    assert world.verify(shipped=STOLEN).outcome == Outcome.UNDECIDED
    report = world.verify(forge(world, release, rebuilds=posed, status=status), STOLEN)
    assert report.outcome == Outcome.NOT_AUTHORISED
    assert texts(report)["rebuild"] == f"no entitled key of {name} signed its rebuild"


def test_attack_status_made_with_the_vendors_key() -> None:
    world = World()
    release = world.release(shipped=STOLEN)
    verdicts = [world.rebuild(release, party, signer="acme") for party in ("lab", "second")]
    status = world.post(world.status_of([clean_row(world, release, verdicts)]), "acme")
    report = world.verify(forge(world, release, rebuilds=verdicts, status=status), STOLEN)
    assert report.outcome == Outcome.NOT_AUTHORISED
    assert "0 of the 2 signatures" in texts(report)["status"]


def test_attack_key_of_the_wrong_country() -> None:
    """The key that stayed at the old site may sign nothing that is installed today."""
    world = World()
    release = world.release(shipped=STOLEN, by="acme-old", built_by="acme-old")
    for party in ("lab", "second"):
        world.rebuild(release, party)
    world.status()
    report = world.verify(shipped=STOLEN)
    assert report.outcome == Outcome.NOT_AUTHORISED
    assert texts(report)["provenance"] == "it was built in RU; the charter allows CH only"
    assert texts(report)["release"] == "it was signed in RU; the charter allows CH only"
    assert "was not signed in CH" in alarms(world)["releases"][0]


def test_attack_charter_amended_to_ask_for_less() -> None:
    """One member's vote, the vendor's, is no quorum: the weaker gate never comes into force."""
    world = World()
    weak = world.amend({"products": {PRODUCT: {"gate": {"quorum": 1}}}, "status": {"quorum": 1}}, "acme")
    release = world.release(shipped=STOLEN)
    assert world.history.chain.newest.charter.version == 1
    report = world.verify(forge(world, release, amendments=[weak]), STOLEN)
    assert report.outcome == Outcome.NOT_AUTHORISED
    assert "1 of the 2 member votes" in texts(report)["charter"]


def lift(world: World, release: str, hold: str, party: str = "acme", **changes: Any) -> bytes:
    says = {
        "party": party,
        "action": Action.LIFT,
        "release": release,
        "reason": "found",
        "time": world.now,
        "lifts": hold,
    }
    return make_statement(Use.HOLD, Hold(**(says | changes)))


def test_attack_supervisors_hold_lifted_with_the_vendors_key() -> None:
    world = World()
    release = world.honest()
    hold = Hold(party="lab", action=Action.HOLD, release=release, reason="stolen key", time=world.now)
    held = world.post(make_statement(Use.HOLD, hold), "lab")
    world.post(lift(world, release, held), "acme")
    world.post(lift(world, release, held, party="lab"), "acme")
    world.post(lift(world, release, held, party="second"), "second")
    world.status()
    report = world.verify()
    assert report.outcome == Outcome.MISMATCH
    assert texts(report)["status"] == "lab placed a hold on it: stolen key"


def test_control_the_supervisor_lifts_its_own_hold() -> None:
    world = World()
    release = world.honest()
    hold = Hold(party="lab", action=Action.HOLD, release=release, reason="stolen key", time=world.now)
    held = world.post(make_statement(Use.HOLD, hold), "lab")
    world.post(lift(world, release, held, party="lab"), "lab")
    world.status()
    assert world.verify().outcome == Outcome.VERIFIED


def test_attack_after_the_vendor_stopped_the_key() -> None:
    """Rebuilders were deceived too: stopping the key from the theft on takes the file back for good."""
    world = World()
    honest = world.honest()
    theft = len(world.entries)
    release = world.release("1.1", shipped=STOLEN)
    for party in ("lab", "second"):
        world.rebuild(release, party)
    world.status()
    assert world.verify(shipped=STOLEN).outcome == Outcome.VERIFIED
    acme, fresh = world.keys["acme"], seeded("acme-fresh")
    renewed = charter_key(fresh, "zurich-1", ["source", "release", "provenance", "hold", "charter"])
    keys = {acme.keyid: {"stops": theft}, fresh.keyid: renewed}
    stopped = world.amend({"parties": {"acme": {"keys": keys}}}, "lab", "ngo")
    status = world.status()
    evidence = forge(world, release, rebuilds=[theft + 2, theft + 3], status=theft + 4, amendments=[stopped])
    report = world.verify(evidence, STOLEN)
    assert report.outcome == Outcome.NOT_AUTHORISED
    assert {"source", "release", "provenance"} <= set(texts(report))
    assert "revocations" in alarms(world)
    assert world.verify().outcome == Outcome.VERIFIED
    assert world.history.records[honest].index < theft < world.history.records[status].index


def test_attack_thief_declares_the_file_a_signed_form() -> None:
    file = ReleasedFile(platform=PLATFORM, name=FILE, sha256=digest(STOLEN), unsigned=digest(b"honest build"))
    assert file.built == digest(b"honest build")
    world = World()
    release = world.release(shipped=STOLEN, unsigned=file.unsigned)
    for party in ("lab", "second"):
        world.rebuild(release, party, Verdict.IDENTICAL_MODULO_SIGNATURE)
    world.status()
    assert world.verify(shipped=STOLEN).outcome == Outcome.UNDECIDED


def test_control_what_the_vendor_released_is_signed_again() -> None:
    """What the vendor itself released since the theft needs its signature with the new key, and no new rebuild."""
    world, fresh = separate_keys(), seeded("acme-fresh")
    world.keys["acme-fresh"] = fresh
    release = world.release(built_by="conveyor")
    for party in ("lab", "second"):
        world.rebuild(release, party)
    keys = {
        seeded("acme").keyid: {"stops": 1},
        fresh.keyid: charter_key(fresh, "zurich-1", ["source", "release", "hold", "charter"]),
    }
    world.amend({"parties": {"acme": {"keys": keys}}}, "lab", "ngo")
    world.status()
    assert world.history.size == 7
    with pytest.raises(NotThere):
        world.evidence()
    for entry in world.entries[1:3]:
        world.post(parse_envelope(entry).payload, "acme-fresh")
    world.status()
    report = world.verify()
    assert report.outcome == Outcome.VERIFIED
    assert world.evidence().release.index == 8
