"""What a destination has of a foreign store: rows in its own database, and the ranges of keys still to be copied.

The store's keys are cut into ranges. A worker claims one under a lease, and says again and again that it is alive; one
that was killed loses its range when the lease runs out. What it has copied, and how far it is, are one transaction: a
range goes on from there, whoever takes it, and nothing that stands here is copied again.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import psycopg
from glasshouse_verify.codec import Digest, Text

from glasshouse.regions.inventory_tables import to_bytes, to_int
from glasshouse.regions.wrapping import Wrapping
from glasshouse.relocation.errors import Unavailable
from glasshouse.relocation.stores.interface import Version
from glasshouse.storage.db import Database, Row, load_migrations, load_queries, migrate

QUERIES = load_queries(__package__, "landing.sql")
LEASE_SECONDS = 10.0
PAGE = 1_000


class LeaseLost(Unavailable):
    """Another worker has this range by now. What it had under way counts for nothing."""


@dataclass(frozen=True, kw_only=True)
class Shard:
    """A claimed range: after `cursor`, up to and with `upto`, or to the end."""

    id: int
    cursor: bytes
    upto: bytes | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Landed:
    """One version of an object as it is here; the members from `content` on are None for a delete marker.

    `listed` is what the store said of it; None where a row was read for what it says of the content only. `transfer`:
    its data key for this site alone, until the arrival is in the ledger.
    """

    handle: str
    key: bytes
    ordinal: int
    commitment: str
    size: int
    listed: Version | None = None
    content: str | None = None
    sealed: str | None = None
    sealed_size: int | None = None
    wrapping: Wrapping | None = None
    transfer: Wrapping | None = None


@dataclass(frozen=True, kw_only=True)
class Known:
    """What a pass compares with: the handle of what is here, and what the store said of it."""

    handle: str
    version: str | None
    tag: str
    modified: int
    size: int
    marker: bool

    def still(self, listed: Version) -> bool:
        """Whether the store says the same now. A version's id says it alone; without one it is a hint."""
        if self.marker != listed.marker or self.version != listed.version:
            return False
        if self.version not in (None, "null"):
            return True
        return (self.tag, self.modified, self.size) == (listed.tag, listed.modified, listed.size)


@dataclass(frozen=True, kw_only=True)
class Totals:
    """What a pass has done: versions and bytes that landed, versions that had vanished from the store."""

    landed: int
    size: int
    vanished: int


