"""The inventories in a ledger, by region, epoch and site; and an auditor's own copy of every region's rows.

`Books` holds what the deltas alone lead to, from the first epoch on, in SQLite: it asks no site for anything. Each
epoch is taken in one transaction, checked against what the sites signed, and what was wrong with it is kept.
"""

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from glasshouse_verify.charter import Chain
from glasshouse_verify.codec import decode, encode
from glasshouse_verify.encoding import parse_json
from glasshouse_verify.errors import FormatError
from glasshouse_verify.receipt import Inventory, Tombstone
from glasshouse_verify.row import format_row
from glasshouse_verify.shards import Sharded
from glasshouse_verify.statement import Use
from glasshouse_verify.tlog import leaf_hash

from glasshouse.ledger.history import History, Record
from glasshouse.regions.delta import Delta, HeldRow, changed_prefixes, parse_delta
from glasshouse.regions.shards import DEPTH, ShardTree, shard_root
from glasshouse.supervision.erasures import SCHEMA, Erased, read_erasures, take_erasures
from glasshouse.supervision.moving import fence_of, owing, region_at

SHOWN = 3
_SCHEMA = """
create table if not exists row (
    region text not null, tree text not null check (tree in ('held', 'erased')), key text not null, row blob not null,
    primary key (region, tree, key)
) without rowid;
create table if not exists shard (
    region text not null, tree text not null, prefix text not null, root blob not null, size integer not null,
    primary key (region, tree, prefix)
) without rowid;
create table if not exists taken (
    region text not null, epoch integer not null, depth integer not null, statement text not null,
    primary key (region, epoch)
) without rowid;
create table if not exists fault (statement text not null, number integer not null, text text not null,
    primary key (statement, number)
) without rowid;
"""

Series = Mapping[str, Mapping[int, Mapping[str, Record]]]
"""Region → epoch, ascending → site → its first standing inventory of that epoch."""


def series(history: History) -> Series:
    """The standing inventories of a ledger, without those that are not their site's to log."""
    found: dict[str, dict[int, dict[str, Record]]] = {}
    for record in sorted(history.standing(Use.INVENTORY), key=lambda record: record.predicate.epoch):
        says: Inventory = record.predicate
        if misplaced(history, record) is None:
            found.setdefault(says.region, {}).setdefault(says.epoch, {}).setdefault(says.site, record)
    return found


def misplaced(history: History, record: Record) -> str | None:
    """Why an inventory is not one of the site that it names; None where it is. Sites that take over may speak too."""
    says: Inventory = record.predicate
    region = region_at(history.chain, record.index, says.region)
    site = None if region is None else region.places.get(says.site)
    keys = (history.chain.newest.charter.key(kid) for kid in record.keyids)
    if region is None or site is None or site.party != says.party:
        return "is of a site that the charter does not have in that region"
    if says.site not in {key.site for key in keys if key is not None}:
        return "is signed by no key of that site"
    if says.epoch < region.epoch:
        return f"is made under rules that begin with epoch {region.epoch}"
    fence = fence_of(history, says.region, region)
    if fence is not None and says.site == fence.site and says.epoch > fence.epoch:
        return f"is of a site whose last one was to be {fence.epoch}"
    return None


@dataclass
class _Trees:
    """The two trees of a region, as this auditor has them."""

    held: ShardTree
    erased: ShardTree

    def sharded(self) -> tuple[Sharded, Sharded]:
        return self.held.sharded, self.erased.sharded


