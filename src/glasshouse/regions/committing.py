"""The committer: gives objects their place in the journal and their receipt numbers, many callers in one commit.

Uploads hand over what they have sealed and wait for a future. One thread takes all that wait and does, in order:

    1. who stored this before? they wait for the receipt that is there
    2. small objects go into the vault, flushed together (large ones are there already)
    3. one transaction: events, objects with their wrapped keys, counts
    4. the peers' replicators get it all from memory, and do the rest (replication.py)

A crash before 3 leaves objects without rows, which are swept away; after 3 the journal has them, and the replicators
hand them over whenever the peers can be reached. So a receipt number is used once, and nothing is acknowledged twice.

Exactly one committer for a site: its connection holds a session lock.
"""

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import psycopg
from glasshouse_verify.encoding import JSON

from glasshouse.parties.errors import PartyError
from glasshouse.regions import journal
from glasshouse.regions.batch import Item
from glasshouse.regions.errors import JournalConflict, RegionError, Short
from glasshouse.regions.journal import QUERIES, Event, Kind, Note
from glasshouse.regions.placing import Kept, Place, add_objects
from glasshouse.regions.receipts import Facts
from glasshouse.regions.replication import Receipt, Receipts, Replication
from glasshouse.storage.db import Row, translated
from glasshouse.storage.errors import StorageError

_LOG = logging.getLogger(__name__)
MAX_GROUP_OBJECTS = 512
MAX_GROUP_BYTES = 16 << 20
MAX_WAITING = 4096
_LOCK_PATIENCE_SECONDS = 10.0
_LOCK_POLL_SECONDS = 0.02
_IDLE_SECONDS = 0.5


@dataclass(frozen=True, kw_only=True)
class Ready:
    """A sealed object that is to be stored. `sealed` is its ciphertext; None where the vault has it already.

    `future` gives the receipt, or an error; `facts` lack what the committer gives: time, epoch and charter.
    """

    handle: str
    facts: Facts
    data_key: bytes
    sealed: bytes | None
    future: "Future[Receipt]" = field(default_factory=Future)


@dataclass(frozen=True, kw_only=True)
class _Noted:
    note: Note
    future: "Future[Event]" = field(default_factory=Future)


@dataclass(frozen=True, kw_only=True)
class _Group:
    uploads: list[Ready]
    notes: list[_Noted]
    refused: int