@dataclass(frozen=True, kw_only=True)
class Landings:
    """The tables of one move at one destination. Threads and processes may share them."""

    database: Database
    relocation: str
    lease_seconds: float = LEASE_SECONDS
    _names: Mapping[str, object] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_names", {"relocation": self.relocation, "lease": self.lease_seconds})

    def prepare(self) -> None:
        """Bring the schema up to date."""
        migrate(self.database, "relocation", load_migrations(__package__))

    def begin_pass(self, number: int) -> None:
        """Begin a pass; nothing happens where it was begun."""
        with self.database.transaction() as connection:
            if connection.execute(QUERIES["begin_pass"], {**self._names, "pass": number}).fetchone():
                connection.execute(QUERIES["first_shard"], {**self._names, "pass": number})

    def passes(self) -> int:
        """The number of the last pass, 0 before the first."""
        return to_int(self._one("passes")[0])

    def claim(self, number: int, worker: str) -> Shard | None:
        """A range that nobody works on; None where there is none now, and then those who have some are told."""
        query = {**self._names, "pass": number, "worker": worker}
        with self.database.transaction() as connection:
            row = connection.execute(QUERIES["claim"], query, binary=True).fetchone()
            if row is None:
                connection.execute(QUERIES["want"], query)
                return None
        return Shard(id=to_int(row[0]), upto=None if row[1] is None else to_bytes(row[1]), cursor=to_bytes(row[2]))

    def renew(self, number: int, worker: str, shard: int) -> None:
        """Say that the worker is alive. Raises LeaseLost."""
        self._mine(self._one("renew", number, worker=worker, id=shard))

    def release(self, number: int, worker: str, shard: int) -> None:
        """Give a range back."""
        with self.database.transaction() as connection:
            query = {**self._names, "pass": number, "worker": worker, "id": shard}
            connection.execute(QUERIES["release"], query)

    def wanted(self, number: int) -> bool:
        """Whether a worker has nothing to do."""
        return bool(self._one("wanted", number))

    def cut(self, number: int, worker: str, shard: Shard, at: bytes) -> bool:
        """Give what is after `at` away as a range of its own; False where that is not possible any more."""
        query = {**self._names, "pass": number, "worker": worker, "id": shard.id, "at": at, "upto": shard.upto}
        with self.database.transaction() as connection:
            if connection.execute(QUERIES["cut"], query).fetchone() is None:
                return False
            connection.execute(QUERIES["add_rest"], query)
            connection.execute(QUERIES["satisfied"], query)
        return True

    def left(self, number: int) -> int:
        """How many ranges of a pass are not done."""
        return to_int(self._one("left", number)[0])

    def totals(self, number: int) -> Totals:
        """What a pass has done so far."""
        landed, size, vanished = map(to_int, self._one("totals", number))
        return Totals(landed=landed, size=size, vanished=vanished)

    def size(self) -> tuple[int, int]:
        """Versions that are here, and bytes of their content."""
        count, size = map(to_int, self._one("size"))
        return count, size

    def known(self, after: bytes, upto: bytes | None) -> Iterator[tuple[bytes, int, Known]]:
        """What is here of the keys in after < key <= upto, in their order."""
        limit = PAGE
        while True:
            query = {**self._names, "after": after, "upto": upto, "limit": limit}
            with self.database.transaction() as connection:
                rows = connection.execute(QUERIES["known"], query, binary=True).fetchall()
            whole = len(rows) < limit
            # The versions of the last key may go on in the next page; they are read again with it.
            last = None if whole else to_bytes(rows[-1][1])
            if last is not None and last == to_bytes(rows[0][1]):
                limit *= 10
                continue
            for row in rows:
                key = to_bytes(row[1])
                if key != last:
                    after = key
                    yield key, to_int(row[2]), _known(row)
            if whole:
                return

    def land(
        self,
        number: int,
        worker: str,
        shard: Shard,
        *,
        cursor: bytes,
        landed: Sequence[Landed],
        gone: Sequence[str],
        vanished: int,
        done: bool,
    ) -> bytes | None:
        """One transaction: these are here now, those handles are not, and the range is done up to `cursor`.

        `gone` are handles to forget, with those that `landed` takes the place of; `vanished` how many of them the store
        has no more. The end of the range now. Raises LeaseLost, after which nothing was done.
        """
        size = sum(one.size for one in landed)
        query = {"cursor": cursor, "landed": len(landed), "size": size, "vanished": vanished, "done": done}
        names = {**self._names, "pass": number, "worker": worker, "id": shard.id}
        with self.database.transaction() as connection:
            row = connection.execute(QUERIES["advance"], {**names, **query}, binary=True).fetchone()
            self._mine(row or ())
            if gone:
                connection.execute(QUERIES["vanish"], {**names, "handles": [bytes.fromhex(one) for one in gone]})
            _add(connection, self._names, landed)
        return None if row is None or row[0] is None else to_bytes(row[0])

    def after(self, handle: str, limit: int = PAGE) -> Sequence[Landed]:
        """What is here, by handle, after one."""
        return self._landed("after", after=bytes.fromhex(handle), limit=limit)

    def everything(self) -> Iterator[Landed]:
        """All that is here, by handle."""
        last = ""
        while page := self.after(last):
            yield from page
            last = page[-1].handle

    def of(self, handles: Sequence[str]) -> Sequence[Landed]:
        """What is here of these handles."""
        return self._landed("of", handles=[bytes.fromhex(handle) for handle in handles])

    def forget_transfers(self) -> int:
        """Once the arrival is in the ledger: no data key is kept for this site alone any more; how many there were.

        It goes on where it was broken off.
        """
        count = 0
        while True:
            with self.database.transaction() as connection:
                query = {**self._names, "after": b"", "limit": PAGE}
                found = connection.execute(QUERIES["transfers_after"], query, binary=True).fetchall()
                if not found:
                    return count
                handles = [to_bytes(row[0]) for row in found]
                connection.execute(QUERIES["forget_transfers"], {**self._names, "handles": handles})
                count += len(found)

    def drop(self, handles: Sequence[str]) -> None:
        """Forget what turned out not to be here as it should, so that the next pass copies it again."""
        with self.database.transaction() as connection:
            connection.execute(QUERIES["vanish"], {**self._names, "handles": [bytes.fromhex(one) for one in handles]})

    def _landed(self, name: str, **terms: object) -> Sequence[Landed]:
        with self.database.transaction() as connection:
            rows = connection.execute(QUERIES[name], {**self._names, **terms}, binary=True).fetchall()
        return [_read(row) for row in rows]

    def _one(self, name: str, number: int | None = None, **terms: object) -> Row:
        with self.database.transaction() as connection:
            row = connection.execute(QUERIES[name], {**self._names, "pass": number, **terms}, binary=True).fetchone()
        return row or ()

    def _mine(self, row: Row) -> None:
        if not row:
            raise LeaseLost("this range has another worker by now: this one was silent for too long")


