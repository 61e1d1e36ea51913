"""D3 Object missing from the inventory.

Cheat: the sites hand out a receipt and leave the object out of their inventories: one of them alone, both together,
    with counts that say so or hide it, or by ending the inventory before the receipt for good.
Noticed by: auditors, who rebuild every row from the deltas and add up counts and receipts; the customer, whose receipt
    names a number that the inventory says it covers.
Seen: findings inventory-sites, inventory-rows or inventory-counts, and no inspection of that epoch; glasshouse receipt
    check ends with 3 or 5, never with 0.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from cheating_sites import Cheat, Draft
from glasshouse_verify.dsse import Envelope
from glasshouse_verify.report import Outcome
from glasshouse_verify.statement import Use
from onlookers import alarms
from region_world import DAY, receipt_of, says
from surveyed import Pair, surveyed

from glasshouse.storage.db import Database


@pytest.fixture
def pair(database: Database, other_database: Database, tmp_path: Path) -> Iterator[Pair]:
    with surveyed(tmp_path, database, other_database) as found:
        found.upload(b"another customer's", customer="wombat")
        found.close()
        yield found


def inspected(pair: Pair) -> list[int]:
    return [record.predicate.epoch for record in pair.world.history.standing(Use.INSPECTION)]


def judge(pair: Pair, cheat: Cheat, mine: Envelope) -> Outcome:
    return pair.world.check(mine, cheat.evidence(mine)).outcome


def test_attack_one_site_leaves_it_out(pair: Pair) -> None:
    mine = pair.upload(b"mine")
    cheat = Cheat(pair)

    def forget(draft: Draft) -> None:
        draft.forget(receipt_of(mine).handle)
        draft.count(received=-1, stored=-1, pending=-1, held=-1)

    cheat.close(forget, sites=(0,))
    assert judge(pair, cheat, mine) == Outcome.UNDECIDED
    assert "zurich-1 and zurich-2 disagree about held, delta, counts" in alarms(pair.world)["inventory-sites"][0]
    assert inspected(pair) == [1]
    # The other site has it, and says so.
    assert pair.world.check(mine, pair.evidence(mine, 1)).outcome == Outcome.VERIFIED


def test_attack_both_leave_it_out_and_count_it_not(pair: Pair) -> None:
    mine = pair.upload(b"mine")
    cheat = Cheat(pair)

    def forget(draft: Draft) -> None:
        draft.forget(receipt_of(mine).handle)
        draft.count(received=-1, stored=-1, pending=-1, held=-1)

    cheat.close(forget)
    assert judge(pair, cheat, mine) == Outcome.UNDECIDED
    assert any("1 stored, but 2 receipts" in text for text in alarms(pair.world)["inventory-counts"])
    assert inspected(pair) == [1]


def test_attack_both_leave_it_out_and_count_it(pair: Pair) -> None:
    mine = pair.upload(b"mine")
    cheat = Cheat(pair)
    cheat.close(lambda draft: draft.forget(receipt_of(mine).handle))
    answer = pair.world.check(mine, cheat.evidence(mine))
    assert answer.outcome == Outcome.MISMATCH
    assert says(answer)["inventory"] == "the inventory's counts do not reconcile: 1 rows for 2 held"
    assert inspected(pair) == [1]


def test_attack_it_was_there_before(pair: Pair) -> None:
    """An object that an earlier inventory showed goes without a tombstone: the deltas still lead to it."""
    mine = pair.upload(b"mine")
    pair.close()
    pair.upload(b"in its place", customer="wombat")
    cheat = Cheat(pair)

    def forget(draft: Draft) -> None:
        draft.forget(receipt_of(mine).handle)
        draft.count(received=-1, stored=-1, pending=-1, held=-1)
        draft.receipts["zurich-1"] -= 1

    cheat.close(forget)
    assert judge(pair, cheat, mine) != Outcome.VERIFIED
    assert any("the held rows are not those" in text for text in alarms(pair.world)["inventory-rows"])
    assert inspected(pair) == [1, 2]


def test_attack_the_inventory_ends_before_the_receipt(pair: Pair) -> None:
    mine = pair.upload(b"mine")
    cheat = Cheat(pair)

    def forget(draft: Draft) -> None:
        draft.forget(receipt_of(mine).handle)
        draft.count(received=-1, stored=-1, pending=-1, held=-1)
        draft.receipts["zurich-1"] -= 1

    pair.world.later(DAY)
    cheat.close(forget)
    assert judge(pair, cheat, mine) == Outcome.UNDECIDED
    pair.world.later(DAY + 60)
    answer = pair.world.check(mine, cheat.evidence(mine))
    assert answer.outcome == Outcome.MISMATCH
    assert "no inventory covers it yet" in says(answer)["inventory"]


def test_control_both_sites_show_it(pair: Pair) -> None:
    mine = pair.upload(b"mine")
    pair.close()
    for at in (0, 1):
        assert pair.world.check(mine, pair.evidence(mine, at)).outcome == Outcome.VERIFIED
    assert not [rule for rule in alarms(pair.world) if rule.startswith("inventory")]
    assert inspected(pair) == [1, 2]
