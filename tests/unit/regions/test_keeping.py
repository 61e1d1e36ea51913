"""What is due goes at both sites, for a reason that the journal tells; what is on hold stays; keys are renewed."""

import json
import time
from collections.abc import Iterator

import psycopg
import pytest
from glasshouse_verify.receipt import Reason
from keepers import (
    YEAR,
    Opener,
    amended,
    events,
    has_ciphertext,
    keeper,
    keeping_for,
    state,
    without,
)
from ledgers import until
from sites import Ground, Site, running_region

from glasshouse.regions.erasing import Coverage, tombstone
from glasshouse.regions.errors import CustodyUnavailable, InvalidInput
from glasshouse.regions.journal import Event, Kind, Note, parse_body
from glasshouse.regions.keeping.rekey import is_due, rekey
from glasshouse.regions.keeping.retention import due
from glasshouse.regions.keeping.wishes import position_of, wish
from glasshouse.storage.db import Database

NOW = 1_900_000_000


@pytest.fixture(scope="module")
def region(
    database: Database, other_database: Database, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Site, Site]]:
    with running_region(Ground(tmp_path_factory.mktemp("keeping")), database, other_database) as sites:
        yield sites


def gone(region: tuple[Site, Site], handle: str) -> bool:
    """Whether every site has forgotten the object, key and ciphertext alike."""
    for site in region:
        keeper(site).clear()
    return all(state(site, handle) == ("removed", False) and not has_ciphertext(site, handle) for site in region)


def wished(site: Site, note: Note) -> int:
    with site.place.database.transaction() as connection:
        number = wish(connection, note)
    until(lambda: keeper(site).step() is False)
    position = position_of(site.place.database, number)
    assert position is not None
    return position


def test_what_is_due_goes_at_both_sites(region: tuple[Site, Site]) -> None:
    one, other = region
    handle = one.upload(b"due in a year").handle
    keeper(one, after=YEAR - 60).step()
    assert state(one, handle) == ("held", True)
    # The site that did not take it leaves it alone.
    assert keeper(other, after=YEAR + 60).remove_due() == 0
    assert keeper(one, after=YEAR + 60).remove_due() >= 1
    until(lambda: gone(region, handle), 60)
    (found,) = [json.loads(body) for _, name, body in events(other, one.name, "removed") if name == handle]
    assert found["reason"] == Reason.RETENTION
    assert found["residue_until"] > found["time"]


def test_what_is_on_hold_stays_until_it_is_released(region: tuple[Site, Site]) -> None:
    one, other = region
    handle = one.upload(b"needed by a court").handle
    wished(one, Note(kind=Kind.HELD, handle=handle, body={"time": NOW}))
    until(
        lambda: other.rows("select on_hold from regions.object where handle = %s", bytes.fromhex(handle)) == [(True,)]
    )
    keeper(one, after=2 * YEAR).step()
    assert state(one, handle) == ("held", True)
    wished(one, Note(kind=Kind.RELEASED, handle=handle, body={"time": NOW}))
    keeper(one, after=2 * YEAR).step()
    until(lambda: gone(region, handle), 60)


