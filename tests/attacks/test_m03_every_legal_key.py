"""M3 Every legal key.

Cheat: objects hide behind their names: `a//b`, `../up`, `/lead`, `dir/`, 1,024 bytes, characters that XML cannot carry,
    an older version, a delete marker. Tools that make paths or texts of keys pass them over, read another object in
    their place, or end well without them.
Noticed by: nobody has to: whoever copies lists every one of them, copies it under its own handle, and gets the rows
    that the store has; what a directory cannot hold, or no listing can carry, stops it with a sentence.
Seen: as many rows as versions and markers, the same at the old site and at the destination, each with its own content.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from foreign_stores import SECRET, inventory, landing
from glasshouse_verify.foreign import store_row
from versioned_s3 import CREDENTIALS, VersionedS3, versioned_s3
from world import digest

from glasshouse.relocation.errors import InvalidInput, StoreLied
from glasshouse.relocation.stores.interface import Version
from glasshouse.relocation.stores.opening import open_store
from glasshouse.relocation.stores.pages import parse_page
from glasshouse.storage.db import Database

KEYS = [
    *("a//b", "a/b", "//", "/", "../up", "./here", "..", ".", "/lead", "lead", "dir/", "dir", "dir/x"),
    *("k" * 1_024, "ü" * 512, "sp ace", "plus+", "sp%20ace", "%2F", "?query=1", "#fragment", "a&b<c>", "'\"", "\\"),
    *("\x01control", "tab\t", "line\nbreak", "return\r", "\x7f", "😀", "é", "e\u0301", "\u202egnp", "zero\u200bwidth"),
]


@pytest.fixture
def store() -> Iterator[VersionedS3]:
    with versioned_s3() as server:
        for number, key in enumerate(KEYS):
            server.put(key, f"{number} {key}".encode())
        yield server


def test_attack_objects_that_hide_behind_their_names(store: VersionedS3, database: Database, tmp_path: Path) -> None:
    source = open_store(store.store, CREDENTIALS)
    listed = [version.key for version in source.list()]
    assert listed == sorted(key.encode() for key in KEYS)
    here = landing(database, tmp_path / "zurich")
    assert here.copy(source) == len(KEYS)
    arrival, there = here.arrival(), inventory(source, tmp_path / "old")
    assert arrival.rows.sharded == there.rows.sharded
    for number, key in enumerate(KEYS):
        content = f"{number} {key}".encode()
        row = store_row(SECRET, key.encode(), 0, digest(content), len(content))
        assert arrival.rows.find(str(row["key"])) == row, key


def test_attack_versions_and_markers_are_rows(store: VersionedS3, database: Database, tmp_path: Path) -> None:
    for content in (b"first", None, b"second", None):
        store.put("../up", content)
    source, here = open_store(store.store, CREDENTIALS), landing(database, tmp_path / "zurich")
    assert here.copy(source) == len(KEYS) + 4
    arrival = here.arrival()
    assert arrival.rows.sharded == inventory(source, tmp_path / "old").rows.sharded
    # The one that the fixture put there is the oldest.
    for ordinal, content in enumerate((None, b"first", None, b"second", None)):
        if ordinal:
            said = None if content is None else digest(content)
            row = store_row(SECRET, b"../up", ordinal, said, len(content or b""))
            assert arrival.rows.find(str(row["key"])) == row
    assert arrival.sealed.sharded.size == len(KEYS) + 2


def test_attack_every_key_can_be_erased_by_itself(store: VersionedS3) -> None:
    source = open_store(store.store, CREDENTIALS)
    for version in list(source.list()):
        before = len(store.versions)
        assert list(source.erase([version])) == []
        assert len(store.versions) == before - 1
        assert version.key.decode() not in [kept.key for kept in store.versions]


@pytest.mark.parametrize("key", [b"a//b", b"../up", b"/lead", b"a/./b", b"nul\0", b"n" * 256, b"x/" * 600 + b"x"])
def test_attack_a_directory_says_what_it_cannot_hold(key: bytes, tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    root = open_store((tmp_path / "root").as_uri())
    with pytest.raises(InvalidInput):
        root.write(key, b"x")
    with pytest.raises(InvalidInput):
        root.read(Version(key=key, ordinal=0, version=None, marker=False, size=0, modified=0))
    assert list(tmp_path.iterdir()) == [tmp_path / "root"]


def test_attack_a_list_that_cannot_carry_its_keys() -> None:
    for body in (
        b"<R><Contents><Key>\x01</Key></Contents></R>",
        b"<R><Contents><Key>k</Key></Contents></R>",
        b"no XML",
    ):
        with pytest.raises(StoreLied):
            parse_page(body)


def test_control_plain_keys(database: Database, tmp_path: Path) -> None:
    with versioned_s3() as server:
        for name in ("a", "b/c"):
            server.put(name, name.encode())
        source, here = open_store(server.store, CREDENTIALS), landing(database, tmp_path / "zurich")
        assert here.copy(source) == 2
        assert here.arrival().rows.sharded == inventory(source, tmp_path / "old").rows.sharded
