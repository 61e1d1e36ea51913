"""The rows and shards of a site's inventory in PostgreSQL, as of the last epoch that the site has closed.

An epoch's delta touches its own rows, and of the shards those that they are in; the tree above is kept in memory.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

import psycopg
from glasshouse_verify.codec import Digest, encode
from glasshouse_verify.encoding import format_json, parse_json
from glasshouse_verify.row import MAX_ROW, Row, format_row
from glasshouse_verify.shards import Sharded, ShardProof

from glasshouse.regions.delta import Delta, changed_prefixes
from glasshouse.regions.errors import JournalConflict
from glasshouse.regions.shards import DEPTH, ShardTree, shard_root
from glasshouse.storage.db import Row as DatabaseRow
from glasshouse.storage.db import load_queries

QUERIES = load_queries(__package__, "inventory.sql")
HELD, ERASED = "held", "erased"
_PAGE = 10_000
_OPENED = ("category", "customer", "region", "retention", "sha256", "size")

Connection = psycopg.Connection[DatabaseRow]
Origins = Mapping[str, tuple[str, int]]
"""Handle → site and position of the event that removed the object, for tombstones whose residue is not gone."""


@dataclass
class Trees:
    """The trees above the shards of the held and of the erased."""

    held: ShardTree
    erased: ShardTree

    def of(self, tree: str) -> ShardTree:
        """One of the two by name."""
        return self.held if tree == HELD else self.erased

    @property
    def sharded(self) -> tuple[Sharded, Sharded]:
        """What is signed of both."""
        return self.held.sharded, self.erased.sharded


def load_trees(connection: Connection) -> Trees:
    """The trees as the shards in the database have them."""
    trees = Trees(ShardTree(DEPTH), ShardTree(DEPTH))
    for tree in (HELD, ERASED):
        for prefix, root, size in connection.execute(QUERIES["shards"], {"tree": tree}, binary=True):
            trees.of(tree).put(str(prefix), to_bytes(root), to_int(size))
    return trees


def apply_delta(connection: Connection, trees: Trees, delta: Delta, origins: Origins) -> None:
    """Bring rows, shards and trees up to a delta, in the caller's transaction.

    If that is rolled back, the trees are wrong: load them anew.
    """
    _put_rows(connection, HELD, [(row.key, format_row(row.row)) for row in delta.added], {})
    if delta.removed:
        keys = [bytes.fromhex(row.key) for row in delta.removed]
        connection.execute(QUERIES["drop_held"], {"keys": keys})
    buried = [(row.key, format_row(encode(row))) for row in (*delta.removed, *delta.changed)]
    _put_rows(connection, ERASED, buried, origins)
    for tree, prefixes in zip((HELD, ERASED), changed_prefixes(delta, DEPTH), strict=True):
        _refresh(connection, trees, tree, prefixes)


def _put_rows(connection: Connection, tree: str, rows: Sequence[tuple[str, bytes]], origins: Origins) -> None:
    for start in range(0, len(rows), _PAGE):
        page = rows[start : start + _PAGE]
        places = [origins.get(key, (None, None)) for key, _ in page]
        connection.execute(
            QUERIES["put_rows"],
            {
                "tree": tree,
                "keys": [bytes.fromhex(key) for key, _ in page],
                "rows": [row for _, row in page],
                "sites": [site for site, _ in places],
                "positions": [position for _, position in places],
            },
        )


def _refresh(connection: Connection, trees: Trees, tree: str, prefixes: Iterable[str]) -> None:
    """Compute the shards named anew, from their rows."""
    wanted = sorted(prefixes)
    bounds = [_bounds(prefix) for prefix in wanted]
    query = {
        "tree": tree,
        "prefixes": wanted,
        **{f"{end}s": [bound[end] for bound in bounds] for end in ("low", "high")},
    }
    rows = connection.execute(QUERIES["leaves_of"], query, binary=True)
    _put_shards(connection, trees, tree, [(str(prefix), *_shard(leaves)) for prefix, leaves in rows])


def rebuild(connection: Connection, trees: Trees) -> None:
    """Compute every shard from the rows: what a site does that does not trust what it has kept."""
    connection.execute(QUERIES["drop_shards"])
    for tree in (HELD, ERASED):
        with connection.cursor(f"all_{tree}", binary=True) as cursor:
            cursor.itersize = _PAGE
            cursor.execute(QUERIES["all_leaves"], {"tree": tree, "bytes": DEPTH // 2})
            found = [(to_bytes(prefix).hex(), *_shard(leaves)) for prefix, leaves in cursor]
        _put_shards(connection, trees, tree, found)


def _shard(leaves: object) -> tuple[bytes, int]:
    """Root and size from leaf hashes one after the other."""
    joined = b"" if leaves is None else to_bytes(leaves)
    return shard_root([joined[at : at + 32] for at in range(0, len(joined), 32)])


def _put_shards(connection: Connection, trees: Trees, tree: str, found: Sequence[tuple[str, bytes, int]]) -> None:
    for prefix, root, size in found:
        trees.of(tree).put(prefix, root, size)
    if found:
        prefixes, roots, sizes = zip(*found, strict=True)
        columns = {"prefixes": list(prefixes), "roots": list(roots), "sizes": list(sizes)}
        connection.execute(QUERIES["put_shards"], {"tree": tree, **columns})


def prove(connection: Connection, trees: Trees, handle: str) -> tuple[ShardProof, ShardProof]:
    """Prove a handle in, or out of, the held and the erased."""
    found = []
    for tree in (HELD, ERASED):
        place = {"tree": tree, **_bounds(handle[:DEPTH])}
        rows = connection.execute(QUERIES["shard_rows"], place, binary=True).fetchall()
        found.append(trees.of(tree).prove([parse_stored(row) for _, row in rows], handle))
    return found[0], found[1]


def all_rows(connection: Connection, tree: str) -> Iterator[bytes]:
    """The manifest at rest, in pieces of many lines."""
    after = b""
    while page := connection.execute(
        QUERIES["rows_after"], {"tree": tree, "after": after, "limit": _PAGE}, binary=True
    ).fetchall():
        after = to_bytes(page[-1][0])
        yield b"".join(to_bytes(row) + b"\n" for _, row in page)


def commitments(connection: Connection, region: str, handles: Sequence[str]) -> dict[str, Digest]:
    """Handle → what inventories show of the object, for objects that are held here."""
    rows = connection.execute(QUERIES["facts"], {"handles": [bytes.fromhex(handle) for handle in handles]})
    return {to_bytes(row[0]).hex(): commitment_of(region, row[2:]) for row in rows if row[1] == "held"}


def commitment_of(region: str, facts: Sequence[object]) -> Digest:
    """From customer, category, retention, digest, size and salt as the database has them."""
    customer, category, retention, digest, size, salt = facts
    opened = {
        "category": str(category),
        "customer": str(customer),
        "region": region,
        "retention": to_int(retention),
        "sha256": to_bytes(digest).hex(),
        "size": to_int(size),
    }
    return Digest(sha256(to_bytes(salt) + format_json(opened)).hexdigest())


def parse_stored(row: object) -> Row:
    """A row as the database has it."""
    value = parse_json(to_bytes(row), "row", MAX_ROW)
    if not isinstance(value, dict):
        raise JournalConflict("a row of the inventory in the database is no object")
    return value


def _bounds(prefix: str) -> dict[str, bytes]:
    """The lowest and the highest handle that begins with these hex digits."""
    return {"low": bytes.fromhex(prefix.ljust(64, "0")), "high": bytes.fromhex(prefix.ljust(64, "f"))}


def to_bytes(value: object) -> bytes:
    """A column that holds bytes."""
    if not isinstance(value, bytes):
        raise JournalConflict(f"{type(value).__name__} stands where bytes were expected")
    return value


def to_int(value: object) -> int:
    """A column that holds a number."""
    if not isinstance(value, int):
        raise JournalConflict(f"{type(value).__name__} stands where a number was expected")
    return value
