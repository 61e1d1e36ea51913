"""A site forgets everything that it held, because its region has left it.

    1. from here on the database takes no object any more
    2. the sealed objects go, one after the other, and what uploads have left in the spool
    3. the rows of objects lose what they say of customers, and the wrapped data keys; the journal's events stay
    4. the rows of the inventory and the customers' accounts go; the tables are written anew without what they held
    5. every key epoch is destroyed, the current one last: copies of wrapped keys in backups and logs open nothing

Each step can be done again, and counts nothing twice. What PostgreSQL's own log and a disk keep below the files until
they are written over, nobody can see from here.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import psycopg
from glasshouse_verify.charter import Link

from glasshouse.regions import journal
from glasshouse.regions.errors import InvalidInput, JournalConflict
from glasshouse.regions.inventory_tables import to_bytes, to_int
from glasshouse.regions.keys.closing import Closed
from glasshouse.regions.keys.interface import KeyService, destroy_all
from glasshouse.regions.vault import Vault
from glasshouse.storage import files
from glasshouse.storage.db import Database, Row, load_queries
from glasshouse.storage.errors import StorageUnavailable

QUERIES = load_queries(__package__, "leaving.sql")
BATCH = 1_000
_THREADS = 8
_TABLES = ("regions.object", "regions.inventory_row", "regions.inventory_shard")
_CUSTOMERS = ("customers.customer", "customers.usage")
Connection = psycopg.Connection[Row]


@dataclass(frozen=True, kw_only=True)
class Premises:
    """Where a site of a region has what it holds."""

    region: str
    site: str
    database: Database
    vault: Vault
    keys: KeyService

    @property
    def place(self) -> Path:
        """The directory of the vault's files, or of a bucket's spool."""
        return self.vault.spool.parent


@dataclass(frozen=True, kw_only=True)
class Holding:
    """What a site holds: rows of objects and the bytes of their ciphertexts, accounts, key epochs."""

    objects: int
    size: int
    customers: int
    keys: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Forgotten:
    """What a site has forgotten, over all attempts."""

    objects: int
    size: int
    customers: int
    keys: tuple[str, ...]


def holding(premises: Premises) -> Holding:
    """What there is now. Raises StorageError, KeysUnavailable."""
    with premises.database.transaction() as connection:
        objects, size = _counts(connection, "held")
        customers = _one(connection, "count_customers") if _has_customers(connection) else 0
    return Holding(objects=objects, size=size, customers=customers, keys=premises.keys.epochs())


def strangers(premises: Premises, limit: int) -> list[str]:
    """Handles that should not be here: taken after the fence, or in the vault without a row; `limit` at most.

    Raises InvalidInput where this database is another site's, or its site was never fenced.
    """
    with premises.database.transaction() as connection:
        row = connection.execute(journal.QUERIES["site"]).fetchone()
        if row is None or row[:2] != (premises.region, premises.site):
            fix = f"Name the database of {premises.site}."
            raise InvalidInput("database", f"is not that of {premises.site} in the region {premises.region}", fix)
        fence = connection.execute(QUERIES["fenced"], {"site": premises.site}).fetchone()
        if fence is None or fence[0] is None:
            fix = "Fence it: glasshouse relocate run."
            raise InvalidInput("journal", f"{premises.site} was never fenced and may take objects yet", fix)
        query = {"site": premises.site, "after": fence[0], "limit": limit}
        found = [to_bytes(row[0]).hex() for row in connection.execute(QUERIES["stored_after"], query)]
    for handles in _batches(premises.vault.handles()):
        with premises.database.transaction() as connection:
            query = {"handles": [bytes.fromhex(handle) for handle in handles]}
            known = {to_bytes(row[0]).hex() for row in connection.execute(journal.QUERIES["known_handles"], query)}
        found += [handle for handle in handles if handle not in known]
        if len(found) >= limit:
            break
    return found[:limit]


def forget(premises: Premises, closed: Closed, *, told: Callable[[Sequence[str]], object] = len) -> Forgotten:
    """Forget everything; goes on where it was broken off. `told` is given the handles of each batch from the vault.

    Raises InvalidInput where the proof is of another region or site, StorageError, KeysUnavailable.
    """
    if (closed.region, closed.site) != (premises.region, premises.site):
        reason = f"is closed for {closed.site} of {closed.region}, this is {premises.site} of {premises.region}"
        raise InvalidInput("relocation", reason, "Erase the site that was left.")
    _depart(premises, closed.relocation, closed.link)
    with ThreadPoolExecutor(_THREADS) as threads:
        for handles in _batches(premises.vault.handles()):
            for _ in threads.map(premises.vault.delete, handles):
                continue
            told(handles)
    _clear_files(premises.place)
    _forget_rows(premises)
    _forget_customers(premises, closed.relocation)
    _rewrite_tables(premises.database)
    with premises.database.transaction() as connection:
        given = {"relocation": closed.relocation, "keys": list(premises.keys.epochs())}
        connection.execute(QUERIES["give_up_keys"], given)
    destroy_all(premises.keys, closed)
    with premises.database.transaction() as connection:
        objects, size = _counts(connection, "moved")
        customers, keys = _departure(connection, closed.relocation)
    return Forgotten(objects=objects, size=size, customers=customers, keys=keys)


def left_over(premises: Premises) -> list[str]:
    """In words, what a look at vault, database and keys still finds; nothing where everything is forgotten."""
    found = []
    now = holding(premises)
    if now.objects:
        found.append(f"{now.objects} objects in the database")
    if now.customers:
        found.append(f"{now.customers} customers")
    if now.keys:
        found.append(f"the key epochs {', '.join(now.keys)}")
    if handle := next(premises.vault.handles(), None):
        found.append(f"{handle[:16]}… in the vault")
    if path := next(_files(premises.place), None):
        found.append(f"the file {path.name[:80]}")
    return found


def _depart(premises: Premises, relocation: str, closing: Link) -> None:
    with premises.database.transaction() as connection:
        connection.execute(QUERIES["depart"], {"relocation": relocation, "charter": bytes.fromhex(closing.id)})


def _forget_rows(premises: Premises) -> None:
    after = b""
    while True:
        with premises.database.transaction() as connection:
            rows = connection.execute(QUERIES["held_after"], {"after": after, "limit": BATCH}).fetchall()
            if not rows:
                break
            handles = [to_bytes(row[0]) for row in rows]
            connection.execute(QUERIES["forget_objects"], {"handles": handles})
            after = handles[-1]
    with premises.database.transaction() as connection:
        for name in ("forget_removed", "forget_inventory", "forget_shards"):
            connection.execute(QUERIES[name])


def _forget_customers(premises: Premises, relocation: str) -> None:
    with premises.database.transaction() as connection:
        if _has_customers(connection):
            connection.execute(QUERIES["forget_usage"])
            gone = connection.execute(QUERIES["forget_customers"]).rowcount
            connection.execute(QUERIES["count_gone"], {"relocation": relocation, "customers": gone})


def _rewrite_tables(database: Database) -> None:
    """Have PostgreSQL write the tables anew: rows that were changed or deleted lie in the old files until then."""
    connection = database.dedicated()
    try:
        names = [*_TABLES, *(_CUSTOMERS if _has_customers(connection) else ())]
        for name in names:
            connection.execute(f"vacuum full {name}".encode())
    except psycopg.OperationalError as error:
        raise StorageUnavailable(f"the tables cannot be written anew: {error}") from error
    finally:
        connection.close()


def _clear_files(directory: Path) -> None:
    """Remove every file below a directory: what uploads have left. A site that still answers keeps its directories."""
    touched = set[Path]()
    for path in _files(directory):
        path.unlink(missing_ok=True)
        touched.add(path.parent)
    for parent in touched:
        files.sync_directory(parent)


def _files(directory: Path) -> Iterator[Path]:
    for parent, _, names in os.walk(directory):
        yield from (Path(parent) / name for name in names)


def _batches(handles: Iterator[str]) -> Iterator[list[str]]:
    while batch := list(islice(handles, BATCH)):
        yield batch


def _counts(connection: Connection, query: str) -> tuple[int, int]:
    row = connection.execute(QUERIES[query]).fetchone()
    if row is None:
        raise JournalConflict("the database counts nothing")
    return to_int(row[0]), to_int(row[1])


def _one(connection: Connection, query: str) -> int:
    row = connection.execute(QUERIES[query]).fetchone()
    return 0 if row is None else to_int(row[0])


def _has_customers(connection: Connection) -> bool:
    row = connection.execute(QUERIES["has_customers"]).fetchone()
    return row is not None and row[0] is True


def _departure(connection: Connection, relocation: str) -> tuple[int, tuple[str, ...]]:
    row = connection.execute(QUERIES["departure"], {"relocation": relocation}).fetchone()
    if row is None or not isinstance(row[1], list):
        raise JournalConflict("the database holds no departure")
    return to_int(row[0]), tuple(str(key) for key in row[1])