class Books:
    """The rows of all regions at one path; one thread at a time. What a statement led to is never judged twice."""

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._database.execute("pragma journal_mode = wal")
        self._database.executescript(_SCHEMA + SCHEMA)
        self._trees: dict[tuple[str, int], _Trees] = {}
        # Faults of inventories that wait for those of other sites, by their statements.
        self._waiting: dict[str, list[str]] = {}

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def __enter__(self) -> "Books":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def take(self, history: History, blob: Callable[[str], bytes | None]) -> None:
        """Take in the epochs that follow on what is here, as far as their deltas can be had.

        Where the sites' deltas differ, the first that has no fault is taken, and the first of all if each has some;
        that is decided once every site of the region has spoken, or one has gone on to the next epoch.
        """
        for region, epochs in series(history).items():
            taken = self.epoch(region)
            while (sites := epochs.get(taken + 1)) is not None:
                records = sorted(sites.values(), key=lambda record: record.index)
                owed = owing(history, records[-1].index, region, taken + 1)
                spoken = taken + 2 in epochs or not owed - set(sites)
                if not self._choose(records, blob, history.chain, spoken=spoken):
                    break
                taken += 1

    def _choose(
        self, records: list[Record], blob: Callable[[str], bytes | None], chain: Chain, *, spoken: bool
    ) -> bool:
        """Take one of the sites' deltas of an epoch; False where it is too early for that."""
        bad: dict[str, tuple[Record, bytes]] = {}
        for record in records:
            if record.predicate.delta in bad or (record.id in self._waiting and not spoken):
                continue
            data = blob(record.predicate.delta)
            if data is None:
                continue
            faults = self._take(record, data, chain, with_faults=False)
            if not faults:
                self._keep_faults([other for other, _ in bad.values()])
                return True
            self._waiting[record.id], bad[record.predicate.delta] = faults, (record, data)
        if not (bad and spoken):
            return False
        first, *others = bad.values()
        self._take(*first, chain, with_faults=True)
        self._keep_faults([record for record, _ in (first, *others)])
        return True

    def _keep_faults(self, records: list[Record]) -> None:
        """Keep what was wrong with inventories for good."""
        rows = [(r.id, number, text) for r in records for number, text in enumerate(self._waiting.get(r.id, []))]
        self._database.executemany("insert or replace into fault values (?, ?, ?)", rows)
        for record in records:
            self._waiting.pop(record.id, None)

    def epoch(self, region: str) -> int:
        """The last epoch taken in; 0 before the first."""
        (number,) = self._database.execute("select max(epoch) from taken where region = ?", (region,)).fetchone()
        return number or 0

    def faults(self) -> dict[str, tuple[str, ...]]:
        """What was wrong with the rows, in words, by the inventory that brought it."""
        rows = self._database.execute("select statement, text from fault order by statement, number").fetchall()
        kept = {statement: tuple(text for _, text in found) for statement, found in groupby(rows, key=_first)}
        return kept | {statement: tuple(texts) for statement, texts in self._waiting.items()}

    def erasures(self) -> dict[str, Erased]:
        """What was said of erasures, by the inventory that said it."""
        return read_erasures(self._database)

    # One epoch

    def _take(self, record: Record, data: bytes, chain: Chain, *, with_faults: bool) -> list[str]:
        """Apply a delta and return what is wrong with it; with faults it is taken only where the caller says so."""
        says: Inventory = record.predicate
        depth = says.held.depth
        with closing(self._database.cursor()) as cursor:
            cursor.execute("begin immediate")
            try:
                faults = list(self._apply(cursor, record, data, chain)) if depth <= DEPTH else [f"its depth is {depth}"]
                if not faults or with_faults:
                    place = (says.region, says.epoch, depth, record.id)
                    cursor.execute("insert into taken values (?, ?, ?, ?)", place)
                    cursor.execute("commit")
                else:
                    cursor.execute("rollback")
                    self._trees.clear()
            except BaseException:
                cursor.execute("rollback")
                self._trees.clear()
                raise
        return [f"inventory {says.epoch} of {says.region}: {text}" for text in faults]

    def _apply(self, cursor: sqlite3.Cursor, record: Record, data: bytes, chain: Chain) -> Iterator[str]:
        """Apply a delta to the rows; yields what is wrong with it."""
        says: Inventory = record.predicate
        try:
            delta = parse_delta(data)
        except FormatError as error:
            yield f"its delta cannot be read: {error}"
            return
        if (delta.region, delta.epoch) != (says.region, says.epoch):
            yield "its delta is of another region or epoch"
            return
        take_erasures(cursor, record, delta, chain)
        trees = self._open(says.region, says.held.depth)
        yield from self._check_added(cursor, delta)
        _put(cursor, delta.region, "held", ((row.key, format_row(row.row)) for row in delta.added))
        yield from self._check_removed(cursor, delta, says)
        keys = [(delta.region, row.key) for row in delta.removed]
        cursor.executemany("delete from row where region = ? and tree = 'held' and key = ?", keys)
        yield from self._check_changed(cursor, delta)
        buried = ((row.key, format_row(encode(row))) for row in (*delta.removed, *delta.changed))
        _put(cursor, delta.region, "erased", buried)
        held, erased = changed_prefixes(delta, says.held.depth)
        self._refresh(cursor, says.region, "held", trees.held, held)
        self._refresh(cursor, says.region, "erased", trees.erased, erased)
        yield from _check_roots(says, *trees.sharded())
        yield from self._check_apart(cursor, says.region)

    def _check_added(self, cursor: sqlite3.Cursor, delta: Delta) -> Iterator[str]:
        known = {tree: _known(cursor, delta.region, tree, delta.added) for tree in ("held", "erased")}
        yield from _told(known["erased"], "that were erased come back")
        yield from _told(known["held"], "that are held already are added")

    def _check_removed(self, cursor: sqlite3.Cursor, delta: Delta, says: Inventory) -> Iterator[str]:
        held = _known(cursor, delta.region, "held", delta.removed)
        yield from _told([row.key for row in delta.removed if row.key not in held], "that were never held are buried")
        late = [row.key for row in (*delta.removed, *delta.changed) if row.removed > says.time]
        yield from _told(late, "were removed after the inventory that says so")

    def _check_changed(self, cursor: sqlite3.Cursor, delta: Delta) -> Iterator[str]:
        before = _known(cursor, delta.region, "erased", delta.changed)
        rewritten = []
        for row in delta.changed:
            old = before.get(row.key)
            if old is None or not _may_follow(decode(Tombstone, parse_json(old, "row", len(old)), "row"), row):
                rewritten.append(row.key)
        yield from _told(rewritten, "have their tombstones rewritten")

    def _check_apart(self, cursor: sqlite3.Cursor, region: str) -> Iterator[str]:
        both = cursor.execute(
            "select h.key from row h join row e on e.region = h.region and e.tree = 'erased' and e.key = h.key"
            " where h.region = ? and h.tree = 'held'",
            (region,),
        ).fetchall()
        yield from _told([key for (key,) in both], "are held although they were erased")

    # Trees

    def _open(self, region: str, depth: int) -> _Trees:
        if (region, depth) not in self._trees:
            self._trees = {key: trees for key, trees in self._trees.items() if key[0] != region}
            held, erased = (ShardTree(depth, self._shards(region, tree, depth)) for tree in ("held", "erased"))
            self._trees[region, depth] = _Trees(held, erased)
        return self._trees[region, depth]

    def _shards(self, region: str, tree: str, depth: int) -> Iterator[tuple[str, bytes, int]]:
        place, cursor = (region, tree), self._database.cursor()
        kept = cursor.execute("select prefix, root, size from shard where region = ? and tree = ?", place).fetchall()
        if any(len(prefix) != depth for prefix, _, _ in kept):
            # The sites have taken another depth: every shard is a new one.
            rows = cursor.execute("select key, row from row where region = ? and tree = ? order by key", place)
            grouped = groupby(rows, key=lambda row: str(row[0][:depth]))
            kept = [(prefix, *shard_root(leaf_hash(row) for _, row in members)) for prefix, members in grouped]
            cursor.execute("delete from shard where region = ? and tree = ?", place)
            cursor.executemany("insert into shard values (?, ?, ?, ?, ?)", [(*place, *shard) for shard in kept])
        yield from kept

    def _refresh(
        self, cursor: sqlite3.Cursor, region: str, name: str, tree: ShardTree, prefixes: Iterable[str]
    ) -> None:
        for prefix in prefixes:
            rows = cursor.execute(
                "select row from row where region = ? and tree = ? and key between ? and ? order by key",
                (region, name, prefix, prefix + "g"),
            )
            root, size = shard_root(leaf_hash(row) for (row,) in rows)
            tree.put(prefix, root, size)
            cursor.execute("insert or replace into shard values (?, ?, ?, ?, ?)", (region, name, prefix, root, size))


