"""An environment lock: every package and wheel that a build sees, by digest, and the signed indexes behind them.

    {"architecture":"amd64","key":"deb/gcc-12","name":"gcc-12","origin":"debian/dists/bookworm/main/…","path":"pool/…",…}
    {"architecture":"amd64","key":"environment","links":[],"packages":["gcc"],"schema":"glasshouse.lock/v1","suite":"bookworm"}
    {"key":"index/debian/dists/bookworm/InRelease","sha256":"…","size":151075}
    {"filename":"yara_x-….whl","key":"wheel/yara_x-….whl","name":"yara-x","sha256":"…","size":…,"version":"1.23.0"}

A lock is a manifest; a statement names it by root and size. `parse_lock` reads the form, `check_recipe` compares it
with the recipe it claims to serve, and glasshouse.conveyor.origin checks every row against its public origin. See
docs/spec/lock.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from glasshouse_verify.codec import Digest, FileName, Identifier, Path, Text, decode, encode
from glasshouse_verify.errors import FormatError
from glasshouse_verify.manifest import format_rows, manifest_root, parse_rows
from glasshouse_verify.row import ManifestRoot

from glasshouse.conveyor.errors import InvalidLock, LockMismatch
from glasshouse.conveyor.recipe import Environment

SCHEMA = "glasshouse.lock/v1"
MAX_LOCK_BYTES = 4 << 20
# What the sandbox itself needs to unpack a tree, run a command and hand its output out.
BASE_PACKAGES = ("coreutils", "dash", "tar")


@dataclass(frozen=True, kw_only=True)
class EnvironmentRow:
    """What was asked for: the recipe's environment with the base packages, sorted."""

    schema: str
    suite: Identifier
    architecture: Identifier
    packages: tuple[Text, ...]
    links: tuple[tuple[Path, ...], ...]
    key: str = "environment"

    def __post_init__(self) -> None:
        if self.schema != SCHEMA:
            raise FormatError("environment.schema", f"must be {SCHEMA}")
        if any(len(link) != 2 for link in self.links):
            raise FormatError("environment.links", "must be pairs of path and target")


@dataclass(frozen=True, kw_only=True)
class DebRow:
    """One Debian package: `path` is its own below the mirror, `origin` that of the Packages file that lists it."""

    key: str
    name: Text
    version: Text
    architecture: Identifier
    sha256: Digest
    size: int
    path: Path
    origin: Path


@dataclass(frozen=True, kw_only=True)
class IndexRow:
    """One archived index file: key "index/" and its archive path; the bytes are a blob named by `sha256`."""

    key: str
    sha256: Digest
    size: int

    @property
    def path(self) -> str:
        """The archive path, e.g. debian/dists/bookworm/InRelease."""
        return self.key.removeprefix("index/")


@dataclass(frozen=True, kw_only=True)
class WheelRow:
    """One Python wheel of the public package index."""

    key: str
    name: Text
    version: Text
    filename: FileName
    sha256: Digest
    size: int


_ROWS: Mapping[str, type[Any]] = {"deb": DebRow, "index": IndexRow, "wheel": WheelRow}


@dataclass(frozen=True, kw_only=True)
class Lock:
    """A parsed lock; rows of one kind are in the order of their keys."""

    environment: EnvironmentRow
    debs: tuple[DebRow, ...]
    indexes: tuple[IndexRow, ...]
    wheels: tuple[WheelRow, ...]

    @cached_property
    def data(self) -> bytes:
        """The manifest file: canonical rows, one a line."""
        return b"".join(format_rows(self._rows()))

    @cached_property
    def root(self) -> ManifestRoot:
        """Root and size, by which statements name the lock."""
        return manifest_root(self._rows())

    def _rows(self) -> list[dict[str, Any]]:
        rows = [encode(row) for row in (self.environment, *self.debs, *self.indexes, *self.wheels)]
        return sorted(rows, key=lambda row: row["key"].encode())


def parse_lock(data: bytes) -> Lock:
    """Parse the bytes of a lock file strictly. Raises `InvalidLock` with the name of the row and member."""
    if len(data) > MAX_LOCK_BYTES:
        raise InvalidLock("lock", f"is larger than {MAX_LOCK_BYTES} bytes")
    environment: EnvironmentRow | None = None
    rows: dict[str, list[Any]] = {kind: [] for kind in _ROWS}
    try:
        for row in parse_rows(data):
            key = str(row["key"])
            if key == "environment":
                environment = decode(EnvironmentRow, row, key)
                continue
            kind, _, rest = key.partition("/")
            if kind not in _ROWS or not rest:
                raise InvalidLock(key[:200], "is not a kind of row that this version knows")
            rows[kind].append(decode(_ROWS[kind], row, key))
    except FormatError as error:
        raise InvalidLock(error.field, error.reason) from error
    if environment is None:
        raise InvalidLock("environment", "the row is missing")
    lock = Lock(
        environment=environment, debs=tuple(rows["deb"]), indexes=tuple(rows["index"]), wheels=tuple(rows["wheel"])
    )
    _check_keys(lock)
    return lock


def _check_keys(lock: Lock) -> None:
    """The key of a row follows from its members, so that a package or file cannot stand there twice under two keys."""
    for deb in lock.debs:
        if deb.key != f"deb/{deb.name}":
            raise InvalidLock(deb.key, "must be deb/ and the name of the package")
    for wheel in lock.wheels:
        if wheel.key != f"wheel/{wheel.filename}":
            raise InvalidLock(wheel.key, "must be wheel/ and the name of the file")


def requested_packages(environment: Environment) -> tuple[str, ...]:
    """The packages a lock is resolved for: the recipe's and those the sandbox needs."""
    return tuple(sorted({*BASE_PACKAGES, *environment.packages}))


def environment_row(environment: Environment) -> EnvironmentRow:
    """The row that binds a lock to the environment of a recipe."""
    return EnvironmentRow(
        schema=SCHEMA,
        suite=Identifier(environment.suite),
        architecture=Identifier(environment.architecture),
        packages=tuple(Text(name) for name in requested_packages(environment)),
        links=tuple((Path(path.removeprefix("/")), Path(target)) for path, target in environment.links),
    )


def check_recipe(lock: Lock, environment: Environment) -> None:
    """Compare a lock with the recipe it is to serve. Raises `LockMismatch` naming the first row that does not fit."""
    if lock.environment != environment_row(environment):
        raise LockMismatch("environment", "was resolved for another environment than the recipe's; make the lock anew")
    names = {deb.name for deb in lock.debs}
    for package in lock.environment.packages:
        if package not in names:
            raise LockMismatch(f"deb/{package}", "the recipe asks for this package and the lock does not have it")
    pins = {f"wheel/{pin.filename}": pin for pin in environment.wheels}
    rows = {wheel.key: wheel for wheel in lock.wheels}
    for key in sorted(pins.keys() | rows.keys()):
        if key not in rows:
            raise LockMismatch(key, "the recipe pins this wheel and the lock does not have it")
        pin, row = pins.get(key), rows[key]
        if pin is None or (pin.name, pin.version, pin.sha256) != (row.name, row.version, row.sha256):
            raise LockMismatch(key, "is not the wheel that the recipe pins")


def make_lock(
    environment: Environment, debs: Sequence[DebRow], indexes: Sequence[IndexRow], wheels: Sequence[WheelRow]
) -> Lock:
    """A lock from its rows, in any order; it is parsed back, so that nothing unparseable leaves this package."""
    lock = Lock(
        environment=environment_row(environment), debs=tuple(debs), indexes=tuple(indexes), wheels=tuple(wheels)
    )
    return parse_lock(lock.data)
