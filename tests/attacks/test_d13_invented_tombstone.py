"""D13 A lost object covered by an invented tombstone; an erased one restored or entered again.

Cheat: the sites have lost an object and say that it was erased: by its time before that is up, on a request that nobody
    signed, for a category that nobody ended. Or an erased object is put back from a backup, under its old handle or a
    new one.
Noticed by: the customer, by its receipt, whose key alone signs a request; auditors, whose rows remember every handle,
    and for whom receipts and objects have to be as many.
Seen: glasshouse receipt check ends with 3; findings inventory-rows or inventory-counts, and no inspection. An object
    that comes back under a new handle and with a receipt number of its own is shown by neither: its plaintext takes the
    data key, and that the custodian counts (D7).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cheating_sites import Cheat, Draft
from glasshouse_verify.receipt import Reason, erasure_request
from glasshouse_verify.report import Outcome
from glasshouse_verify.statement import Use
from onlookers import alarms
from region_world import YEAR, receipt_of, says
from surveyed import Pair, surveyed
from world import digest, seeded

from glasshouse.regions.delta import HeldRow
from glasshouse.storage.db import Database


@pytest.fixture
def pair(database: Database, other_database: Database, tmp_path: Path) -> Iterator[Pair]:
    with surveyed(tmp_path, database, other_database) as found:
        yield found


def excuses(handle: str) -> dict[str, tuple[dict[str, Any], str]]:
    return {
        "its time was up": ({"reason": Reason.RETENTION}, "for the end of its time, which was"),
        "nobody signed": ({"reason": Reason.CUSTOMER, "request": bytes(64)}, "the customer did not sign"),
        "the site signed": (
            {"reason": Reason.CUSTOMER, "request": seeded("zurich-1").sign(erasure_request(handle))},
            "the customer did not sign",
        ),
        "signed for another object": (
            {"reason": Reason.CUSTOMER, "request": seeded("kookaburra").sign(erasure_request(digest(b"other")))},
            "the customer did not sign",
        ),
        "the category ended": ({"reason": Reason.CATEGORY}, "which no charter had ended or shortened by then"),
    }


def test_attack_an_invented_tombstone(pair: Pair) -> None:
    """In order for everybody else: the real journal has the removal, both sites agree, the auditor signs."""
    lost = {excuse: pair.upload(excuse.encode()) for excuse in excuses("")}
    pair.close()
    pair.world.later(60)
    for excuse, mine in lost.items():
        changes, _ = excuses(receipt_of(mine).handle)[excuse]
        pair.erase(mine, **changes)
    pair.close()
    assert not [rule for rule in alarms(pair.world) if rule.startswith("inventory")]
    for excuse, mine in lost.items():
        answer = pair.world.check(mine, pair.evidence(mine))
        assert answer.outcome == Outcome.MISMATCH, excuse
        assert excuses("")[excuse][1] in says(answer)["object"]


def test_attack_restored_from_a_backup(pair: Pair) -> None:
    mine = pair.upload(b"erased")
    pair.close()
    pair.erase(mine)
    pair.close()
    assert pair.world.check(mine, pair.evidence(mine)).outcome == Outcome.VERIFIED
    cheat, receipt = Cheat(pair), receipt_of(mine)

    def restore(draft: Draft) -> None:
        draft.add(HeldRow(key=receipt.handle, commitment=receipt.commitment))
        draft.count(received=1, stored=1, pending=1, held=1)

    cheat.close(restore)
    answer = pair.world.check(mine, cheat.evidence(mine))
    assert answer.outcome == Outcome.MISMATCH
    assert says(answer)["object"] == "the inventory has it among the held and among the erased"
    assert any("1 objects that were erased come back" in text for text in alarms(pair.world)["inventory-rows"])
    assert [record.predicate.epoch for record in pair.world.history.standing(Use.INSPECTION)] == [1, 2]


def test_attack_the_tombstone_goes_and_the_object_is_back(pair: Pair) -> None:
    mine = pair.upload(b"erased")
    pair.erase(mine)
    pair.close()
    cheat, receipt = Cheat(pair), receipt_of(mine)

    def restore(draft: Draft) -> None:
        del draft.erased[receipt.handle]
        draft.add(HeldRow(key=receipt.handle, commitment=receipt.commitment))
        draft.count(pending=1, held=1, erased_before_analysis=-1, erased=-1)

    cheat.close(restore)
    said = " ".join(alarms(pair.world)["inventory-rows"] + alarms(pair.world)["inventory-counts"])
    assert "the erased rows are not those that all deltas lead to" in said
    assert "erased went back from 1 to 0" in said
    assert [record.predicate.epoch for record in pair.world.history.standing(Use.INSPECTION)] == [1]


def test_attack_entered_again_under_a_new_handle(pair: Pair) -> None:
    mine = pair.upload(b"erased")
    pair.erase(mine)
    pair.close()
    cheat = Cheat(pair)

    def enter(draft: Draft) -> None:
        draft.add(HeldRow(key=digest(b"a new handle"), commitment=digest(b"a new salt")))
        draft.count(received=1, stored=1, pending=1, held=1)

    cheat.close(enter)
    assert any("2 stored, but 1 receipts" in text for text in alarms(pair.world)["inventory-counts"])
    assert [record.predicate.epoch for record in pair.world.history.standing(Use.INSPECTION)] == [1]


def test_control_erased_by_right(pair: Pair) -> None:
    asked, timely = pair.upload(b"asked for"), pair.upload(b"its time is up")
    pair.close()
    pair.erase(asked)
    pair.close()
    assert pair.world.check(asked, pair.evidence(asked)).outcome == Outcome.VERIFIED
    pair.world.later(YEAR + 1)
    pair.erase(timely, reason=Reason.RETENTION)
    pair.close()
    assert pair.world.check(timely, pair.evidence(timely)).outcome == Outcome.VERIFIED
