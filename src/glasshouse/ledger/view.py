"""A party's own view of a ledger: a local copy of every entry, taken only as far as witnesses vouch for the tree.

    view = View(directory, policy)
    with LedgerClient(url) as ledger:
        view.update(ledger)                    # refuses what does not extend what was verified before
    for entry in view.entries(0): ...
    proof = inclusion_proof(7, view.size, view.read)

An update fetches the witnessed checkpoint, checks it under the policy, fetches the new entries, and takes them only
if the tree over *all* entries this view holds has the checkpoint's root; that is the consistency proof and the
inclusion proof of every entry at once. It is one transaction: what is refused leaves the view as it was. Signed
contradictions are kept as files in ``evidence/``, to be shown to others. The server is trusted with nothing but to
answer.
"""

import hashlib
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

from glasshouse_verify.checkpoint import Checkpoint, parse_checkpoint
from glasshouse_verify.dsse import parse_envelope
from glasshouse_verify.errors import FormatError, ProofError, VerifyError
from glasshouse_verify.note import parse_note
from glasshouse_verify.policy import Cosigned, Policy, check_checkpoint
from glasshouse_verify.statement import parse_statement
from glasshouse_verify.tile import TILE_WIDTH, entries_path
from glasshouse_verify.tlog import leaf_hash
from glasshouse_verify.tree import EMPTY_ROOT, Frontier, HashReader, consistency_proof, verify_consistency

from glasshouse.ledger.digests import named_digests
from glasshouse.ledger.errors import EntryAltered, LedgerError, NotThere, RolledBack, SplitView, Stale
from glasshouse.storage import files
from glasshouse.storage.errors import StorageUnavailable

_SCHEMA = """
create table if not exists checkpoint (
    size integer primary key,
    root blob not null check (length(root) = 32),
    note blob not null,
    witnessed_at integer not null
) strict;
create table if not exists entry (entry_index integer primary key, data blob not null) strict;
create table if not exists node (
    level integer not null,
    node_index integer not null,
    hash blob not null check (length(hash) = 32),
    primary key (level, node_index)
) strict, without rowid;
create table if not exists digest (
    digest blob not null,
    entry_index integer not null,
    primary key (digest, entry_index)
) strict, without rowid;
"""


class LedgerSource(Protocol):
    """What an update reads: LedgerClient, or a hostile server of a test. Nothing it answers is trusted."""

    def checkpoint(self) -> bytes:
        """The witnessed checkpoint. Raises NotThere before the first."""

    def entries(self, start: int, stop: int) -> Iterator[bytes]:
        """The entries with start ≤ index < stop."""

    def reader(self, size: int) -> HashReader:
        """The tree of a published size."""


@dataclass(frozen=True, kw_only=True)
class Update:
    """What an update did: the checkpoint now verified, its witnesses with their times, the size before and now."""

    checkpoint: Checkpoint
    witnesses: dict[str, int]
    old_size: int
    new_size: int


