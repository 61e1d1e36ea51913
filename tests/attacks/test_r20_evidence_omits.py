"""R20 Evidence that omits a logged negative verdict, a hold or a newer charter.

Cheat: whoever serves the evidence leaves out what speaks against the file: a negative verdict, a hold, a second release
    of the version, the newest charter, or the newest status itself.
Noticed by: the customer, because the status, which the vendor cannot sign, says all of that in one row.
Seen: exit 3 with the verdict or hold; exit 4 where the charter is missing that the status was made under; exit 5 where
    no status, or an old one, is shown.
"""

from dataclasses import replace

import pytest
from forgery import forge
from glasshouse_verify.alarm import Hold
from glasshouse_verify.report import Outcome
from glasshouse_verify.statement import Action, Use, Verdict, make_statement
from world import DAY, World, texts

from glasshouse.ledger.history import MAX_NAMED, MAX_REASON

REASON = "the maintainer of a dependency was compromised"


def held(world: World, release: str, action: Action = Action.HOLD, party: str = "lab", **changes: object) -> str:
    fields = {"party": party, "action": action, "release": release, "reason": REASON, "time": world.now}
    return world.post(make_statement(Use.HOLD, Hold(**(fields | changes))), party)


def test_control_nothing_to_omit() -> None:
    world = World()
    release = world.honest()
    status = world.status()
    assert world.verify(forge(world, release, rebuilds=[3, 4], status=status)).outcome == Outcome.VERIFIED


def test_attack_hold_omitted() -> None:
    """A hold is never part of the evidence: it stands in the row."""
    world = World()
    release = world.honest()
    held(world, release)
    status = world.status()
    for evidence in (world.evidence(), forge(world, release, rebuilds=[3, 4], status=status)):
        report = world.verify(evidence)
        assert report.outcome == Outcome.MISMATCH
        assert texts(report) == {"status": f"lab placed a hold on it: {REASON}"}


def test_attack_withdrawal_by_the_vendor_omitted() -> None:
    world = World()
    release = world.honest()
    held(world, release, Action.WITHDRAW, "acme")
    world.status()
    assert texts(world.verify()) == {"status": f"acme placed a withdraw on it: {REASON}"}


def test_control_superseded_is_no_alarm() -> None:
    world = World()
    release = world.honest()
    held(world, release, Action.SUPERSEDE, "acme")
    world.status()
    report = world.verify()
    assert report.outcome == Outcome.VERIFIED
    assert f"superseded: {REASON}" in next(claim.text for claim in report.claims if claim.claim == "status")


def test_attack_status_from_before_the_hold() -> None:
    """Good for the rest of its short life, which the charter sets; then nothing is verified any more."""
    world = World()
    release = world.honest()
    held(world, release)
    world.status()
    old = forge(world, release, rebuilds=[3, 4], status=5)
    assert world.verify(old).outcome == Outcome.VERIFIED
    assert world.verify(old, at=world.now - 60 + DAY).outcome == Outcome.VERIFIED
    report = world.verify(old, at=world.now - 60 + DAY + 1)
    assert report.outcome == Outcome.UNDECIDED
    assert list(texts(report)) == ["status"]


def test_attack_status_dated_ahead() -> None:
    """A status that claims to be from the future is no way round its age."""
    world = World()
    release = world.release()
    for party in ("lab", "second"):
        world.rebuild(release, party)
    world.status(time=world.now + 30 * DAY)
    report = world.verify()
    assert report.outcome == Outcome.UNDECIDED
    assert "after the time given" in texts(report)["status"]


def test_attack_no_status_at_all() -> None:
    world = World()
    release = world.honest()
    held(world, release)
    report = world.verify(forge(world, release, rebuilds=[3, 4]))
    assert report.outcome == Outcome.UNDECIDED
    assert "no status that speaks of this release" in texts(report)["status"]


@pytest.mark.parametrize("verdict", [Verdict.DIFFERS, Verdict.BUILD_FAILED])
def test_attack_younger_verdict_than_the_status(verdict: Verdict) -> None:
    """Who serves the evidence honestly shows a verdict that is younger than the status, and it counts at once."""
    world = World()
    release = world.honest()
    first = world.history.verdicts(world.history.records[release])["lab"][0].id
    world.rebuild(release, "lab", verdict, replaces=first)
    expected = Outcome.MISMATCH if verdict == Verdict.DIFFERS else Outcome.UNDECIDED
    assert world.verify().outcome == expected
    omitted = forge(world, release, rebuilds=[3, 4], status=5)
    assert world.verify(omitted).outcome == Outcome.VERIFIED
    status = world.status()
    assert world.verify().outcome == expected
    assert world.verify(forge(world, release, rebuilds=[3, 4], status=status)).outcome == Outcome.MISMATCH


def test_attack_newer_charter_omitted() -> None:
    world = World()
    world.honest()
    world.amend({"status": {"maximum_age": 3600}})
    status = world.status()
    assert world.verify().outcome == Outcome.VERIFIED
    report = world.verify(replace(world.evidence(), amendments=()))
    assert report.outcome == Outcome.NOT_AUTHORISED
    shorter = forge(world, 2, rebuilds=[3, 4], status=status)
    report = world.verify(shorter)
    assert report.outcome == Outcome.NOT_AUTHORISED
    assert texts(report) == {"status": "the status was made under a charter that the evidence does not show"}


def test_attack_row_of_another_file() -> None:
    """The held file's evidence with the row of a file on which no hold stands."""
    world = World()
    release = world.honest()
    held(world, release)
    other = world.release("1.1", shipped=b"another")
    for party in ("lab", "second"):
        world.rebuild(other, party)
    status = world.status()
    row = forge(world, other, status=status).row
    report = world.verify(replace(forge(world, release, rebuilds=[3, 4], status=status), row=row))
    assert report.outcome == Outcome.MISMATCH
    assert texts(report)["status"] == "the status row is of another file"


def test_attack_hold_drowned_in_others() -> None:
    """Many supersessions of the vendor do not push the supervisor's hold out of the row, nor the row out of bounds."""
    world = World()
    release = world.honest()
    for n in range(2 * MAX_NAMED):
        held(world, release, Action.SUPERSEDE, "acme", reason="\U0001f600" * 4_000, time=world.now + n)
    held(world, release)
    (row,) = world.history.status_rows()
    assert len(row["holds"]) == MAX_NAMED
    assert max(len(hold["reason"]) for hold in row["holds"]) == MAX_REASON
    world.status()
    report = world.verify()
    assert report.outcome == Outcome.MISMATCH
    assert texts(report)["status"] == f"lab placed a hold on it: {REASON}"
