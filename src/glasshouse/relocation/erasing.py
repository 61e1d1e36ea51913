"""Erasing the store that a region's data came from: every version, delete marker and unfinished upload; then proof.

    1. the store refuses writes, and lets deletes through
    2. each version is compared with its row at the fence, its content read again; what differs, or was not there then,
       was written after the fence: that is an alarm, and is left as it is
    3. versions that were compared are erased in batches, each written down before (erased.py), the newest of a key
       first: so what is left of a key is counted as it was at the fence, whenever it is counted
    4. unfinished uploads are given up; the store refuses deletes again
    5. another client lists the store: only what locks keep may be there; and a sample of what was erased is read: each
       read must fail
    6. all of it is said in the statement `erasure`, what remains under its handles and under a root of its own

Every step can be done again; nothing is said before all are done. What this cannot show: that a store, its disks or its
operator keep no copy below the interface.
"""

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import groupby, islice
from pathlib import Path

from glasshouse_verify.codec import Digest, Identifier, Text
from glasshouse_verify.foreign import store_handle, store_row
from glasshouse_verify.relocation import Fault, Relocation, Remaining, Step
from glasshouse_verify.row import row_key

from glasshouse.relocation.course import Course
from glasshouse.relocation.erased import BYTES, MARKERS, OBJECTS, UPLOADS, Checked, Kept, Progress
from glasshouse.relocation.errors import AfterTheFence, Forbidden, StoreLied
from glasshouse.relocation.lists import Roots, RowList, expect_root, in_order
from glasshouse.relocation.permit import Permit, Permits, erasure
from glasshouse.relocation.stores.interface import Source, Store, Version
from glasshouse.storage.errors import ObjectMissing

BATCH = 1_000
READERS = 8
MAX_NAMED = 50
STATE = "erasing.sqlite3"
# Versions in the fence's rows that were gone before this erasure came to them.
GONE_BEFORE = "gone-before"


