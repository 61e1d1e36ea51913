"""S5 A rebuilder countersigns what it did not rebuild.

Cheat: The second rebuilder builds nothing. It copies the released digests and calls them identical, also for a trap: a
    release whose digest the members know to be wrong.
Noticed by: the other rebuilder and every auditor, from the ledger alone; the customer, whose gate wants blind rebuilds.
Seen: the auditor's rule `blindness` raises an alarm; the customer gets exit 5 for an honest release, exit 3 for a trap.
"""

import pytest
from glasshouse_verify.report import Outcome
from glasshouse_verify.statement import Opening, Verdict
from world import DAY, NOW, PRODUCT, SHIPPED, World, digest, texts

from glasshouse.supervision.rules import RULES, Scene

WRONG = b"not what the source builds to"


@pytest.fixture
def world() -> World:
    return World(products={PRODUCT: {"gate": {"blind": True}}})


def alarms(world: World, now: int = NOW) -> list[str]:
    scene = Scene(
        history=world.history, now=now, has_blob=lambda _: True, document=world.blobs.get, blob=world.blobs.get
    )
    return [alarm.text for alarm in RULES["blindness"](scene)]


def test_attack_a_copied_digest_was_not_committed_to(world: World) -> None:
    """Without a commitment made before the release, a verdict does not count as blind."""
    release = world.release(committed=("lab",))
    for party in ("lab", "second"):
        world.rebuild(release, party)
    world.status()
    assert world.verify().outcome == Outcome.UNDECIDED
    assert "1 of the 2 rebuilds" in texts(world.verify())["rebuild"]


def test_attack_a_trap_release(world: World) -> None:
    """The members have a release logged under a wrong digest; who calls it identical has not built it."""
    release = world.release(shipped=WRONG)
    world.rebuild(release, "lab", Verdict.DIFFERS)
    world.rebuild(release, "second", Verdict.IDENTICAL)
    world.status()
    assert any("second got identical bytes and lab other ones" in text for text in alarms(world))
    assert world.verify(shipped=WRONG).outcome == Outcome.MISMATCH


def test_attack_a_commitment_after_the_release(world: World) -> None:
    """Once the digests are public, a commitment to them proves nothing."""
    release = world.release(committed=("lab",))
    world.commit("second", world.statement(release).source, digest(SHIPPED))
    for party in ("lab", "second"):
        world.rebuild(release, party)
    world.status()
    assert world.verify().outcome == Outcome.UNDECIDED
    assert any("second opens a commitment too late" in text for text in alarms(world))


def test_attack_a_commitment_opened_to_other_outputs(world: World) -> None:
    """A commitment to a guess, opened to what was released."""
    release = world.release(committed=("lab",))
    source = world.statement(release).source
    guess = world.openings["lab", source]
    world.openings["second", source] = Opening(commit=guess.commit, nonce=digest(b"another"), outputs=guess.outputs)
    for party in ("lab", "second"):
        world.rebuild(release, party)
    world.status()
    assert world.verify().outcome == Outcome.UNDECIDED
    assert any("second opens a commitment too late, or to other outputs" in text for text in alarms(world))


def test_attack_a_commitment_never_opened(world: World) -> None:
    """A rebuilder that got other bytes than it hoped for cannot keep silent about it for long."""
    release = world.release(committed=("lab", "second"))
    world.rebuild(release, "lab")
    assert alarms(world, NOW) == []
    assert any("second has not opened its commitment" in text for text in alarms(world, NOW + 2 * DAY))


def test_control_two_blind_rebuilds(world: World) -> None:
    """Both committed before the release and opened to what they had built."""
    release = world.release(committed=("lab", "second"))
    for party in ("lab", "second"):
        world.rebuild(release, party)
    world.status()
    assert world.verify().outcome == Outcome.VERIFIED
    assert alarms(world, NOW + 2 * DAY) == []


def test_control_a_version_whose_bytes_have_not_changed(world: World) -> None:
    """What the version before has made public cannot be secret; a commitment below the release is enough."""
    first = world.release(committed=("lab", "second"))
    second = world.release("1.1", committed=("lab", "second"))
    for release in (first, second):
        for party in ("lab", "second"):
            world.rebuild(release, party)
    rows = {row["key"]: row["verdicts"] for row in world.history.status_rows()}
    assert all(verdict["blind"] for verdicts in rows.values() for verdict in verdicts.values())
    assert alarms(world, NOW + 2 * DAY) == []


def test_control_a_commitment_that_came_too_late_is_no_offence(world: World) -> None:
    """A vendor that does not wait makes honest commitments late; they count for nothing and accuse nobody."""
    release = world.release()
    world.commit("lab", world.statement(release).source, digest(SHIPPED))
    world.openings.clear()
    world.rebuild(release, "lab")
    assert alarms(world, NOW + 2 * DAY) == []
