"""The public origins of an environment: making a lock from them, and checking each row of a lock against them.

resolve   recipe → lock; the signed indexes it was made from are left in the store, by digest, to be published
check     lock + archived indexes + local keyring + package index → LockReport, or LockMismatch naming the row
fetch     every package and wheel of a lock into the store
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import httpx
from glasshouse_verify.codec import Digest, FileName, Identifier, Text
from glasshouse_verify.codec import Path as ArchivePath

from glasshouse.conveyor.debian import (
    MAX_RELEASE_BYTES,
    Archive,
    Package,
    SignedRelease,
    archives,
    find_keyring,
    host_mirrors,
    read_packages,
    read_release,
    resolve_names,
)
from glasshouse.conveyor.debian_version import version_key
from glasshouse.conveyor.deposit import Deposit
from glasshouse.conveyor.errors import InvalidLock, LockMismatch, OriginUnavailable
from glasshouse.conveyor.lock import DebRow, IndexRow, Lock, WheelRow, make_lock, requested_packages
from glasshouse.conveyor.package_index import IndexedFile, list_files
from glasshouse.conveyor.recipe import Environment, Recipe
from glasshouse.conveyor.store import Progress, Store, Wanted, get_bytes

# What a rebuilder checks one lock after another against is mostly the same two indexes.
KEPT_LISTINGS = 32


@dataclass(frozen=True, kw_only=True)
class Origins:
    """Where public things are fetched from. Mirrors and index are transport; `keyring` is what Debian is judged by.

    `mirrors` maps "debian" and "debian-security" to base URLs; `index_url` is a PEP 503 base, None for this machine's
    setting. `deposit` is asked before any of them, and is given what they have.
    """

    client: httpx.Client
    mirrors: Mapping[str, str]
    keyring: Path
    index_url: str | None = None
    deposit: Deposit | None = None


def default_origins(client: httpx.Client, debian: str | None = None, deposit: Deposit | None = None) -> Origins:
    """The mirrors, index and Debian keyring of this machine; `debian` is another mirror of the archive to use.

    Raises `ToolUnavailable` when the machine has no keyring.
    """
    mirrors = host_mirrors() | ({} if debian is None else {"debian": debian})
    return Origins(client=client, mirrors=mirrors, keyring=find_keyring(), deposit=deposit)


@dataclass(frozen=True, kw_only=True)
class LockReport:
    """What a check found: path of each signed index → (its date, fingerprints of its signers), and rows checked."""

    releases: Mapping[str, tuple[str, tuple[str, ...]]]
    packages: int
    wheels: int


def resolve(recipe: Recipe, store: Store, origins: Origins, progress: Progress | None = None) -> Lock:
    """Make the lock of a recipe from what its origins offer today.

    Raises `OriginUnavailable`, `LockMismatch` when an index is not signed by Debian, `InvalidLock` when packages
    cannot be had.
    """
    environment = recipe.environment
    suites = archives(environment.suite)
    indexes = [
        row for suite in suites for row in _fetch_indexes(suite, environment.architecture, store, origins, progress)
    ]
    files = {row.path: store.path(row.sha256) for row in indexes}
    requested = requested_packages(environment)
    names = resolve_names(files, suites, environment.architecture, requested, origins.keyring)
    listed = _listed_packages(indexes, {name for name, _ in names}, store)
    debs = []
    for name, version in names:
        if (name, version) not in listed:
            raise InvalidLock(f"deb/{name}", f"apt chose version {version}, which the indexes do not list")
        debs.append(listed[name, version])
    wheels = _resolve_wheels(environment, store, origins, progress)
    return make_lock(environment, debs, indexes, wheels)


def _fetch_indexes(
    suite: Archive, architecture: str, store: Store, origins: Origins, progress: Progress | None
) -> list[IndexRow]:
    base = origins.mirrors[suite.mirror].rstrip("/")
    data, _ = get_bytes(f"{base}/dists/{suite.suite}/InRelease", origins.client, MAX_RELEASE_BYTES)
    release = read_release(data, origins.keyring, f"index/{suite.release}")
    sha256, size = _listed_index(release, suite, architecture)
    # The name by digest stays valid while the mirror moves on to the next index.
    url = f"{base}/dists/{suite.suite}/main/binary-{architecture}/by-hash/SHA256/{sha256}"
    store.fetch([Wanted(url=url, sha256=sha256, size=size)], origins.client, progress)
    return [
        index_row(suite.release, store.add(data), len(data)),
        index_row(suite.packages(architecture), sha256, size),
    ]


def index_row(path: str, sha256: str, size: int) -> IndexRow:
    """The lock row of an archived index file."""
    return IndexRow(key=f"index/{path}", sha256=Digest(sha256), size=size)


def _listed_index(release: SignedRelease, suite: Archive, architecture: str) -> tuple[str, int]:
    name = f"main/binary-{architecture}/Packages.xz"
    if name not in release.files:
        raise LockMismatch(f"index/{suite.packages(architecture)}", "is not listed by its signed InRelease file")
    return release.files[name]


def _listed_packages(indexes: list[IndexRow], names: set[str], store: Store) -> dict[tuple[str, str], DebRow]:
    """Lock rows of everything the Packages files list under these names, by (name, version)."""
    found: dict[tuple[str, str], DebRow] = {}
    for row in indexes:
        if row.path.endswith("/Packages.xz"):
            found = {**_listed_in(row.path, row.sha256, frozenset(names), store.directory), **found}
    return found


@lru_cache(maxsize=KEPT_LISTINGS)
def _listed_in(path: str, sha256: str, names: frozenset[str], directory: Path) -> Mapping[tuple[str, str], DebRow]:
    """Rows of what one Packages file lists under these names; the digest decides, so that it is read once."""
    found: dict[tuple[str, str], DebRow] = {}
    with Store(directory).open_verified(sha256) as stream:
        for package in read_packages(stream, names):
            found.setdefault((package.name, package.version), _deb_row(package, path))
    return found


def _deb_row(package: Package, origin: str) -> DebRow:
    return DebRow(
        key=f"deb/{package.name}",
        name=Text(package.name),
        version=Text(package.version),
        architecture=Identifier(package.architecture),
        sha256=Digest(package.sha256),
        size=package.size,
        path=ArchivePath(package.filename),
        origin=ArchivePath(origin),
    )


def _resolve_wheels(
    environment: Environment, store: Store, origins: Origins, progress: Progress | None
) -> list[WheelRow]:
    rows = []
    for pin in environment.wheels:
        file = _indexed(pin.name, pin.filename, pin.sha256, origins)
        store.fetch([Wanted(url=file.url, sha256=pin.sha256)], origins.client, progress)
        rows.append(
            WheelRow(
                key=f"wheel/{pin.filename}",
                name=Text(pin.name),
                version=Text(pin.version),
                filename=FileName(pin.filename),
                sha256=Digest(pin.sha256),
                size=store.path(pin.sha256).stat().st_size,
            )
        )
    return rows


def _indexed(name: str, filename: str, sha256: str, origins: Origins) -> IndexedFile:
    file = list_files(name, origins.client, origins.index_url).get(filename)
    if file is None:
        raise LockMismatch(f"wheel/{filename}", f"the package index lists no such file of {name!r}")
    if file.sha256 != sha256:
        raise LockMismatch(f"wheel/{filename}", f"the package index lists it with SHA-256 {file.sha256}")
    return file


def check(lock: Lock, store: Store, origins: Origins) -> LockReport:
    """Check every row of a lock against its public origin; the archived indexes must be in the store.

    Debian's signature on each InRelease; the digest and size of each Packages file in it; each package's version,
    architecture, digest, size and path in that Packages file, and that no index of the lock lists a newer version;
    each wheel's digest in the public index. Raises `LockMismatch` naming the row. A package without a public origin
    counts as source, so it cannot be a row.
    """
    suites = archives(lock.environment.suite)
    architecture = lock.environment.architecture
    rows = {row.path: row for row in lock.indexes}
    expected = [path for suite in suites for path in (suite.release, suite.packages(architecture))]
    for path in sorted(rows.keys() ^ set(expected)):
        raise LockMismatch(f"index/{path}", "is missing" if path in expected else "is no index of this suite")
    releases: dict[str, tuple[str, tuple[str, ...]]] = {}
    for suite in suites:
        release = _check_release(rows[suite.release], suite, store, origins.keyring)
        packages = rows[suite.packages(architecture)]
        if _listed_index(release, suite, architecture) != (packages.sha256, packages.size):
            raise LockMismatch(packages.key, "is not the file that its signed InRelease file lists")
        releases[suite.release] = (release.date, release.fingerprints)
    _check_debs(lock, store)
    for wheel in lock.wheels:
        _check_wheel(wheel, origins)
    return LockReport(releases=releases, packages=len(lock.debs), wheels=len(lock.wheels))


def _check_wheel(wheel: WheelRow, origins: Origins) -> None:
    try:
        _indexed(wheel.name, wheel.filename, wheel.sha256, origins)
    except OriginUnavailable:
        if origins.deposit is None or not origins.deposit.was_listed(wheel):
            raise
    else:
        if origins.deposit is not None:
            origins.deposit.note_listed(wheel)


def _check_release(row: IndexRow, suite: Archive, store: Store, keyring: Path) -> SignedRelease:
    with store.open_verified(row.sha256) as stream:
        data = stream.read(MAX_RELEASE_BYTES + 1)
    if len(data) != row.size:
        raise LockMismatch(row.key, f"has {len(data)} bytes, not {row.size}")
    release = read_release(data, keyring, row.key)
    # A genuine index of another suite must not stand in for this one.
    if release.suite != suite.suite:
        raise LockMismatch(row.key, f"is the index of {release.suite!r}")
    return release


def _check_debs(lock: Lock, store: Store) -> None:
    names = {str(deb.name) for deb in lock.debs}
    listed = {row.path: _listed_packages([row], names, store) for row in lock.indexes}
    newest: dict[str, str] = {}
    for name, version in (key for found in listed.values() for key in found):
        if name not in newest or version_key(version) > version_key(newest[name]):
            newest[name] = version
    for deb in lock.debs:
        public = listed.get(deb.origin, {}).get((deb.name, deb.version))
        if public is None:
            raise LockMismatch(deb.key, f"{deb.origin} lists no version {deb.version} of it")
        if public != deb:
            raise LockMismatch(
                deb.key, f"{deb.origin} lists this version with SHA-256 {public.sha256} at {public.path}"
            )
        # apt would have taken the newest: an older one was put there, perhaps for a known fault in it.
        if version_key(newest[deb.name]) > version_key(deb.version):
            raise LockMismatch(deb.key, f"the indexes of the lock list the newer version {newest[deb.name]}")


def fetch(lock: Lock, store: Store, origins: Origins, progress: Progress | None = None) -> None:
    """Have every package and wheel of the lock in the store. Raises `OriginUnavailable` naming what cannot be had."""
    files = [row.sha256 for row in lock.debs] + [row.sha256 for row in lock.wheels]
    if origins.deposit is not None:
        for sha256 in files:
            origins.deposit.supply(sha256, store)
    wanted = []
    for deb in lock.debs:
        base = origins.mirrors.get(deb.origin.partition("/")[0])
        if base is None:
            raise OriginUnavailable(f"no mirror is set for {deb.origin}")
        wanted.append(Wanted(url=f"{base.rstrip('/')}/{deb.path}", sha256=deb.sha256, size=deb.size))
    for wheel in lock.wheels:
        if not store.has(wheel.sha256):
            file = _indexed(wheel.name, wheel.filename, wheel.sha256, origins)
            wanted.append(Wanted(url=file.url, sha256=wheel.sha256, size=wheel.size))
    store.fetch(wanted, origins.client, progress)
    if origins.deposit is not None:
        indexes = [row.sha256 for row in lock.indexes if store.has(row.sha256)]
        for sha256 in (*files, *indexes):
            origins.deposit.keep(sha256, store.path(sha256))
