"""Inventories: epochs closed at a cut of all journals, so that every site of a region comes to the same rows.

The region's first site, by name, announces an epoch in its journal; the others repeat it in theirs, from where on their
receipts name the next one:

    epoch      {"by":"zurich-1","charter":"8399…","cut":{"zurich-1":2077,"zurich-2":1803},"epoch":3,"time":1800000000}

A site closes the epoch once it has every journal up to the cut: it takes in what came and went, keeps the delta, and
signs the inventory. Nothing but the journals decides what is in it. Specification: docs/spec/journal.md, inventory.md.

Where a region moves, the site that is left announces until the cut covers its event `fenced`; that epoch is its last.
Those that take over close the same epochs from their own databases: the last of them each signs for itself, those
before as what the other has logged already. From the next one on they announce, and its journal ends where it was.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from hashlib import sha256

from glasshouse_verify.codec import Digest, Identifier, decode, encode
from glasshouse_verify.dsse import format_envelope, statement_id
from glasshouse_verify.encoding import format_json, parse_json
from glasshouse_verify.receipt import Counts, Inventory, Tombstone
from glasshouse_verify.statement import Use, make_statement

from glasshouse.parties.signer import sign_statement
from glasshouse.regions import journal
from glasshouse.regions.delta import MAX_ROWS, Delta, HeldRow, format_delta
from glasshouse.regions.erasing import Coverage, tombstone
from glasshouse.regions.errors import JournalConflict
from glasshouse.regions.fences import read_fences
from glasshouse.regions.inventory_tables import (
    HELD,
    QUERIES,
    Connection,
    Trees,
    apply_delta,
    commitment_of,
    load_trees,
    parse_stored,
    to_bytes,
    to_int,
)
from glasshouse.regions.journal import MAX_BODY_BYTES, Event, Kind, Note
from glasshouse.regions.placing import Place, SiteRules, State

# So many events of one journal never make more rows than a delta may have, whatever they are.
MAX_EVENTS = MAX_ROWS // 8
APPEND_SECONDS = 60.0
MAX_SKEW_SECONDS = 300
_SHARE_OF_INTERVAL = 0.9
_COUNTS_PER_INTERVAL = 20


@dataclass(frozen=True, kw_only=True)
class Announced:
    """An epoch as its site announces it. `cut`: position in each journal; `time` in Unix seconds."""

    by: Identifier
    charter: Digest
    cut: Mapping[Identifier, int]
    epoch: int
    time: int


@dataclass(frozen=True, kw_only=True)
class Closed:
    """The last epoch that this site has closed; number 0 before the first."""

    epoch: int
    cut: Mapping[str, int]
    time: int
    statement: str | None


@dataclass(frozen=True, kw_only=True)
class Unposted:
    """An inventory that the ledger does not have yet: the entry, and the blob that it names."""

    epoch: int
    entry: bytes
    delta: bytes


class Inventories:
    """Closes the epochs of one site. One thread at a time; `append` adds an event to the site's own journal.

    `ended` is given the last epoch closed, at every turn and always before the next one is: then its rows are those of
    the tables. `whole` says whether every peer's journal is here: a site that joins a region late does not announce an
    epoch before it knows those that there were.
    """

    def __init__(
        self,
        place: Place,
        append: Callable[[Note], "Future[Event]"],
        *,
        ended: Callable[[Closed], object] = lambda _: None,
        whole: Callable[[], bool] = lambda: True,
    ) -> None:
        self._place, self._append, self._ended, self._whole = place, append, ended, whole
        self._trees: Trees | None = None
        self._counted_at = 0

    def turn(self, now: int, *, at_once: bool = False) -> bool:
        """Do what is due at Unix time `now`; returns whether an epoch was closed here.

        `at_once` announces an epoch although it is not due yet. Raises SiteRefused, StorageError, JournalConflict.
        """
        rules, last = self._place.rules(), self.last()
        ends = self._ends(last)
        interval = rules.rules.interval
        due = now - last.time >= interval * _SHARE_OF_INTERVAL or self._is_behind(last, ends) or bool(ends.open)
        if (now - self._counted_at >= interval / _COUNTS_PER_INTERVAL or at_once) and rules.site not in ends.closed:
            self._count()
            self._counted_at = now
        leads = ends.leads(rules) and (rules.site in last.cut or self._whole())
        if leads and (due or at_once) and self._announced(last.epoch + 1) is None:
            self._count()
            self._announce(last, now, ends)
        closed = False
        while self._close_next():
            closed = True
        return closed

    def last(self) -> Closed:
        """The last epoch closed here."""
        with self._place.database.transaction() as connection:
            return read_last(connection)

    def unposted(self) -> list[Unposted]:
        """What is to be logged, in order. After each: `posted`."""
        with self._place.database.transaction() as connection:
            rows = connection.execute(QUERIES["unposted"]).fetchall()
        return [
            Unposted(epoch=to_int(epoch), entry=to_bytes(entry), delta=to_bytes(delta)) for epoch, entry, delta in rows
        ]

    def posted(self, epoch: int) -> None:
        """The ledger has it."""
        with self._place.database.transaction() as connection:
            connection.execute(QUERIES["set_posted"], {"epoch": epoch})

    # --- announcing ----------------------------------------------------------------------------------------------

    def _count(self) -> None:
        """Say in the journal how many uploads were refused, where that has changed."""
        site = self._place.rules().site
        with self._place.database.transaction() as connection:
            head = journal.read_heads(connection)[site]
            refused = _refused(connection, site, head.position)
        if refused != head.refused:
            counts = {"received": head.received, "refused": head.refused}
            self._append(Note(kind=Kind.COUNTERS, body=counts)).result(APPEND_SECONDS)

    def _announce(self, last: Closed, now: int, ends: "_Ends") -> None:
        rules, heads = self._place.rules(), journal.heads(self._place.database)
        # Journals of sites that have left the region too: what they took is held here. What a site that is left does
        # after its last inventory is in none, and what those do that take over is not its to say.
        cut = {
            Identifier(site): min(head.position, last.cut.get(site, 0) + (0 if site in ends.closed else MAX_EVENTS))
            for site, head in sorted(heads.items())
            if not (rules.state in (State.LEAVING, State.LEFT) and site in rules.successors)
        }
        announced = Announced(
            by=Identifier(rules.site),
            charter=Digest(rules.charter),
            cut=cut,
            epoch=last.epoch + 1,
            time=max(now, last.time, min(self._newest_removal(last, cut), now + MAX_SKEW_SECONDS)),
        )
        self._append(Note(kind=Kind.EPOCH, body=encode(announced))).result(APPEND_SECONDS)

    def _newest_removal(self, last: Closed, cut: Mapping[Identifier, int]) -> int:
        """No inventory is dated before a removal that it shows, although another site's clock may be ahead."""
        newest = 0
        with self._place.database.transaction() as connection:
            for site, upto in cut.items():
                query = {"site": site, "after": last.cut.get(site, 0), "upto": upto}
                row = connection.execute(QUERIES["newest_removal"], query).fetchone()
                newest = max(newest, to_int(row[0]) if row is not None and row[0] is not None else 0)
        return newest

    def _is_behind(self, last: Closed, ends: "_Ends") -> bool:
        """Whether the last epoch was cut short because too much had happened for one."""
        heads = journal.heads(self._place.database)
        return any(
            head.position > last.cut.get(site, 0) + MAX_EVENTS
            for site, head in heads.items()
            if site not in ends.closed
        )

    def _announced(self, epoch: int) -> Announced | None:
        """What closes an epoch: the word of the first site that has announced it, not one that repeats another's."""
        ends, rules = self._ends(self.last()), self._place.rules()
        with self._place.database.transaction() as connection:
            for site, _, body in connection.execute(QUERIES["announced"], {"epoch": epoch}):
                announced = _announcement(body)
                if announced.by == site and ends.counts(announced.by, rules):
                    return announced
        return None

    def _ends(self, last: Closed) -> "_Ends":
        fences = read_fences(self._place.database).values()
        closed = {fence.site for fence in fences if last.cut.get(fence.site, 0) >= fence.position}
        return _Ends(
            closed=frozenset(closed),
            open={fence.site: fence.position for fence in fences if fence.site not in closed},
        )

    def _close_next(self) -> bool:
        """Close the next epoch if it is announced and every journal is here up to its cut."""
        site, last = self._place.rules().site, self.last()
        epoch = last.epoch + 1
        self._ended(last)
        announced = self._announced(epoch)
        if announced is None:
            return False
        heads = journal.heads(self._place.database)
        if any(site not in heads or heads[site].position < position for site, position in announced.cut.items()):
            return False
        with self._place.database.transaction() as connection:
            said = [str(row[0]) for row in connection.execute(QUERIES["announced"], {"epoch": epoch})]
        if site not in said:
            self._append(Note(kind=Kind.EPOCH, body=encode(announced))).result(APPEND_SECONDS)
        try:
            with self._place.database.transaction() as connection:
                return self._close(connection, announced)
        except BaseException:
            self._trees = None
            raise

    # --- closing -------------------------------------------------------------------------------------------------

    def _close(self, connection: Connection, announced: Announced) -> bool:
        last = read_last(connection)
        changes = _Changes(connection, self._place.rules().region, last, announced, self._ends(last).closed)
        delta = changes.delta()
        if delta is None:
            return False
        if self._trees is None:
            self._trees = load_trees(connection)
        apply_delta(connection, self._trees, delta, changes.origins)
        own = self._speaks_for_itself(announced, last)
        inventory, data = self._inventory(connection, announced, last, delta, own=own)
        payload = make_statement(Use.INVENTORY, inventory)
        connection.execute(
            QUERIES["add_inventory"],
            {
                "epoch": announced.epoch,
                "cut": format_json(dict(announced.cut)),
                "closed_at": announced.time,
                "statement": statement_id(payload),
                "envelope": format_envelope(sign_statement(payload, self._place.signer)),
                "delta": data,
                # A site that joined later takes the earlier epochs in; their inventories are not its own.
                "posted": not own,
            },
        )
        return True

    def _speaks_for_itself(self, announced: Announced, last: Closed) -> bool:
        """Whether this site logs the inventory: it has a part in it, or takes over from the site whose last it is."""
        rules = self._place.rules()
        left = rules.left
        ended = self._ends(last).open.get(left or "")
        return rules.site in announced.cut or (
            ended is not None and announced.cut.get(Identifier(left or ""), 0) >= ended
        )

    def _inventory(
        self, connection: Connection, announced: Announced, last: Closed, delta: Delta, *, own: bool
    ) -> tuple[Inventory, bytes]:
        rules, data = self._place.rules(), format_delta(delta)
        speaks = announced.by if not own and announced.by == rules.left else Identifier(rules.site)
        held, erased = (self._trees or load_trees(connection)).sharded
        receipts = {site: _last_number(connection, site, upto) for site, upto in announced.cut.items()}
        stored = sum(receipts.values())
        refused = sum(_refused(connection, site, upto) for site, upto in announced.cut.items())
        if held.size + erased.size != stored:
            text = f"{held.size} held and {erased.size} erased are not the {stored} objects that were stored"
            raise JournalConflict(f"inventory {announced.epoch}: {text}")
        counts = Counts(
            received=stored + refused,
            refused=refused,
            stored=stored,
            pending=held.size,
            analysed=0,
            dead=0,
            erased_before_analysis=erased.size,
            erased=erased.size,
            held=held.size,
            on_hold=_on_hold(connection, announced.cut),
        )
        inventory = Inventory(
            party=rules.region_rules.places[speaks].party,
            region=Identifier(rules.region),
            site=speaks,
            epoch=announced.epoch,
            held=held,
            erased=erased,
            delta=Digest(sha256(data).hexdigest()),
            journals=announced.cut,
            receipts=receipts,
            counts=counts,
            charter=announced.charter,
            time=announced.time,
            previous=None if last.statement is None else Digest(last.statement),
        )
        return inventory, data


