"""Evidence: one small file that proves offline what a released file is, given the pinned first charter.

    {"amendments":[{"delta":{…},"index":9,"signatures":[…]}],
     "checkpoint":"ledger.acme.example\\n1042\\n…",
     "handovers":[],"hashes":"<base64>","name":"…whl","pin":"<id of the first charter>","platform":"linux-x86_64",
     "provenance":{"signatures":[…],"statement":{…}},
     "rebuilds":[{"index":14,"predicate":{…},"signatures":[…]}],
     "release":{…},"row":{…},"schema":"glasshouse.evidence/v1","source":{…},"status":{…}}

Canonical JSON, uncompressed. Of a statement of our own its predicate is shown: the rest of it and its envelope, and so
its ledger leaf, follow byte for byte. Amendments are merge patches on the charter before. `hashes` is one multiproof
(see tlog) in the tree of `checkpoint`: it covers each statement's inclusion, and the consistency of the status's
checkpoint and the handovers. A handover is a checkpoint under the policy of the charter before, wherever an amendment
changes log key or witnesses.
"""

from dataclasses import dataclass

from glasshouse_verify.codec import Digest, FileName, Identifier, Json, decode, encode
from glasshouse_verify.dsse import EnvelopeSignature
from glasshouse_verify.encoding import format_json, parse_json
from glasshouse_verify.errors import FormatError
from glasshouse_verify.row import RowProof

SCHEMA = "glasshouse.evidence/v1"
MAX_EVIDENCE = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Attested:
    """A signed foreign statement, inline."""

    statement: Json
    signatures: tuple[EnvelopeSignature, ...]


@dataclass(frozen=True, kw_only=True)
class Logged:
    """A signed statement by its predicate, and its ledger index."""

    predicate: Json
    signatures: tuple[EnvelopeSignature, ...]
    index: int


@dataclass(frozen=True, kw_only=True)
class Amendment:
    """A charter amendment: the merge patch of its predicate, its ledger index and its votes."""

    delta: Json
    signatures: tuple[EnvelopeSignature, ...]
    index: int


@dataclass(frozen=True, kw_only=True)
class Basis:
    """What evidence of every kind has: from the pin to one checkpoint, and the multiproof of its statements."""

    schema: str
    pin: Digest
    checkpoint: str
    amendments: tuple[Amendment, ...]
    handovers: tuple[str, ...]
    hashes: bytes

    def __post_init__(self) -> None:
        if len(self.hashes) % 32:
            raise FormatError("evidence.hashes", "must be a whole number of 32-byte hashes")

    @property
    def nodes(self) -> list[bytes]:
        """The hashes of the multiproof."""
        return [self.hashes[start : start + 32] for start in range(0, len(self.hashes), 32)]


@dataclass(frozen=True, kw_only=True)
class Evidence(Basis):
    """The parsed file. `status` and `row` are absent where the oversight parties have not spoken yet."""

    schema: str = SCHEMA
    platform: Identifier
    name: FileName
    source: Logged
    release: Logged
    provenance: Attested
    rebuilds: tuple[Logged, ...]
    status: Logged | None = None
    row: RowProof | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.status is None) != (self.row is None):
            raise FormatError("evidence.row", "stands with the status or not at all")


def parse_evidence(data: bytes) -> Evidence:
    """Parse an evidence file strictly; raises FormatError naming the member."""
    evidence: Evidence = decode(Evidence, parse_json(data, "evidence", MAX_EVIDENCE), "evidence")
    return evidence


def format_evidence(evidence: Evidence) -> bytes:
    """The canonical bytes of an evidence file."""
    return format_json(encode(evidence))