def _known(row: Row) -> Known:
    handle, _, _, version, tag, modified, size, marker = row
    return Known(
        handle=to_bytes(handle).hex(),
        version=None if version is None else str(version),
        tag=str(tag),
        modified=to_int(modified),
        size=to_int(size),
        marker=bool(marker),
    )


def _add(connection: "psycopg.Connection[Row]", names: Mapping[str, object], landed: Sequence[Landed]) -> None:
    if not landed:
        return
    columns: dict[str, list[object]] = {
        "handle": [bytes.fromhex(one.handle) for one in landed],
        "key": [one.key for one in landed],
        "ordinal": [one.ordinal for one in landed],
        "commitment": [bytes.fromhex(one.commitment) for one in landed],
        "size": [one.size for one in landed],
        "content": [_hex(one.content) for one in landed],
        "sealed": [_hex(one.sealed) for one in landed],
        "sealed_size": [one.sealed_size for one in landed],
        "version": [one.listed and one.listed.version for one in landed],
        "tag": [one.listed.tag if one.listed else "" for one in landed],
        "modified": [one.listed.modified if one.listed else 0 for one in landed],
        "listed_size": [one.listed.size if one.listed else 0 for one in landed],
        "wrapped_by": [one.wrapping and one.wrapping.key_id for one in landed],
        "custodian": [_hex(one.wrapping.custodian) if one.wrapping else None for one in landed],
        "wrapped": [one.wrapping and one.wrapping.blob for one in landed],
        "transfer_by": [one.transfer and one.transfer.key_id for one in landed],
        "transfer": [one.transfer and one.transfer.blob for one in landed],
    }
    connection.execute(QUERIES["land"], {**names, **columns})


def _read(row: Row) -> Landed:
    handle, key, ordinal, commitment, content, size, sealed, sealed_size, by, custodian, wrapped, moved_by, moved = row
    return Landed(
        handle=to_bytes(handle).hex(),
        key=to_bytes(key),
        ordinal=to_int(ordinal),
        commitment=to_bytes(commitment).hex(),
        content=None if content is None else to_bytes(content).hex(),
        size=to_int(size),
        sealed=None if sealed is None else to_bytes(sealed).hex(),
        sealed_size=None if sealed_size is None else to_int(sealed_size),
        wrapping=_wrapping(by, wrapped, custodian),
        transfer=_wrapping(moved_by, moved, None),
    )


def _wrapping(by: object, blob: object, custodian: object) -> Wrapping | None:
    if by is None:
        return None
    of = None if custodian is None else Digest(to_bytes(custodian).hex())
    return Wrapping(key_id=Text(str(by)), blob=to_bytes(blob), custodian=of)


def _hex(digest: str | None) -> bytes | None:
    return None if digest is None else bytes.fromhex(digest)
