"""D14 A receipt number skipped.

Cheat: a site takes objects off the record: its receipt numbers have a gap, or it pretends to have given more, or fewer,
    than it did; it sends its peer a journal with a hole, or two histories.
Noticed by: its own database; the peer, who signs nothing that does not follow on what it has; auditors, who add up
    receipts and rows.
Seen: the write fails; 409 from the peer and no receipt; finding inventory-counts and no inspection.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from cheating_sites import Cheat, Draft
from ledgers import until
from onlookers import alarms
from sites import Site
from surveyed import Pair, surveyed

from glasshouse.regions import journal
from glasshouse.regions.batch import Batch, Item
from glasshouse.regions.errors import JournalConflict
from glasshouse.regions.journal import Event, Kind
from glasshouse.regions.outgoing import read_events
from glasshouse.regions.replication import Replicator
from glasshouse.storage.db import Database

SEALED = b"sealed"


@pytest.fixture
def pair(database: Database, other_database: Database, tmp_path: Path) -> Iterator[Pair]:
    with surveyed(tmp_path, database, other_database) as found:
        found.upload(b"another customer's", customer="wombat")
        found.close()
        yield found


def changed(pair: Pair, **changes: Any) -> Batch:
    """A batch whose one object takes another place in the journal of the first site than the next one."""
    site = pair.sites[0]
    pair.upload(b"mine")
    until(pair.caught_up)
    head = journal.heads(site.place.database)["zurich-1"]
    known = read_events(site.place, "zurich-1", 0, head.position)[0][1]
    assert known is not None
    facts = replace(known, sealed_sha256=hashlib.sha256(SEALED).hexdigest(), sealed_size=len(SEALED))
    place = {"position": head.position + 1, "number": head.number + 1, "handle": "9" * 64} | changes
    event = Event.make("zurich-1", kind=Kind.STORED, body=facts.body(), **place)
    item = Item(event=event, facts=facts, data_key=bytes(32), signature=bytes(64), sealed=SEALED)
    return Batch(
        region="au",
        site="zurich-1",
        after=place["position"] - 1,
        chain=head.chain,
        keyid=bytes.fromhex(site.place.signer.keyid),
        items=(item,),
    )


def numbers(site: Site) -> list[int]:
    rows = site.rows("select number from regions.object where site = 'zurich-1' order by number")
    return [number for (number,) in rows]


def test_attack_a_number_left_out_of_the_journal(pair: Pair) -> None:
    batch = changed(pair)
    event = replace(batch.items[0].event, number=(batch.items[0].event.number or 0) + 1)
    with (
        pytest.raises(psycopg.errors.RaiseException, match="has no gaps"),
        pair.sites[0].place.database.transaction() as connection,
    ):
        journal.add_rows(connection, "zurich-1", batch.chain, [event])
    skipping = changed(pair, number=17)
    with pytest.raises(JournalConflict, match="has no gaps"):
        pair.sites[1].intake.replicas.take(skipping)
    assert numbers(pair.sites[1]) == list(range(1, len(numbers(pair.sites[0])) + 1))


def test_attack_two_objects_under_one_number(pair: Pair) -> None:
    known = changed(pair)
    head = journal.heads(pair.sites[0].place.database)["zurich-1"]
    again = changed(pair, number=head.number)
    with pytest.raises(JournalConflict, match="event_number"):
        pair.sites[1].intake.replicas.take(again)
    with pytest.raises(JournalConflict, match="two histories"):
        pair.sites[1].intake.replicas.take(replace(known, chain=bytes(32)))


def test_attack_a_site_that_was_rolled_back_is_not_followed(pair: Pair) -> None:
    """Its peer has the journal as it was: the site that starts anew finds out, and gives no receipts."""
    site = pair.sites[0]
    pair.upload(b"mine")
    until(pair.caught_up)
    with site.place.database.transaction() as connection:
        for table in ("event", "object", "journal"):
            connection.execute(f"alter table regions.{table} disable trigger user".encode())
        last = connection.execute("select max(position) from regions.event where site = 'zurich-1'").fetchone()
        connection.execute("delete from regions.object where site = 'zurich-1' and position = %s", last)
        connection.execute("delete from regions.event where site = 'zurich-1' and position = %s", last)
        connection.execute(
            "update regions.journal set position = position - 1, number = number - 1, chain = (select chain from "
            "regions.event where event.site = 'zurich-1' and event.position = journal.position - 1) "
            "where site = 'zurich-1'"
        )
        for table in ("event", "object", "journal"):
            connection.execute(f"alter table regions.{table} enable trigger user".encode())
    with Replicator(site.place, site.intake.receipts, "zurich-2", site.ground.credentials("zurich-1")) as started:
        until(lambda: started.alarm)
        assert "rolled back" in str(started.alarm)
        assert not started.up.is_set()


@pytest.mark.parametrize("difference", [1, -1], ids=["more", "fewer"])
def test_attack_other_counts_of_receipts_are_published(pair: Pair, difference: int) -> None:
    pair.upload(b"mine")

    def skip(draft: Draft) -> None:
        draft.receipts["zurich-1"] += difference

    Cheat(pair).close(skip)
    assert any("receipts" in text for text in alarms(pair.world)["inventory-counts"])


def test_control_numbers_follow_on_each_other(pair: Pair) -> None:
    for count in range(3):
        pair.upload(b"%d" % count)
    pair.close()
    assert numbers(pair.sites[0]) == numbers(pair.sites[1]) == [1, 2, 3, 4]
    assert not [rule for rule in alarms(pair.world) if rule.startswith("inventory")]
