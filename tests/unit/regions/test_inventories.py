"""Epochs closed at two real sites: the same rows, roots and deltas, whatever came in between; proofs from both."""

from collections.abc import Iterator

import pytest
from glasshouse_verify.receipt import Inventory, Reason
from glasshouse_verify.report import Outcome
from glasshouse_verify.shards import verify_shard
from glasshouse_verify.statement import Use
from ledgers import until
from onlookers import alarms
from region_world import DAY, receipt_of, says
from surveyed import Pair, surveyed

from glasshouse.regions import journal
from glasshouse.regions.delta import parse_delta
from glasshouse.regions.erasing import rekeying, removal
from glasshouse.regions.inventory import Inventories
from glasshouse.regions.inventory_tables import HELD, all_rows, commitments, load_trees, rebuild
from glasshouse.regions.journal import Kind, Note
from glasshouse.storage.db import Database


@pytest.fixture(scope="module")
def pair(database: Database, other_database: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with surveyed(tmp_path_factory.mktemp("region"), database, other_database) as found:
        yield found


def inventories_of(pair: Pair) -> list[Inventory]:
    return [pair.world.statement(pair.world.last[site.name]) for site in pair.sites]


def same(pair: Pair) -> None:
    """Both sites say the same, and no rule of the auditor has anything against it."""
    one, other = inventories_of(pair)
    for name in ("epoch", "held", "erased", "delta", "journals", "receipts", "counts", "time", "charter"):
        assert getattr(one, name) == getattr(other, name), name
    assert {rule: texts for rule, texts in alarms(pair.world).items() if rule.startswith("inventory")} == {}


def test_a_life_at_two_sites(pair: Pair) -> None:
    mine, early = pair.upload(b"mine"), pair.upload(b"taken and erased in one epoch", at=1)
    pair.upload(b"another's")
    until(pair.caught_up, 60)
    pair.erase(early)
    first = pair.close()
    same(pair)
    for at in (0, 1):
        assert pair.world.check(mine, pair.evidence(mine, at)).outcome == Outcome.VERIFIED
        answer = pair.world.check(early, pair.evidence(early, at))
        assert answer.outcome == Outcome.VERIFIED, says(answer)
        assert "it was erased on" in says(answer)["object"]
    delta = parse_delta(pair.world.blobs[pair.world.statement(pair.world.last["zurich-1"]).delta])
    assert (len(delta.added), len(delta.removed)) == (3, 1)

    # Receipts of both sites name the next epoch by now.
    later = [pair.upload(b"later %d" % at, at=at) for at in (0, 1)]
    assert {receipt_of(envelope).epoch for envelope in later} == {first + 1}
    pair.erase(mine, at=1)
    pair.close()
    same(pair)
    assert "backups and logs may hold it until" in says(pair.world.check(mine, pair.evidence(mine)))["object"]

    # Both sites destroy the key epochs that covered it.
    for number, site in enumerate(pair.sites):
        until(pair.caught_up, 60)
        heads = {name: head.position for name, head in journal.heads(site.place.database).items()}
        site.intake.committer.append(rekeying(["wrap-1"], heads, now=pair.world.now)).result(60)
        pair.close()
        same(pair)
        text = says(pair.world.check(mine, pair.evidence(mine)))["object"]
        assert text.endswith("irrecoverable") == (number == 1)
    assert len(list(pair.world.history.standing(Use.INSPECTION))) == 4


def test_what_was_removed_after_the_cut_is_still_held_at_it(pair: Pair) -> None:
    """A site that closes the epoch late, when the salt is gone, comes to the same rows."""
    mine = pair.upload(b"removed meanwhile")
    until(pair.caught_up, 60)
    pair.inventories[0].turn(pair.world.now, at_once=True)
    pair.erase(mine)
    until(pair.caught_up, 60)
    pair.inventories[1].turn(pair.world.now)
    pair.log()
    same(pair)
    handle = receipt_of(mine).handle
    assert verify_shard(inventories_of(pair)[0].held, handle, pair.prove(handle, 1)[0]) == receipt_of(mine).row
    pair.close()
    same(pair)
    assert pair.world.check(mine, pair.evidence(mine, 1)).outcome == Outcome.VERIFIED


def test_another_sites_clock_may_be_ahead(pair: Pair) -> None:
    mine = pair.upload(b"erased by a fast clock")
    until(pair.caught_up, 60)
    pair.erase(mine, 1, now=pair.world.now + 120)
    pair.close()
    pair.world.later(120)
    same(pair)
    assert inventories_of(pair)[0].time == pair.world.now
    assert pair.world.check(mine, pair.evidence(mine)).outcome == Outcome.VERIFIED


def test_two_removals_of_one_object(pair: Pair) -> None:
    """The customer asked at one site while the other one removed it by its time: the earlier counts, at both."""
    mine = pair.upload(b"erased at both sites")
    until(pair.caught_up, 60)
    handle = receipt_of(mine).handle
    with pair.sites[0].place.database.transaction() as connection:
        commitment = commitments(connection, "au", [handle])[handle]
    pair.erase(mine, 1)
    again = removal(handle, Reason.RETENTION, commitment=commitment, now=pair.world.now + 1)
    pair.sites[0].intake.committer.append(again).result(60)
    pair.world.later(2)
    pair.close()
    same(pair)
    delta = parse_delta(pair.world.blobs[inventories_of(pair)[0].delta])
    assert [row.reason for row in delta.removed] == [Reason.CUSTOMER]


def test_counts_and_holds(pair: Pair) -> None:
    mine = pair.upload(b"on hold")
    for _ in range(3):
        pair.sites[1].intake.refused()
    until(lambda: refused_at(pair) == 3, 60)
    handle = receipt_of(mine).handle
    pair.sites[0].intake.committer.append(Note(kind=Kind.HELD, handle=handle, body={"time": 1})).result(60)
    pair.inventories[1].turn(pair.world.now, at_once=True)
    pair.close()
    same(pair)
    counts = inventories_of(pair)[0].counts
    assert (counts.refused, counts.on_hold) == (3, 1)
    assert counts.received == counts.refused + counts.stored
    pair.sites[0].intake.committer.append(Note(kind=Kind.RELEASED, handle=handle, body={"time": 2})).result(60)
    pair.close()
    assert inventories_of(pair)[0].counts.on_hold == 0


def refused_at(pair: Pair) -> int:
    return journal.heads(pair.sites[1].place.database)["zurich-2"].refused


def test_shards_rebuilt_from_the_rows_are_those_that_were_kept(pair: Pair) -> None:
    pair.upload(b"one more")
    pair.close()
    with pair.sites[0].place.database.transaction() as connection:
        trees = load_trees(connection)
        before = trees.sharded
        rebuild(connection, trees)
        assert trees.sharded == before
        assert load_trees(connection).sharded[0].root == before[0].root
        rows = b"".join(all_rows(connection, HELD)).splitlines()
    assert len(rows) == before[0].size
    assert rows == sorted(rows, key=lambda row: row.partition(b'"key":')[2])


def test_a_restarted_site_goes_on(pair: Pair) -> None:
    pair.inventories = tuple(Inventories(site.place, site.intake.committer.append) for site in pair.sites)
    mine = pair.upload(b"after the restart")
    pair.close()
    same(pair)
    assert pair.world.check(mine, pair.evidence(mine)).outcome == Outcome.VERIFIED


def test_all_epochs_again_from_the_journals_alone(pair: Pair) -> None:
    """Years later, when the facts of what was erased are gone: the very statements that were logged then."""
    site = pair.sites[1]
    logged = {pair.world.statement(identity).epoch: identity for identity in pair.world.last.values()}
    before = site.rows("select epoch, encode(statement, 'hex') from regions.inventory order by epoch")
    with site.place.database.transaction() as connection:
        connection.execute("truncate regions.inventory, regions.inventory_row, regions.inventory_shard")
    pair.inventories = (pair.inventories[0], Inventories(site.place, site.intake.committer.append))
    assert pair.inventories[1].turn(pair.world.now)
    assert site.rows("select epoch, encode(statement, 'hex') from regions.inventory order by epoch") == before
    assert set(logged) <= {epoch for epoch, _ in before}
    for found in pair.inventories[1].unposted():
        pair.inventories[1].posted(found.epoch)
    pair.upload(b"and on it goes")
    pair.close()
    same(pair)


def test_sites_that_leave_and_join(pair: Pair) -> None:
    """What a site took stays in the inventories when it is gone; one that was not there logs nothing of that time."""
    for site in pair.sites:
        with site.place.database.transaction() as connection:
            connection.execute("insert into regions.journal (site) values ('geneva') on conflict do nothing")
    pair.upload(b"beside a third journal")
    pair.close()
    assert inventories_of(pair)[0].journals["geneva"] == 0
    same(pair)


def test_epochs_come_when_they_are_due(pair: Pair) -> None:
    first, last = pair.inventories[0], pair.inventories[0].last()
    assert not first.turn(last.time + DAY // 2)
    assert not pair.inventories[1].turn(last.time + 2 * DAY)
    assert first.turn(last.time + DAY - DAY // 10)
    assert first.last().epoch == last.epoch + 1
    assert not first.turn(last.time + DAY - DAY // 10)


def test_what_is_posted_is_not_posted_again(pair: Pair) -> None:
    until(pair.caught_up, 60)
    pair.inventories[1].turn(pair.world.now)
    assert pair.inventories[0].unposted()
    pair.log()
    assert pair.inventories[0].unposted() == pair.inventories[1].unposted() == []
    same(pair)
