"""The auditor: follows the ledger through its own witnessed view, runs the rules, signs findings and the status.

The status is one statement that several parties sign over the same bytes, without talking to each other: one proposes
it by logging it under its own signature, each other recomputes every row from its own view and, if it agrees, logs it
again with its signature added. The first entry that carries the charter's quorum is the status.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import Protocol

from glasshouse_verify.alarm import Finding
from glasshouse_verify.codec import Digest, Identifier, Text
from glasshouse_verify.dsse import Envelope, format_envelope, statement_id
from glasshouse_verify.manifest import ManifestTree, format_rows
from glasshouse_verify.statement import Head, Status, Tree, Use, make_statement, parse_statement
from glasshouse_verify.tree import HashReader, tree_root

from glasshouse.ledger.errors import LedgerError, NotThere
from glasshouse.ledger.history import History, Record
from glasshouse.parties.node import is_entitled
from glasshouse.parties.signer import Signer, add_signature, sign_statement
from glasshouse.supervision.inspecting import inspections
from glasshouse.supervision.inventories import Books
from glasshouse.supervision.rules import RULES, Alarm, Scene

MAX_CLOCK_SKEW_SECONDS = 300
MAX_FINDING_TEXT = 2_000
MAX_DOCUMENT_BYTES = 65_535
KEPT_DOCUMENTS = 1_024
# What a status speaks about: when one of these is logged, the next is due.
_DUE_AFTER = (Use.CHARTER, Use.RELEASE, Use.REBUILD, Use.HOLD, Use.TRAP)


class LedgerView(Protocol):
    """A party's own verified copy of a ledger; see `ledger.view`. What it has shown once never changes."""

    def entries(self, start: int, stop: int | None = None) -> Iterator[tuple[int, bytes]]:
        """Entries from `start` to below `stop`, in order, with their indexes."""

    def read(self, level: int, index: int) -> bytes:
        """Roots of complete subtrees (tree.HashReader)."""


@dataclass(frozen=True, kw_only=True)
class Posting:
    """An envelope to log, and the blobs that its statement names, by digest."""

    envelope: Envelope
    blobs: Mapping[str, bytes]


