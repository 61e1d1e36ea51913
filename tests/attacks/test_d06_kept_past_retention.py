"""D6 Kept past retention.

Cheat: the sites go on holding an object whose time is up, or promise it irrecoverable by a time and keep the keys that
    cover its backups.
Noticed by: the customer, who alone knows when the object was due; the inventory that the sites sign shows it.
Seen: glasshouse receipt check ends with 3 once an interval has passed; before that, and while objects are under legal
    hold, with 5.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from glasshouse_verify.receipt import Reason
from glasshouse_verify.report import Outcome
from region_world import DAY, YEAR, receipt_of, says
from surveyed import Pair, surveyed

from glasshouse.regions.journal import Kind, Note
from glasshouse.storage.db import Database


@pytest.fixture
def pair(database: Database, other_database: Database, tmp_path: Path) -> Iterator[Pair]:
    with surveyed(tmp_path, database, other_database) as found:
        yield found


def test_attack_held_after_its_time(pair: Pair) -> None:
    mine = pair.upload(b"mine")
    pair.world.later(YEAR + 60)
    for seconds, outcome in ((0, Outcome.UNDECIDED), (DAY, Outcome.MISMATCH)):
        pair.world.later(seconds)
        pair.close()
        answer = pair.world.check(mine, pair.evidence(mine))
        assert answer.outcome == outcome
        assert "it was due for erasure on" in says(answer)["object"]


def test_attack_removed_and_never_irrecoverable(pair: Pair) -> None:
    mine = pair.upload(b"mine")
    pair.world.later(YEAR + 60)
    pair.erase(mine, reason=Reason.RETENTION)
    pair.world.later(32 * DAY)
    pair.close()
    answer = pair.world.check(mine, pair.evidence(mine))
    assert answer.outcome == Outcome.MISMATCH
    assert "it was to be irrecoverable by" in says(answer)["object"]


def test_control_a_legal_hold_is_counted(pair: Pair) -> None:
    mine = pair.upload(b"mine")
    hold = Note(kind=Kind.HELD, handle=receipt_of(mine).handle, body={"time": pair.world.now})
    pair.sites[0].intake.committer.append(hold).result(60)
    pair.world.later(YEAR + 2 * DAY)
    pair.close()
    answer = pair.world.check(mine, pair.evidence(mine))
    assert answer.outcome == Outcome.UNDECIDED
    assert "1 objects are under legal hold" in says(answer)["object"]


def test_control_erased_on_time(pair: Pair) -> None:
    mine = pair.upload(b"mine")
    pair.close()
    assert pair.world.check(mine, pair.evidence(mine)).outcome == Outcome.VERIFIED
    pair.world.later(YEAR + 60)
    pair.erase(mine, reason=Reason.RETENTION)
    pair.close()
    answer = pair.world.check(mine, pair.evidence(mine))
    assert answer.outcome == Outcome.VERIFIED
    assert "(retention): removed; backups and logs may hold it until" in says(answer)["object"]