class View:
    """A verified copy of one ledger in a directory. Threads may share it; it is closed, or used as a context manager.

    The policy may change between updates (an amended charter): assign ``policy``.
    """

    def __init__(self, directory: Path, policy: Policy) -> None:
        self.policy = policy
        self._directory = directory
        self._lock = threading.RLock()
        files.make_directory(directory, mode=0o700)
        with _storage():
            self._database = sqlite3.connect(
                directory / "view.sqlite3", isolation_level=None, check_same_thread=False, timeout=10.0
            )
            self._database.execute("pragma journal_mode = wal")
            self._database.execute("pragma synchronous = full")
            self._database.executescript(_SCHEMA)

    @property
    def size(self) -> int:
        """How many entries are verified."""
        newest = self._newest()
        return 0 if newest is None else newest[0].size

    def checkpoint(self) -> bytes:
        """The newest verified checkpoint, a signed note. Raises NotThere before the first update."""
        newest = self._newest()
        if newest is None:
            raise NotThere("this view has verified no checkpoint yet")
        return newest[1]

    def update(self, ledger: LedgerSource, *, now: int | None = None, max_age_seconds: int | None = None) -> Update:
        """Take what the ledger shows, if it extends what this view has verified.

        With ``now`` (seconds since 1970) and ``max_age_seconds``, enough witnesses must have signed within that age.
        Raises RolledBack, SplitView, EntryAltered, Stale; SignatureError for an unknown key or another log's
        checkpoint, QuorumError for too few witnesses, FormatError for what is no checkpoint.
        """
        # The checkpoint is fetched under the lock too: another process's update must not make it look older than it is.
        with self._lock, self._writing() as database:
            note = ledger.checkpoint()
            cosigned = check_checkpoint(self.policy, parse_note(note))
            new = cosigned.checkpoint
            if now is not None and max_age_seconds is not None:
                _check_age(self.policy, cosigned, now - max_age_seconds)
            known = self._newest()
            old = Checkpoint(origin=new.origin, size=0, root=EMPTY_ROOT) if known is None else known[0]
            known_note = b"" if known is None else known[1]
            if new.origin != old.origin:
                raise SplitView(f"this view is of the log {old.origin!r}, the checkpoint is of {new.origin!r}")
            if new.size == old.size and new.root != old.root:
                raise SplitView(
                    f"two trees of {new.size} entries were signed and witnessed: the log shows different things to "
                    "different people",
                    evidence=self._keep_evidence(new.size, known_note, note),
                )
            if new.size < old.size:
                raise RolledBack(
                    f"the ledger shows {new.size} entries, of which this view has verified {old.size} already",
                    evidence=self._keep_evidence(old.size, known_note, note),
                )
            frontier = self._take(database, ledger, old, new)
            if (frontier.size, frontier.root()) != (new.size, new.root):
                raise self._explain(ledger, old, new, note, known_note)
            database.execute(
                "insert or replace into checkpoint (size, root, note, witnessed_at) values (?, ?, ?, ?)",
                (new.size, new.root, note, max(cosigned.witnesses.values(), default=0)),
            )
        return Update(checkpoint=new, witnesses=dict(cosigned.witnesses), old_size=old.size, new_size=new.size)

    def entries(self, start: int, stop: int | None = None) -> Iterator[tuple[int, bytes]]:
        """The verified entries from ``start`` on, with their indexes, a bundle in memory at a time."""
        end = self.size if stop is None else min(stop, self.size)
        while start < end:
            rows = self._rows(
                "select entry_index, data from entry where entry_index >= ? and entry_index < ? order by entry_index",
                (start, min(end, start + TILE_WIDTH)),
            )
            yield from rows
            start += TILE_WIDTH

    def entry(self, index: int) -> bytes:
        """One verified entry. Raises NotThere."""
        for _, data in self.entries(index, index + 1):
            return data
        raise NotThere(f"this view has verified {self.size} entries, entry {index} is not among them")

    def read(self, level: int, index: int) -> bytes:
        """The root of a complete subtree of the verified tree (tree.HashReader). Raises ProofError outside it."""
        rows = self._rows("select hash from node where level = ? and node_index = ?", (level, index))
        if not rows:
            raise ProofError(f"no node {index} at level {level} in the verified tree of {self.size} entries")
        return bytes(rows[0][0])

    def lookup(self, sha256: str) -> list[int]:
        """The verified entries that name a digest or have it as their statement's identity, ascending."""
        rows = self._rows(
            "select entry_index from digest where digest = ? order by entry_index", (bytes.fromhex(sha256),)
        )
        return [int(index) for (index,) in rows]

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _take(self, database: sqlite3.Connection, ledger: LedgerSource, old: Checkpoint, new: Checkpoint) -> Frontier:
        """Append the entries between two checkpoints; the tree that they make."""
        frontier = Frontier.load(old.size, self.read)
        for data in ledger.entries(old.size, new.size):
            if frontier.size == new.size:
                break
            self._append(database, frontier, data)
        return frontier

    def _append(self, database: sqlite3.Connection, frontier: Frontier, data: bytes) -> None:
        index = frontier.size
        nodes = frontier.append(leaf_hash(data))
        database.execute("insert into entry (entry_index, data) values (?, ?)", (index, data))
        database.executemany(
            "insert into node (level, node_index, hash) values (?, ?, ?)",
            [(level, index >> level, node) for level, node in enumerate(nodes)],
        )
        try:
            digests = named_digests(parse_statement(parse_envelope(data).payload))
        except FormatError:
            # An open log holds anything; only statements can be looked up.
            return
        database.executemany(
            "insert into digest (digest, entry_index) values (?, ?)",
            [(bytes.fromhex(digest), index) for digest in digests],
        )

    def _explain(
        self, ledger: LedgerSource, old: Checkpoint, new: Checkpoint, note: bytes, known_note: bytes
    ) -> LedgerError:
        """Why the entries do not lead to the signed root: altered, or two signed trees contradict each other."""
        read = ledger.reader(new.size)
        try:
            if old.size:
                proof = consistency_proof(old.size, new.size, read)
                verify_consistency(old.size, new.size, old.root, new.root, proof)
        except (VerifyError, LedgerError) as error:
            return SplitView(
                f"the witnessed tree of {new.size} entries does not extend the verified one of {old.size}: {error}",
                evidence=self._keep_evidence(new.size, known_note, note),
            )
        return EntryAltered(f"{self._altered(read, old.size, new.size)} is not what the witnesses saw")

    def _altered(self, read: HashReader, start: int, stop: int) -> str:
        """Name the first entry served whose hash is not in the served tiles; called before the rollback."""
        for index in range(start, stop):
            try:
                if self.read(0, index) != read(0, index):
                    return f"entry {index} (in {entries_path(index // TILE_WIDTH)})"
            except (VerifyError, LedgerError) as error:
                return f"entry {index} ({error})"
        return f"the tree in the tiles, together with the entries from {start} to {stop - 1},"

    def _keep_evidence(self, size: int, known: bytes, shown: bytes) -> tuple[Path, ...]:
        kept = []
        for note in (known, shown):
            if note:
                name = f"{size}-{hashlib.sha256(note).hexdigest()[:16]}.checkpoint"
                path = self._directory / "evidence" / name
                files.make_directory(path.parent, mode=0o700)
                files.create(path, note)
                kept.append(path)
        return tuple(kept)

    def _newest(self) -> tuple[Checkpoint, bytes] | None:
        rows = self._rows("select note from checkpoint order by size desc limit 1", ())
        if not rows:
            return None
        return parse_checkpoint(parse_note(rows[0][0]).text), rows[0][0]

    def _rows(self, statement: str, values: tuple[object, ...]) -> list[Any]:
        with self._lock, _storage():
            return self._database.execute(statement, values).fetchall()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with _storage():
            self._database.execute("begin immediate")
            try:
                yield self._database
                self._database.execute("commit")
            except BaseException:
                self._database.execute("rollback")
                raise


def _check_age(policy: Policy, cosigned: Cosigned, oldest: int) -> None:
    fresh = [name for name, moment in cosigned.witnesses.items() if moment >= oldest]
    if not policy.satisfied_by(fresh):
        newest = max(cosigned.witnesses.values(), default=0)
        raise Stale(
            f"the checkpoint of {cosigned.checkpoint.size} entries is not witnessed recently enough: "
            f"the newest cosignature is of {newest}, a quorum from {oldest} on is needed"
        )


@contextmanager
def _storage() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise StorageUnavailable(f"the view's database refuses: {error}") from error
