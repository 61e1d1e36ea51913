"""What a node keeps of old releases: durable, hashed when taken out, and the first source of packages."""

import json
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from debian_archive import Deb, DebianArchive, SigningKey
from glasshouse_verify.codec import Digest, FileName, Text

from glasshouse.conveyor import origin
from glasshouse.conveyor.deposit import Deposit
from glasshouse.conveyor.errors import LockMismatch, OriginUnavailable
from glasshouse.conveyor.lock import WheelRow
from glasshouse.conveyor.recipe import parse_recipe
from glasshouse.conveyor.store import Store

DATA = b"a package of long ago"
SHA = sha256(DATA).hexdigest()
NOWHERE = "http://127.0.0.1:9"
WHEEL = "thing-1.0-py3-none-any.whl"
RECIPE = parse_recipe(
    f"""
schema = "glasshouse.recipe/v1"
product = "p"
platform = "x"
[environment]
suite = "bookworm"
architecture = "amd64"
packages = ["compiler"]
[[environment.wheels]]
name = "thing"
version = "1.0"
filename = "{WHEEL}"
sha256 = "{sha256(b"wheel").hexdigest()}"
[build]
command = ["true"]
outputs = ["o"]
""".encode()
)


@pytest.fixture
def deposit(tmp_path: Path) -> Deposit:
    return Deposit(tmp_path / "archive")


def wheel_row(**changes: str) -> WheelRow:
    row = WheelRow(
        key=f"wheel/{WHEEL}",
        name=Text("thing"),
        version=Text("1.0"),
        filename=FileName(WHEEL),
        sha256=Digest(SHA),
        size=len(DATA),
    )
    return replace(row, **changes)


@pytest.mark.parametrize("as_file", [True, False])
def test_what_is_kept_can_be_read(deposit: Deposit, as_file: bool, tmp_path: Path) -> None:
    assert not deposit.has(SHA)
    assert deposit.read(SHA) is None
    (tmp_path / "file").write_bytes(DATA)
    deposit.keep(SHA, tmp_path / "file" if as_file else DATA)
    (tmp_path / "file").unlink()
    assert deposit.has(SHA)
    assert deposit.read(SHA) == DATA
    inode = (deposit.directory / SHA).stat().st_ino
    deposit.keep(SHA, DATA)
    assert (deposit.directory / SHA).stat().st_ino == inode
    assert deposit.directory.stat().st_mode & 0o777 == 0o700


def test_the_cache_is_another_file(deposit: Deposit, tmp_path: Path) -> None:
    """What damages one leaves the other whole."""
    store = Store(tmp_path / "cache")
    deposit.keep(store.add(DATA), store.path(SHA))
    store.path(SHA).write_bytes(b"damaged")
    assert deposit.supply(SHA, store)
    assert store.path(SHA).read_bytes() == DATA
    (deposit.directory / SHA).write_bytes(b"damaged")
    assert store.has(SHA)


def test_what_is_damaged_is_not_given_out_and_can_be_kept_anew(deposit: Deposit, tmp_path: Path) -> None:
    deposit.keep(SHA, DATA)
    (deposit.directory / SHA).write_bytes(DATA[:-1])
    assert not deposit.has(SHA)
    assert deposit.read(SHA) is None
    assert not deposit.supply(SHA, Store(tmp_path / "cache"))
    assert list((tmp_path / "cache").iterdir()) == []
    deposit.keep(SHA, DATA)
    assert deposit.read(SHA) == DATA


def test_a_listing_is_noted_once_and_for_this_very_wheel(deposit: Deposit) -> None:
    row = wheel_row()
    assert not deposit.was_listed(row)
    deposit.note_listed(row)
    assert deposit.was_listed(row)
    (note,) = (deposit.directory / "seen").iterdir()
    before = note.read_bytes()
    deposit.note_listed(row)
    assert note.read_bytes() == before
    assert json.loads(before)["filename"] == WHEEL
    assert not deposit.was_listed(wheel_row(name="other"))
    assert not deposit.was_listed(wheel_row(sha256="0" * 64))


def test_a_lock_can_be_checked_and_fetched_when_every_origin_is_gone(deposit: Deposit, tmp_path: Path) -> None:
    archive = DebianArchive(tmp_path, SigningKey(tmp_path))
    base = [Deb(name=name) for name in ("coreutils", "dash", "tar", "compiler")]
    archive.publish(*base)
    archive.add_wheel("thing", WHEEL, b"wheel")
    with archive.origins() as known:
        first = Store(tmp_path / "first")
        lock = origin.resolve(RECIPE, first, known)
        before = replace(known, deposit=deposit)
        origin.check(lock, first, before)
        origin.fetch(lock, first, before)
        gone = replace(before, mirrors=dict.fromkeys(known.mirrors, NOWHERE), index_url=f"{NOWHERE}/simple")
        second = Store(tmp_path / "second")
        for row in lock.indexes:
            assert deposit.supply(row.sha256, second)
        assert origin.check(lock, second, gone) == origin.check(lock, first, before)
        origin.fetch(lock, second, gone)
        assert all(second.has(row.sha256) for row in (*lock.debs, *lock.wheels))
        with pytest.raises(OriginUnavailable):
            origin.check(lock, second, replace(gone, deposit=Deposit(tmp_path / "empty")))
        with pytest.raises(OriginUnavailable):
            origin.fetch(lock, Store(tmp_path / "third"), replace(gone, deposit=None))


def test_an_index_that_answers_is_believed_before_the_note(deposit: Deposit, tmp_path: Path) -> None:
    """A wheel that the index lists with another digest today is refused, whatever was noted."""
    archive = DebianArchive(tmp_path, SigningKey(tmp_path))
    archive.publish(*[Deb(name=name) for name in ("coreutils", "dash", "tar", "compiler")])
    archive.add_wheel("thing", WHEEL, b"wheel")
    with archive.origins() as known:
        store = Store(tmp_path / "store")
        lock = origin.resolve(RECIPE, store, known)
        noted = replace(known, deposit=deposit)
        origin.check(lock, store, noted)
        archive.add_wheel("thing", WHEEL, b"another wheel")
        with pytest.raises(LockMismatch):
            origin.check(lock, store, noted)