class Auditor:
    """One auditing party. `step` is called whenever `history` was fed from `view`; what it returns is to be posted."""

    def __init__(
        self,
        party: str,
        signer: Signer,
        view: LedgerView,
        history: History,
        *,
        proposes: bool,
        has_blob: Callable[[str], bool],
        get_blob: Callable[[str], bytes],
        books: Books,
    ) -> None:
        self.party, self.signer, self.view, self.proposes = party, signer, view, proposes
        self.has_blob, self.blob, self.document = has_blob, blobs(get_blob), documents(get_blob)
        self.history, self.books = history, books
        self._judged: dict[str, tuple[Alarm, ...]] = {}
        self._recomputed = History(history.pin)

    @property
    def _origin(self) -> str:
        return self.history.chain.newest.charter.ledger.origin

    def step(self, now: int) -> list[Posting]:
        """Say what follows at Unix time `now` from what `history` has been fed."""
        self.books.take(self.history, self.blob)
        alarms = self._alarms(now)
        postings = list(self._findings(alarms, now))
        postings += self._inspections(alarms, now)
        postings += self._cosign(now)
        if self.proposes and self._is_due(now):
            postings.append(self._propose(now))
        return postings

    # Findings

    def _alarms(self, now: int) -> dict[str, list[Alarm]]:
        scene = Scene(
            history=self.history,
            now=now,
            has_blob=self.has_blob,
            document=self.document,
            blob=self.blob,
            judged=self._judged,
            rows=self.books.faults(),
            erasures=self.books.erasures(),
        )
        return {rule: list(check(scene)) for rule, check in RULES.items()}

    def _findings(self, alarms: Mapping[str, list[Alarm]], now: int) -> Iterator[Posting]:
        """Alarms that this party has not logged yet. A rule with the same words about the same things is one alarm."""
        said = {
            (r.predicate.rule, r.predicate.about, r.predicate.text)
            for r in self.history.standing(Use.FINDING)
            if r.predicate.party == self.party
        }
        for rule, found in alarms.items():
            for alarm in found:
                about = tuple(Digest(digest) for digest in alarm.about) or (Digest(self.history.pin_id),)
                text = Text(alarm.text[:MAX_FINDING_TEXT])
                if (rule, about, text) not in said:
                    said.add((rule, about, text))
                    yield self._finding(rule, about, text, now)

    def _finding(self, rule: str, about: tuple[Digest, ...], text: str, now: int) -> Posting:
        finding = Finding(party=Identifier(self.party), rule=Identifier(rule), about=about, text=Text(text), time=now)
        return Posting(envelope=sign_statement(make_statement(Use.FINDING, finding), self.signer), blobs={})

    def _inspections(self, alarms: Mapping[str, list[Alarm]], now: int) -> Iterator[Posting]:
        """Nothing as long as the charter has this key sign none: it was joined before there were regions."""
        if is_entitled(self.history.chain.newest.charter, self.signer.keyid, (Use.INSPECTION,), self.history.size):
            for inspection in inspections(self.history, self.books, alarms, self.party, now):
                envelope = sign_statement(make_statement(Use.INSPECTION, inspection), self.signer)
                yield Posting(envelope=envelope, blobs={})

    # Status

    def _is_due(self, now: int) -> bool:
        """After each statement that changes a row, and at latest after half of the maximum age."""
        last: Status | None = None
        for record in self.history.standing(Use.STATUS):
            last = record.predicate
        for envelope in self.history.proposals.values():
            proposed = parse_statement(envelope.payload).predicate
            fresh = isinstance(proposed, Status) and (last is None or proposed.time > last.time)
            if fresh and proposed.party == self.party and now - proposed.time <= MAX_CLOCK_SKEW_SECONDS:
                last = proposed
        if last is None:
            return any(True for _ in self.history.standing(Use.RELEASE))
        if now - last.time >= self.history.chain.newest.charter.status.maximum_age // 2:
            return True
        covered = last.checkpoint.size
        return any(r.index >= covered for use in _DUE_AFTER for r in self.history.standing(use))

    def _propose(self, now: int) -> Posting:
        data, tree = rows_of(self.history)
        status = Status(
            party=Identifier(self.party),
            checkpoint=head_of(self._origin, self.history.size, self.view.read),
            charter=Digest(self.history.chain.newest.id),
            rows=tree,
            blob=Digest(sha256(data).hexdigest()),
            time=now,
        )
        envelope = sign_statement(make_statement(Use.STATUS, status), self.signer)
        return Posting(envelope=envelope, blobs={status.blob: data})

    def _cosign(self, now: int) -> Iterator[Posting]:
        """The newest proposal of another party, with this party's signature added where it recomputes to the same."""
        for envelope in reversed(list(self.history.proposals.values())):
            status = parse_statement(envelope.payload).predicate
            if not isinstance(status, Status) or status.party == self.party:
                continue
            if any(signature.keyid == self.signer.keyid for signature in envelope.signatures):
                return
            reason = self._disagreement(status, now)
            if reason is None:
                signed = add_signature(envelope, self.signer)
                format_envelope(signed)
                yield Posting(envelope=signed, blobs={})
            elif not self._said_about(statement_id(envelope.payload)):
                about = (Digest(statement_id(envelope.payload)),)
                yield self._finding("status", about, f"the status that {status.party} proposes: {reason}", now)
            return

    def _said_about(self, identity: str) -> bool:
        found: Iterator[Record] = self.history.standing(Use.FINDING)
        return any(r.predicate.party == self.party and identity in r.predicate.about for r in found)

    def _disagreement(self, status: Status, now: int) -> str | None:
        """Why this party cannot sign a proposal, or None."""
        if abs(now - status.time) > MAX_CLOCK_SKEW_SECONDS:
            return f"its time is more than {MAX_CLOCK_SKEW_SECONDS} s from this party's clock"
        if not 0 < status.checkpoint.size <= self.history.size:
            return "its checkpoint is not one that this party has seen"
        if status.checkpoint != head_of(self._origin, status.checkpoint.size, self.view.read):
            return "its checkpoint is of another history of the ledger"
        history = self._history_at(status.checkpoint.size)
        if status.charter != history.chain.newest.id:
            return "it names another charter than the one in force there"
        data, tree = rows_of(history)
        if (status.rows, status.blob) != (tree, sha256(data).hexdigest()):
            return "its rows are not those that follow from the ledger"
        return None

    def _history_at(self, size: int) -> History:
        if self._recomputed.size > size:
            self._recomputed = History(self.history.pin)
        for _, entry in self.view.entries(self._recomputed.size, size):
            self._recomputed.feed(entry)
        return self._recomputed


def rows_of(history: History) -> tuple[bytes, Tree]:
    """The status manifest of a history: the bytes of its rows, and its root and size."""
    rows = list(history.status_rows())
    tree = ManifestTree(rows)
    return b"".join(format_rows(rows)), Tree(root=Digest(tree.root.hex()), size=tree.size)


def head_of(origin: str, size: int, read: HashReader) -> Head:
    """The head of the first `size` entries."""
    return Head(origin=origin, size=size, root=Digest(tree_root(size, read).hex()))


def blobs(get_blob: Callable[[str], bytes]) -> Callable[[str], bytes | None]:
    """How rules read blobs: what `get_blob` gives, checked; None where it has none."""

    def blob(digest: str) -> bytes | None:
        try:
            data = get_blob(digest)
        except LedgerError:
            return None
        return data if sha256(data).hexdigest() == digest else None

    return blob


def documents(get_blob: Callable[[str], bytes]) -> Callable[[str], bytes | None]:
    """How rules read small blobs: the same, and b"" for a blob too large.

    Rules read the same ones at each step, so the last KEPT_DOCUMENTS are kept.
    """
    blob = blobs(get_blob)

    @lru_cache(maxsize=KEPT_DOCUMENTS)
    def kept(digest: str) -> bytes:
        data = blob(digest)
        if data is None:
            raise NotThere(f"there is no blob {digest[:16]}…")
        return data if len(data) <= MAX_DOCUMENT_BYTES else b""

    def document(digest: str) -> bytes | None:
        try:
            return kept(digest)
        except NotThere:
            return None

    return document
