"""How far an erasure has come, on disk (SQLite): after a crash at any moment it goes on without a wrong count.

A batch is written down before the store is asked to erase it, with the row of each version at the fence. After a crash
the same batch is asked for again, which does no harm; so what is in it needs not be checked a second time, although the
store then counts the versions that are left of a key in another way.
"""

import random
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from glasshouse_verify.manifest import parse_row
from glasshouse_verify.row import Row, format_row

from glasshouse.relocation.stores.interface import Locked, Upload, Version
from glasshouse.storage import files

SAMPLE = 200
_SCHEMA = """
create table if not exists batch (
    key blob not null, version text not null, ordinal integer not null, marker integer not null, size integer not null,
    modified integer not null, tag text not null, row blob not null, primary key (key, version)
) without rowid;
create table if not exists kept (
    key blob not null, version text not null, ordinal integer not null, row blob not null, until integer,
    reason text not null, primary key (key, version)
) without rowid;
create table if not exists sample (
    place integer primary key, key blob not null, version text not null, ordinal integer not null
);
create table if not exists upload (key blob not null, id text not null, primary key (key, id)) without rowid;
create table if not exists count (name text primary key, number integer not null) without rowid;
"""
OBJECTS, MARKERS, BYTES, UPLOADS = "objects", "markers", "bytes", "uploads"
_READABLE = "readable"


@dataclass(frozen=True, kw_only=True, slots=True)
class Checked:
    """A version that was there at the fence, under its ordinal then, and its row."""

    version: Version
    row: Row


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """A version that a lock keeps: its row at the fence, and until when (Unix seconds) where the lock ends."""

    row: Row
    until: int | None
    reason: str


class Progress:
    """The state of one erasure, at one path; one thread at a time. Close it."""

    def __init__(self, path: Path) -> None:
        files.make_directory(path.parent, mode=0o700)
        self._database = sqlite3.connect(path, isolation_level=None)
        self._database.execute("pragma synchronous = full")
        self._database.executescript(_SCHEMA)
        self._random = random.SystemRandom()

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- versions ----------------------------------------------------------------------------------------------------

    def begin(self, batch: Sequence[Checked]) -> None:
        """Say which versions are erased next; durable before the store hears of it."""
        rows = [(*_place(c.version), *_facts(c.version), format_row(c.row)) for c in batch]
        with self._database:
            self._database.execute("begin")
            self._database.executemany("insert into batch values (?, ?, ?, ?, ?, ?, ?, ?)", rows)

    def begun(self) -> list[Checked]:
        """The versions of the batch under way."""
        found = []
        for key, version, ordinal, marker, size, modified, tag, row in self._database.execute("select * from batch"):
            there = Version(
                key=key,
                ordinal=ordinal,
                version=version or None,
                marker=bool(marker),
                size=size,
                modified=modified,
                tag=tag,
            )
            found.append(Checked(version=there, row=parse_row(row)))
        return found

    def end(self, batch: Sequence[Checked], locked: Sequence[Locked]) -> None:
        """The store has erased the batch but for what is locked."""
        held = {_place(one.version): one for one in locked}
        with self._database:
            self._database.execute("begin")
            for checked in batch:
                place = _place(checked.version)
                if lock := held.get(place):
                    values = (*place, checked.version.ordinal, format_row(checked.row), lock.until, lock.reason)
                    self._database.execute("insert or replace into kept values (?, ?, ?, ?, ?, ?)", values)
                else:
                    self._database.execute("delete from kept where (key, version) = (?, ?)", place)
                    self._count_erased(checked.version)
            self._database.execute("delete from batch")

    def _count_erased(self, version: Version) -> None:
        if version.marker:
            self._add(MARKERS, 1)
            return
        self._add(OBJECTS, 1)
        if not version.size:
            # Nothing can be read of it, before or afterwards.
            return
        self._add(BYTES, version.size)
        # Each version so far is as likely to be in the sample as any other.
        self._add(_READABLE, 1)
        place = self.count(_READABLE) - 1
        place = place if place < SAMPLE else self._random.randrange(place + 1)
        if place < SAMPLE:
            values = (place, *_place(version), version.ordinal)
            self._database.execute("insert or replace into sample values (?, ?, ?, ?)", values)

    def ordinals(self, key: bytes) -> Mapping[str, int]:
        """Of the versions of a key that locks keep: id → ordinal at the fence."""
        return dict(self._database.execute("select version, ordinal from kept where key = ?", (key,)))

    def kept(self) -> Iterator[Kept]:
        """What locks keep, in no particular order."""
        for row, until, reason in self._database.execute("select row, until, reason from kept"):
            yield Kept(row=parse_row(row), until=until, reason=reason)

    def sampled(self) -> list[Version]:
        """Up to SAMPLE versions with content that were erased, drawn evenly from all of them."""
        rows = self._database.execute("select key, version, ordinal from sample order by place").fetchall()
        return [
            Version(key=key, ordinal=ordinal, version=version or None, marker=False, size=0, modified=0)
            for key, version, ordinal in rows
        ]

    # --- uploads, counts ---------------------------------------------------------------------------------------------

    def begin_upload(self, upload: Upload) -> None:
        """Say which unfinished upload is given up next; each counts once."""
        with self._database:
            self._database.execute("begin")
            place = (upload.key, upload.id)
            if self._database.execute("insert or ignore into upload values (?, ?)", place).rowcount:
                self._add(UPLOADS, 1)

    def count(self, name: str) -> int:
        """How many of something were erased."""
        row = self._database.execute("select number from count where name = ?", (name,)).fetchone()
        return 0 if row is None else int(row[0])

    @property
    def size_of_kept(self) -> int:
        """How many versions locks keep."""
        return int(self._database.execute("select count(*) from kept").fetchone()[0])

    def _add(self, name: str, number: int) -> None:
        query = "insert into count values (?, ?) on conflict (name) do update set number = number + excluded.number"
        self._database.execute(query, (name, number))


def _place(version: Version) -> tuple[bytes, str]:
    return version.key, version.version or ""


def _facts(version: Version) -> tuple[int, int, int, int, str]:
    return version.ordinal, int(version.marker), version.size, version.modified, version.tag
