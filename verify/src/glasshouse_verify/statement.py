"""Statements: one signed claim about things named by digest (in-toto Statement v1).

    {"_type":"https://in-toto.io/Statement/v1",
     "predicate":{"file":…,"party":"acme",…},
     "predicateType":"https://glasshouse.example/release/v1",
     "subject":[{"digest":{"sha256":"…"},"name":"yara_python-4.5.4-cp311-cp311-linux_x86_64.whl"}]}

The payload is canonical JSON. The subject of our own predicates follows from the predicate (`subjects`), so a statement
has one form only; a subject that says anything else is refused. Foreign predicates (SLSA provenance) are kept as JSON.
The identity of a statement is the SHA-256 of its DSSE pre-authentication encoding (`dsse.statement_id`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from glasshouse_verify.codec import Digest, FileName, Identifier, Json, Path, Product, Text, Version, decode, encode
from glasshouse_verify.dsse import MAX_ENTRY
from glasshouse_verify.encoding import format_json, parse_json
from glasshouse_verify.errors import FormatError

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
URI_BASE = "https://glasshouse.example/"
PROVENANCE_TYPE = "https://slsa.dev/provenance/v1"


# What a key may sign; one per predicate, so that a key entitled to one thing is entitled to nothing else.
Use = StrEnum(
    "Use",
    "CHARTER SOURCE PROVENANCE RELEASE COMMIT REBUILD STATUS HOLD FINDING RECEIPT INVENTORY INSPECTION ACCESS TRAP"
    " RELOCATION",
)


class Verdict(StrEnum):
    """What a rebuilder found; never merged. The order is from best to worst."""

    IDENTICAL = "identical"
    IDENTICAL_MODULO_SIGNATURE = "identical-modulo-signature"
    STABILISED_EQUAL = "stabilised-equal"
    PACK_NOT_RECEIVED = "pack-not-received"
    BUILD_FAILED = "build-failed"
    DIFFERS = "differs"


# What a hold statement does to a release.
Action = StrEnum("Action", "HOLD WITHDRAW SUPERSEDE LIFT")

Subject = tuple[str, str]  # name, SHA-256


class Predicate(Protocol):
    """A typed predicate: names its party and knows its subjects."""

    @property
    def party(self) -> Identifier:
        """The party that makes the claim."""

    def subjects(self) -> list[Subject]:
        """Name and SHA-256 of each thing the claim is about."""


@dataclass(frozen=True, kw_only=True)
class Tree:
    """A manifest by its Merkle root and number of rows."""

    root: Digest
    size: int


@dataclass(frozen=True, kw_only=True)
class Pack:
    """The encrypted source pack: ciphertext digest and bytes, and the parties that can open it."""

    sha256: Digest
    size: int
    recipients: tuple[Identifier, ...]


@dataclass(frozen=True, kw_only=True)
class Source:
    """The source of one product version. `epoch` is the commit time in Unix seconds, the only time a build may see.

    `lock_file` is the environment lock at rest, `indexes` the signed package indexes it was resolved from: both blobs.
    `history` is read by `lineage`: it has no say in the gate.
    """

    party: Identifier
    product: Product
    version: Version
    manifest: Tree
    lock: Tree
    lock_file: Digest
    indexes: tuple[Digest, ...]
    recipe: Path
    epoch: int
    time: int
    pack: Pack
    commit: Text | None = None
    authors: tuple[Text, ...] | None = None
    reviewers: tuple[Text, ...] | None = None
    history: Json | None = None

    def subjects(self) -> list[Subject]:
        """The manifest's root, named product@version."""
        return [(f"{self.product}@{self.version}", self.manifest.root)]


@dataclass(frozen=True, kw_only=True)
class ReleasedFile:
    """One shipped file. `unsigned` is the digest before a signature was embedded, where one was."""

    platform: Identifier
    name: FileName
    sha256: Digest
    unsigned: Digest | None = None

    @property
    def built(self) -> Digest:
        """The digest that the build has to yield."""
        return self.unsigned or self.sha256


@dataclass(frozen=True, kw_only=True)
class Release:
    """Exactly one digest for each product, version, platform and file."""

    party: Identifier
    product: Product
    version: Version
    channel: Identifier
    source: Digest
    provenance: Digest
    sbom: Digest
    files: tuple[ReleasedFile, ...]
    time: int

    def __post_init__(self) -> None:
        keys = [(f.platform, f.name) for f in self.files]
        if not keys or keys != sorted(set(keys)):
            raise FormatError("release.files", "must be sorted by platform and name, each once, at least one")

    def subjects(self) -> list[Subject]:
        """The shipped files."""
        return [(f.name, f.sha256) for f in self.files]


@dataclass(frozen=True, kw_only=True)
class RebuiltFile:
    """What one rebuild made of one released file."""

    platform: Identifier
    name: FileName
    shipped: Digest
    verdict: Verdict
    rebuilt: Digest | None = None

    def __post_init__(self) -> None:
        if self.verdict == Verdict.IDENTICAL and self.rebuilt != self.shipped:
            raise FormatError("rebuild.files.rebuilt", "must be the shipped digest beside the verdict identical")
        if self.verdict == Verdict.IDENTICAL_MODULO_SIGNATURE and self.rebuilt is None:
            raise FormatError("rebuild.files.rebuilt", "is missing beside the verdict identical-modulo-signature")


