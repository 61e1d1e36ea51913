"""Who may add to a log, and what an entry can be looked up by."""

from typing import Protocol

from glasshouse_verify.charter import Chain, Link, verified_keyids
from glasshouse_verify.dsse import Envelope, parse_envelope
from glasshouse_verify.errors import FormatError, SignatureError, VerifyError
from glasshouse_verify.statement import Statement, Use, parse_statement

from glasshouse.ledger.digests import named_digests
from glasshouse.ledger.errors import EntryRefused, NotAdmitted
from glasshouse.ledger.log import Log, lookup, read_entries, read_head
from glasshouse.storage.db import Database


class Admission(Protocol):
    """The rule of a log about its entries.

    ``admit`` is called from several threads before an entry is sequenced, ``observe`` by the writer alone, once for
    each entry, in the order of their indexes, after the entry is durable.
    """

    def load(self, database: Database, log: Log) -> None:
        """Catch up with an existing log, before anything else is called."""

    def admit(self, entry: bytes) -> frozenset[bytes]:
        """The digests (32 bytes each) by which the entry is to be found. Raises EntryRefused or NotAdmitted."""

    def observe(self, index: int, entry: bytes) -> None:
        """Take note of a sequenced entry."""


class OpenAdmission:
    """Any entry of any content is taken: a plain C2SP log. Statements can still be looked up by their digests."""

    def load(self, database: Database, log: Log) -> None:
        """See Admission."""

    def admit(self, entry: bytes) -> frozenset[bytes]:
        """See Admission."""
        if not entry.startswith(b'{"payload"'):
            return frozenset()
        try:
            _, statement = _parse(entry)
        except FormatError:
            return frozenset()
        return _lookup_digests(statement)

    def observe(self, index: int, entry: bytes) -> None:
        """See Admission."""


class CharterAdmission:
    """Statements signed by at least one party of the newest charter known to the log, by a key that still counts.

    The newest charter is kept by watching the entries: an amendment counts from its own entry on. What the signer was
    entitled to say is not judged here: the log is also the record of wrong claims.
    """

    def __init__(self, pin: bytes) -> None:
        """Start from the payload of the first charter statement. Raises CharterError or FormatError."""
        self._chain = Chain(pin)
        self._next_index = 0

    @property
    def newest(self) -> Link:
        """The newest charter with the index of its entry (-1 for the pin, which is in force before any entry)."""
        return self._chain.newest

    def between(self, old_size: int, new_size: int) -> tuple[Link, ...]:
        """The charter in force for the entry at ``old_size``, and its amendments below ``new_size``."""
        first, last = self._chain.at(old_size), self._chain.at(new_size)
        links = tuple(self._chain.links)
        return links[links.index(first) : links.index(last) + 1]

    def link(self, version: int) -> Link | None:
        """The charter with this version number, with the index of its entry."""
        return next((link for link in self._chain.links if link.charter.version == version), None)

    def links(self) -> tuple[Link, ...]:
        """All charters, from the pin on."""
        return tuple(self._chain.links)

    def load(self, database: Database, log: Log) -> None:
        """See Admission. Every amendment names its predecessor, so the look-up leads from one to the next."""
        predecessor, after = self.newest, -1
        while indexes := lookup(database, log, bytes.fromhex(predecessor.id), after=after):
            for after in indexes:
                for entry in read_entries(database, log, after, after + 1):
                    self.observe(entry.index, entry.data)
                if self.newest is not predecessor:
                    break
            predecessor = self.newest
        self._next_index = read_head(database, log).sequenced

    def admit(self, entry: bytes) -> frozenset[bytes]:
        """See Admission."""
        try:
            envelope, statement = _parse(entry)
        except FormatError as error:
            raise EntryRefused(
                str(error), field=error.field, fix="send one canonical DSSE envelope with an in-toto statement"
            ) from error
        charter = self.newest.charter
        try:
            signers = verified_keyids(charter, envelope)
        except SignatureError as error:
            raise NotAdmitted(
                str(error), field="envelope.signatures", fix="sign the payload again; a signature of this key fails"
            ) from error
        if not any(self._counts(kid) for kid in signers):
            raise NotAdmitted(
                f"no party of charter version {charter.version} signed this statement",
                field="envelope.signatures",
                fix="sign with a key that the charter names and has not stopped",
            )
        return _lookup_digests(statement)

    def observe(self, index: int, entry: bytes) -> None:
        """See Admission."""
        self._next_index = max(self._next_index, index + 1)
        try:
            envelope, statement = _parse(entry)
        except FormatError:
            return
        if statement.use != Use.CHARTER or index <= self.newest.index:
            return
        try:
            self._chain.extend(envelope, index)
        except VerifyError:
            # Anybody admitted may log a charter that does not count: a draft short of votes, a second successor.
            return

    def _counts(self, kid: str) -> bool:
        key = self.newest.charter.key(kid)
        return key is not None and (key.stops is None or key.stops > self._next_index)


def _lookup_digests(statement: Statement) -> frozenset[bytes]:
    return frozenset(map(bytes.fromhex, named_digests(statement)))


def _parse(entry: bytes) -> tuple[Envelope, Statement]:
    envelope = parse_envelope(entry)
    return envelope, parse_statement(envelope.payload)
