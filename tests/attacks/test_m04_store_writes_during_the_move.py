"""M4 Writes and deletes in a foreign store during the move.

Cheat: while a store is copied, its old owner goes on writing to it, replaces and deletes objects, also after it has
    said that nothing changes any more; what comes late stays behind, what was deleted lives on at the new sites.
Noticed by: each destination, whose later passes take every change; whoever fences, by trying a write and by waiting
    until two lists are equal; everybody, since rows made after the fence differ by what was changed behind it.
Seen: the rows of the destinations are those of the store at its fence; a fence that a write passes is said to be none;
    a write behind it makes other rows than the fence statement has.
"""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from foreign_stores import inventory, landing
from versioned_s3 import CREDENTIALS, VersionedS3, versioned_s3

from glasshouse.relocation.errors import StoreLied
from glasshouse.relocation.foreign import fence
from glasshouse.relocation.stores.opening import open_store
from glasshouse.relocation.stores.probe import write_refused
from glasshouse.storage.db import Database


@pytest.fixture
def store() -> Iterator[VersionedS3]:
    with versioned_s3() as server:
        for number in range(300):
            server.put(f"k{number:03}", b"%d" % number)
        yield server


def test_attack_writes_and_deletes_while_it_is_copied(store: VersionedS3, database: Database, tmp_path: Path) -> None:
    source, here = open_store(store.store, CREDENTIALS), landing(database, tmp_path / "zurich")
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.wait(0.002):
            store.put(f"k{number % 300:03}", None if number % 3 else b"again %d" % number)
            store.put(f"new{number:05}", b"new")
            number += 1

    writer = threading.Thread(target=write)
    writer.start()
    for number in (1, 2, 3):
        here.pass_number(source, number)
    stop.set()
    writer.join()
    fenced = fence(source, source)
    assert fenced.refused
    here.copy(source)
    arrival, there = here.arrival(), inventory(source, tmp_path / "old")
    assert arrival.rows.sharded == there.rows.sharded
    assert arrival.rows.sharded.size == len(store.versions)


def test_attack_versions_erased_behind_the_copier(store: VersionedS3, database: Database, tmp_path: Path) -> None:
    for content in (b"second", b"third"):
        store.put("k007", content)
    source, here = open_store(store.store, CREDENTIALS), landing(database, tmp_path / "zurich")
    here.copy(source)
    # The oldest goes: the ordinals of the others are others now, and so are their handles.
    store.versions.remove(next(kept for kept in store.versions if kept.key == "k007"))
    store.versions.remove(next(kept for kept in store.versions if kept.key == "k100"))
    here.copy(source)
    assert not here.file_of(b"k100").exists()
    assert not here.file_of(b"k007", 2).exists()
    assert here.arrival().rows.sharded == inventory(source, tmp_path / "old").rows.sharded


def test_attack_a_fence_that_a_write_passes(store: VersionedS3, tmp_path: Path) -> None:
    source = open_store(store.store, CREDENTIALS)
    words = source.refuse_writes()
    assert "policy" in words
    assert write_refused(source)
    before = inventory(source, tmp_path / "fence")
    # Somebody with other means writes all the same.
    store.put("late", b"late")
    assert inventory(source, tmp_path / "again", before=before.seen).rows.sharded != before.rows.sharded
    source.accept_writes()
    assert not write_refused(source)


def test_attack_a_list_that_does_not_stand_still(store: VersionedS3) -> None:
    source = open_store(store.store, CREDENTIALS)
    plain = source.list
    source.list = lambda *range_: store.put("late", b"x") and plain(*range_)  # type: ignore[method-assign]
    with pytest.raises(StoreLied, match="still changes"):
        fence(source, source)


def test_control_nobody_writes(store: VersionedS3, database: Database, tmp_path: Path) -> None:
    source, here = open_store(store.store, CREDENTIALS), landing(database, tmp_path / "zurich")
    assert fence(source, source).refused
    assert here.copy(source) == 300
    assert here.arrival().rows.sharded == inventory(source, tmp_path / "old").rows.sharded
