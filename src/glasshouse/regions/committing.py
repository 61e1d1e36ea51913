"""The committer: gives objects their place in the journal and their receipt numbers, many callers in one commit.

Uploads hand over what they have sealed and wait for an answer. One thread takes all that wait and does, in order:

    1. into the vault, durably (preparing.py); while the disk is busy:
       who stored this before? they wait for the receipt that is there; of the others keys are wrapped, receipts signed
    2. one transaction: events, objects with their wrapped keys, counts
    3. the peers' replicators get it all from memory, and do the rest (replication.py)

One thread and not one for each step: whoever waits meanwhile makes the next group larger, and every statement, flush
and hand-over is paid for once a group. A crash before 2 leaves objects without rows, which are swept away; after 2 the
journal has them, and the replicators hand them over whenever the peers can be reached. So a receipt number is used
once, and nothing is acknowledged twice.

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
from glasshouse.regions.errors import JournalConflict, Moved, RegionError, Short
from glasshouse.regions.journal import FENCES, QUERIES, Event, Kind, Note
from glasshouse.regions.peering import Replication
from glasshouse.regions.placing import Kept, Place, SiteRules, State, add_objects
from glasshouse.regions.preparing import MAX_GROUP_OBJECTS, MAX_WAITING, Keys, Preparer, Ready, next_group
from glasshouse.regions.receipts import stored_event
from glasshouse.regions.replication import Receipts
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
    uploads: list[Ready]
    notes: list[_Noted]
    refused: int


@dataclass(frozen=True, kw_only=True)
class _Head:
    """Where this site's journal ends, and the inventory that the next receipt names."""

    position: int
    number: int
    chain: bytes
    epoch: int
    fenced: bool


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
        # Nobody else moves the journal on while the connection holds the lock.
        self._head: _Head | None = None
        self._preparer = Preparer(place)
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
        self._preparer.__enter__()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Write what waits, then stop."""
        with self._condition:
            self._stopping = True
            self._condition.notify()
        self._thread.join()
        self._preparer.__exit__()
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
        uploads = next_group(self._uploads)
        notes = [self._notes.popleft() for _ in range(min(len(self._notes), MAX_GROUP_OBJECTS))]
        refused, self._refused = self._refused, 0
        return _Group(uploads=uploads, notes=notes, refused=refused)

    def _commit(self, group: _Group) -> None:
        self._store(group.uploads, group.refused)
        if not self._note(group.notes):
            # One of them cannot be applied; the others can do nothing for it.
            for noted in group.notes:
                self._note([noted], last=True)

    def _store(self, uploads: Sequence[Ready], refused: int) -> None:
        if not uploads and not refused:
            return
        flushed = self._preparer.keep(uploads)
        fresh: list[Ready] = []
        try:
            fresh, repeated = self._sorted(uploads)
            items = self._write(fresh, refused, flushed)
        except Exception as error:
            if not isinstance(error, StorageError | RegionError | PartyError):
                _LOG.exception("a group of %d objects could not be stored", len(uploads))
            self._head = None
            self._receipts.forget([ready.handle for ready in fresh])
            with self._condition:
                self._refused += refused
            told = error if isinstance(error, RegionError) else Short(f"the site cannot store objects now: {error}")
            for ready in uploads:
                ready.answer(told)
            return
        if items:
            self._replication.offer(items)
        self._answer_repeated(repeated)

    def _note(self, notes: Sequence[_Noted], *, last: bool = False) -> bool:
        """Write notes as events, all or none; whether that is done with."""
        if not notes:
            return True
        site = self._place.rules().site
        # Events may change what the next receipt names.
        self._head = None
        try:
            with self._transaction() as connection:
                head = self._read_head(connection)
                events = [
                    Event.make(site, place, noted.note.kind, noted.note.handle, None, _body(noted.note))
                    for place, noted in enumerate(notes, start=head.position + 1)
                ]
                journal.add_rows(connection, site, head.chain, events)
                journal.apply(connection, events, self._place.appliers, own=True)
        except Exception as error:
            if not isinstance(error, StorageError) and not last and len(notes) > 1:
                return False
            # What the database refuses by a rule of the journals, such as an object that goes after the fence.
            broken = isinstance(error, psycopg.errors.RaiseException)
            told = JournalConflict(str(error).partition("\n")[0]) if broken else error
            for noted in notes:
                fail(noted.future, told)
            return True
        for noted, event in zip(notes, events, strict=True):
            if noted.future.set_running_or_notify_cancel():
                noted.future.set_result(event)
        self._replication.offer([Item(event=event) for event in events])
        return True

    def _sorted(self, uploads: Sequence[Ready]) -> tuple[list[Ready], list[tuple[Ready, str]]]:
        """Those whose content this customer has not stored before; the others with the handle that it has."""
        if not uploads:
            return [], []
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
        return fresh, repeated

    def _answer_repeated(self, repeated: Sequence[tuple[Ready, str]]) -> None:
        if not repeated:
            return
        try:
            for ready, _ in repeated:
                self._place.vault.delete(ready.handle)
            for ready, handle in repeated:
                self._receipts.wait(handle, ready.answer)
            self._receipts.look_up([handle for _, handle in repeated])
        except StorageError as error:
            for ready, _ in repeated:
                ready.answer(Short(f"the site cannot look up receipts now: {error}"))

    def _write(self, fresh: Sequence[Ready], refused: int, flushed: "Future[None]") -> list[Item]:
        rules, keys = self._place.rules(), self._preparer.wrapped(fresh)
        if self._head is None:
            with self._reading() as connection:
                self._head = self._read_head(connection)
        head, now = self._head, int(time.time())
        if head.fenced and fresh:
            raise Moved(rules.region, rules.successors)
        made = [
            self._made(ready, key, rules, head, count, now)
            for count, (ready, key) in enumerate(zip(fresh, keys, strict=True), start=1)
        ]
        events, chain = [item.event for item, _ in made], head.chain
        # No row without its object.
        flushed.result()
        # Before the commit, so that no receipt is complete before somebody waits for it.
        for ready in fresh:
            self._receipts.wait(ready.handle, ready.answer)
        with self._transaction() as connection, connection.pipeline():
            if made:
                chain = journal.add_rows(connection, rules.site, head.chain, events)
                add_objects(connection, rules.site, [kept for _, kept in made])
                self._first(connection, rules)
            counts = {"received": len(fresh) + refused, "refused": refused}
            connection.execute(QUERIES["count_uploads"], {"site": rules.site, **counts})
        self._head = replace(head, position=head.position + len(made), number=head.number + len(made), chain=chain)
        if rules.rules.replicas == 1:
            self._receipts.look_up([ready.handle for ready in fresh])
        return [item for item, _ in made]

    def _made(self, ready: Ready, keys: Keys, rules: SiteRules, head: _Head, count: int, now: int) -> tuple[Item, Kept]:
        """The event and the signed receipt of the object that comes `count` places after the head."""
        handle, number = ready.handle, head.number + count
        charter, party = Digest(rules.charter), Identifier(rules.party)
        facts = replace(ready.facts, time=now, epoch=head.epoch, charter=charter, party=party)
        event = stored_event(facts, site=rules.site, position=head.position + count, number=number, handle=handle)
        receipt, signature = self._place.sign_receipt(facts, site=rules.site, number=number, handle=handle)
        kept = Kept(
            event=event,
            facts=facts,
            wrapping=keys.wrapping,
            transfer=keys.transfer if rules.peers else None,
            signatures=self._place.signed_entry(signature) if rules.rules.replicas == 1 else None,
        )
        leaving = rules.state in (State.LEAVING, State.LEFT)
        item = Item(
            event=event,
            facts=facts,
            data_key=ready.data_key,
            signature=None if leaving else signature,
            signatures=kept.signatures if leaving else None,
            receipt=receipt,
            sealed=ready.sealed,
        )
        return item, kept

    def _read_head(self, connection: "psycopg.Connection[Row]") -> _Head:
        """Where this site's journal ends; in a transaction, nobody changes it before the commit."""
        site = self._place.rules().site
        row = connection.execute(QUERIES["lock_journal"], {"site": site}).fetchone()
        if row is None or not isinstance(row[2], bytes):
            raise JournalConflict(f"the journal of {site} is gone from the database")
        fenced = connection.execute(FENCES["is_fenced"], {"site": site}).fetchone() is not None
        position, number, chain, epoch = int(str(row[0])), int(str(row[1])), row[2], int(str(row[3]))
        return _Head(position=position, number=number, chain=chain, epoch=epoch, fenced=fenced)

    def _first(self, connection: "psycopg.Connection[Row]", rules: SiteRules) -> None:
        """Note when this site took its first object, where it takes over from another."""
        moving = rules.moving
        if moving is not None and rules.left is not None:
            query = {"relocation": moving.id, "site": moving.site, "first_ms": int(time.time() * 1000)}
            connection.execute(FENCES["took_first"], query)

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
        connection, self._connection, self._head = self._connection, None, None
        if connection is not None:
            with contextlib.suppress(psycopg.Error):
                connection.execute(QUERIES["unlock_committer"])
            connection.close()


def _body(note: Note) -> dict[str, JSON]:
    if note.kind == Kind.FENCED:
        # As late as can be: it is what the customers' wait is counted from.
        return {**note.body, "time_ms": int(time.time() * 1000)}
    return dict(note.body)


def fail(future: "Future[Event]", error: BaseException) -> None:
    """Give somebody who waits an error, unless nobody waits any more."""
    if not future.done() and future.set_running_or_notify_cancel():
        future.set_exception(error)


def _hex(value: object) -> str:
    if not isinstance(value, bytes):
        raise JournalConflict("a digest in the database is not bytes")
    return value.hex()