@dataclass(frozen=True, kw_only=True)
class OpaqueFile:
    """A binary in the source that nobody can read as source."""

    path: Path
    sha256: Digest


@dataclass(frozen=True, kw_only=True)
class Opening:
    """Opens a commitment: the rebuild was made before anybody could know what the vendor would ship."""

    commit: Digest
    nonce: Digest
    outputs: Tree


@dataclass(frozen=True, kw_only=True)
class Rebuild:
    """A rebuilder's verdict on a release, negative ones too; `replaces` names its own earlier verdict.

    `executor` names what isolated the build, with its version.
    """

    party: Identifier
    product: Product
    version: Version
    release: Digest
    source: Digest
    verdict: Verdict
    files: tuple[RebuiltFile, ...]
    explanation: Text
    not_varied: tuple[Text, ...]
    time: int
    executor: Text | None = None
    opening: Opening | None = None
    opaque: tuple[OpaqueFile, ...] | None = None
    provenance: Digest | None = None
    report: Digest | None = None
    log: Digest | None = None
    replaces: Digest | None = None

    def __post_init__(self) -> None:
        order = list(Verdict)
        if not self.files or self.verdict != max((f.verdict for f in self.files), key=order.index):
            raise FormatError("rebuild.verdict", "must be the worst of the files' verdicts")

    def subjects(self) -> list[Subject]:
        """The shipped files the verdict is about."""
        return [(f.name, f.shipped) for f in self.files]


@dataclass(frozen=True, kw_only=True)
class Head:
    """A ledger head: what a checkpoint says."""

    origin: str
    size: int
    root: Digest


@dataclass(frozen=True, kw_only=True)
class Status:
    """The state of every release in the ledger below `checkpoint`, as one manifest; see gate.StatusRow for its rows."""

    party: Identifier
    checkpoint: Head
    charter: Digest
    rows: Tree
    blob: Digest
    time: int

    def subjects(self) -> list[Subject]:
        """The manifest file of the rows."""
        return [("status", self.blob)]


def build_parameters(source: Source) -> dict[str, Any]:
    """The external parameters that the provenance of a build must name: what went in, and nothing else."""
    trees = {"source": encode(source.manifest), "lock": encode(source.lock)}
    return trees | {"product": source.product, "version": source.version, "recipe": source.recipe}


_PREDICATES: dict[Use, type[Any]] = {Use.SOURCE: Source, Use.RELEASE: Release, Use.REBUILD: Rebuild, Use.STATUS: Status}


def register(use: Use, kind: type[Any]) -> None:
    """Make `kind` the predicate that keys with `use` sign."""
    _PREDICATES[use] = kind


def predicate_type(use: Use) -> str:
    """The predicate type URI of a use."""
    return PROVENANCE_TYPE if use == Use.PROVENANCE else f"{URI_BASE}{use}/v1"


@dataclass(frozen=True, kw_only=True)
class Statement:
    """A parsed statement. `predicate` is typed for our own kinds, JSON for foreign ones; `payload` was signed."""

    use: Use
    predicate: Any
    subject: tuple[Subject, ...]
    payload: bytes


@dataclass(frozen=True, kw_only=True)
class _Digests:
    sha256: Digest


@dataclass(frozen=True, kw_only=True)
class _Subject:
    name: str
    digest: _Digests


@dataclass(frozen=True, kw_only=True)
class _Frame:
    """The JSON of a statement."""

    _type: str = STATEMENT_TYPE
    predicate: Json
    predicateType: str
    subject: tuple[_Subject, ...]


def make_statement(use: Use, predicate: Predicate) -> bytes:
    """The canonical payload that claims `predicate`; raises FormatError where the result would not parse."""
    return format_statement(predicate_type(use), predicate.subjects(), encode(predicate))


def format_statement(kind: str, subjects: list[Subject], predicate: object) -> bytes:
    """Canonical payload of any in-toto statement; foreign predicate types too."""
    subject = tuple(_Subject(name=name, digest=_Digests(sha256=Digest(digest))) for name, digest in subjects)
    payload = format_json(encode(_Frame(predicateType=kind, predicate=predicate, subject=subject)))
    parse_statement(payload)
    return payload


def parse_statement(payload: bytes) -> Statement:
    """Parse a statement strictly; raises FormatError naming the member."""
    frame: _Frame = decode(_Frame, parse_json(payload, "statement", MAX_ENTRY), "statement")
    subject = tuple((item.name, item.digest.sha256) for item in frame.subject)
    if not subject:
        raise FormatError("statement.subject", "must not be empty")
    use = next((use for use in Use if predicate_type(use) == frame.predicateType), None)
    if use == Use.PROVENANCE:
        predicate = decode(Mapping[str, Json], frame.predicate, "statement.predicate")
    elif use in _PREDICATES:
        predicate = decode(_PREDICATES[use], frame.predicate, use.value)
        if subject != tuple(predicate.subjects()):
            raise FormatError("statement.subject", "does not follow from the predicate")
    else:
        raise FormatError("statement.predicateType", "is not a type this version knows")
    return Statement(use=use, predicate=predicate, subject=subject, payload=payload)