class Committer:
    """Writes a site's own journal, in a thread of its own. Use as a context manager.

    Opening raises JournalConflict while another process writes it.
    """

    def __init__(self, place: Place, receipts: Receipts, replication: Replication) -> None:
        self._place = place
        self._receipts = receipts
        self._replication = replication
        self._condition = threading.Condition()
        self._uploads: deque[Ready] = deque()
        self._notes: deque[_Noted] = deque()
        self._refused = 0
        self._stopping = False
        self._connection: psycopg.Connection[Row] | None = None
        self._thread = threading.Thread(target=self._run, name="committer", daemon=True)
        self._connected()

    def submit(self, ready: Ready) -> None:
        """Queue an object. Raises Short if too much waits."""
        with self._condition:
            if self._stopping or len(self._uploads) >= MAX_WAITING:
                raise Short("too many uploads are waiting", retry_after_seconds=2)
            self._uploads.append(ready)
            self._condition.notify()

    def append(self, note: Note) -> "Future[Event]":
        """Queue an event of any kind but `stored`; the future gives it, durable at this site and applied to its tables.

        The peers have it soon after. The future raises StorageError, or what the kind's applier raises.
        """
        if note.kind == Kind.STORED:
            raise JournalConflict("objects get into the journal by uploads only")
        noted = _Noted(note=note)
        with self._condition:
            if self._stopping:
                raise Short("the site is stopping")
            self._notes.append(noted)
            self._condition.notify()
        return noted.future

    def refused(self) -> None:
        """Count an upload that was refused. What is not committed at a crash is lost on both sides of the sum."""
        with self._condition:
            self._refused += 1

    def __enter__(self) -> "Committer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Write what waits, then stop."""
        with self._condition:
            self._stopping = True
            self._condition.notify()
        self._thread.join()
        self._close()

    # --- the thread ----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            with self._condition:
                if not self._uploads and not self._notes and not self._stopping:
                    self._condition.wait(_IDLE_SECONDS)
                group = self._take()
                empty = not group.uploads and not group.notes
                if empty and not group.refused and self._stopping:
                    return
            if not empty or group.refused:
                self._commit(group)

    def _take(self) -> _Group:
        uploads: list[Ready] = []
        size = 0
        while self._uploads and len(uploads) < MAX_GROUP_OBJECTS and size < MAX_GROUP_BYTES:
            uploads.append(self._uploads.popleft())
            size += len(uploads[-1].sealed or b"")
        notes = [self._notes.popleft() for _ in range(min(len(self._notes), MAX_GROUP_OBJECTS))]
        refused, self._refused = self._refused, 0
        return _Group(uploads=uploads, notes=notes, refused=refused)

    def _commit(self, group: _Group) -> None:
        fresh: list[Ready] = []
        try:
            fresh = self._without_known(group.uploads)
            self._place.vault.keep_all({ready.handle: ready.sealed for ready in fresh if ready.sealed is not None})
            items, noted = self._write(fresh, group)
        except Exception as error:
            if not isinstance(error, StorageError | RegionError | PartyError):
                _LOG.exception("a group of %d objects could not be stored", len(group.uploads))
            self._receipts.forget([ready.handle for ready in fresh])
            with self._condition:
                self._refused += group.refused
            told = error if isinstance(error, RegionError) else Short(f"the site cannot store objects now: {error}")
            for ready in fresh or group.uploads:
                _fail(ready.future, told)
            for entry in group.notes:
                _fail(entry.future, error)
            return
        for entry, event in zip(group.notes, noted, strict=True):
            entry.future.set_result(event)
        if items:
            self._replication.offer(items)

    def _without_known(self, uploads: Sequence[Ready]) -> list[Ready]:
        """Those whose content this customer has not stored before; the others wait for the receipt that is there."""
        if not uploads:
            return []
        with self._reading() as connection:
            query = {
                "customers": [ready.facts.customer for ready in uploads],
                "digests": [bytes.fromhex(ready.facts.sha256) for ready in uploads],
            }
            rows = connection.execute(QUERIES["find_held"], query).fetchall()
        known = {(str(row[1]), _hex(row[2])): _hex(row[0]) for row in rows}
        fresh: list[Ready] = []
        repeated: list[tuple[Ready, str]] = []
        for ready in uploads:
            content = (str(ready.facts.customer), str(ready.facts.sha256))
            if content in known:
                repeated.append((ready, known[content]))
            else:
                known[content] = ready.handle
                fresh.append(ready)
        for ready, handle in repeated:
            _follow(self._receipts.waiting_for(handle), ready.future)
            if ready.sealed is None:
                self._place.vault.delete(ready.handle)
        self._receipts.look_up([handle for _, handle in repeated])
        return fresh

    def _write(self, fresh: Sequence[Ready], group: _Group) -> tuple[list[Item], list[Event]]:
        rules, wrapper = self._place.rules(), self._place.wrapper()
        transfer = self._place.transfer_wrapper() if rules.rules.custody.key is not None else None
        now = int(time.time())
        kept: list[Kept] = []
        items: list[Item] = []
        # Before the commit, so that no receipt is complete before somebody waits for it.
        waiting = [(self._receipts.waiting_for(ready.handle), ready.future) for ready in fresh]
        with self._transaction() as connection:
            row = connection.execute(QUERIES["lock_journal"], {"site": rules.site}).fetchone()
            if row is None:
                raise JournalConflict(f"the journal of {rules.site} is gone from the database")
            position, number, chain, epoch = int(str(row[0])), int(str(row[1])), row[2], int(str(row[3]))
            if not isinstance(chain, bytes):
                raise JournalConflict(f"the journal of {rules.site} has no chain")
            for ready in fresh:
                position, number, handle = position + 1, number + 1, ready.handle
                given: dict[str, object] = {"time": now, "epoch": epoch, "charter": rules.charter, "party": rules.party}
                facts = Facts(**{**ready.facts.__dict__, **given})
                event = Event.make(rules.site, position, Kind.STORED, handle, number, facts.body())
                receipt, signature = self._place.sign_receipt(facts, site=rules.site, number=number, handle=handle)
                place = {"handle": handle, "region": rules.region}
                kept.append(
                    Kept(
                        event=event,
                        facts=facts,
                        wrapping=wrapper.wrap(ready.data_key, **place),
                        transfer=transfer.wrap(ready.data_key, **place) if transfer else None,
                        signatures=self._place.signed_entry(signature) if rules.rules.replicas == 1 else None,
                    )
                )
                items.append(
                    Item(
                        event=event,
                        facts=facts,
                        data_key=ready.data_key,
                        signature=signature,
                        receipt=receipt,
                        sealed=ready.sealed,
                    )
                )
            noted = [
                Event.make(rules.site, place, entry.note.kind, entry.note.handle, None, _body(entry.note))
                for place, entry in enumerate(group.notes, start=position + 1)
            ]
            events = [item.event for item in items] + noted
            if events:
                journal.add_rows(connection, rules.site, chain, events)
                add_objects(connection, rules.site, kept)
                journal.apply(connection, events, self._place.appliers, own=True)
            counts = {"received": len(fresh) + group.refused, "refused": group.refused}
            connection.execute(QUERIES["count_uploads"], {"site": rules.site, **counts})
        for source, target in waiting:
            _follow(source, target)
        if rules.rules.replicas == 1:
            self._receipts.look_up([ready.handle for ready in fresh])
        return [*items, *(Item(event=event) for event in noted)], noted

    # --- the connection ------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _transaction(self) -> "Iterator[psycopg.Connection[Row]]":
        connection = self._connected()
        try:
            with translated(), connection.transaction():
                yield connection
        except BaseException:
            # Whatever state the connection is in, the next transaction starts with a new one.
            self._close()
            raise

    @contextlib.contextmanager
    def _reading(self) -> "Iterator[psycopg.Connection[Row]]":
        """The connection without a transaction, for one statement."""
        try:
            with translated():
                yield self._connected()
        except BaseException:
            self._close()
            raise

    def _connected(self) -> "psycopg.Connection[Row]":
        if self._connection is None or self._connection.closed:
            connection = self._place.database.dedicated()
            try:
                self._take_lock(connection)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _take_lock(self, connection: "psycopg.Connection[Row]") -> None:
        """Take the site's lock; wait a while, for the session of a process that was killed ends a moment after it."""
        deadline = time.monotonic() + _LOCK_PATIENCE_SECONDS
        while True:
            with translated():
                row = connection.execute(QUERIES["lock_committer"]).fetchone()
            if row is not None and row[0] is True:
                return
            if time.monotonic() > deadline:
                raise JournalConflict("another process takes objects for this site with this database")
            time.sleep(_LOCK_POLL_SECONDS)

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(psycopg.Error):
                connection.execute(QUERIES["unlock_committer"])
            connection.close()


def _body(note: Note) -> dict[str, JSON]:
    return dict(note.body)


def _follow(source: "Future[Receipt]", target: "Future[Receipt]") -> None:
    """Give the second future what the first gets."""

    def done(future: "Future[Receipt]") -> None:
        error = future.exception()
        if error is not None:
            _fail(target, error)
        elif target.set_running_or_notify_cancel():
            target.set_result(future.result())

    source.add_done_callback(done)


def _fail(future: "Future[Receipt] | Future[Event]", error: BaseException) -> None:
    if not future.done() and future.set_running_or_notify_cancel():
        future.set_exception(error)


def _hex(value: object) -> str:
    if not isinstance(value, bytes):
        raise JournalConflict("a digest in the database is not bytes")
    return value.hex()
