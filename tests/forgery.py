"""Evidence as a cheat assembles it: exactly the entries chosen, whether or not they stand, proven as well as can be.

`ledger.evidence.assemble` shows what stands. A cheat shows what suits: `forge` takes the indexes of entries of a World
(honest ledger or fork) and leaves out, adds and orders as told. Signatures and proofs are real; only the choice is not.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from glasshouse_verify.checkpoint import parse_checkpoint
from glasshouse_verify.codec import encode
from glasshouse_verify.dsse import Envelope, parse_envelope, statement_id
from glasshouse_verify.encoding import parse_json
from glasshouse_verify.evidence import SCHEMA, Amendment, Attested, Evidence, Logged
from glasshouse_verify.manifest import ManifestTree, parse_rows
from glasshouse_verify.note import parse_note
from glasshouse_verify.row import RowProof
from glasshouse_verify.statement import Status, parse_statement
from glasshouse_verify.status import status_key
from glasshouse_verify.tree import multiproof
from world import World

from glasshouse.ledger.evidence import make_patch


def index_of(world: World, identity: str) -> int:
    """The lowest entry of the statement with this id, whoever signed it."""
    return next(n for n, entry in enumerate(world.entries) if _id(entry) == identity)


def forge(
    world: World,
    release: str | int,
    *,
    rebuilds: Sequence[str | int] = (),
    status: str | int | None = None,
    amendments: Sequence[str | int] = (),
    source: str | int | None = None,
    provenance: Envelope | None = None,
    row: Mapping[str, Any] | None = None,
    checkpoint: bytes | None = None,
    handovers: Sequence[bytes] = (),
) -> Evidence:
    """Evidence from entries named by statement id (lowest entry) or by index."""

    def at(which: str | int) -> int:
        return which if isinstance(which, int) else index_of(world, which)

    def logged(which: str | int) -> Logged:
        envelope = parse_envelope(world.entries[at(which)])
        return Logged(predicate=encode(_says_of(envelope.payload)), signatures=envelope.signatures, index=at(which))

    says = _says(world.entries[at(release)])
    file = says.files[0]
    note = checkpoint or world.checkpoint()
    size = parse_checkpoint(parse_note(note).text).size
    shown = [at(says.source if source is None else source), at(release), *map(at, rebuilds), *map(at, amendments)]
    cuts = {parse_checkpoint(parse_note(handover).text).size for handover in handovers}
    if status is not None:
        shown.append(at(status))
        cuts.add(_says(world.entries[at(status)]).checkpoint.size)
    if provenance is None:
        provenance = parse_envelope(world.blobs[says.provenance])
    return Evidence(
        schema=SCHEMA,
        pin=statement_id(world.pin),
        platform=file.platform,
        name=file.name,
        checkpoint=note.decode(),
        amendments=tuple(_amendments(world, [at(which) for which in amendments])),
        handovers=tuple(handover.decode() for handover in handovers),
        source=logged(shown[0]),
        release=logged(release),
        provenance=Attested(
            statement=parse_json(provenance.payload, "provenance", 65_535), signatures=provenance.signatures
        ),
        rebuilds=tuple(map(logged, rebuilds)),
        hashes=proof(world, shown, cuts, size),
        status=None if status is None else logged(status),
        row=None if status is None else _row(world, _says(world.entries[at(status)]), status_key(says, file), row),
    )


def clean_row(world: World, release: str, rebuilds: Sequence[str] = ()) -> dict[str, Any]:
    """The status row that a liar writes: this release is the only one, these rebuilds stand, nothing is held."""
    says = world.statement(release)
    verdicts = {}
    for identity in rebuilds:
        rebuild = world.statement(identity)
        verdicts[rebuild.party] = {"blind": False, "statement": identity, "verdict": rebuild.verdict.value}
    return {
        "conflicts": [],
        "holds": [],
        "index": index_of(world, release),
        "key": status_key(says, says.files[0]),
        "release": release,
        "sha256": says.files[0].sha256,
        "verdicts": verdicts,
    }


def proof(world: World, shown: Sequence[int], cuts: set[int], size: int) -> bytes:
    """The evidence's hashes; empty where the entries shown lie outside the tree, as a cheat can do no better."""
    if not all(index < size for index in shown) or not all(0 < cut <= size for cut in cuts):
        return b""
    return b"".join(multiproof(shown, cuts, size, world.read))


def _amendments(world: World, indexes: Sequence[int]) -> list[Amendment]:
    before, found = encode(_says_of(world.pin)), []
    for index in indexes:
        envelope = parse_envelope(world.entries[index])
        after = encode(_says_of(envelope.payload))
        found.append(Amendment(delta=make_patch(before, after), signatures=envelope.signatures, index=index))
        before = after
    return found


def _row(world: World, status: Status, key: str, row: Mapping[str, Any] | None) -> Any:
    """The row of a key, or one that replaces it although nothing proves it."""
    found = ManifestTree(parse_rows(world.blobs[status.blob])).prove(key)
    if row is not None:
        index, path = (found.index, found.proof) if isinstance(found, RowProof) else (0, ())
        return RowProof(row=dict(row), index=index, proof=path)
    if not isinstance(found, RowProof):
        raise LookupError(f"the status has no row {key}: pass one")
    return found


def _id(entry: bytes) -> str | None:
    return statement_id(parse_envelope(entry).payload) if entry.startswith(b'{"payload"') else None


def _says(entry: bytes) -> Any:
    return _says_of(parse_envelope(entry).payload)


def _says_of(payload: bytes) -> Any:
    return parse_statement(payload).predicate
