"""Locks from origins and back: resolving with apt, and every way in which a lock can contradict its origins."""

import contextlib
import dataclasses
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from debian_archive import Deb, DebianArchive, SigningKey

from glasshouse.conveyor import origin
from glasshouse.conveyor.debian import read_packages
from glasshouse.conveyor.errors import InvalidLock, LockMismatch, OriginUnavailable
from glasshouse.conveyor.lock import Lock, check_recipe, make_lock, parse_lock
from glasshouse.conveyor.origin import Origins
from glasshouse.conveyor.recipe import Recipe, parse_recipe
from glasshouse.conveyor.store import Store

BASE = [Deb(name=name) for name in ("coreutils", "dash", "tar")]
WHEEL = "thing-1.0-py3-none-any.whl"


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DebianArchive]:
    directory = tmp_path_factory.mktemp("archive")
    key = SigningKey(directory)
    made = DebianArchive(directory, key)
    debs = [Deb(name="compiler", depends="library (>= 2)"), Deb(name="library", version="2.1-2")]
    made.publish(*BASE, *debs, security=(Deb(name="library", version="2.1-3"),))
    made.add_wheel("thing", WHEEL, b"wheel")
    yield made
    key.close()


@pytest.fixture(scope="module")
def origins(archive: DebianArchive) -> Iterator[Origins]:
    with archive.origins() as made:
        yield made


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("store"))


def recipe_for(packages: list[str], wheel_sha256: str = "") -> Recipe:
    text = f"""
schema = "glasshouse.recipe/v1"
product = "p"
platform = "x"
[environment]
suite = "bookworm"
architecture = "amd64"
packages = {packages}
[build]
command = ["true"]
outputs = ["o"]
"""
    if wheel_sha256:
        text += f"""
[[environment.wheels]]
name = "thing"
version = "1.0"
filename = "{WHEEL}"
sha256 = "{wheel_sha256}"
"""
    return parse_recipe(text.encode())


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return recipe_for(["compiler"], sha256(b"wheel").hexdigest())


@pytest.fixture(scope="module")
def lock(recipe: Recipe, store: Store, origins: Origins) -> Lock:
    return origin.resolve(recipe, store, origins)


def test_a_lock_holds_what_apt_would_install_and_the_indexes_behind_it(lock: Lock, store: Store) -> None:
    assert [(deb.name, deb.version) for deb in lock.debs] == [
        ("compiler", "1.0"),
        ("coreutils", "1.0"),
        ("dash", "1.0"),
        ("library", "2.1-3"),
        ("tar", "1.0"),
    ]
    assert len(lock.indexes) == 6
    assert all(store.has(row.sha256) for row in lock.indexes)
    assert [wheel.filename for wheel in lock.wheels] == [WHEEL]


def test_an_honest_lock_passes(lock: Lock, recipe: Recipe, store: Store, origins: Origins) -> None:
    assert parse_lock(lock.data) == lock
    check_recipe(lock, recipe.environment)
    report = origin.check(lock, store, origins)
    assert (report.packages, report.wheels, len(report.releases)) == (5, 1, 3)
    assert all(len(fingerprints) == 1 for _, fingerprints in report.releases.values())


def test_packages_and_wheels_are_fetched_by_digest(lock: Lock, store: Store, origins: Origins) -> None:
    seen: list[tuple[str, int, int]] = []
    origin.fetch(lock, store, origins, lambda *what: seen.append(what))
    assert all(store.has(row.sha256) for row in (*lock.debs, *lock.wheels))
    assert seen[-1][1] == seen[-1][2]


def with_deb(lock: Lock, name: str, **changes: object) -> Lock:
    debs = [replace(deb, **changes) if deb.name == name else deb for deb in lock.debs]  # type: ignore[arg-type]
    return dataclasses.replace(lock, debs=tuple(debs))


def with_index(lock: Lock, path: str, **changes: object) -> Lock:
    rows = [replace(row, **changes) if row.path == path else row for row in lock.indexes]  # type: ignore[arg-type]
    return dataclasses.replace(lock, indexes=tuple(rows))