@dataclass(frozen=True, kw_only=True)
class _Ends:
    """The sites that a region has left: those whose last inventory is closed; where that of the others has to go to."""

    closed: frozenset[str]
    open: Mapping[str, int]

    def leads(self, rules: SiteRules) -> bool:
        """Whether it is this site that announces the next epoch."""
        if self.open:
            return rules.site in self.open
        return rules.state != State.ARRIVING and rules.site not in self.closed and rules.site == min(rules.rules.sites)

    def counts(self, by: str, rules: SiteRules) -> bool:
        """Whether the next epoch is a site's to announce."""
        if self.open:
            return by in self.open
        return by == rules.left if rules.state == State.ARRIVING else by not in self.closed


class _Changes:
    """What came and went between two cuts, by the journals alone."""

    def __init__(
        self, connection: Connection, region: str, last: Closed, announced: Announced, left: frozenset[str]
    ) -> None:
        self._connection, self._region, self._last, self._announced = connection, region, last, announced
        self._left = left
        # Of the tombstones whose residue is not gone: which event removed the object.
        self.origins: dict[str, tuple[str, int]] = {}

    def delta(self) -> Delta | None:
        """None as long as a journal that goes on beyond the cut does not say what an object was that it removed."""
        added = self._added()
        if added is None:
            return None
        coverage = self._coverage()
        removed = self._removed(added, coverage)
        room = MAX_ROWS - len(added) - len(removed)
        return Delta(
            region=Identifier(self._region),
            epoch=self._announced.epoch,
            added=tuple(HeldRow(key=Digest(key), commitment=added[key]) for key in sorted(added)),
            removed=tuple(removed[key] for key in sorted(removed)),
            changed=tuple(self._irrecoverable(coverage)[: max(room, 0)]),
        )

    def _window(self) -> list[dict[str, object]]:
        """For each journal: after which position, and up to which."""
        return [
            {"site": site, "after": self._last.cut.get(site, 0), "upto": upto}
            for site, upto in sorted(self._announced.cut.items())
        ]

    def _added(self) -> dict[str, Digest] | None:
        added: dict[str, Digest] = {}
        gone: list[bytes] = []
        for window in self._window():
            for handle, state, *facts in self._connection.execute(QUERIES["stored_between"], window):
                if state == "held":
                    added[to_bytes(handle).hex()] = commitment_of(self._region, facts)
                else:
                    gone.append(to_bytes(handle))
        for handle, body in self._connection.execute(QUERIES["first_removal"], {"handles": gone}):
            commitment = _body(body).get("commitment")
            added[to_bytes(handle).hex()] = decode(Digest, commitment, "removed.commitment")
        return added if all(handle.hex() in added for handle in gone) else None

    def _removed(self, added: Mapping[str, Digest], coverage: Coverage) -> dict[str, Tombstone]:
        """Of two removals of one object the earlier counts; what is not held any more is removed already."""
        came = [bytes.fromhex(key) for key in added]
        found: dict[str, tuple[tuple[int, str, int], Tombstone]] = {}
        for window in self._window():
            for site, position, handle, body in self._connection.execute(
                QUERIES["removed_upto"], {**window, "handles": came}
            ):
                event = _event(Kind.REMOVED, site, position, body, to_bytes(handle).hex())
                row = tombstone(event, coverage)
                order = (row.removed, event.site, event.position)
                if row.key not in found or order < found[row.key][0]:
                    found[row.key] = (order, row)
        query = {"tree": HELD, "keys": [bytes.fromhex(key) for key in found if key not in added]}
        held = {to_bytes(row[0]).hex() for row in self._connection.execute(QUERIES["rows_known"], query)}
        removed = {key: row for key, (_, row) in found.items() if key in added or key in held}
        self.origins |= {key: found[key][0][1:] for key, row in removed.items() if row.residue_until is not None}
        return removed

    def _coverage(self) -> Coverage:
        coverage = Coverage(self._announced.cut, left=self._left)
        for window in self._window():
            for site, position, body in self._connection.execute(QUERIES["rekeyed_upto"], window):
                coverage.add(_event(Kind.REKEYED, site, position, body))
        return coverage

    def _irrecoverable(self, coverage: Coverage) -> list[Tombstone]:
        """Tombstones of before whose residue is gone by now."""
        found = []
        for row, site, position in self._connection.execute(QUERIES["residue"]):
            if coverage.includes(str(site), to_int(position)):
                old: Tombstone = decode(Tombstone, parse_stored(row), "row")
                found.append(replace(old, residue_until=None))
        return found


