"""The committer: gives objects their place in the journal and their receipt numbers, many callers in one commit.

Uploads hand over what they have sealed and wait for a future. One thread takes all that wait and does, in order:

    1. it is in the vault, durably, and its key is wrapped: preparing.py has seen to that
    2. who stored this before? they wait for the receipt that is there
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
from dataclasses import dataclass, field, replace

import psycopg
from glasshouse_verify.codec import Digest, Identifier
from glasshouse_verify.encoding import JSON

from glasshouse.parties.errors import PartyError
from glasshouse.regions import journal
from glasshouse.regions.batch import Item
from glasshouse.regions.errors import JournalConflict, RegionError, Short
from glasshouse.regions.journal import QUERIES, Event, Kind, Note
from glasshouse.regions.placing import Kept, Place, SiteRules, add_objects
from glasshouse.regions.preparing import MAX_GROUP_OBJECTS, Prepared, Preparer, Ready, fail
from glasshouse.regions.replication import Receipt, Receipts, Replication
from glasshouse.storage.db import Row, translated
from glasshouse.storage.errors import StorageError

_LOG = logging.getLogger(__name__)
_LOCK_PATIENCE_SECONDS = 10.0
_LOCK_POLL_SECONDS = 0.02
_IDLE_SECONDS = 0.5


@dataclass(frozen=True, kw_only=True)
class _Noted:
    note: Note
    future: "Future[Event]" = field(default_factory=Future)


@dataclass(frozen=True, kw_only=True)
class _Group:
    uploads: list[Prepared]
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
        self._uploads: deque[Prepared] = deque()
        self._notes: deque[_Noted] = deque()
        self._refused = 0
        self._stopping = False
        self._connection: psycopg.Connection[Row] | None = None
        self._preparer = Preparer(place, self._prepared)
        self._thread = threading.Thread(target=self._run, name="committer", daemon=True)
        self._connected()

    def submit(self, ready: Ready) -> None:
        """Queue an object. Raises Short if too much waits."""
        self._preparer.submit(ready)

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
        self._preparer.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        """Write what waits, then stop."""
        self._preparer.__exit__()
        with self._condition:
            self._stopping = True
            self._condition.notify()
        self._thread.join()
        self._close()

    def _prepared(self, prepared: Sequence[Prepared]) -> None:
        with self._condition:
            self._uploads.extend(prepared)
            self._condition.notify()

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
        uploads = [self._uploads.popleft() for _ in range(min(len(self._uploads), MAX_GROUP_OBJECTS))]
        notes = [self._notes.popleft() for _ in range(min(len(self._notes), MAX_GROUP_OBJECTS))]
        refused, self._refused = self._refused, 0
        return _Group(uploads=uploads, notes=notes, refused=refused)

    def _commit(self, group: _Group) -> None:
        self._store(group.uploads, group.refused)
        if not self._note(group.notes):
            # One of them cannot be applied; the others can do nothing for it.
            for noted in group.notes:
                self._note([noted], last=True)

    def _store(self, uploads: Sequence[Prepared], refused: int) -> None:
        if not uploads and not refused:
            return
        fresh: list[Prepared] = []
        try:
            fresh = self._without_known(uploads)
            items = self._write(fresh, refused)
        except Exception as error:
            if not isinstance(error, StorageError | RegionError | PartyError):
                _LOG.exception("a group of %d objects could not be stored", len(uploads))
            self._receipts.forget([prepared.ready.handle for prepared in fresh])
            with self._condition:
                self._refused += refused
            told = error if isinstance(error, RegionError) else Short(f"the site cannot store objects now: {error}")
            for prepared in fresh or uploads:
                fail(prepared.ready.future, told)
            return
        if items:
            self._replication.offer(items)

    def _note(self, notes: Sequence[_Noted], *, last: bool = False) -> bool:
        """Write notes as events, all or none; whether that is done with."""
        if not notes:
            return True
        site = self._place.rules().site
        try:
            with self._transaction() as connection:
                position, _, chain, _ = self._locked(connection)
                events = [
                    Event.make(site, place, noted.note.kind, noted.note.handle, None, _body(noted.note))
                    for place, noted in enumerate(notes, start=position + 1)
                ]
                journal.add_rows(connection, site, chain, events)
                journal.apply(connection, events, self._place.appliers, own=True)
        except Exception as error:
            if not isinstance(error, StorageError) and not last and len(notes) > 1:
                return False
            for noted in notes:
                fail(noted.future, error)
            return True
        for noted, event in zip(notes, events, strict=True):
            if noted.future.set_running_or_notify_cancel():
                noted.future.set_result(event)
        self._replication.offer([Item(event=event) for event in events])
        return True

    def _without_known(self, uploads: Sequence[Prepared]) -> list[Prepared]:
        """Those whose content this customer has not stored before; the others wait for the receipt that is there."""
        if not uploads:
            return []
        with self._reading() as connection:
            query = {
                "customers": [prepared.ready.facts.customer for prepared in uploads],
                "digests": [bytes.fromhex(prepared.ready.facts.sha256) for prepared in uploads],
            }
            rows = connection.execute(QUERIES["find_held"], query).fetchall()
        known = {(str(row[1]), _hex(row[2])): _hex(row[0]) for row in rows}
        fresh: list[Prepared] = []
        repeated: list[tuple[Ready, str]] = []
        for prepared in uploads:
            ready = prepared.ready
            content = (str(ready.facts.customer), str(ready.facts.sha256))
            if content in known:
                repeated.append((ready, known[content]))
            else:
                known[content] = ready.handle
                fresh.append(prepared)
        for ready, handle in repeated:
            _follow(self._receipts.waiting_for(handle), ready.future)
            self._place.vault.delete(ready.handle)
        self._receipts.look_up([handle for _, handle in repeated])
        return fresh

    def _write(self, fresh: Sequence[Prepared], refused: int) -> list[Item]:
        rules = self._place.rules()
        # Before the commit, so that no receipt is complete before somebody waits for it.
        waiting = [(self._receipts.waiting_for(p.ready.handle), p.ready.future) for p in fresh]
        with self._transaction() as connection:
            position, number, chain, epoch = self._locked(connection)
            now = int(time.time())
            made = [
                self._made(prepared, rules, position + count, number + count, epoch, now)
                for count, prepared in enumerate(fresh, start=1)
            ]
            if made:
                journal.add_rows(connection, rules.site, chain, [item.event for item, _ in made])
                add_objects(connection, rules.site, [kept for _, kept in made])
            counts = {"received": len(fresh) + refused, "refused": refused}
            connection.execute(QUERIES["count_uploads"], {"site": rules.site, **counts})
        for source, target in waiting:
            _follow(source, target)
        if rules.rules.replicas == 1:
            self._receipts.look_up([prepared.ready.handle for prepared in fresh])
        return [item for item, _ in made]

    def _made(
        self, prepared: Prepared, rules: SiteRules, position: int, number: int, epoch: int, now: int
    ) -> tuple[Item, Kept]:
        """The event and the signed receipt of an object that takes this place."""
        ready, handle = prepared.ready, prepared.ready.handle
        charter, party = Digest(rules.charter), Identifier(rules.party)
        facts = replace(ready.facts, time=now, epoch=epoch, charter=charter, party=party)
        event = Event.make(rules.site, position, Kind.STORED, handle, number, facts.body())
        receipt, signature = self._place.sign_receipt(facts, site=rules.site, number=number, handle=handle)
        kept = Kept(
            event=event,
            facts=facts,
            wrapping=prepared.wrapping,
            transfer=prepared.transfer,
            signatures=self._place.signed_entry(signature) if rules.rules.replicas == 1 else None,
        )
        item = Item(
            event=event,
            facts=facts,
            data_key=ready.data_key,
            signature=signature,
            receipt=receipt,
            sealed=ready.sealed,
        )
        return item, kept

    def _locked(self, connection: "psycopg.Connection[Row]") -> tuple[int, int, bytes, int]:
        """Position, number, chain and epoch of this site's journal, which nobody changes before the commit."""
        site = self._place.rules().site
        row = connection.execute(QUERIES["lock_journal"], {"site": site}).fetchone()
        if row is None or not isinstance(row[2], bytes):
            raise JournalConflict(f"the journal of {site} is gone from the database")
        return int(str(row[0])), int(str(row[1])), row[2], int(str(row[3]))

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
            fail(target, error)
        elif target.set_running_or_notify_cancel():
            target.set_result(future.result())

    source.add_done_callback(done)


def _hex(value: object) -> str:
    if not isinstance(value, bytes):
        raise JournalConflict("a digest in the database is not bytes")
    return value.hex()