def _first(row: tuple[str, str]) -> str:
    return row[0]


def _may_follow(old: Tombstone, new: Tombstone) -> bool:
    """Whether a tombstone may be replaced: only what is left of the object may come to an end, or end sooner."""
    if (old.reason, old.removed, old.request) != (new.reason, new.removed, new.request) or old.residue_until is None:
        return False
    return new.residue_until is None or new.residue_until < old.residue_until


def _check_roots(says: Inventory, held: Sharded, erased: Sharded) -> Iterator[str]:
    for name, signed, mine in (("held", says.held, held), ("erased", says.erased, erased)):
        if signed != mine:
            found = f"{mine.size} rows under {mine.root[:16]}…, not {signed.size} under {signed.root[:16]}…"
            yield f"the {name} rows are not those that all deltas lead to: {found}"


def _told(keys: Iterable[str], what: str) -> Iterator[str]:
    found = sorted(keys)
    if found:
        some = ", ".join(f"{key[:16]}…" for key in found[:SHOWN]) + (", …" if len(found) > SHOWN else "")
        yield f"{len(found)} objects {what}: {some}"


def _known(
    cursor: sqlite3.Cursor, region: str, tree: str, rows: Iterable[HeldRow] | Iterable[Tombstone]
) -> dict[str, bytes]:
    """Those of the rows whose keys are in a tree, with what stands there."""
    found = {}
    for row in rows:
        line = cursor.execute("select row from row where region = ? and tree = ? and key = ?", (region, tree, row.key))
        for (old,) in line:
            found[str(row.key)] = old
    return found


def _put(cursor: sqlite3.Cursor, region: str, tree: str, rows: Iterable[tuple[str, bytes]]) -> None:
    cursor.executemany(
        "insert or replace into row values (?, ?, ?, ?)", ((region, tree, key, row) for key, row in rows)
    )
