"""PostgreSQL: a pool of connections, SQL kept in ``.sql`` files under names, and migrations that go forward only.

No object mapping: a room writes its statements in its own ``queries.sql``,

    -- name: find_entry
    select leaf, data from ledger.entry where log_id = %(log_id)s and index = %(index)s;

and says ``cursor.execute(queries["find_entry"], {...})``. Its tables are defined twice: ``schema.sql`` is what a
reader reads, ``migrations/0001_name.sql`` and following are what is run; a test proves that both lead to the same
schema.
"""

import contextlib
import hashlib
import importlib.resources
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import psycopg
import psycopg_pool

from glasshouse.storage.errors import DatabaseUnavailable, SchemaError, StorageFull

Row = tuple[object, ...]
_NAME = re.compile(r"^-- name: ([a-z0-9_]+)$", re.MULTILINE)
_MIGRATION = re.compile(r"^(\d{4})_[a-z0-9_]+\.sql$")
_VERSION_TABLE = """
create table if not exists public.glasshouse_migration (
    room text not null,
    version integer not null check (version > 0),
    name text not null,
    sha256 text not null check (sha256 ~ '^[0-9a-f]{64}$'),
    applied_at timestamptz not null default now(),
    primary key (room, version)
)
"""
# Any constant will do, as long as every node that migrates one database agrees on it.
_MIGRATION_LOCK = 0x676C6173


@dataclass(frozen=True, kw_only=True)
class Migration:
    """One forward step of a room's schema."""

    version: int
    name: str
    sql: str

    @property
    def sha256(self) -> str:
        """Hex digest of the text, kept in the version table: a step already taken must not be edited."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


class Database:
    """A pool of connections to one PostgreSQL database, by DSN.

    ``timeout_seconds`` bounds the wait for a connection. Threads may share it. Close it, or use it as a context
    manager.
    """

    def __init__(self, dsn: str, *, max_connections: int = 8, timeout_seconds: float = 10.0) -> None:
        self._dsn = dsn
        self._pool = psycopg_pool.ConnectionPool(
            dsn,
            min_size=1,
            max_size=max_connections,
            timeout=timeout_seconds,
            # A connection that died with its server is replaced before the caller sees it.
            check=psycopg_pool.ConnectionPool.check_connection,
            configure=_configure,
            open=True,
        )

    @contextlib.contextmanager
    def transaction(self) -> Iterator[psycopg.Connection[Row]]:
        """A connection in a transaction: committed (durably) on leaving the block, rolled back if it raises.

        Raises DatabaseUnavailable or StorageFull; after an error during the commit itself the outcome is unknown.
        """
        with translated(), self._pool.connection() as connection:
            yield connection

    def dedicated(self) -> psycopg.Connection[Row]:
        """A connection of its own outside the pool, in autocommit mode, for session locks. The caller closes it."""
        with translated():
            connection = psycopg.connect(self._dsn, autocommit=True)
            _configure(connection)
            return connection

    def close(self) -> None:
        """Close every connection."""
        self._pool.close()

    def __enter__(self) -> "Database":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _configure(connection: psycopg.Connection[Row]) -> None:
    """Have every statement planned for the tables as they are now.

    The plan of a prepared statement made while a table was small would be kept while it grows a thousandfold.
    """
    connection.execute("set plan_cache_mode = force_custom_plan")
    if not connection.autocommit:
        connection.commit()


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Turn the driver's errors about the server's state into this package's; errors about the SQL itself pass."""
    try:
        yield
    except psycopg.errors.DiskFull as error:
        raise StorageFull(f"the database's disk is full: {error}") from error
    except (psycopg.OperationalError, psycopg.InterfaceError, psycopg_pool.PoolTimeout) as error:
        raise DatabaseUnavailable(f"the database does not answer: {str(error).strip()}") from error


def load_queries(package: str, file: str = "queries.sql") -> Mapping[str, bytes]:
    """The named statements of a room's file. Raises SchemaError if a name comes twice or text precedes the first."""
    text = (importlib.resources.files(package) / file).read_text()
    parts = _NAME.split(text)
    if any(line and not line.startswith("--") for line in parts[0].splitlines()):
        raise SchemaError(f"{package}/{file}: text before the first '-- name:' line")
    queries: dict[str, bytes] = {}
    for name, body in zip(parts[1::2], parts[2::2], strict=True):
        if name in queries:
            raise SchemaError(f"{package}/{file}: two statements are named {name!r}")
        queries[name] = body.strip().encode()
    return MappingProxyType(queries)


def load_migrations(package: str) -> tuple[Migration, ...]:
    """The steps in a room's ``migrations`` directory, which must be numbered from 1 without a gap."""
    steps = []
    for file in (importlib.resources.files(package) / "migrations").iterdir():
        if match := _MIGRATION.match(file.name):
            steps.append(Migration(version=int(match[1]), name=file.name, sql=file.read_text()))
    steps.sort(key=lambda step: step.version)
    if [step.version for step in steps] != list(range(1, len(steps) + 1)):
        raise SchemaError(f"{package}/migrations: not numbered 0001, 0002, … without a gap")
    return tuple(steps)


def migrate(database: Database, room: str, steps: tuple[Migration, ...]) -> None:
    """Bring a room's schema up to date, each step in a transaction of its own, one node at a time.

    Raises SchemaError if the database is newer than this code, or a step already taken reads differently here.
    """
    while True:
        with database.transaction() as connection:
            connection.execute("select pg_advisory_xact_lock(%s)", (_MIGRATION_LOCK,))
            connection.execute(_VERSION_TABLE)
            taken = connection.execute(
                "select version, sha256 from public.glasshouse_migration where room = %s order by version", (room,)
            ).fetchall()
            for step, (version, sha256) in zip(steps, taken, strict=False):
                if (step.version, step.sha256) != (version, sha256):
                    raise SchemaError(f"the migration {step.name} of {room} was changed after it had been applied")
            if len(taken) > len(steps):
                raise SchemaError(
                    f"the database has version {len(taken)} of the {room} schema, this program knows {len(steps)}; "
                    "run the newer program"
                )
            if len(taken) == len(steps):
                return
            step = steps[len(taken)]
            connection.execute(step.sql.encode())
            connection.execute(
                "insert into public.glasshouse_migration (room, version, name, sha256) values (%s, %s, %s, %s)",
                (room, step.version, step.name, step.sha256),
            )
