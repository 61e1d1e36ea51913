"""Logs in the database: creating one on purpose, opening one, reading what was sequenced.

A log is created once, by a person's decision, and opened ever after. Opening never creates: a node that lost its
database must say so, not start an empty log under an origin whose checkpoints are out in the world.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from glasshouse_verify.note import ED25519, VerifierKey, format_vkey, parse_vkey

from glasshouse.ledger.digests import MAX_LOOKUP
from glasshouse.ledger.errors import EntryRefused, LogExists, LogMissing
from glasshouse.storage.db import Database, load_migrations, load_queries, migrate
from glasshouse.storage.objects import ObjectStore

QUERIES = load_queries(__package__)
CHECKPOINT_KEY = "checkpoint"
PENDING_KEY = "checkpoint.pending"
BLOB_PREFIX = "blob/"
_ROWS_PER_FETCH = 512


@dataclass(frozen=True, kw_only=True)
class Log:
    """An existing log: its number in the database and the key its checkpoints are signed with."""

    id: int
    key: VerifierKey

    @property
    def origin(self) -> str:
        """The name of the log, which is its key's name too."""
        return self.key.name


@dataclass(frozen=True, kw_only=True)
class Head:
    """How far a log is: entries sequenced, and the newest signed tree (None before the first)."""

    sequenced: int
    signed_size: int | None
    signed_root: bytes | None


@dataclass(frozen=True, kw_only=True)
class StoredEntry:
    """An entry as the database has it; ``leaf`` is its RFC 6962 leaf hash."""

    index: int
    leaf: bytes
    data: bytes


def prepare(database: Database) -> None:
    """Bring the ledger's schema up to date. Raises SchemaError."""
    migrate(database, "ledger", load_migrations(__package__))


def create_log(database: Database, store: ObjectStore, key: VerifierKey) -> Log:
    """Create the log that ``key`` names and signs. Raises LogExists if the origin was ever used here."""
    if key.algorithm != ED25519:
        raise EntryRefused("a log signs with Ed25519 (0x01)", field="log key", fix="give a vkey of type 0x01")
    if any(store.size(name) is not None for name in (CHECKPOINT_KEY, PENDING_KEY)):
        raise LogExists("the object store holds the checkpoint of a log already; a new log needs an empty store")
    prepare(database)
    with database.transaction() as connection:
        row = connection.execute(QUERIES["create_log"], {"origin": key.name, "vkey": format_vkey(key)}).fetchone()
    if row is None:
        raise LogExists(f"there is a log of the origin {key.name!r} already; an origin is never reused")
    return Log(id=_int(row[0]), key=key)


def open_log(database: Database, origin: str) -> Log:
    """The existing log of this origin. Raises LogMissing."""
    prepare(database)
    with database.transaction() as connection:
        row = connection.execute(QUERIES["find_log"], {"origin": origin}).fetchone()
    if row is None:
        raise LogMissing(f"there is no log of the origin {origin!r}; a log is created on purpose, once")
    return Log(id=_int(row[0]), key=parse_vkey(str(row[1])))


def read_head(database: Database, log: Log) -> Head:
    """How far the log is."""
    with database.transaction() as connection:
        row = connection.execute(QUERIES["head"], {"log_id": log.id}).fetchone()
    if row is None:
        raise LogMissing(f"the log {log.origin!r} is gone from the database")
    return Head(
        sequenced=_int(row[0]),
        signed_size=None if row[1] is None else _int(row[1]),
        signed_root=None if row[2] is None else _bytes(row[2]),
    )


def read_entries(database: Database, log: Log, start: int, stop: int) -> Iterator[StoredEntry]:
    """The entries with start ≤ index < stop, in order, a few hundred in memory at a time."""
    while start < stop:
        with database.transaction() as connection:
            rows = connection.execute(
                QUERIES["entries"], {"log_id": log.id, "start": start, "stop": min(stop, start + _ROWS_PER_FETCH)}
            ).fetchall()
        if not rows:
            return
        for index, leaf, data in rows:
            yield StoredEntry(index=_int(index), leaf=_bytes(leaf), data=_bytes(data))
        start = _int(rows[-1][0]) + 1


def find_index(database: Database, log: Log, leaf: bytes) -> int | None:
    """The index of the entry with this leaf hash."""
    with database.transaction() as connection:
        row = connection.execute(QUERIES["find_index"], {"log_id": log.id, "leaf": leaf}).fetchone()
    return None if row is None else _int(row[0])


def lookup(database: Database, log: Log, digest: bytes, *, after: int = -1) -> list[int]:
    """The entries above index ``after`` that name the digest, lowest first, at most MAX_LOOKUP."""
    with database.transaction() as connection:
        rows = connection.execute(
            QUERIES["lookup"], {"log_id": log.id, "digest": digest, "after": after, "limit": MAX_LOOKUP}
        ).fetchall()
    return [_int(row[0]) for row in rows]


def enqueue(database: Database, log: Log, entry: bytes) -> int:
    """Put an entry into the outbox.

    To do so in a transaction of your own, run ``select ledger.enqueue(origin, data)`` in it.
    """
    with database.transaction() as connection:
        row = connection.execute("select ledger.enqueue(%s, %s)", (log.origin, entry)).fetchone()
    return _int(row[0]) if row else 0


def _int(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError(f"the database answered {type(value).__name__} where a number was expected")
    return value


def _bytes(value: object) -> bytes:
    if not isinstance(value, bytes):
        raise TypeError(f"the database answered {type(value).__name__} where bytes were expected")
    return value
