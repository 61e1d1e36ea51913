"""The writer: gives entries their index, durably, many callers in one commit.

Callers hand entries to the Sequencer and wait for a future. One thread takes everything that waits, writes it in a
single transaction and answers all callers after the commit: while one group is being flushed to disk the next one
gathers, so the cost of a flush is shared by as many callers as there are.

Exactly one writer per log: the connection that writes holds a session lock on it. If the connection is lost so is the
lock, and the next transaction needs a new connection with the lock taken again.
"""

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import psycopg
from glasshouse_verify.dsse import MAX_ENTRY
from glasshouse_verify.tlog import leaf_hash

from glasshouse.ledger.admission import Admission
from glasshouse.ledger.errors import Busy, EntryRefused, EntryTooLong, LedgerError, LogMissing, WriterConflict
from glasshouse.ledger.log import QUERIES, Log, read_entries, read_head
from glasshouse.storage.db import Database, Row, translated
from glasshouse.storage.errors import StorageError

_LOG = logging.getLogger(__name__)
MAX_GROUP_ENTRIES = 4096
MAX_GROUP_BYTES = 16 << 20
MAX_WAITING_ENTRIES = 16_384
MAX_WAITING_BYTES = 64 << 20
LOCK_PATIENCE_SECONDS = 3.0
_LOCK_POLL_SECONDS = 0.02
_OUTBOX_POLL_SECONDS = 0.5
_OUTBOX_LIMIT = 1024


@dataclass(frozen=True, kw_only=True)
class NewEntry:
    """An admitted entry: its bytes, its leaf hash and the digests it is found by."""

    data: bytes
    leaf: bytes
    digests: frozenset[bytes] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Sequenced:
    """What a commit did: the index of each entry given, and the range of indexes that are new."""

    indexes: tuple[int, ...]
    start: int
    stop: int


@dataclass(frozen=True, kw_only=True)
class _Submission:
    entries: tuple[NewEntry, ...]
    future: "Future[list[int]]" = field(default_factory=Future)

    @property
    def size_bytes(self) -> int:
        return sum(len(entry.data) for entry in self.entries)


def new_entry(data: bytes, admission: Admission) -> NewEntry:
    """Check an entry against the limits and the log's rule. Raises EntryRefused or NotAdmitted."""
    if not data:
        raise EntryRefused("the entry is empty", field="entry", fix=f"send 1 to {MAX_ENTRY} bytes")
    if len(data) > MAX_ENTRY:
        raise EntryTooLong(
            f"the entry has {len(data)} bytes",
            field="entry",
            fix=f"send at most {MAX_ENTRY} bytes; name bulky matter by its digest",
        )
    return NewEntry(data=data, leaf=leaf_hash(data), digests=admission.admit(data))


