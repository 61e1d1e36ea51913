"""M11 A store that lies.

Cheat: a destination's store acknowledges objects and drops them, flips a byte, ignores conditions, lists fewer objects
    than it has, or loses later what it had; or the old store lists fewer objects to whoever copies.
Noticed by: the destination, which reads back and hashes what it has written before it counts, asks by doing what the
    store honours, and at last lists and reads everything with another client; of the old store, by whoever lists it
    too.
Seen: nothing lands that is not there; an arrival is refused, naming the objects, and they are copied again; rows differ
    from those of an independent listing.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from foreign_stores import SECRET, Landing, fill, inventory, landing, some
from glasshouse_verify.foreign import store_handle
from hostile_s3 import BUCKET, HostileS3, hostile_s3

from glasshouse.relocation.archive import ArchiveBucket
from glasshouse.relocation.errors import StoreLied
from glasshouse.relocation.stores.addresses import Bucket, Credentials
from glasshouse.relocation.stores.interface import Answer, Source, Store
from glasshouse.relocation.stores.opening import open_store
from glasshouse.storage.db import Database
from glasshouse.storage.errors import ObjectConflict

CREDENTIALS = Credentials(access_key="test", secret_key="testsecret")
COUNT = 40


@pytest.fixture
def server() -> Iterator[HostileS3]:
    with hostile_s3() as state:
        yield state


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return fill(tmp_path / "source", some(COUNT))


@pytest.fixture
def here(server: HostileS3, database: Database, tmp_path: Path) -> Landing:
    archive = ArchiveBucket(
        bucket=Bucket(name=BUCKET, endpoint=server.url, region="us-east-1"),
        credentials=CREDENTIALS,
        relocation="lies",
        spool=tmp_path / "spool",
    )
    return landing(database, tmp_path / "zurich", archive=archive)


def store(server: HostileS3) -> Store:
    return open_store(f"s3://{BUCKET}?endpoint={server.url}", CREDENTIALS)


@pytest.mark.parametrize("fault", ["drops", "flips"])
def test_attack_what_is_acknowledged_is_not_there(
    fault: str, server: HostileS3, source: Source, here: Landing, tmp_path: Path
) -> None:
    setattr(server, fault, True)
    with pytest.raises(StoreLied, match="acknowledged"):
        here.copy(source)
    assert here.to.landings.size() == (0, 0)
    # An honest store later: all that was tried before is in the way of nothing.
    setattr(server, fault, False)
    assert here.copy(source) == COUNT
    assert here.arrival().rows.sharded == inventory(source, tmp_path / "old").rows.sharded


def test_attack_conditions_are_ignored(server: HostileS3) -> None:
    server.ignores_conditions = True
    found = store(server).probe()
    assert found.conditional_create == Answer.NO
    assert any("If-None-Match is ignored" in note for note in found.notes)
    assert server.objects == {}


@pytest.mark.parametrize("fault", ["lists_short", "flips"])
def test_attack_the_archive_is_not_what_landed(
    fault: str, server: HostileS3, source: Source, here: Landing, tmp_path: Path
) -> None:
    here.copy(source)
    setattr(server, fault, True)
    with pytest.raises(StoreLied, match="not as they landed"):
        here.arrival()
    setattr(server, fault, False)
    assert here.copy(source) >= COUNT // 2
    assert here.arrival().rows.sharded == inventory(source, tmp_path / "old").rows.sharded


def test_attack_an_object_is_lost_later(server: HostileS3, source: Source, here: Landing, tmp_path: Path) -> None:
    here.copy(source)
    handle = store_handle(SECRET, b"d03/f00003", 0)
    del server.objects[f"archive/lies/{handle[0]}/{handle}"]
    with pytest.raises(StoreLied, match=handle[:16]):
        here.arrival()
    assert here.copy(source) == 1
    assert here.arrival().rows.sharded == inventory(source, tmp_path / "old").rows.sharded


def test_attack_the_old_store_lists_short_to_the_copier(server: HostileS3, database: Database, tmp_path: Path) -> None:
    server.objects |= {f"k{number:03}": b"%d" % number for number in range(COUNT)}
    there = inventory(store(server), tmp_path / "old")
    server.lists_short = True
    away = landing(database, tmp_path / "away")
    assert away.copy(store(server)) == COUNT // 2
    assert away.arrival().rows.sharded != there.rows.sharded


def test_control_an_honest_store(server: HostileS3, source: Source, here: Landing, tmp_path: Path) -> None:
    found = store(server).probe()
    assert (found.writable, found.conditional_create, found.read_after_write) == (Answer.YES, Answer.YES, Answer.YES)
    store(server).write(b"once", b"x", once=True)
    with pytest.raises(ObjectConflict):
        store(server).write(b"once", b"x", once=True)
    assert here.copy(source) == COUNT
    assert here.arrival().rows.sharded == inventory(source, tmp_path / "old").rows.sharded
