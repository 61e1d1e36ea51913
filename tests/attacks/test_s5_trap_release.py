"""S5 A rebuilder falls into a trap release.

Cheat: The second rebuilder copies what was released, or what the first one found, and calls it a rebuild. Or a member
    calls a release a trap that was none, to have it withdrawn or to excuse a mismatch.
Noticed by: every auditor, once the members open the trap that a quorum of them had committed to before it was released.
Seen: the auditor's rule `traps` names the rebuilder. No gate ever passes the trap: nobody can have bytes of its digest,
    and opened it stands withdrawn, whatever is lifted. What was not committed to changes nothing but for an alarm.
"""

import pytest
from glasshouse_verify.alarm import Hold
from glasshouse_verify.gate import check_file
from glasshouse_verify.report import Outcome
from glasshouse_verify.statement import Action, Use, Verdict, make_statement
from glasshouse_verify.trap import wrong_digests
from trapping import MEMBERS, NONCE, VERSION, Trapping
from world import FILE, NOW, PLATFORM, PRODUCT, SHIPPED, digest

from glasshouse.ledger.evidence import assemble
from glasshouse.supervision.rules import RULES, Scene

WRONG, _ = wrong_digests(NONCE, PLATFORM, FILE)


@pytest.fixture
def world() -> Trapping:
    return Trapping()


def alarms(world: Trapping) -> list[str]:
    scene = Scene(
        history=world.history, now=NOW, has_blob=lambda _: True, document=world.blobs.get, blob=world.blobs.get
    )
    return [alarm.text for alarm in RULES["traps"](scene)]


def outcome(world: Trapping) -> tuple[Outcome, str]:
    """What a gate says to somebody whose file had the trap's digest, and to its claim about the status."""
    report = check_file(world.pin, assemble(world, world.pin, WRONG), WRONG, NOW)
    return report.outcome, next(claim.text for claim in report.claims if claim.claim == "status")


def test_attack_a_copied_digest_called_identical(world: Trapping) -> None:
    release = world.lay("acme", "ngo")
    world.differs(release, "lab")
    world.rebuild(release, "second")
    assert alarms(world) == []
    world.open(release)
    assert alarms(world) == [
        f"second fell into the trap {PRODUCT} {VERSION}: identical, of digests that nothing builds to"
    ]


def test_attack_a_guess_that_it_is_a_trap(world: Trapping) -> None:
    """Who sees no more than that no file was uploaded, and says it differs, does not know what the source builds to."""
    release = world.lay("acme", "ngo")
    world.differs(release, "lab")
    world.differs(release, "second", got=b"a guess")
    world.open(release)
    assert alarms(world) == [
        f"second calls the trap {PRODUCT} {VERSION} wrong without having got what its source builds to"
    ]


def test_attack_no_result_is_not_found_either(world: Trapping) -> None:
    release = world.lay("acme", "ngo")
    world.differs(release, "lab")
    world.rebuild(release, "second", Verdict.PACK_NOT_RECEIVED)
    world.open(release)
    assert alarms(world) == [f"second did not find the trap {PRODUCT} {VERSION}: pack-not-received"]


def test_attack_taking_it_back_afterwards(world: Trapping) -> None:
    """A later verdict that replaces the first does not make the first unsaid."""
    release = world.lay("acme", "ngo")
    first = world.rebuild(release, "second")
    world.open(release)
    world.rebuild(release, "second", Verdict.BUILD_FAILED, replaces=first)
    assert any("second fell into the trap" in text for text in alarms(world))


def test_attack_every_rebuilder_falls_into_it_and_the_vendor_lifts_what_it_can(world: Trapping) -> None:
    """With no verdict against it, the withdrawal that lies in the opening keeps it out; nobody can lift that."""
    release = world.lay("acme", "ngo")
    for party in ("lab", "second"):
        world.rebuild(release, party)
    opened = world.open(release)
    lift = Hold(party="acme", action=Action.LIFT, release=release, reason="never mind", time=NOW, lifts=opened)
    world.post(make_statement(Use.HOLD, lift), "acme")
    own = Hold(party="ngo", action=Action.LIFT, release=release, reason="never mind", time=NOW, lifts=opened)
    world.post(make_statement(Use.HOLD, own), "ngo")
    world.status()
    said, text = outcome(world)
    assert said == Outcome.MISMATCH
    assert "ngo placed a withdraw on it: a trap release" in text


@pytest.mark.parametrize(
    ("signers", "late"), [((), False), (("acme",), False), (("acme", "second"), False), (MEMBERS, True)]
)
def test_attack_a_mismatch_called_a_trap(world: Trapping, signers: tuple[str, ...], late: bool) -> None:
    """Without a commitment of a quorum of the members, below the release, it was none."""
    release = world.lay(*signers, late=late)
    world.rebuild(release, "second")
    world.open(release)
    (text,) = alarms(world)
    assert "no quorum of the members had committed to before it" in text
    (row,) = world.history.status_rows()
    assert row["holds"] == []


def test_attack_an_honest_release_called_a_trap(world: Trapping) -> None:
    """A commitment to a release whose digests can be had opens nothing, whoever signs it."""
    release = world.lay(*MEMBERS, sha256=digest(SHIPPED))
    world.open(release)
    assert len(alarms(world)) == 1
    (row,) = world.history.status_rows()
    assert row["holds"] == []


def test_control_who_rebuilds_finds_it(world: Trapping) -> None:
    release = world.lay("acme", "ngo")
    for party in ("lab", "second"):
        world.differs(release, party)
    world.open(release)
    assert alarms(world) == []


def test_control_nothing_is_told_before_it_is_opened(world: Trapping) -> None:
    """Until then it looks like a release that does not rebuild, and no gate passes it for that."""
    release = world.lay("acme", "ngo")
    world.differs(release, "lab")
    world.rebuild(release, "second")
    world.status()
    said, text = outcome(world)
    assert said == Outcome.MISMATCH
    assert "the rebuild of lab differs" in text


def test_control_no_bytes_have_its_digest(world: Trapping) -> None:
    """The digest is the complement of a hash: what was hashed has another one, and so has everything anybody has."""
    world.lay("acme", "ngo")
    made_from = b"glasshouse trap\0" + bytes.fromhex(NONCE) + b"shipped\0" + f"{PLATFORM}/{FILE}".encode()
    assert bytes(byte ^ 0xFF for byte in bytes.fromhex(digest(made_from))).hex() == WRONG
    assert digest(made_from) != WRONG