class Writer:
    """The one connection that may write a log. Not for several threads. Raises WriterConflict if another holds it."""

    def __init__(self, database: Database, log: Log) -> None:
        self._database = database
        self._log = log
        self._connection: psycopg.Connection[Row] | None = None
        self._connected()

    def sequence(self, entries: Sequence[NewEntry]) -> Sequenced:
        """The index of each entry, durable when this returns; all or none. An entry known already keeps its index.

        Raises DatabaseUnavailable or StorageFull. After a failed commit the entries may be in the log all the same;
        sending them again tells.
        """
        with self._transaction() as connection:
            return self._insert(connection, entries)

    def sequence_outbox(self, admission: Admission) -> tuple[Sequenced | None, list[NewEntry]]:
        """Take what waits in the outbox, in order; what the rule refuses stays there with the reason."""
        taken: list[int] = []
        admitted: list[NewEntry] = []
        with self._transaction() as connection:
            rows = connection.execute(
                QUERIES["take_outbox"], {"log_id": self._log.id, "limit": _OUTBOX_LIMIT}
            ).fetchall()
            for outbox_id, data in rows:
                if not isinstance(data, bytes) or not isinstance(outbox_id, int):
                    raise TypeError("the outbox holds something else than bytes")
                try:
                    admitted.append(new_entry(data, admission))
                    taken.append(outbox_id)
                except LedgerError as error:
                    connection.execute(QUERIES["refuse_outbox"], {"outbox_id": outbox_id, "reason": str(error)})
            if not taken:
                return None, []
            connection.execute(QUERIES["delete_outbox"], {"ids": taken})
            return self._insert(connection, admitted), admitted

    def close(self) -> None:
        """Give the log free."""
        if self._connection is not None:
            # Closing alone frees the lock only when the server has noticed, and the next writer may be quicker.
            with contextlib.suppress(psycopg.Error):
                self._connection.execute(QUERIES["unlock_writer"])
            self._connection.close()
            self._connection = None

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[psycopg.Connection[Row]]:
        connection = self._connected()
        try:
            with translated(), connection.transaction():
                yield connection
        except BaseException:
            # Whatever state the connection is in, the next transaction starts with a new one.
            self.close()
            raise

    def _connected(self) -> psycopg.Connection[Row]:
        if self._connection is None or self._connection.closed:
            self._connection = None
            connection = self._database.dedicated()
            try:
                self._take_lock(connection)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _take_lock(self, connection: psycopg.Connection[Row]) -> None:
        """Take the log's lock; wait a while, for the session of a writer that was killed ends a moment after it."""
        deadline = time.monotonic() + LOCK_PATIENCE_SECONDS
        while True:
            with translated():
                row = connection.execute(QUERIES["lock_writer"], {"log_id": self._log.id}).fetchone()
            if row is not None and row[0] is True:
                return
            if time.monotonic() > deadline:
                raise WriterConflict(f"another writer holds the log {self._log.origin!r}")
            time.sleep(_LOCK_POLL_SECONDS)

    def _insert(self, connection: psycopg.Connection[Row], entries: Sequence[NewEntry]) -> Sequenced:
        """Give out indexes inside the caller's transaction."""
        wanted = {entry.leaf: entry for entry in entries}
        with connection.pipeline():
            locked = connection.execute(QUERIES["lock_log"], {"log_id": self._log.id})
            known = connection.execute(QUERIES["find_leaves"], {"log_id": self._log.id, "leaves": list(wanted)})
        row = locked.fetchone()
        if row is None or not isinstance(row[0], int):
            raise LogMissing(f"the log {self._log.origin!r} is gone from the database")
        start = row[0]
        indexes: dict[object, int] = {leaf: int(str(index)) for leaf, index in known.fetchall()}
        new = [entry for entry in wanted.values() if entry.leaf not in indexes]
        indexes.update({entry.leaf: start + place for place, entry in enumerate(new)})
        if new:
            self._write(connection, start, new)
        given = tuple(indexes[entry.leaf] for entry in entries)
        return Sequenced(indexes=given, start=start, stop=start + len(new))

    def _write(self, connection: psycopg.Connection[Row], start: int, new: Sequence[NewEntry]) -> None:
        places = range(start, start + len(new))
        named = [(index, digest) for index, entry in zip(places, new, strict=True) for digest in entry.digests]
        with connection.pipeline():
            connection.execute(
                QUERIES["insert_entries"],
                {
                    "log_id": self._log.id,
                    "indexes": list(places),
                    "leaves": [entry.leaf for entry in new],
                    "data": [entry.data for entry in new],
                },
            )
            if named:
                connection.execute(
                    QUERIES["insert_digests"],
                    {
                        "log_id": self._log.id,
                        "indexes": [index for index, _ in named],
                        "digests": [digest for _, digest in named],
                    },
                )
            connection.execute(QUERIES["advance"], {"log_id": self._log.id, "sequenced": start + len(new)})


