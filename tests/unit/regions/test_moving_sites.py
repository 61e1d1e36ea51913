"""A region moves from site to site: states, resealing, the fence, and what customers are told meanwhile."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from glasshouse_verify.region import Mode
from ledgers import until
from moves import MOVE, NEW, OLD, Departure, Move, moving
from sites import Site, receipt_of, signing_sites

from glasshouse.regions.errors import Arriving, InvalidInput, Moved, SiteRefused
from glasshouse.regions.fences import Fence
from glasshouse.regions.journal import Kind, Note, heads
from glasshouse.regions.keeping.fencing import fence, fence_of, lag
from glasshouse.regions.placing import State
from glasshouse.regions.site import check_site
from glasshouse.storage.db import Database

LARGE = os.urandom((1 << 20) + 300_000)


@pytest.fixture
def move(database: Database, other_database: Database, third_database: Database, tmp_path: Path) -> Iterator[Move]:
    with moving(tmp_path, database, other_database, third_database) as found:
        yield found


def keys_of(site: Site, handle: str) -> tuple[object, ...]:
    query = "select wrapped, sealed_sha256, sealed_size, signatures from regions.object where handle = %s"
    (row,) = site.rows(query, bytes.fromhex(handle))
    return row


def states(move: Move) -> dict[str, State]:
    return {name: site.place.rules().state for name, site in move.sites.items()}


def test_everything_reaches_the_new_sites_under_keys_of_their_own(move: Move) -> None:
    contents = [b"first", LARGE, b"third" * 100]
    before = [move.old.upload(content) for content in contents]
    assert states(move) == {OLD: State.TAKING}
    move.open()
    assert states(move) == {OLD: State.LEAVING, **dict.fromkeys(NEW, State.ARRIVING)}
    later = move.old.upload(b"while it moves")
    move.wait()
    for stored, content in zip([*before, later], [*contents, b"while it moves"], strict=True):
        assert signing_sites(move.ground, stored.receipt) == {OLD}
        rows = [keys_of(site, stored.handle) for site in (move.old, *move.new)]
        assert len({row[0] for row in rows}) == len({row[1] for row in rows}) == 3
        assert len({(row[2], row[3]) for row in rows}) == 1
        assert [site.content(stored.handle) for site in move.new] == [content, content]
        for site in move.new:
            query = "select sealed_sha256 from regions.resealed where handle = %s"
            assert site.rows(query, bytes.fromhex(stored.handle)) == [(rows[0][1],)]
    # What came before the move was sealed to the custodian alone, and asked for once although it went to two sites.
    assert move.ground.desk.opened == {"relocation": len(contents)}


def test_a_lone_site_keeps_no_key_that_it_opens_alone(move: Move) -> None:
    move.old.upload(b"first")
    query = "select count(*) from regions.object where transfer is not null"
    assert move.old.rows(query) == [(0,)]
    move.open()
    move.old.upload(b"second")
    move.wait()
    until(lambda: move.old.rows(query) == [(0,)])


def test_a_site_that_is_to_take_over_is_held_to_the_charter_too(tmp_path: Path) -> None:
    ground = Departure(tmp_path, replicas=2)
    configured = ground.configured(NEW[0])
    with pytest.raises(SiteRefused, match="zurich-1 is no site of the region"):
        check_site(ground.link, configured)
    rules = check_site(ground.open(), configured)
    assert (rules.state, rules.peers, rules.senders) == (State.ARRIVING, (NEW[1],), (NEW[1], OLD))
    assert (set(rules.rules.sites), rules.rules.replicas, rules.left) == (set(NEW), 2, OLD)
    old = check_site(ground.link, ground.configured(OLD))
    assert (old.state, old.peers, old.senders, set(old.callers)) == (State.LEAVING, NEW, (), set(NEW))
    with pytest.raises(SiteRefused, match=r"keys/peer\.pem"):
        check_site(ground.link, replace(configured, certificate=b"another"))
    # What a site that takes over says of itself is no fence of the site that is left.
    assert check_site(ground.link, configured, {(MOVE, NEW[0]): fenced_by(NEW[0])}).state == State.ARRIVING
    assert check_site(ground.link, configured, {(MOVE, OLD): fenced_by(OLD)}).state == State.TAKING
    assert check_site(ground.link, ground.configured(OLD), {(MOVE, OLD): fenced_by(OLD)}).state == State.LEFT


def fenced_by(site: str) -> Fence:
    return Fence(relocation=MOVE, site=site, position=1, fenced_ms=0, opened_ms=None, first_ms=None, refused=0)


def test_removals_and_holds_travel(move: Move) -> None:
    gone, held = move.old.upload(b"gone"), move.old.upload(b"held")
    erase = {"reason": "retention", "time": 1, "commitment": "0" * 64}
    move.old.intake.committer.append(Note(kind=Kind.REMOVED, handle=gone.handle, body=erase)).result(60)
    move.open()
    move.old.intake.committer.append(Note(kind=Kind.HELD, handle=held.handle, body={"time": 2})).result(60)
    move.wait()
    query = "select state, on_hold from regions.object where handle = %s"
    for site in move.new:
        assert site.rows(query, bytes.fromhex(gone.handle)) == [("removed", False)]
        assert site.rows(query, bytes.fromhex(held.handle)) == [("held", True)]
        assert list(site.place.vault.handles()) == [held.handle]


def test_the_fence_closes_one_door_and_opens_the_others(move: Move) -> None:
    known = move.old.upload(b"known")
    move.open()
    with pytest.raises(Arriving, match="moscow takes the data"):
        move.new[0].upload(b"too early")
    move.wait()
    assert set(lag(move.old.place)) == set(NEW)
    assert fence_of(move.old.place, MOVE) is None
    found = move.fence()
    assert (found.relocation, found.site, found.opened_ms) == (MOVE, OLD, None)
    until(lambda: move.old.place.rules().state == State.LEFT)
    with pytest.raises(Moved, match="zurich-1, zurich-2 take the data"):
        move.old.upload(b"too late")
    taken = move.new[0].upload(b"in time")
    assert signing_sites(move.ground, taken.receipt) == set(NEW)
    assert (receipt_of(taken.receipt).site, receipt_of(taken.receipt).number) == (NEW[0], 1)
    again = move.new[1].upload(b"known")
    assert (again.receipt, again.created) == (known.receipt, False)
    there = fence_of(move.new[0].place, MOVE)
    assert there is not None
    assert there.fenced_ms == found.fenced_ms
    assert there.opened_ms is not None
    assert there.first_ms is not None
    assert found.fenced_ms <= there.opened_ms <= there.first_ms
    assert heads(move.new[0].place.database)[OLD].number == 1


def test_the_fence_is_asked_for_by_its_move_alone(move: Move) -> None:
    with pytest.raises(InvalidInput, match="no move"):
        fence(move.old.place, MOVE)
    move.open()
    with pytest.raises(InvalidInput, match="not au-2027"):
        fence(move.old.place, "au-2027")
    with pytest.raises(InvalidInput, match="not au-2026 away from zurich-1"):
        fence(move.new[0].place, MOVE)
    assert fence(move.old.place, MOVE) > 0


def test_a_site_knows_after_a_restart_that_it_was_left(move: Move) -> None:
    move.open()
    stored = move.old.upload(b"first")
    move.wait()
    move.fence()
    for name in (OLD, *NEW):
        move.stop(name)
    move.start(*NEW, OLD)
    assert states(move) == {OLD: State.LEFT, **dict.fromkeys(NEW, State.TAKING)}
    again = move.new[0].upload(b"first")
    assert again.receipt == stored.receipt


def test_the_closing_amendment_ends_what_the_old_site_had_to_say(move: Move) -> None:
    stored = move.old.upload(b"first")
    move.open()
    move.wait()
    move.fence()
    move.ground.close()
    assert states(move) == {OLD: State.LEFT, **dict.fromkeys(NEW, State.TAKING)}
    assert move.old.place.rules().peers == ()
    with pytest.raises(Moved, match="zurich-1, zurich-2"):
        move.old.upload(b"too late")
    taken = move.new[1].upload(b"after the move")
    assert signing_sites(move.ground, taken.receipt) == set(NEW)
    assert move.new[0].upload(b"first").receipt == stored.receipt


def test_a_site_that_the_charter_does_not_name_is_left_only_by_a_fence(move: Move) -> None:
    move.open()
    move.ground.close()
    with pytest.raises(SiteRefused, match="no site of the region"):
        move.old.place.rules()


def test_where_the_custodian_is_away_the_move_waits_and_customers_do_not(move: Move) -> None:
    move.old.upload(b"first")
    move.ground.desk.away = True
    move.open()
    second = move.old.upload(b"second")
    assert second.created
    assert not move.caught_up()
    move.ground.desk.away = False
    move.wait()


def test_a_region_in_its_own_custody_asks_nobody(
    database: Database, other_database: Database, third_database: Database, tmp_path: Path
) -> None:
    with moving(tmp_path, database, other_database, third_database, custody=Mode.SITE) as move:
        stored = move.old.upload(b"first")
        move.open()
        move.wait()
        assert [site.content(stored.handle) for site in move.new] == [b"first", b"first"]
        assert move.ground.desk.opened == {}
