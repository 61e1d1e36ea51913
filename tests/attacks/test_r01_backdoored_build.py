"""R1 Back-doored build on the conveyor.

Cheat: the vendor's conveyor adds a back door that is not in the source; everything the vendor signs says it did not.
Noticed by: every honest rebuilder, and through the status every customer, whatever the vendor puts into the evidence.
Seen: exit 3 with the words of the rebuilder who got other bytes; exit 5 as long as nobody has rebuilt; the auditor's
    rule `verdicts` raises an alarm.
"""

import pytest
from forgery import forge
from glasshouse_verify.errors import FormatError
from glasshouse_verify.report import Outcome
from glasshouse_verify.statement import RebuiltFile, Verdict
from onlookers import alarms
from world import FILE, PLATFORM, World, digest, texts

BACKDOORED = b"the engine with a back door"
BUILT = b"the engine as everybody else builds it"


def backdoored() -> tuple[World, str]:
    world = World()
    return world, world.release(shipped=BACKDOORED)


def test_control_honest_build_is_verified() -> None:
    world = World()
    world.honest()
    report = world.verify()
    assert report.outcome == Outcome.VERIFIED
    assert all(claim.state == "verified" for claim in report.claims)
    assert alarms(world) == {}


def test_attack_honest_rebuilders_get_other_bytes() -> None:
    world, release = backdoored()
    for party in ("lab", "second"):
        world.rebuild(release, party, Verdict.DIFFERS, explanation="engine.so: section .text has 40 more bytes")
    world.status()
    report = world.verify(shipped=BACKDOORED)
    assert report.outcome == Outcome.MISMATCH
    assert "section .text has 40 more bytes" in texts(report)["rebuild"]
    assert "differs" in texts(report)["status"]
    assert len(alarms(world)["verdicts"]) == 2


def test_attack_one_honest_rebuilder_is_enough() -> None:
    """One rebuilder colludes with the vendor: the other one's verdict stops the file."""
    world, release = backdoored()
    world.rebuild(release, "lab")
    world.rebuild(release, "second", Verdict.DIFFERS)
    world.status()
    assert world.verify(shipped=BACKDOORED).outcome == Outcome.MISMATCH


def test_attack_negative_verdicts_left_out_of_the_evidence() -> None:
    world, release = backdoored()
    for party in ("lab", "second"):
        world.rebuild(release, party, Verdict.DIFFERS)
    status = world.status()
    report = world.verify(forge(world, release, status=status), BACKDOORED)
    assert report.outcome == Outcome.MISMATCH
    assert texts(report)["status"] == "the rebuild of lab, second differs"


def test_attack_status_left_out_too() -> None:
    world, release = backdoored()
    world.rebuild(release, "lab", Verdict.DIFFERS)
    world.status()
    assert world.verify(forge(world, release), BACKDOORED).outcome == Outcome.UNDECIDED


def test_attack_offered_before_anybody_has_rebuilt() -> None:
    world, release = backdoored()
    assert world.verify(shipped=BACKDOORED).outcome == Outcome.UNDECIDED
    status = world.status()
    assert world.verify(shipped=BACKDOORED).outcome == Outcome.UNDECIDED
    world.rebuild(release, "lab", Verdict.DIFFERS)
    assert world.verify(shipped=BACKDOORED).outcome == Outcome.MISMATCH
    assert world.verify(forge(world, release, status=status), BACKDOORED).outcome == Outcome.UNDECIDED


def test_attack_back_door_declared_to_be_a_signature() -> None:
    """The shipped file is said to be the honest build with a signature embedded. Equal but for that is not equal."""
    world = World()
    release = world.release(shipped=BACKDOORED, unsigned=digest(BUILT))
    file = {"platform": PLATFORM, "name": FILE, "shipped": digest(BACKDOORED), "rebuilt": digest(BUILT)}
    with pytest.raises(FormatError, match="must be the shipped digest"):
        RebuiltFile(**file, verdict=Verdict.IDENTICAL)
    stripped = RebuiltFile(**file, verdict=Verdict.IDENTICAL_MODULO_SIGNATURE)
    for party in ("lab", "second"):
        world.rebuild(release, party, Verdict.IDENTICAL_MODULO_SIGNATURE, files=(stripped,))
    world.status()
    report = world.verify(shipped=BACKDOORED)
    assert report.outcome == Outcome.UNDECIDED
    assert "identical-modulo-signature, which does not count here" in texts(report)["rebuild"]


def test_attack_signature_verdict_over_another_build() -> None:
    """Where the charter lets that verdict count, it counts for the unsigned digest of the release only."""
    world = World(products={"acme/engine": {"gate": {"accept": ["identical", "identical-modulo-signature"]}}})
    release = world.release(shipped=BACKDOORED, unsigned=digest(BUILT))
    file = {"platform": PLATFORM, "name": FILE, "shipped": digest(BACKDOORED)}
    other = RebuiltFile(**file, rebuilt=digest(b"other"), verdict=Verdict.IDENTICAL_MODULO_SIGNATURE)
    verdicts = [
        world.rebuild(release, p, Verdict.IDENTICAL_MODULO_SIGNATURE, files=(other,)) for p in ("lab", "second")
    ]
    status = world.status()
    report = world.verify(forge(world, release, rebuilds=verdicts, status=status), BACKDOORED)
    assert report.outcome == Outcome.MISMATCH
    assert "two different digests" in texts(report)["rebuild"]


def test_control_signature_verdict_where_the_charter_accepts_it() -> None:
    world = World(products={"acme/engine": {"gate": {"accept": ["identical", "identical-modulo-signature"]}}})
    release = world.release(unsigned=digest(BUILT))
    file = {"platform": PLATFORM, "name": FILE, "shipped": digest(b"the engine as shipped")}
    same = RebuiltFile(**file, rebuilt=digest(BUILT), verdict=Verdict.IDENTICAL_MODULO_SIGNATURE)
    for party in ("lab", "second"):
        world.rebuild(release, party, Verdict.IDENTICAL_MODULO_SIGNATURE, files=(same,))
    world.status()
    assert world.verify().outcome == Outcome.VERIFIED
