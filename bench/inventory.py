"""Seconds for an inventory of 10^6 rows, for a change of 1,000 of them, and bytes of a proof that one is not there.

A site's own tables in its PostgreSQL: every shard computed from the rows and kept, then an epoch that adds 500 objects
and erases 500 others. `ours` is the first; the ratio is the worst of the three against their limits.
"""

import contextlib
import hashlib
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from glasshouse_verify.codec import Digest, Identifier, encode
from glasshouse_verify.encoding import format_json
from glasshouse_verify.receipt import Reason, Tombstone
from glasshouse_verify.row import format_row
from glasshouse_verify.shards import verify_shard

from bench import Figure
from glasshouse.regions import journal
from glasshouse.regions.delta import Delta, HeldRow
from glasshouse.regions.inventory_tables import Trees, apply_delta, load_trees, prove, rebuild
from glasshouse.storage.db import Database
from glasshouse.storage.postgres import EmbeddedPostgres

ROWS = 1_000_000
CHANGED = 1_000
PROOFS = 200
ROUNDS = 5
LIMIT_SECONDS = 10.0
LIMIT_INCREMENT_SECONDS = 0.5
LIMIT_PROOF_BYTES = 3_072


def run() -> Figure:
    """Measure on a database of its own."""
    with tempfile.TemporaryDirectory() as scratch, _database(Path(scratch)) as database:
        _fill(database)
        trees, whole = None, []
        for _ in range(ROUNDS):
            start = time.perf_counter()
            with database.transaction() as connection:
                trees = load_trees(connection)
                rebuild(connection, trees)
                size = trees.sharded[0].size
            whole.append(time.perf_counter() - start)
        if trees is None or size != ROWS:
            raise ValueError(f"{size} rows in the inventory, {ROWS} were put there")
        increments = [_increment(database, trees, epoch) for epoch in range(1, ROUNDS + 1)]
        proof = max(_proofs(database, trees))
    seconds, increment = statistics.median(whole), statistics.median(increments)
    ratios = (LIMIT_SECONDS / seconds, LIMIT_INCREMENT_SECONDS / increment, LIMIT_PROOF_BYTES / proof)
    return {
        "name": "inventory",
        "ours": seconds,
        "limit": LIMIT_SECONDS,
        "ratio": min(ratios),
        "unit": "s",
        "target": "ratio at least 1",
        "notes": f"{ROWS:,} rows in 65,536 shards; a change of {CHANGED:,} rows {increment:.3f} s of "
        f"{LIMIT_INCREMENT_SECONDS} s; the largest of {PROOFS} absence proofs {proof:,} of {LIMIT_PROOF_BYTES:,} bytes",
    }


@contextlib.contextmanager
def _database(directory: Path) -> Iterator[Database]:
    with EmbeddedPostgres(directory / "postgres") as server, Database(server.dsn) as database:
        journal.prepare(database, region="au", site="zurich-1", peers=["zurich-2"])
        yield database


def _fill(database: Database) -> None:
    with (
        database.transaction() as connection,
        connection.cursor() as cursor,
        cursor.copy("copy regions.inventory_row (tree, key, row) from stdin (format binary)") as copy,
    ):
        copy.set_types(["text", "bytea", "bytea"])
        for number in range(ROWS):
            row = _held(b"row %d" % number)
            copy.write_row(("held", bytes.fromhex(row.key), format_row(row.row)))
    with database.dedicated() as connection:
        connection.execute("vacuum analyze regions.inventory_row")


def _held(name: bytes) -> HeldRow:
    return HeldRow(
        key=Digest(hashlib.sha256(name).hexdigest()), commitment=Digest(hashlib.sha256(name * 2).hexdigest())
    )


def _increment(database: Database, trees: Trees, epoch: int) -> float:
    half = CHANGED // 2
    came = sorted((_held(b"epoch %d, %d" % (epoch, n)) for n in range(half)), key=lambda row: row.key)
    gone = sorted(_held(b"row %d" % (epoch * half + n)).key for n in range(half))
    now = 1_800_000_000
    removed = [Tombstone(key=key, reason=Reason.RETENTION, removed=now, residue_until=now + 2_592_000) for key in gone]
    delta = Delta(region=Identifier("au"), epoch=epoch, added=tuple(came), removed=tuple(removed))
    origins = {str(key): ("zurich-1", number) for number, key in enumerate(gone, start=1)}
    start = time.perf_counter()
    with database.transaction() as connection:
        apply_delta(connection, trees, delta, origins)
        _ = trees.sharded
    return time.perf_counter() - start


def _proofs(database: Database, trees: Trees) -> Iterator[int]:
    """Bytes of proofs that handles are not among the held, each of which holds."""
    chance = random.Random(65_536)
    held = trees.sharded[0]
    for _ in range(PROOFS):
        handle = chance.randbytes(32).hex()
        with database.transaction() as connection:
            proof, _ = prove(connection, trees, handle)
        if verify_shard(held, handle, proof) is not None:
            raise ValueError(f"{handle} is there")
        yield len(format_json(encode(proof)))
