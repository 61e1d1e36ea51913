"""D11 Counts that do not reconcile.

Cheat: the sites publish counts under which objects appear or disappear between arrival and inventory: sums that do not
    add up, counts that the rows or the receipts contradict, or counts smaller than those published before.
Noticed by: auditors, from the inventories alone; every customer whose receipt the inventory covers, where the sums or
    the rows contradict each other.
Seen: finding inventory-counts and no inspection; glasshouse receipt check ends with 3.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from cheating_sites import Cheat, Draft
from glasshouse_verify.report import Outcome
from glasshouse_verify.statement import Use
from onlookers import alarms
from region_world import says
from surveyed import Pair, surveyed

from glasshouse.storage.db import Database

# What is changed, what the auditor says, and what the customer's check comes to.
LIES = {
    "more came than was kept or refused": ({"received": 1}, "3 received are not 0 refused and 2 stored", 3),
    "stored and in no state": ({"received": 1, "stored": 1}, "3 stored are not 2 pending", 3),
    "held of nothing": ({"held": 1}, "3 held are not 2 stored less 0 erased", 3),
    "an object without a row": (
        {"received": 1, "stored": 1, "pending": 1, "held": 1},
        "3 held, but 2 rows of them",
        3,
    ),
    "an erasure without a tombstone": (
        {"received": 1, "stored": 1, "erased_before_analysis": 1, "erased": 1},
        "1 erased, but 0 rows of them",
        3,
    ),
    "more on hold than held": ({"on_hold": 3}, "3 on hold of 2 held", 0),
}


@pytest.fixture
def pair(database: Database, other_database: Database, tmp_path: Path) -> Iterator[Pair]:
    with surveyed(tmp_path, database, other_database) as found:
        yield found


def test_attack_counts(pair: Pair) -> None:
    mine = pair.upload(b"mine")
    pair.upload(b"other")
    cheat = Cheat(pair)
    for epoch, (lie, (changes, words, code)) in enumerate(LIES.items(), start=1):
        cheat.close(lambda draft, changes=changes: draft.count(**changes))
        said = [text for text in alarms(pair.world)["inventory-counts"] if f"inventory {epoch} of au" in text]
        assert any(words in text for text in said), (lie, said)
        answer = pair.world.check(mine, cheat.evidence(mine))
        assert answer.outcome == code, lie
        assert code == 0 or "do not reconcile" in says(answer)["inventory"], lie
    assert list(pair.world.history.standing(Use.INSPECTION)) == []


def test_attack_counts_that_go_back(pair: Pair) -> None:
    """One object too many was counted yesterday; today the sum is right again."""
    pair.upload(b"mine")
    for _ in range(2):
        pair.sites[0].intake.refused()
    cheat = Cheat(pair)

    def more(draft: Draft) -> None:
        draft.count(received=5, refused=5)

    cheat.close(more)
    assert "inventory-counts" not in alarms(pair.world)
    cheat.close(lambda _: None)
    assert any("refused went back from" in text for text in alarms(pair.world)["inventory-counts"])


def test_control_counts_of_a_region_at_work(pair: Pair) -> None:
    mine, gone = pair.upload(b"mine"), pair.upload(b"gone", at=1)
    pair.sites[1].intake.refused()
    pair.close()
    pair.erase(gone)
    pair.close()
    assert "inventory-counts" not in alarms(pair.world)
    assert len(list(pair.world.history.standing(Use.INSPECTION))) == 2
    assert pair.world.check(mine, pair.evidence(mine)).outcome == Outcome.VERIFIED
