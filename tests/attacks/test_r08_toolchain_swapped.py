"""R8 Toolchain swapped in the environment lock.

Cheat: the vendor puts a compiler of its own into the environment, under the name of Debian's: another digest in the
    row, an invented or outdated version, another package, indexes signed by its own key, or its own list of packages
    beside Debian's signed index.
Noticed by: every rebuilder before it builds anything; it holds Debian's keyring and checks each row of the lock
    against the archived indexes that the lock names.
Seen: the verdict *build-failed* with the row of the lock and what Debian lists instead; exit 5 at the customer.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from debian_archive import Deb, DebianArchive, SigningKey, make_deb
from workshop import environment, origins, store

from glasshouse.conveyor import origin
from glasshouse.conveyor.errors import LockMismatch
from glasshouse.conveyor.lock import Lock, parse_lock
from glasshouse.conveyor.recipe import parse_recipe
from glasshouse.conveyor.store import Store

COMPILER = "gcc-12"
TROJAN = Deb(name=COMPILER, files={"usr/bin/gcc-12": b'#!/bin/sh\nexec real-gcc -DBACKDOOR "$@"\n'})


def swapped(lock: Lock, **changes: object) -> Lock:
    """The lock with other members in the row of the compiler, as the cheat would publish it."""
    debs = tuple(replace(deb, **changes) if deb.name == COMPILER else deb for deb in lock.debs)  # type: ignore[arg-type]
    return parse_lock(replace(lock, debs=debs).data)


def test_control_an_honest_lock() -> None:
    """A lock of Debian's own packages is accepted, and the report names Debian's keys."""
    lock = environment().lock
    report = origin.check(lock, store(), origins())
    assert report.packages == len(lock.debs)
    assert all(fingerprints for _, fingerprints in report.releases.values())


def test_attack_another_compiler_under_the_name_and_version_of_debians() -> None:
    """A trojaned gcc stands in the lock under Debian's name and version."""
    trojan = make_deb(TROJAN)
    lock = swapped(environment().lock, sha256=store().add(trojan), size=len(trojan))
    with pytest.raises(LockMismatch) as caught:
        origin.check(lock, store(), origins())
    assert caught.value.row == f"deb/{COMPILER}"
    assert "lists this version with SHA-256" in caught.value.reason


def test_attack_a_compiler_version_that_debian_never_had() -> None:
    """The row names a version that no signed index lists."""
    with pytest.raises(LockMismatch) as caught:
        origin.check(swapped(environment().lock, version="12.2.0-99"), store(), origins())
    assert caught.value.row == f"deb/{COMPILER}"


def test_attack_an_older_compiler_of_debians(tmp_path: Path) -> None:
    """A compiler that Debian did sign, and has replaced since: the security archive of the same lock says so."""
    key = SigningKey(tmp_path)
    archive = DebianArchive(tmp_path, key)
    faulty, fixed = Deb(name=COMPILER, version="12.2.0-14"), Deb(name=COMPILER, version="12.2.0-14+deb12u1")
    text = environment().recipe.text.replace(b'"gcc", "libc6-dev"', f'"{COMPILER}"'.encode())
    archive.publish(*(Deb(name=name) for name in ("coreutils", "dash", "tar")), faulty, security=(fixed,))
    with archive.origins() as its_origins:
        its_store = Store(tmp_path / "store")
        honest = origin.resolve(parse_recipe(text), its_store, its_origins)
        assert origin.check(honest, its_store, its_origins).packages == 4
        data = make_deb(faulty)
        packages = "debian/dists/bookworm/main/binary-amd64/Packages.xz"
        old = {"version": faulty.version, "path": f"pool/{COMPILER}_{faulty.version}_amd64.deb", "origin": packages}
        cheat = swapped(honest, sha256=sha256(data).hexdigest(), size=len(data), **old)
        with pytest.raises(LockMismatch, match=f"the newer version {re.escape(fixed.version)}"):
            origin.check(cheat, its_store, its_origins)
    key.close()


def test_attack_a_genuine_package_under_another_name() -> None:
    """The row of the compiler holds the genuine digest of another Debian package."""
    lock = environment().lock
    other = next(deb for deb in lock.debs if deb.name == "tar")
    with pytest.raises(LockMismatch) as caught:
        origin.check(swapped(lock, sha256=other.sha256, size=other.size, path=other.path), store(), origins())
    assert caught.value.row == f"deb/{COMPILER}"


@contextmanager
def own_archive(directory: Path) -> Iterator[tuple[Lock, Store, origin.Origins]]:
    """The cheat's own archive, flawless but for the key that signed it, and a lock made of it."""
    key = SigningKey(directory)
    archive = DebianArchive(directory, key)
    archive.publish(*(Deb(name=name) for name in ("coreutils", "dash", "tar")), TROJAN)
    text = environment().recipe.text.replace(b'"gcc", "libc6-dev"', f'"{COMPILER}"'.encode())
    cheat_store = Store(directory / "store")
    with archive.origins() as cheats_origins:
        yield origin.resolve(parse_recipe(text), cheat_store, cheats_origins), cheat_store, cheats_origins
    key.close()


def test_attack_indexes_signed_by_another_key(tmp_path: Path) -> None:
    """Everything agrees with everything, but the signature is not of Debian's keyring."""
    with own_archive(tmp_path) as (lock, cheat_store, cheats_origins):
        assert origin.check(lock, cheat_store, cheats_origins).packages == 4
        with pytest.raises(LockMismatch) as caught:
            origin.check(lock, cheat_store, replace(cheats_origins, keyring=origins().keyring))
        assert caught.value.row == "index/debian/dists/bookworm/InRelease"
        assert "not signed by a key of the Debian archive keyring" in caught.value.reason


def test_attack_a_genuine_release_file_beside_another_list_of_packages(tmp_path: Path) -> None:
    """Debian's signed InRelease with the cheat's Packages file."""
    packages = "debian/dists/bookworm/main/binary-amd64/Packages.xz"
    honest = environment().lock
    with own_archive(tmp_path) as (lock, cheat_store, _):
        row = next(row for row in lock.indexes if row.path == packages)
        data = cheat_store.path(row.sha256).read_bytes()
    store().add(data)
    indexes = tuple(
        replace(index, sha256=row.sha256, size=row.size) if index.path == packages else index
        for index in honest.indexes
    )
    compiler = next(deb for deb in lock.debs if deb.name == COMPILER)
    debs = tuple(compiler if deb.name == COMPILER else deb for deb in honest.debs)
    with pytest.raises(LockMismatch) as caught:
        origin.check(replace(honest, indexes=indexes, debs=debs), store(), origins())
    assert caught.value.row == f"index/{packages}"
    assert sha256(data).hexdigest() == row.sha256
