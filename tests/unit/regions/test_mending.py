"""Repair between sites that have each sealed an object for itself: opened at one, sealed anew at the other."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from keepers import events, keeper
from moves import NEW, OLD, Move, moving
from sites import Site

from glasshouse.regions.errors import InvalidInput, KeysUnavailable, PeerUnavailable
from glasshouse.regions.jobs import REPAIR
from glasshouse.regions.keeping.rekey import rekey
from glasshouse.regions.keeping.scrub import Scrubbed, scrub
from glasshouse.regions.mending import data_key
from glasshouse.regions.peers import PeerClient
from glasshouse.regions.sweeping import restore
from glasshouse.storage.db import Database
from glasshouse.storage.errors import ObjectMissing

NOW = 1_900_000_000
LARGE = os.urandom((1 << 20) + 300_000)
CONTENTS = (b"small", LARGE, b"another")


@pytest.fixture(scope="module")
def moved(
    database: Database, other_database: Database, third_database: Database, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Move, list[str]]]:
    """Moscow is fenced; the handles of what it took."""
    with moving(tmp_path_factory.mktemp("mend"), database, other_database, third_database) as move:
        handles = [move.old.upload(content).handle for content in CONTENTS]
        move.open()
        move.wait()
        move.fence()
        yield move, handles


def client_of(site: Site, peer: str) -> PeerClient:
    return PeerClient(peer, site.place.rules().region_rules, site.ground.credentials(site.name))


def scrubbed(site: Site, *peers: Site) -> Scrubbed:
    with ExitStack() as stack:
        clients = [stack.enter_context(closing(client_of(site, peer.name))) for peer in peers]
        return scrub(site.place, clients, now=lambda: NOW)


def file_of(site: Site, handle: str) -> Path:
    return next((site.ground.directory / site.name / "vault").rglob(handle))


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def row_of(site: Site, handle: str) -> tuple[object, ...]:
    query = "select sealed_sha256, wrapped, sealed_size, signatures from regions.object where handle = %s"
    (row,) = site.rows(query, bytes.fromhex(handle))
    return row


@pytest.mark.parametrize("damage", [flip, Path.unlink], ids=["altered", "missing"])
def test_a_copy_is_sealed_anew_from_the_other_site(
    moved: tuple[Move, list[str]], damage: Callable[[Path], None]
) -> None:
    move, handles = moved
    one, other = move.new
    before, asked = [row_of(one, handle) for handle in handles], move.ground.desk.opened[REPAIR]
    for handle in handles:
        damage(file_of(one, handle))
    assert scrubbed(one, other).repaired == sorted(handles)
    assert scrubbed(one, other).repaired == []
    for handle, content, old in zip(handles, CONTENTS, before, strict=True):
        new, theirs = row_of(one, handle), row_of(other, handle)
        assert new[0] not in (old[0], theirs[0])
        assert new[1] not in (old[1], theirs[1])
        assert new[2:] == old[2:]
        assert one.content(handle) == other.content(handle) == content
    assert move.ground.desk.opened[REPAIR] == asked + len(handles)
    keeper(one).step()
    assert {name for _, name, _ in events(one, one.name, "damaged")} == set(handles)


def test_what_is_missing_at_the_start_is_restored(moved: tuple[Move, list[str]]) -> None:
    move, handles = moved
    one, other = move.new
    file_of(other, handles[0]).unlink()
    with closing(client_of(other, one.name)) as client:
        assert restore(other.place, client) == 1
    assert other.content(handles[0]) == CONTENTS[0]


def test_what_is_bad_at_every_site_is_lost_and_no_copy_is_touched(moved: tuple[Move, list[str]]) -> None:
    move, handles = moved
    one, other = move.new
    kept = [file_of(site, handles[2]).read_bytes() for site in move.new]
    for site in move.new:
        flip(file_of(site, handles[2]))
    bad = [file_of(site, handles[2]).read_bytes() for site in move.new]
    row = row_of(one, handles[2])
    # The next object after the one that broke in the middle is repaired all the same.
    flip(file_of(one, handles[1]))
    found = scrubbed(one, other)
    assert (found.lost, found.repaired) == ([handles[2]], [handles[1]])
    assert [file_of(site, handles[2]).read_bytes() for site in move.new] == bad
    assert row_of(one, handles[2]) == row
    for site, data in zip(move.new, kept, strict=True):
        file_of(site, handles[2]).write_bytes(data)


def test_the_custodian_has_to_be_there(moved: tuple[Move, list[str]]) -> None:
    move, handles = moved
    one, other = move.new
    flip(file_of(one, handles[0]))
    move.ground.desk.away = True
    try:
        assert scrubbed(one, other).lost == [handles[0]]
    finally:
        move.ground.desk.away = False
    assert scrubbed(one, other).repaired == [handles[0]]


def test_who_may_ask_for_a_key_and_of_what(moved: tuple[Move, list[str]]) -> None:
    move, handles = moved
    one, other = move.new
    own = one.upload(b"taken in Zurich").handle
    with closing(client_of(other, one.name)) as client:
        with pytest.raises(PeerUnavailable, match="did not come from a site that was left"):
            client.opened(own)
        with pytest.raises(ObjectMissing):
            client.opened("77" * 32)
        key, pieces = client.opened(handles[0])
        assert (len(key), b"".join(pieces)) == (32, file_of(one, handles[0]).read_bytes())
    for asks, asked in ((move.old, NEW[0]), (one, OLD)):
        with closing(client_of(asks, asked)) as client, pytest.raises(PeerUnavailable, match="has nothing to repair"):
            client.opened(handles[0])
    with pytest.raises(InvalidInput):
        data_key(one.place, own)


def test_a_key_epoch_begun_afterwards_takes_the_new_key_along(moved: tuple[Move, list[str]]) -> None:
    move, handles = moved
    one, other = move.new
    flip(file_of(one, handles[1]))
    assert scrubbed(one, other).repaired == [handles[1]]
    rekey(one.place, move.ground.desk, now=NOW)
    assert one.content(handles[1]) == LARGE
    with closing(client_of(other, one.name)) as client:
        assert len(client.opened(handles[1])[0]) == 32
        client.close()


def test_without_a_custodian_nothing_is_opened(moved: tuple[Move, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    move, handles = moved
    monkeypatch.setattr(move.ground, "desk", None)
    with pytest.raises(KeysUnavailable):
        data_key(move.new[0].place, handles[0])