MAIN = "debian/dists/bookworm/main/binary-amd64/Packages.xz"
RELEASE = "debian/dists/bookworm/InRelease"


@pytest.mark.parametrize(
    "changes",
    [
        {"sha256": "0" * 64},
        {"version": "9.9"},
        {"size": 1},
        {"path": "pool/other.deb"},
        {"architecture": "arm64"},
        {"origin": "debian/dists/bookworm-updates/main/binary-amd64/Packages.xz"},
        {"origin": "elsewhere"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_package_row_must_be_the_origin_s(
    changes: dict[str, object], lock: Lock, store: Store, origins: Origins
) -> None:
    with pytest.raises(LockMismatch) as caught:
        origin.check(with_deb(lock, "library", **changes), store, origins)
    assert caught.value.row == "deb/library"


def test_an_older_version_than_the_indexes_list_is_named(lock: Lock, store: Store, origins: Origins) -> None:
    main = next(row for row in lock.indexes if row.path == MAIN)
    with store.open_verified(main.sha256) as stream:
        older = next(read_packages(stream, {"library"}))
    row = {"version": older.version, "sha256": older.sha256, "size": older.size, "path": older.filename, "origin": MAIN}
    with pytest.raises(LockMismatch, match=r"the newer version 2\.1-3") as caught:
        origin.check(with_deb(lock, "library", **row), store, origins)
    assert caught.value.row == "deb/library"


def test_an_invented_package_is_named(lock: Lock, store: Store, origins: Origins) -> None:
    invented = replace(lock.debs[0], key="deb/backdoor", name="backdoor")
    with pytest.raises(LockMismatch) as caught:
        origin.check(replace(lock, debs=(*lock.debs, invented)), store, origins)
    assert caught.value.row == "deb/backdoor"


@pytest.mark.parametrize("change", [{"sha256": "0" * 64}, {"filename": "thing-2.0-py3-none-any.whl"}], ids=str)
def test_a_wheel_row_must_be_the_index_s(change: dict[str, str], lock: Lock, store: Store, origins: Origins) -> None:
    with pytest.raises(LockMismatch) as caught:
        origin.check(replace(lock, wheels=(replace(lock.wheels[0], **change),)), store, origins)
    assert caught.value.row.startswith("wheel/thing-")


def test_an_index_that_was_altered_or_swapped_is_named(lock: Lock, store: Store, origins: Origins) -> None:
    altered = store.add(store.path(next(row for row in lock.indexes if row.path == MAIN).sha256).read_bytes() + b"\n")
    with pytest.raises(LockMismatch) as caught:
        origin.check(with_index(lock, MAIN, sha256=altered), store, origins)
    assert caught.value.row == f"index/{MAIN}"
    other = next(row for row in lock.indexes if row.path == "debian/dists/bookworm-updates/InRelease")
    with pytest.raises(LockMismatch, match="index of 'bookworm-updates'"):
        origin.check(with_index(lock, RELEASE, sha256=other.sha256, size=other.size), store, origins)


def test_an_index_may_neither_be_missing_nor_added(lock: Lock, store: Store, origins: Origins) -> None:
    with pytest.raises(LockMismatch, match="is missing"):
        origin.check(replace(lock, indexes=lock.indexes[1:]), store, origins)
    extra = replace(lock.indexes[0], key="index/debian/dists/sid/InRelease")
    with pytest.raises(LockMismatch, match="no index of this suite"):
        origin.check(replace(lock, indexes=(*lock.indexes, extra)), store, origins)


def test_an_unsigned_or_altered_release_is_refused(lock: Lock, store: Store, origins: Origins) -> None:
    genuine = store.path(next(row for row in lock.indexes if row.path == RELEASE).sha256).read_bytes()
    for data in (b"Codename: bookworm\nDate: today\n", genuine.replace(b"Components: main", b"Components: evil"), b""):
        changed = with_index(lock, RELEASE, sha256=store.add(data), size=len(data))
        with pytest.raises(LockMismatch) as caught:
            origin.check(changed, store, origins)
        assert caught.value.row == f"index/{RELEASE}"


def test_text_outside_of_the_signature_says_nothing(lock: Lock, store: Store, origins: Origins) -> None:
    """A clear-signed file may have unsigned text around it; only what was signed is read."""
    genuine = store.path(next(row for row in lock.indexes if row.path == RELEASE).sha256).read_bytes()
    data = b"SHA256:\n " + b"0" * 64 + b" 5 main/binary-amd64/Packages.xz\n\n" + genuine
    padded = with_index(lock, RELEASE, sha256=store.add(data), size=len(data))
    assert origin.check(padded, store, origins).packages == 5


def test_a_package_that_no_origin_has_cannot_be_locked(store: Store, origins: Origins) -> None:
    with pytest.raises(InvalidLock, match="nowhere"):
        origin.resolve(recipe_for(["nowhere"]), store, origins)


def test_a_wheel_pin_the_index_does_not_have_cannot_be_locked(store: Store, origins: Origins) -> None:
    with pytest.raises(LockMismatch, match="lists it with SHA-256"):
        origin.resolve(recipe_for([], "0" * 64), store, origins)


def test_a_mirror_that_answers_nothing_is_unavailable(store: Store, origins: Origins, tmp_path: Path) -> None:
    away = replace(origins, mirrors=dict.fromkeys(origins.mirrors, "http://127.0.0.1:9/x"))
    with pytest.raises(OriginUnavailable):
        origin.resolve(recipe_for([]), Store(tmp_path), away)


@pytest.mark.parametrize(
    ("packages", "row"), [([], "environment"), (["compiler", "dash"], "environment")], ids=["fewer", "more"]
)
def test_a_lock_serves_one_recipe(packages: list[str], row: str, lock: Lock) -> None:
    other = recipe_for(packages, sha256(b"wheel").hexdigest())
    if packages == ["compiler", "dash"]:
        # dash is a base package: asking for it changes nothing.
        check_recipe(lock, other.environment)
        return
    with pytest.raises(LockMismatch) as caught:
        check_recipe(lock, other.environment)
    assert caught.value.row == row


def test_a_lock_must_have_what_its_recipe_asks_for(lock: Lock, recipe: Recipe) -> None:
    lacking = replace(lock, debs=tuple(deb for deb in lock.debs if deb.name != "compiler"))
    with pytest.raises(LockMismatch, match="deb/compiler"):
        check_recipe(lacking, recipe.environment)
    with pytest.raises(LockMismatch, match="wheel/"):
        check_recipe(replace(lock, wheels=()), recipe.environment)
    with pytest.raises(LockMismatch, match="not the wheel"):
        check_recipe(replace(lock, wheels=(replace(lock.wheels[0], version="2"),)), recipe.environment)


def test_rows_in_any_order_make_one_lock(lock: Lock, recipe: Recipe) -> None:
    shuffled = make_lock(recipe.environment, lock.debs[::-1], lock.indexes[::-1], lock.wheels)
    assert shuffled == lock
    assert shuffled.root == lock.root


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        (b'"key":"environment"', b'"key":"environmenu"', "environmenu"),
        (b"glasshouse.lock/v1", b"glasshouse.lock/v2", "environment.schema"),
        (b'"key":"deb/compiler"', b'"key":"deb/compilez"', "deb/compilez"),
        (b'"name":"compiler",', b"", "deb/compiler.name"),
        (b'"name":"compiler"', b'"name":5', "deb/compiler.name"),
        (b'"version":"1.0"', b'"vfrsion":"1.0"', "deb/compiler.vfrsion"),
        (b"\n", b"\r\n", "row"),
        (b'{"arch', b'{ "arch', "row"),
    ],
)
def test_a_malformed_lock_is_refused_by_name(old: bytes, new: bytes, field: str, lock: Lock) -> None:
    assert old in lock.data
    with pytest.raises(InvalidLock) as caught:
        parse_lock(lock.data.replace(old, new, 1))
    assert caught.value.field == field


def test_truncated_and_flipped_locks_never_pass_for_the_same(lock: Lock) -> None:
    data = lock.data
    for place in range(0, len(data), 37):
        for other in (data[:place], data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]):
            with contextlib.suppress(InvalidLock):
                assert parse_lock(other).root != lock.root
