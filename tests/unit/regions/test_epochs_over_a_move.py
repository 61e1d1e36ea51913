"""Inventories over a move: the new sites close the old one's epochs from their own databases, then go on."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from customers import KEY
from glasshouse_verify.dsse import format_envelope, parse_envelope
from glasshouse_verify.receipt import Reason
from glasshouse_verify.statement import Use
from keepers import has_ciphertext, keeper, state
from ledgers import until
from moves import NEW, OLD
from sites import receipt_of
from surveyed_move import Surveyed, surveyed

from glasshouse.regions.erasing import RESIDUE_SECONDS, rekeying, removal, residue_seconds
from glasshouse.regions.errors import Arriving, JournalConflict, Moved
from glasshouse.regions.inventory import read_last
from glasshouse.regions.keeping.ending import note_end
from glasshouse.regions.keeping.holds import hold, noted
from glasshouse.regions.keeping.rekey import rekey
from glasshouse.regions.keeping.retention import due
from glasshouse.regions.keeping.wishes import wish
from glasshouse.storage.db import Database


@pytest.fixture
def region(
    database: Database, other_database: Database, third_database: Database, tmp_path: Path
) -> Iterator[Surveyed]:
    with surveyed(tmp_path, database, other_database, third_database) as found:
        yield found


def test_an_honest_move(region: Surveyed) -> None:
    first = region.upload(b"before the move")
    gone = region.upload(b"erased before the new sites have it")
    region.erase(gone, OLD)
    assert region.close() == 1
    region.open()
    second, asked = region.upload(b"while it moves"), region.upload(b"asked back later")
    region.move.wait()
    assert region.close(OLD, *NEW) == 2
    assert set(region.said()[2]) == {OLD}
    for name in NEW:
        with region.move.sites[name].place.database.transaction() as connection:
            last = read_last(connection)
        assert (last.epoch, last.statement) == (2, region.last[OLD])
    region.fence()
    last = region.said()[3]
    assert set(last) == {OLD, *NEW}
    for member in ("held", "erased", "delta", "journals", "receipts", "counts", "previous"):
        assert len({str(getattr(said, member)) for said in last.values()}) == 1, member
    assert set(last[OLD].journals) == {OLD}
    third = region.upload(b"after the fence", "zurich-2")
    region.erase(asked, "zurich-1")
    assert region.close("zurich-1", "zurich-2") == 4
    said = region.said()[4]
    assert {name: inventory.previous for name, inventory in said.items()} == {
        name: region_id(region, 3, name) for name in NEW
    }
    assert said["zurich-1"].journals[OLD] == last[OLD].journals[OLD]
    assert said["zurich-1"].receipts == {OLD: 4, "zurich-1": 0, "zurich-2": 1}
    assert region.alarms() == {}
    for shown in (first, second, third):
        for at in NEW:
            assert [claim.text for claim in region.check(shown, at).claims if claim.outcome] == []
    assert "it was erased" in region.check(asked, "zurich-2").claims[-1].text
    region.move.ground.close()
    assert region.inventories[OLD].turn(region.world.now + 200_000, at_once=True) is False
    assert region.close("zurich-1", "zurich-2") == 5
    for shown in (first, gone, second, third, asked):
        assert [claim.text for claim in region.check(shown, "zurich-2").claims if claim.outcome] == []
    assert region.alarms() == {}
    assert set(region.said()[5]) == set(NEW)


def region_id(region: Surveyed, epoch: int, site: str) -> str:
    (found,) = (
        record.id
        for record in region.world.history.standing(Use.INVENTORY)
        if (record.predicate.epoch, record.predicate.site) == (epoch, site)
    )
    return found


def moved(region: Surveyed, *contents: bytes) -> list[str]:
    """Objects that moscow took, behind the fence; their handles."""
    envelopes = [region.upload(content) for content in contents]
    region.close()
    region.open()
    region.fence()
    return [receipt_of(format_envelope(envelope)).handle for envelope in envelopes]


def test_receipts_behind_the_fence_name_the_inventory_that_shows_them(region: Surveyed) -> None:
    region.upload(b"first")
    region.close()
    region.open()
    during = region.upload(b"second")
    region.move.wait()
    region.move.fence()
    early = region.upload(b"before moscow has closed its last", "zurich-2")
    region.close(OLD, *NEW)
    late = region.upload(b"and after", "zurich-2")
    named = [receipt_of(format_envelope(receipt)).epoch for receipt in (during, early, late)]
    assert named == [2, 3, 3]
    assert region.said()[2]["zurich-2"].receipts == {OLD: 2}
    region.close(*NEW)
    assert region.said()[3]["zurich-2"].receipts == {OLD: 2, "zurich-1": 0, "zurich-2": 2}
    for receipt in (during, early, late):
        assert [claim.text for claim in region.check(receipt, "zurich-1").claims if claim.outcome] == []


def test_the_same_content_again_is_answered_with_the_receipt_of_the_old_site(region: Surveyed) -> None:
    first = region.upload(b"sent twice")
    region.open()
    region.fence()
    for at in NEW:
        again = region.move.sites[at].upload(b"sent twice", customer_key=KEY.public)
        assert (again.created, parse_envelope(again.receipt)) == (False, first)


def test_what_is_due_is_removed_by_the_first_of_the_new_sites(region: Surveyed) -> None:
    mine, held = moved(region, b"due one day", b"held by a court")
    one, other = region.move.new
    year = 31_536_000
    statement = "77" * 32
    access = hold(one.place, held, "a court asks", region.world.now)
    one.intake.committer.append(noted(access, held, statement)).result(60)
    for site in (region.move.old, other):
        assert keeper(site, after=2 * year).remove_due() == 0
    assert keeper(one, after=2 * year).remove_due() == 1
    until(lambda: all(state(site, mine) == ("removed", False) for site in (one, other)), 60)
    for site in (one, other):
        until(lambda site=site: keeper(site).clear() == 1 or not has_ciphertext(site, mine), 60)  # type: ignore[misc]
        assert has_ciphertext(site, held)
        assert state(site, held) == ("held", True)


def test_what_the_old_site_removed_is_deleted_at_the_new_ones(region: Surveyed) -> None:
    mine = region.upload(b"erased while it moves")
    handle = receipt_of(format_envelope(mine)).handle
    region.open()
    region.move.wait()
    region.erase(mine, OLD)
    region.move.wait()
    for site in region.move.new:
        assert has_ciphertext(site, handle)
        assert keeper(site).clear() == 1
        assert not has_ciphertext(site, handle)


def test_nothing_is_said_at_a_site_that_has_no_say(region: Surveyed) -> None:
    mine = receipt_of(format_envelope(region.upload(b"whose"))).handle
    region.open()
    region.move.wait()
    with pytest.raises(Arriving):
        hold(region.move.new[0].place, mine, "a court asks", region.world.now)
    region.fence()
    with pytest.raises(Moved):
        hold(region.move.old.place, mine, "a court asks", region.world.now)
    note = removal(mine, Reason.RETENTION, commitment="77" * 32, now=region.world.now)
    with pytest.raises(JournalConflict, match="a site that is fenced stores, removes and holds nothing more"):
        region.move.old.intake.committer.append(note).result(60)
    with region.move.old.place.database.transaction() as connection:
        wish(connection, note)
        wish(connection, rekeying(("none",), {}, now=region.world.now))
    keeper(region.move.old).step()
    with region.move.old.place.database.transaction() as connection:
        rows = connection.execute("select kind from regions.wish where position is null").fetchall()
    assert rows == [("removed",)]


def test_irrecoverable_only_once_the_old_site_has_ended(region: Surveyed) -> None:
    mine = region.upload(b"erased before the fence")
    region.upload(b"stays")
    region.close()
    region.open()
    region.erase(mine, OLD)
    region.fence()
    handle = receipt_of(format_envelope(mine)).handle
    removed = region.world.now

    def tombstone() -> dict[str, object]:
        region.world.now += 60
        region.close(*NEW)
        return dict(region.evidence(mine, "zurich-1").erased.row.row)  # type: ignore[union-attr]

    for site in region.move.new:
        done = rekey(site.place, region.move.ground.desk, now=removed + 60)
        assert done.wrapped == 1
        keeper(site).step()
    assert tombstone()["residue_until"] == removed + RESIDUE_SECONDS
    note_end(region.move.new[0].place, OLD, "66" * 32, now=removed)
    assert "residue_until" in tombstone()
    region.move.ground.close()
    one, other = region.move.new
    assert note_end(other.place, OLD, "66" * 32, now=removed) is False
    assert note_end(one.place, "oslo", "66" * 32, now=removed) is False
    assert [note_end(one.place, OLD, "66" * 32, now=removed) for _ in range(2)] == [True, False]
    keeper(one).step()
    assert note_end(one.place, OLD, "66" * 32, now=removed) is False
    shown = tombstone()
    assert (shown["key"], "residue_until" in shown) == (handle, False)


def test_what_is_removed_meanwhile_may_be_readable_until_the_old_site_has_ended(region: Surveyed) -> None:
    (mine,) = moved(region, b"erased after the fence")
    one, now = region.move.new[0], region.world.now
    moving = region.move.ground.moving()
    until_then = RESIDUE_SECONDS + max(0, moving.due - now) + moving.quarantine
    assert residue_seconds(one.place.rules(), now) == until_then
    assert residue_seconds(region.move.old.place.rules(), now) == RESIDUE_SECONDS
    assert len(due(one.place, now + 31_536_000)) == 1
    assert mine in {note.handle for note in due(one.place, now + 31_536_000)}
    region.move.ground.close()
    assert residue_seconds(one.place.rules(), now) == RESIDUE_SECONDS
