"""Assembling evidence from a ledger. Nothing here is trusted: the gate checks all of it again, offline."""

from collections.abc import Iterable
from typing import Any, Protocol

from glasshouse_verify.charter import Chain, Charter, make_patch, vouchers
from glasshouse_verify.checkpoint import parse_checkpoint
from glasshouse_verify.codec import Digest, FileName, Identifier, Json, encode
from glasshouse_verify.dsse import Envelope, parse_envelope, statement_id
from glasshouse_verify.encoding import encode_base64, parse_json
from glasshouse_verify.errors import VerifyError
from glasshouse_verify.evidence import SCHEMA, Amendment, Attested, Evidence, Logged, members_of
from glasshouse_verify.manifest import ManifestTree, RowProof, parse_rows
from glasshouse_verify.note import parse_note
from glasshouse_verify.statement import Rebuild, Release, ReleasedFile, Source, Statement, Status, parse_statement
from glasshouse_verify.status import status_key
from glasshouse_verify.tlog import multiproof

from glasshouse.ledger.errors import NotThere

MAX_PAYLOAD = 65_535


class LedgerSource(Protocol):
    """Where entries, proofs and blobs come from: a ledger's HTTP interface, a party's own view of one, or a test's.

    Every answer may be wrong; whoever uses it checks it against a witnessed checkpoint.
    """

    def checkpoint(self) -> bytes:
        """The newest witnessed checkpoint, a signed note."""

    def handover(self, version: int) -> bytes:
        """The checkpoint that shows charter `version` in the ledger under the witness policy of the version before."""

    def entry(self, index: int) -> bytes:
        """The entry at an index below the checkpoint's size."""

    def lookup(self, sha256: str) -> list[int]:
        """Indexes of the entries that name a digest or have it as their statement's id, ascending."""

    def read(self, level: int, index: int) -> bytes:
        """The root of a complete subtree (tlog.HashReader)."""

    def blob(self, sha256: str) -> bytes:
        """The content with this digest."""


class _Found:
    """One entry, parsed."""

    def __init__(self, index: int, data: bytes) -> None:
        self.index = index
        self.envelope: Envelope = parse_envelope(data)
        self.statement: Statement = parse_statement(self.envelope.payload)
        self.id = statement_id(self.envelope.payload)

    @property
    def predicate(self) -> Any:
        return self.statement.predicate

    def logged(self) -> Logged:
        return Logged(statement=_inline(self.envelope), signatures=members_of(self.envelope), index=self.index)


def assemble(source: LedgerSource, pin: bytes, digest: str, name: str | None = None) -> Evidence:
    """The evidence for the released file with SHA-256 `digest` (and file name `name`, where two files are the same).

    Raises NotThere where the ledger has no such file; what oversight has not said yet is left out.
    """
    checkpoint = source.checkpoint()
    head = parse_checkpoint(parse_note(checkpoint).text)
    find = _Finder(source, head.size)
    release, file = _find_release(find, digest, name)
    chain, amendments = _amendments(find, pin)
    status, row = _status(find, source, chain, release, file)
    rebuilds = [found for found in find.naming(release.id, Rebuild) if found.predicate.release == release.id]
    logged = [find.by_id(release.predicate.source, Source), release, *rebuilds]
    indexes = [found.index for found in (*logged, *amendments)]
    handovers = _handovers(chain, source)
    cuts = {parse_checkpoint(parse_note(note).text).size for note in handovers}
    if status is not None:
        indexes.append(status.index)
        cuts.add(status.predicate.checkpoint.size)
    provenance = parse_envelope(source.blob(release.predicate.provenance))
    return Evidence(
        schema=SCHEMA,
        pin=Digest(statement_id(pin)),
        platform=Identifier(file.platform),
        name=FileName(file.name),
        checkpoint=checkpoint.decode(),
        amendments=tuple(_deltas(chain, amendments)),
        handovers=tuple(note.decode() for note in handovers),
        source=logged[0].logged(),
        release=release.logged(),
        provenance=Attested(statement=_inline(provenance), signatures=members_of(provenance)),
        rebuilds=tuple(found.logged() for found in rebuilds),
        hashes=encode_base64(b"".join(multiproof(indexes, cuts, head.size, source.read))),
        status=None if status is None else status.logged(),
        row=None if row is None else Json(row.to_json()),
    )