def test_an_amendment_ends_or_shortens_a_category(region: tuple[Site, Site]) -> None:
    one = region[0]
    handle = one.upload(b"of a category that ends", category="telemetry").handle

    def reasons(site: Site, now: int) -> list[str]:
        return [str(note.body["reason"]) for note in due(site.place, now) if note.handle == handle]

    ((taken,),) = one.rows("select taken from regions.object where handle = %s", bytes.fromhex(handle))
    shorter = amended(one, keeping_for("telemetry", 60))
    assert reasons(one, taken + 61) == []
    assert reasons(shorter, taken + 59) == []
    assert reasons(shorter, taken + 61) == ["category"]
    assert reasons(shorter, taken + YEAR) == ["retention"]
    longer = amended(one, keeping_for("telemetry", 2 * YEAR))
    assert reasons(longer, taken + YEAR // 4) == ["retention"]
    ended = amended(one, without("telemetry"))
    assert reasons(ended, taken + 1) == ["category"]
    keeper(ended).remove_due()
    until(lambda: gone(region, handle), 60)


def tombstones(site: Site, of: str) -> dict[str, int | None]:
    """Handle → until when residue is left, as this site makes of all journals."""

    def all_of(kind: Kind) -> list[Event]:
        query = "select site, position, encode(handle, 'hex'), body, digest from regions.event where kind = %s"
        return [
            Event(site=name, position=at, kind=kind, handle=handle, body=parse_body(body), digest=digest)
            for name, at, handle, body, digest in site.rows(query, kind.value)
        ]

    coverage = Coverage(("zurich-1", "zurich-2"), all_of(Kind.REKEYED))
    found = [tombstone(event, coverage) for event in all_of(Kind.REMOVED) if event.site == of]
    return {row.key: row.residue_until for row in found}


def test_a_new_key_epoch_makes_irrecoverable_what_was_removed_before(region: tuple[Site, Site]) -> None:
    one, other = region
    kept, erased = one.upload(b"kept through a new epoch").handle, one.upload(b"erased before it", category="telemetry")
    keeper(one, after=YEAR // 2).remove_due()
    until(lambda: gone(region, erased.handle), 60)
    until(lambda: one.rows("select 1 from regions.object where transfer is not null") == [])
    before = {site.name: site.place.keys.epoch for site in region}
    custodian = Opener()
    for site in region:
        done = rekey(site.place, custodian, now=NOW)
        assert before[site.name] in done.destroyed
        assert site.place.keys.epochs() == (done.epoch,)
        assert site.content(kept) == b"kept through a new epoch"
        until(lambda site=site: keeper(site).step() is False)
        # One site alone makes nothing irrecoverable.
        until(lambda site=site: len(events(one, site.name, "rekeyed")) == len(events(other, site.name, "rekeyed")) > 0)
        gone_for_good = tombstones(other, one.name)[erased.handle] is None
        assert gone_for_good == (site is other)
    assert custodian.counted["rewrap"] >= 2
    assert tombstones(one, one.name) == tombstones(other, one.name)
    after = one.upload(b"erased after it", category="telemetry")
    keeper(one, after=YEAR // 2).remove_due()
    assert tombstones(one, one.name)[after.handle] is not None


def test_a_rekeying_goes_on_where_the_custodian_left_it(
    region: tuple[Site, Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = region[0]
    monkeypatch.setattr("glasshouse.regions.keeping.rekey.BATCH", 2)
    handles = [one.upload(b"object %d" % number).handle for number in range(5)]
    before = one.place.keys.epochs()
    with pytest.raises(CustodyUnavailable):
        rekey(one.place, Opener(patience=1), now=NOW)
    assert set(before) < set(one.place.keys.epochs())
    with pytest.raises(InvalidInput, match="custodian"):
        rekey(one.place, None, now=NOW)
    later = one.upload(b"taken between the two").handle
    done = rekey(one.place, Opener(), now=NOW)
    assert set(done.destroyed) == set(before)
    assert one.place.keys.epochs() == (done.epoch,)
    assert one.content(later) == b"taken between the two"
    assert [one.content(handle) for handle in handles] == [b"object %d" % number for number in range(5)]


def test_a_new_key_epoch_is_due_so_long_after_a_removal(region: tuple[Site, Site]) -> None:
    one, other = region
    for site in region:
        rekey(site.place, Opener(), now=NOW)
    now = int(time.time())
    assert not is_due(one.place, now + YEAR, 60)
    handle = one.upload(b"removed by and by", category="telemetry").handle
    assert not is_due(one.place, now + YEAR, 60)
    keeper(one, after=YEAR // 2).remove_due()
    until(lambda: state(other, handle) == ("removed", False), 60)
    for site in region:
        assert not is_due(site.place, now + YEAR // 2, 600)
        assert is_due(site.place, now + YEAR // 2 + 1_200, 600)
    rekey(one.place, Opener(), now=NOW)
    assert not is_due(one.place, now + YEAR, 600)
    assert is_due(other.place, now + YEAR, 600)
    one.upload(b"still held")
    with pytest.raises(CustodyUnavailable):
        rekey(one.place, Opener(patience=0), now=NOW)
    assert is_due(one.place, now, YEAR)
    rekey(one.place, Opener(), now=NOW)


def test_nothing_is_taken_under_a_key_that_was_given_up(region: tuple[Site, Site]) -> None:
    """Whoever wrapped a data key just before, and writes it just after, is refused, and wraps it again."""
    one = region[0]
    one.upload(b"under the old key")
    old = one.place.keys.epoch
    rekey(one.place, Opener(), now=NOW)
    with pytest.raises(psycopg.errors.RaiseException, match="has been destroyed"):
        insert_object(one, wrapped_by=old)


def insert_object(site: Site, *, wrapped_by: str) -> None:
    zeros = bytes(32)
    with site.place.database.transaction() as connection:
        connection.execute(
            "insert into regions.event (site, position, kind, number, handle, digest, chain)"
            " select site, position + 1, 'stored', number + 1, %s, chain, chain from regions.journal where site = %s",
            (zeros, site.name),
        )
        connection.execute(
            "insert into regions.object (site, position, number, handle, customer, country, sha256, size, category,"
            " retention, epoch, charter, party, salt, taken, sealed_sha256, sealed_size, wrapped_by, wrapped)"
            " select site, position, number, %s, 'a', 'AU', %s, 0, 'b', 1, 1, %s, 'c', %s, 1, %s, 1, %s, '' from"
            " regions.journal where site = %s",
            (zeros, zeros, zeros, zeros, zeros, wrapped_by, site.name),
        )
