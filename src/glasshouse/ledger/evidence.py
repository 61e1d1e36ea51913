"""Assembling evidence from a ledger. Nothing here is trusted: the gate checks all of it again, offline."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Protocol

from glasshouse_verify.charter import Chain, Charter, vouchers
from glasshouse_verify.checkpoint import parse_checkpoint
from glasshouse_verify.codec import Digest, FileName, Identifier, decode, encode
from glasshouse_verify.dsse import Envelope, format_envelope, parse_envelope, statement_id
from glasshouse_verify.encoding import parse_json
from glasshouse_verify.errors import VerifyError
from glasshouse_verify.evidence import SCHEMA, Amendment, Attested, Evidence, Logged
from glasshouse_verify.manifest import ManifestTree, parse_rows
from glasshouse_verify.note import format_note, parse_note
from glasshouse_verify.row import RowProof
from glasshouse_verify.statement import Rebuild, Release, ReleasedFile, Source, Statement, Status, parse_statement
from glasshouse_verify.status import StatusRow, status_key
from glasshouse_verify.tree import multiproof

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
        """The root of a complete subtree (tree.HashReader)."""

    def blob(self, sha256: str) -> bytes:
        """The content with this digest."""


class Found:
    """One entry, parsed."""

    def __init__(self, index: int, data: bytes) -> None:
        self.index = index
        self.envelope: Envelope = parse_envelope(data)
        self.statement: Statement = parse_statement(self.envelope.payload)
        self.id = statement_id(self.envelope.payload)

    @property
    def predicate(self) -> Any:
        """The typed predicate."""
        return self.statement.predicate

    def logged(self) -> Logged:
        """As evidence shows it."""
        return Logged(predicate=encode(self.predicate), signatures=self.envelope.signatures, index=self.index)


def assemble(source: LedgerSource, pin: bytes, digest: str, name: str | None = None) -> Evidence:
    """The evidence for the released file with SHA-256 `digest` (and file name `name`, where two files are the same).

    Raises NotThere where the ledger has no such file; what oversight has not said yet is left out.
    """
    checkpoint = source.checkpoint()
    find = Finder(source, parse_checkpoint(parse_note(checkpoint).text).size, pin)
    release, file = _find_release(find, digest, name)
    status, row = _status(find, release, file)
    rebuilds = _rebuilds(find, release, status, row)
    source_found = find.by_id(release.predicate.source, Source)
    shown = [source_found, release, *rebuilds, *([] if status is None else [status])]
    provenance = parse_envelope(source.blob(release.predicate.provenance))
    return Evidence(
        schema=SCHEMA,
        platform=Identifier(file.platform),
        name=FileName(file.name),
        source=source_found.logged(),
        release=release.logged(),
        provenance=Attested(
            statement=parse_json(provenance.payload, "provenance", MAX_PAYLOAD), signatures=provenance.signatures
        ),
        rebuilds=tuple(found.logged() for found in rebuilds),
        status=None if status is None else status.logged(),
        row=row,
        **basis(find, checkpoint, shown, () if status is None else (status.predicate.checkpoint.size,)),
    )


def basis(find: "Finder", checkpoint: bytes, shown: Iterable[Found], cuts: Iterable[int] = ()) -> dict[str, Any]:
    """The members of an `evidence.Basis`, but for the schema: the chain, and what proves the statements shown."""
    handovers = list(_handovers(find.chain, find.source))
    sizes = {*cuts, *(parse_checkpoint(parse_note(note).text).size for note in handovers)}
    indexes = [found.index for found in (*shown, *find.amendments)]
    return {
        "pin": Digest(statement_id(find.pin)),
        "checkpoint": _bare(checkpoint, find.chain.newest.charter).decode(),
        "amendments": tuple(_deltas(find.chain, find.amendments)),
        "handovers": tuple(note.decode() for note in handovers),
        "hashes": b"".join(multiproof(indexes, sizes, find.size, find.source.read)),
    }


def extend_chain(
    chain: Chain, source: LedgerSource, size: int, check: Callable[[int, bytes], None] = lambda _index, _entry: None
) -> Found | None:
    """Extend a chain of charters by the lowest of the first `size` entries that amends its newest, where there is one.

    An entry for which `check` raises a VerifyError is passed over.
    """
    for found in _entries(source, size, chain.newest.id, Charter):
        try:
            check(found.index, format_envelope(found.envelope))
            chain.extend(found.envelope, found.index)
        except VerifyError:
            continue
        return found
    return None


def _entries(source: LedgerSource, size: int, digest: str, kind: type[Any]) -> Iterable[Found]:
    """Every entry of a kind that names a digest; what does not parse, anybody may have logged."""
    for index in source.lookup(digest):
        if index < size:
            try:
                entry = Found(index, source.entry(index))
            except VerifyError:
                continue
            if isinstance(entry.predicate, kind):
                yield entry


class Finder:
    """Finds statements by digest among the first `size` entries, and judges which of them stand."""

    def __init__(self, source: LedgerSource, size: int, pin: bytes) -> None:
        self.source, self.size, self.pin, self.chain = source, size, pin, Chain(pin)
        self.amendments: list[Found] = []
        while (found := extend_chain(self.chain, source, size)) is not None:
            self.amendments.append(found)

    def standing(self, digest: str, kind: type[Any]) -> list[Found]:
        """Statements of a kind that name a digest, each at its lowest entry whose signatures alone make it stand."""
        found: dict[str, Found] = {}
        for entry in _entries(self.source, self.size, digest, kind):
            if entry.id not in found and self._stands(entry):
                found[entry.id] = entry
        return list(found.values())

    def _stands(self, entry: Found) -> bool:
        try:
            parties = self.chain.signers(entry.envelope, entry.statement.use, entry.index)
        except VerifyError:
            return False
        if isinstance(entry.predicate, Status):
            rule = self.chain.at(entry.predicate.checkpoint.size).charter.status
            return sum(1 for party in rule.parties if party in parties) >= rule.quorum
        return entry.predicate.party in parties

    def by_id(self, identity: str, kind: type[Any]) -> Found:
        """The statement with this id."""
        for found in self.standing(identity, kind):
            if found.id == identity:
                return found
        raise NotThere(f"the ledger has no {kind.__name__.lower()} {identity[:16]}…")


def _find_release(find: Finder, digest: str, name: str | None) -> tuple[Found, ReleasedFile]:
    candidates = [
        (f, file) for f in find.standing(digest, Release) for file in f.predicate.files if file.sha256 == digest
    ]
    for found, file in sorted(candidates, key=lambda candidate: candidate[1].name != name):
        return found, file
    raise NotThere(f"the ledger has no release of a file with SHA-256 {digest}")


def _rebuilds(find: Finder, release: Found, status: Found | None, row: RowProof | None) -> list[Found]:
    """The verdicts that the status shows, and the younger ones; without a status, all that nobody has replaced."""
    product = find.chain.at(release.index).charter.products.get(release.predicate.product)
    entitled = product.gate.rebuilders if product else ()
    found = [
        item
        for item in find.standing(release.id, Rebuild)
        if item.predicate.release == release.id and item.predicate.party in entitled
    ]
    if status is None or row is None:
        replaced = {(item.predicate.party, item.predicate.replaces) for item in found}
        return [item for item in found if (item.predicate.party, item.id) not in replaced]
    verdicts = decode(StatusRow, row.row, "row").verdicts
    shown = {verdict.statement for verdict in verdicts.values()}
    return [item for item in found if item.id in shown or item.index >= status.predicate.checkpoint.size]


def _deltas(chain: Chain, amendments: list[Found]) -> Iterable[Amendment]:
    for before, found in zip(chain.links, amendments, strict=False):
        delta = make_patch(encode(before.charter), encode(found.predicate))
        yield Amendment(delta=delta, signatures=found.envelope.signatures, index=found.index)


def _status(find: Finder, release: Found, file: ReleasedFile) -> tuple[Found, RowProof] | tuple[None, None]:
    """The newest status that has its quorum, and this file's row in it."""
    for link in reversed(find.chain.links):
        for found in sorted(find.standing(link.id, Status), key=lambda item: -item.index):
            tree = ManifestTree(parse_rows(find.source.blob(found.predicate.blob)))
            row = tree.prove(status_key(release.predicate, file))
            return (found, row) if isinstance(row, RowProof) else (None, None)
    return None, None


def _handovers(chain: Chain, source: LedgerSource) -> Iterable[bytes]:
    """A checkpoint under the older policy for each amendment that changes who vouches for the ledger."""
    for old, new in zip(chain.links, chain.links[1:], strict=False):
        if vouchers(old.charter) != vouchers(new.charter):
            yield _bare(source.handover(new.charter.version), old.charter)


def _bare(data: bytes, charter: Charter) -> bytes:
    """A checkpoint without the signatures of those whom the charter does not name: nobody who reads it knows them."""
    note = parse_note(data)
    known = {(key.name, key.key_id) for key in (*charter.policy.logs, *charter.policy.witnesses.values())}
    return format_note(replace(note, signatures=tuple(s for s in note.signatures if (s.name, s.key_id) in known)))


def make_patch(old: Any, new: Any) -> Any:
    """The merge patch with apply_patch(old, patch) == new; documents hold no null."""
    if not isinstance(old, dict) or not isinstance(new, dict):
        return new
    patch: dict[str, Any] = {name: None for name in old if name not in new}
    for name, value in new.items():
        if name not in old:
            patch[name] = value
        elif old[name] != value:
            patch[name] = make_patch(old[name], value)
    return patch
