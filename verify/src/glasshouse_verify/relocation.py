"""Relocation: a region's data leaves a site, under a supervisor; each step is a statement that names those before it.

    programme    which region is promised by when; stands before all moves and belongs to none
    scope        the old site's party: what will move, and what it says of replicas, backups and caches
    commitment   the supervisor and another member, each: SHA-256 of a secret that nobody can guess
    open         the old site, after two commitments and the amendment: inventory number `epoch` is where it begins
    source       the old site's rows then                 listing      the supervisor's own list of them, equal
    fence        the old site takes nothing more; its last rows
    arrival      each destination, by itself: the same rows, and the ciphertexts that it has for them
    reveal       each secret committed to, after the arrivals: they and the rows' root make the seed of the sample
    countersign  the supervisor read the sample, or everything, and found it right; or `refusal`: what is not
    quarantine   nothing is erased before `until`         erasure      what was erased, and what remains
    resample     the supervisor read a new sample with the old site cut off
    watch        reads and writes at the old site failed  alarm        one did not

A row is as in an inventory: {"commitment":…,"key":handle}. Those of a store that was never a site are in `foreign`.
Importing this module makes `parse_statement` know these statements.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256

from glasshouse_verify.codec import Digest, Identifier, Text, encode
from glasshouse_verify.encoding import format_json
from glasshouse_verify.errors import FormatError
from glasshouse_verify.region import Origin
from glasshouse_verify.shards import Sharded
from glasshouse_verify.statement import Subject, Use, register

Step = StrEnum(
    "Step",
    "PROGRAMME SCOPE COMMITMENT OPEN SOURCE LISTING FENCE ARRIVAL REVEAL COUNTERSIGN REFUSAL QUARANTINE ERASURE"
    " RESAMPLE WATCH ALARM",
)
# The members that a step has beside those of every step; what is not listed here it must not have.
_MEMBERS = {
    Step.PROGRAMME: "promised",
    Step.SCOPE: "site to source document",
    Step.COMMITMENT: "commitment",
    Step.OPEN: "site epoch charter",
    Step.SOURCE: "site epoch rows size inventory?",
    Step.LISTING: "site rows",
    Step.FENCE: "site epoch rows size refused at_ms inventory?",
    Step.ARRIVAL: "site rows size sealed at_ms inventory?",
    Step.REVEAL: "secret",
    Step.COUNTERSIGN: "seed read full document?",
    Step.REFUSAL: "faults",
    Step.QUARANTINE: "site until",
    Step.ERASURE: "site charter erased remains rows",
    Step.RESAMPLE: "seed read full document?",
    Step.WATCH: "site tried until",
    Step.ALARM: "faults",
}
_OPTIONAL = {name.rstrip("?") for members in _MEMBERS.values() for name in members.split()}
SECRET_BYTES = 32


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What the supervisor found wrong, at which site, and of which object where it is about one."""

    site: Identifier
    text: Text
    handle: Digest | None = None


@dataclass(frozen=True, kw_only=True)
class Remaining:
    """What could not be erased, and until when a lock holds it (Unix seconds), where it ends."""

    name: Text
    until: int | None = None


@dataclass(frozen=True, kw_only=True)
class Relocation:
    """One step of the move `relocation` of a region. `previous` are the statements that it follows on, sorted.

    `promised`: Unix seconds by region. `document`: a blob. `rows`, `sealed`: rows of objects, and of ciphertexts
    ({"key":handle,"sha256":…,"size":…}). `size`: bytes of content. `refused`: uploads refused by the fence so far.
    `at_ms`: when the old site stopped taking, or a destination began to (Unix milliseconds). `inventory`: the statement
    with the same rows, of a site. `read`: objects by site. `erased`: counts by what they count. `tried`: refused
    attempts by kind, since the move began to be watched.
    """

    party: Identifier
    region: Identifier
    relocation: Identifier
    step: Step
    time: int
    previous: tuple[Digest, ...]
    promised: Mapping[Identifier, int] | None = None
    site: Identifier | None = None
    to: tuple[Identifier, ...] | None = None
    source: Origin | None = None
    document: Digest | None = None
    commitment: Digest | None = None
    epoch: int | None = None
    charter: Digest | None = None
    rows: Sharded | None = None
    sealed: Sharded | None = None
    size: int | None = None
    inventory: Digest | None = None
    refused: int | None = None
    at_ms: int | None = None
    secret: bytes | None = None
    seed: Digest | None = None
    read: Mapping[Identifier, int] | None = None
    full: bool | None = None
    faults: tuple[Fault, ...] | None = None
    until: int | None = None
    erased: Mapping[Identifier, int] | None = None
    remains: tuple[Remaining, ...] | None = None
    tried: Mapping[Identifier, int] | None = None

    def __post_init__(self) -> None:
        must = _MEMBERS[self.step].split()
        for name in sorted(_OPTIONAL):
            allowed = name in must or f"{name}?" in must
            if (name in must and getattr(self, name) is None) or (not allowed and getattr(self, name) is not None):
                raise FormatError(f"relocation.{name}", f"{'is missing' if allowed else 'has no place'} in {self.step}")
        if list(self.previous) != sorted(set(self.previous)):
            raise FormatError("relocation.previous", "must be sorted, each once")
        if bool(self.previous) == (self.step in (Step.PROGRAMME, Step.SCOPE)):
            raise FormatError("relocation.previous", "names the steps before, in every one but programme and scope")
        if self.secret is not None and len(self.secret) != SECRET_BYTES:
            raise FormatError("relocation.secret", f"must have {SECRET_BYTES} bytes")
        if self.step in (Step.REFUSAL, Step.ALARM) and not self.faults:
            raise FormatError("relocation.faults", "must name at least one")

    def subjects(self) -> list[Subject]:
        """The rows where it commits to rows; else itself."""
        itself = sha256(format_json(encode(self))).hexdigest()
        return [(f"{self.relocation}/{self.step}", Digest(itself) if self.rows is None else self.rows.root)]


def commitment_of(relocation: str, party: str, secret: bytes) -> Digest:
    """What a party logs before the inventory, for the secret that it reveals after the arrivals."""
    said = f"glasshouse relocation v1\n{relocation}\n{party}\n".encode()
    return Digest(sha256(said + secret).hexdigest())


def seed_of(rows: Sharded, secrets: Mapping[str, bytes], after: str = "") -> Digest:
    """The seed of a sample of `rows`, from the secrets by party; `after` is the erasure, for the sample after it."""
    parts = [f"glasshouse sample v1\n{rows.root}\n{after}\n".encode()]
    parts += [f"{party}\n".encode() + secrets[party] for party in sorted(secrets)]
    return Digest(sha256(b"".join(parts)).hexdigest())


def draw(seed: str, site: str, size: int, count: int) -> Iterator[int]:
    """The places in the rows (in the order of their keys) to read at a site: `count` draws, each from all of them."""
    start = f"{seed}\n{site}\n".encode()
    for number in range(count if size else 0):
        yield int.from_bytes(sha256(start + number.to_bytes(8, "big")).digest(), "big") % size


register(Use.RELOCATION, Relocation)