@dataclass(frozen=True, kw_only=True)
class Emptied:
    """What is to be erased: the store, what it held at the fence, and the secret that handles are made of.

    `checking` is another client of the same store, with credentials of its own; `place` a directory of this node for
    the state. At most `per_second` versions are erased in a second, where it is given.
    """

    store: Store
    checking: Source
    fenced: RowList
    secret: bytes
    place: Path
    per_second: float | None = None


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What an erasure would find now: versions with content and their bytes, markers, uploads; and what came late."""

    objects: int
    size: int
    markers: int
    uploads: int
    late: tuple[Fault, ...]


def survey(emptied: Emptied, course: Course) -> Survey:
    """Look without erasing anything. Raises NotYet before the fence, Unavailable, Forbidden, StoreLied."""
    objects = size = markers = 0
    late: list[Fault] = []
    site = course.need(Step.FENCE).predicate.site
    with Progress(emptied.place / STATE) as progress, ThreadPoolExecutor(READERS) as readers:
        for batch in _batches(_ordered(emptied.store.list(), progress)):
            found, faults = _compared(emptied, site, batch, readers)
            late += faults[: MAX_NAMED - len(late)]
            for checked in found:
                markers += checked.version.marker
                objects += not checked.version.marker
                size += checked.version.size
    uploads = sum(1 for _ in emptied.store.uploads())
    return Survey(objects=objects, size=size, markers=markers, uploads=uploads, late=tuple(late))


def erase_store(
    emptied: Emptied,
    judge: Callable[[], Permit],
    *,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], object] = time.sleep,
    told: Callable[[int], object] = abs,
) -> Relocation:
    """Empty the store, and say so; `told` is given the number of versions of each batch that was erased.

    `judge` gives the permission as the ledger has it at that moment, see `permit`; it is asked first of all and again
    every minute, so that a refusal that is logged meanwhile ends the erasure. Goes on where an earlier call was broken
    off. The statement is to be signed and logged by the caller.

    Raises NotYet, AfterTheFence for what was written after the fence, StoreLied where something can be listed or read
    in spite of its erasure, Forbidden and Unavailable; none of them loses what was done so far.
    """
    permits = Permits(judge, clock)
    permit = permits.now()
    expect_root(emptied.fenced.sharded, permit.rows, "the rows of the fence")
    with Progress(emptied.place / STATE) as progress, ThreadPoolExecutor(READERS) as readers:
        emptied.store.refuse_writes(deletes=False)
        _finish(emptied, permit, progress, readers)
        for batch in _batches(_ordered(emptied.store.list(), progress)):
            started = clock()
            found, late = _compared(emptied, permit.site, batch, readers)
            if late:
                raise AfterTheFence(late[:MAX_NAMED])
            permits.now()
            progress.begin(found)
            progress.end(found, emptied.store.erase([checked.version for checked in found]))
            told(len(found))
            if emptied.per_second is not None:
                sleep(max(0.0, started + len(found) / emptied.per_second - clock()))
        for upload in emptied.store.uploads():
            progress.begin_upload(upload)
            emptied.store.abort(upload)
        emptied.store.refuse_writes()
        _check_erased(emptied, permit, progress)
        return _statement(emptied, permits.now(), progress, int(clock()))


def _finish(emptied: Emptied, permit: Permit, progress: Progress, readers: ThreadPoolExecutor) -> None:
    """Erase the batch that was under way. A version without an id may have been replaced since: it is read again."""
    batch = progress.begun()
    unnamed = [checked.version for checked in batch if checked.version.version is None]
    _, late = _compared(emptied, permit.site, unnamed, readers)
    if late:
        raise AfterTheFence(late[:MAX_NAMED])
    if batch:
        progress.end(batch, emptied.store.erase([checked.version for checked in batch]))


def _batches(versions: Iterator[Version]) -> Iterator[list[Version]]:
    while batch := list(islice(versions, BATCH)):
        yield batch


# --- what is there, and what was there at the fence ------------------------------------------------------------------


def _ordered(listed: Iterable[Version], progress: Progress) -> Iterator[Version]:
    """Every version under its ordinal at the fence, the newest of a key first.

    What was erased of a key was newer than what is left, but for what locks keep: of that the ordinals are known.
    """
    for key, versions in groupby(listed, key=lambda version: version.key):
        known = progress.ordinals(key)
        found = [replace(v, ordinal=known.get(v.version or "", v.ordinal)) for v in versions]
        yield from reversed(found)


def _compared(
    emptied: Emptied, site: Identifier, versions: Sequence[Version], readers: ThreadPoolExecutor
) -> tuple[list[Checked], list[Fault]]:
    """Those that are what they were at the fence, and what there is against the others. What is gone is in neither."""

    def compare(version: Version) -> Checked | Fault | None:
        try:
            content, size = (None, 0) if version.marker else _digest(emptied.store.read(version))
        except ObjectMissing:
            return None
        row = store_row(emptied.secret, version.key, version.ordinal, content, size)
        handle = Digest(row_key(row))
        there = emptied.fenced.find(handle)
        if there == row:
            return Checked(version=replace(version, size=size), row=row)
        what = "was not there at the fence" if there is None else "has other content than at the fence"
        return Fault(site=site, text=Text(f"a version in the store {what}"), handle=handle)

    found = list(readers.map(compare, versions))
    checked = [one for one in found if isinstance(one, Checked)]
    return checked, [one for one in found if isinstance(one, Fault)]


def _digest(pieces: Iterator[bytes]) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    for piece in pieces:
        digest.update(piece)
        size += len(piece)
    return digest.hexdigest(), size


# --- proof -----------------------------------------------------------------------------------------------------------


def _check_erased(emptied: Emptied, permit: Permit, progress: Progress) -> None:
    """List by the other client, and try to read what was erased. Raises AfterTheFence, StoreLied, Unavailable."""
    left = 0
    for version in emptied.checking.list():
        if (version.version or "") in progress.ordinals(version.key):
            left += 1
        elif version.modified > permit.fenced_ms:
            handle = store_handle(emptied.secret, version.key, version.ordinal)
            text = Text("a version in the store was written after the fence")
            raise AfterTheFence([Fault(site=permit.site, text=text, handle=handle)])
        else:
            raise StoreLied(f"{emptied.store.url} still lists {version.key!r}, which it said it had erased")
    if left != progress.size_of_kept:
        told = f"it said that locks keep {progress.size_of_kept}"
        raise StoreLied(f"{emptied.store.url} lists {left} versions to another client, {told}")
    if next(iter(emptied.store.uploads()), None) is not None:
        raise StoreLied(f"{emptied.store.url} still has unfinished uploads that it said it had given up")
    for version in progress.sampled():
        _expect_unreadable(emptied, version)
        if version.version is not None and not progress.ordinals(version.key):
            _expect_unreadable(emptied, replace(version, version=None))


def _expect_unreadable(emptied: Emptied, version: Version) -> None:
    for client in (emptied.store, emptied.checking):
        try:
            for _ in client.read(version):
                break
        except (ObjectMissing, Forbidden):
            continue
        raise StoreLied(f"{emptied.store.url} still gives {version.key!r}, which it said it had erased")


def _statement(emptied: Emptied, permit: Permit, progress: Progress, now: int) -> Relocation:
    kept = progress.size_of_kept
    erased = {name: progress.count(name) for name in (OBJECTS, MARKERS, BYTES, UPLOADS)}
    missing = emptied.fenced.sharded.size - erased[OBJECTS] - erased[MARKERS] - kept
    if missing:
        erased[GONE_BEFORE] = missing
    roots = Roots()
    for _ in roots.over(in_order((one.row for one in progress.kept()), emptied.place)):
        continue
    remains = _remaining(progress.kept(), kept)
    return erasure(permit, erased=erased, remains=remains, rows=roots.sharded, now=now)


def _remaining(kept: Iterator[Kept], count: int) -> tuple[Remaining, ...]:
    """What a statement names of what locks keep: handles, never keys, which may say whose they are."""
    named = [
        Remaining(name=Text(f"{row_key(one.row)}: {one.reason}"), until=one.until) for one in islice(kept, MAX_NAMED)
    ]
    if count > MAX_NAMED:
        latest = [one.until for one in kept]
        until = None if None in latest else max(filter(None, latest), default=None)
        named.append(Remaining(name=Text(f"{count - MAX_NAMED} more, in the rows that remain"), until=until))
    return tuple(named)