class Sequencer:
    """Group commit: collects entries from any thread and writes them in groups. Use as a context manager.

    ``committed`` is called from the writing thread after each commit that added entries.
    """

    def __init__(
        self, database: Database, log: Log, admission: Admission, *, committed: Callable[[], None] = lambda: None
    ) -> None:
        self._writer = Writer(database, log)
        self._database = database
        self._log = log
        self._admission = admission
        self._committed = committed
        self._waiting: deque[_Submission] = deque()
        self._waiting_entries = 0
        self._waiting_bytes = 0
        self._seen = read_head(database, log).sequenced
        self._condition = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="sequencer", daemon=True)

    def submit(self, entries: Sequence[NewEntry]) -> "Future[list[int]]":
        """Queue entries that belong together; the future gives their indexes once they are durable, all or none.

        Raises Busy if too much is waiting. The future raises DatabaseUnavailable, StorageFull or WriterConflict.
        """
        submission = _Submission(entries=tuple(entries))
        with self._condition:
            if self._stopping:
                raise Busy("the log is stopping", retry_after_seconds=5)
            full = self._waiting_entries + len(entries) > MAX_WAITING_ENTRIES
            if full or self._waiting_bytes + submission.size_bytes > MAX_WAITING_BYTES:
                raise Busy(f"{self._waiting_entries} entries are waiting to be written already")
            self._waiting.append(submission)
            self._waiting_entries += len(entries)
            self._waiting_bytes += submission.size_bytes
            self._condition.notify()
        return submission.future

    def close(self) -> None:
        """Give the log free without having written anything."""
        self._writer.close()

    def __enter__(self) -> "Sequencer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Write what waits, then stop."""
        with self._condition:
            self._stopping = True
            self._condition.notify()
        self._thread.join()
        self._writer.close()

    def _run(self) -> None:
        outbox_due = time.monotonic()
        while True:
            with self._condition:
                if not self._waiting and not self._stopping:
                    self._condition.wait(_OUTBOX_POLL_SECONDS)
                group = self._take()
                if not group and self._stopping:
                    return
            if group:
                self._commit(group)
            if time.monotonic() >= outbox_due:
                self._drain_outbox()
                outbox_due = time.monotonic() + _OUTBOX_POLL_SECONDS

    def _take(self) -> list[_Submission]:
        group: list[_Submission] = []
        entries = size_bytes = 0
        while self._waiting and entries < MAX_GROUP_ENTRIES and size_bytes < MAX_GROUP_BYTES:
            submission = self._waiting.popleft()
            if submission.future.set_running_or_notify_cancel():
                group.append(submission)
                entries += len(submission.entries)
                size_bytes += submission.size_bytes
            self._waiting_entries -= len(submission.entries)
            self._waiting_bytes -= submission.size_bytes
        return group

    def _commit(self, group: Sequence[_Submission]) -> None:
        entries = [entry for submission in group for entry in submission.entries]
        try:
            done = self._writer.sequence(entries)
            self._observe(done, entries)
        except Exception as error:
            if not isinstance(error, StorageError | LedgerError):
                _LOG.exception("a group of %d entries could not be written", len(entries))
            for submission in group:
                submission.future.set_exception(error)
            return
        start = 0
        for submission in group:
            submission.future.set_result(list(done.indexes[start : start + len(submission.entries)]))
            start += len(submission.entries)

    def _drain_outbox(self) -> None:
        # The outbox has no caller to tell: whatever happens, its rows wait.
        try:
            done, admitted = self._writer.sequence_outbox(self._admission)
            if done is not None:
                self._observe(done, admitted)
        except (StorageError, WriterConflict) as error:
            _LOG.warning("the outbox waits: %s", error)
        except Exception:
            _LOG.exception("the outbox could not be written")

    def _observe(self, done: Sequenced, entries: Sequence[NewEntry]) -> None:
        """Show every entry to the rule once, in order, also those of a commit whose answer was lost."""
        for entry in read_entries(self._database, self._log, self._seen, done.start):
            self._admission.observe(entry.index, entry.data)
        new = {index: entry for index, entry in zip(done.indexes, entries, strict=True) if index >= done.start}
        for index in sorted(new):
            self._admission.observe(index, new[index].data)
        if done.stop > self._seen:
            self._seen = done.stop
            self._committed()