def read_last(connection: Connection) -> Closed:
    """The last epoch closed, in the caller's transaction."""
    row = connection.execute(QUERIES["newest"]).fetchone()
    if row is None:
        return Closed(epoch=0, cut={}, time=0, statement=None)
    epoch, cut, time, statement, _ = row
    positions = {site: to_int(position) for site, position in _body(cut).items()}
    return Closed(epoch=to_int(epoch), cut=positions, time=to_int(time), statement=str(statement))


def _announcement(body: object) -> Announced:
    announced: Announced = decode(Announced, _body(body), "epoch")
    return announced


def _body(data: object) -> dict[str, object]:
    value = parse_json(to_bytes(data), "event", MAX_BODY_BYTES)
    if not isinstance(value, dict):
        raise JournalConflict("an event in the database has no object for its body")
    return dict(value)


def _event(kind: Kind, site: object, position: object, body: object, handle: str | None = None) -> Event:
    says = journal.parse_body(to_bytes(body))
    return Event(site=str(site), position=to_int(position), kind=kind, handle=handle, body=says, digest=b"")


def _last_number(connection: Connection, site: str, upto: int) -> int:
    row = connection.execute(QUERIES["last_number"], {"site": site, "upto": upto}).fetchone()
    return 0 if row is None else to_int(row[0])


def _refused(connection: Connection, site: str, upto: int) -> int:
    """What the site has said by a position that it has refused."""
    row = connection.execute(QUERIES["last_counters"], {"site": site, "upto": upto}).fetchone()
    return 0 if row is None else to_int(_body(row[0]).get("refused"))


def _on_hold(connection: Connection, cut: Mapping[Identifier, int]) -> int:
    """Objects that are held and on which more legal holds began than ended."""
    holds: dict[bytes, int] = {}
    for site, upto in cut.items():
        for handle, more in connection.execute(QUERIES["holds_upto"], {"site": site, "upto": upto}):
            holds[to_bytes(handle)] = holds.get(to_bytes(handle), 0) + to_int(more)
    query = {"tree": HELD, "keys": [handle for handle, count in holds.items() if count > 0]}
    return len(connection.execute(QUERIES["rows_known"], query).fetchall())