class _Finder:
    """Finds statements by digest among the first `size` entries."""

    def __init__(self, source: LedgerSource, size: int) -> None:
        self._source, self._size = source, size

    def naming(self, digest: str, kind: type[Any]) -> list[_Found]:
        """Statements of a kind that name a digest, each at its lowest entry."""
        found: dict[str, _Found] = {}
        for entry in self.entries_naming(digest, kind):
            found.setdefault(entry.id, entry)
        return list(found.values())

    def entries_naming(self, digest: str, kind: type[Any]) -> Iterable[_Found]:
        """Every entry of a kind that names a digest: votes may make a statement stand later than its first entry.

        Entries that do not parse are passed over; anybody may have logged them.
        """
        for index in self._source.lookup(digest):
            if index < self._size:
                try:
                    entry = _Found(index, self._source.entry(index))
                except VerifyError:
                    continue
                if isinstance(entry.predicate, kind):
                    yield entry

    def by_id(self, identity: str, kind: type[Any]) -> _Found:
        """The statement with this id."""
        for found in self.naming(identity, kind):
            if found.id == identity:
                return found
        raise NotThere(f"the ledger has no {kind.__name__.lower()} {identity[:16]}…")


def _find_release(find: _Finder, digest: str, name: str | None) -> tuple[_Found, ReleasedFile]:
    for found in find.naming(digest, Release):
        for file in found.predicate.files:
            if file.sha256 == digest and name in (None, file.name):
                return found, file
    raise NotThere(f"the ledger has no release of a file with SHA-256 {digest}")


def _amendments(find: _Finder, pin: bytes) -> tuple[Chain, list[_Found]]:
    chain, links = Chain(pin), []
    extended = True
    while extended:
        extended = False
        for found in find.entries_naming(chain.newest.id, Charter):
            if found.predicate.previous != chain.newest.id:
                continue
            try:
                chain.extend(found.envelope, found.index)
            except VerifyError:
                continue
            links.append(found)
            extended = True
            break
    return chain, links


def _deltas(chain: Chain, amendments: list[_Found]) -> Iterable[Amendment]:
    for before, found in zip(chain.links, amendments, strict=False):
        delta = make_patch(encode(before.charter), encode(found.predicate))
        yield Amendment(delta=Json(delta), signatures=members_of(found.envelope), index=found.index)


def _status(
    find: _Finder, source: LedgerSource, chain: Chain, release: _Found, file: ReleasedFile
) -> tuple[_Found, RowProof] | tuple[None, None]:
    """The newest status that has its quorum, and this file's row in it."""
    for link in reversed(chain.links):
        for found in sorted(find.entries_naming(link.id, Status), key=lambda item: -item.index):
            rule = chain.at(found.predicate.checkpoint.size).charter.status
            signed = {s.keyid for s in found.envelope.signatures}
            parties = [p for p in rule.parties if signed & set(link.charter.parties[p].keys)]
            if len(parties) < rule.quorum:
                continue
            tree = ManifestTree(parse_rows(source.blob(found.predicate.blob)))
            row = tree.prove(status_key(release.predicate, file))
            return (found, row) if isinstance(row, RowProof) else (None, None)
    return None, None


def _handovers(chain: Chain, source: LedgerSource) -> list[bytes]:
    """A checkpoint under the older policy for each amendment that changes who vouches for the ledger."""
    pairs = zip(chain.links, chain.links[1:], strict=False)
    return [
        source.handover(new.charter.version) for old, new in pairs if vouchers(old.charter) != vouchers(new.charter)
    ]


def _inline(envelope: Envelope) -> Json:
    return Json(parse_json(envelope.payload, "statement", MAX_PAYLOAD))
