"""What an auditor can tell of erasures from the inventories' deltas alone; kept in its books, beside the rows.

The public does not see when an object was taken and how long it was to be kept. It sees the first inventory that shows
it, and so the earliest moment at which it can have been taken; and every retention that the charter has ever had.
"""

import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby, pairwise

from glasshouse_verify.charter import Chain, Link
from glasshouse_verify.codec import Identifier
from glasshouse_verify.errors import VerifyError
from glasshouse_verify.receipt import Inventory, Reason
from glasshouse_verify.region import Category, regions_of

from glasshouse.ledger.history import Record
from glasshouse.regions.delta import Delta

SKEW_SECONDS = 300
SCHEMA = """
create table if not exists stored (
    region text not null, key text not null, since integer not null, primary key (region, key)
) without rowid;
create table if not exists residue (
    region text not null, key text not null, until integer not null, primary key (region, key)
) without rowid;
create index if not exists residue_until on residue (region, until);
create table if not exists closed (
    region text not null, epoch integer not null, time integer not null, primary key (region, epoch)
) without rowid;
create table if not exists erasure (
    statement text primary key, irrecoverable integer not null, since integer not null
) without rowid;
create table if not exists doubt (
    statement text not null, number integer not null, text text not null, primary key (statement, number)
) without rowid;
"""


@dataclass(frozen=True, kw_only=True)
class Erased:
    """What one inventory says of erasures: what cannot be, in words; how many objects it calls irrecoverable now.

    Of the latter 0 where nothing else was held all the while, whose data key must have been wrapped anew. `since` is
    the time of the inventory before, in Unix seconds.
    """

    doubts: tuple[str, ...]
    irrecoverable: int
    since: int


def take_erasures(cursor: sqlite3.Cursor, record: Record, delta: Delta, chain: Chain) -> None:
    """Take in the tombstones of an epoch, in the caller's transaction."""
    shown: Inventory = record.predicate
    last = cursor.execute("select max(time) from closed where region = ?", (shown.region,)).fetchone()[0]
    since = chain.links[0].charter.time if last is None else int(last)
    links = [link for link in chain.links if link.index < record.index]
    doubts = [*_take_removed(cursor, delta, shown, links, since), *_take_residue(cursor, delta, shown)]
    held = cursor.execute("select 1 from stored where region = ? limit 1", (shown.region,)).fetchone()
    gone = sum(row.residue_until is None for row in (*delta.removed, *delta.changed)) if held else 0
    removed = {row.key for row in delta.removed}
    added = [(shown.region, row.key, since) for row in delta.added if row.key not in removed]
    cursor.executemany("insert or ignore into stored values (?, ?, ?)", added)
    named = [(record.id, n, f"inventory {shown.epoch} of {shown.region}: {text}") for n, text in enumerate(doubts)]
    cursor.executemany("insert into doubt values (?, ?, ?)", named)
    cursor.execute("insert into erasure values (?, ?, ?)", (record.id, gone, since))
    cursor.execute("insert into closed values (?, ?, ?)", (shown.region, shown.epoch, shown.time))


def read_erasures(database: sqlite3.Connection) -> dict[str, Erased]:
    """By the inventory that brought them, for all that were taken in."""
    told = database.execute("select statement, text from doubt order by statement, number").fetchall()
    doubts = {name: tuple(text for _, text in found) for name, found in groupby(told, key=lambda row: str(row[0]))}
    rows = database.execute("select statement, irrecoverable, since from erasure").fetchall()
    return {name: Erased(doubts=doubts.get(name, ()), irrecoverable=count, since=since) for name, count, since in rows}


def _take_removed(
    cursor: sqlite3.Cursor, delta: Delta, shown: Inventory, links: list[Link], since: int
) -> Iterator[str]:
    """Take out what was removed; what is in the same delta as it came cannot have been taken before `since`."""
    kept, early = _shortest(links, shown.region), 0
    query = "select since from stored where region = ? and key = ?"
    for row in delta.removed:
        found = cursor.execute(query, (shown.region, row.key)).fetchone()
        due = (since if found is None else int(found[0])) + kept
        early += row.reason == Reason.RETENTION and row.removed < due - SKEW_SECONDS
    if early:
        yield f"{early} objects removed as due, before the shortest retention of any category had passed"
    ended = sum(row.reason == Reason.CATEGORY for row in delta.removed)
    if ended and not _has_shortened(links, shown.region):
        yield f"{ended} objects removed for a category that no amendment has ended or shortened"
    keys = [(shown.region, row.key) for row in delta.removed]
    cursor.executemany("delete from stored where region = ? and key = ?", keys)


def _take_residue(cursor: sqlite3.Cursor, delta: Delta, shown: Inventory) -> Iterator[str]:
    rows = (*delta.removed, *delta.changed)
    left = [(shown.region, row.key, row.residue_until) for row in rows if row.residue_until is not None]
    gone = [(shown.region, row.key) for row in rows if row.residue_until is None]
    cursor.executemany("insert or replace into residue values (?, ?, ?)", left)
    cursor.executemany("delete from residue where region = ? and key = ?", gone)
    query = "select count(*) from residue where region = ? and until < ?"
    (overdue,) = cursor.execute(query, (shown.region, shown.time)).fetchone()
    if overdue:
        yield f"{overdue} objects were to be irrecoverable by then, and are not"


def _shortest(links: list[Link], region: str) -> int:
    """The shortest retention that any category of a region has ever had, in seconds; 0 where it never had one."""
    found = (category.retention for link in links for category in _categories(link, region).values())
    return min(found, default=0)


def _has_shortened(links: list[Link], region: str) -> bool:
    """Whether an amendment has ended or shortened a category of a region."""
    for old, new in pairwise(links):
        before, after = _categories(old, region), _categories(new, region)
        for name, category in before.items():
            if name not in after or after[name].retention < category.retention:
                return True
    return False


def _categories(link: Link, region: str) -> Mapping[Identifier, Category]:
    try:
        rules = regions_of(link.charter).get(Identifier(region))
    except VerifyError:
        return {}
    return {} if rules is None else rules.categories
