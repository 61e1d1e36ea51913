"""An initiative in memory: real keys, real charter, real statements in a real tree, and no servers.

The trust rules are tested against it, honest and hostile alike: every statement is signed by the keys a test chooses,
and the evidence is assembled by the same function that serves customers. Processes and HTTP are tested in e2e.
"""

from dataclasses import replace
from hashlib import sha256
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from glasshouse_verify.blind import Commit, commitment, outputs_tree
from glasshouse_verify.charter import Charter, apply_patch
from glasshouse_verify.checkpoint import Checkpoint, format_checkpoint
from glasshouse_verify.codec import decode, encode
from glasshouse_verify.dsse import Envelope, format_envelope, parse_envelope, statement_id
from glasshouse_verify.encoding import encode_base64
from glasshouse_verify.evidence import Evidence
from glasshouse_verify.gate import check_file
from glasshouse_verify.manifest import ManifestTree, format_rows
from glasshouse_verify.note import (
    COSIGNATURE_V1,
    ED25519,
    Note,
    NoteSignature,
    VerifierKey,
    format_note,
    format_vkey,
    signature_value,
    signed_bytes,
)
from glasshouse_verify.report import Report
from glasshouse_verify.statement import (
    Head,
    Opening,
    Pack,
    Rebuild,
    RebuiltFile,
    Release,
    ReleasedFile,
    Source,
    Status,
    Tree,
    Use,
    Verdict,
    build_parameters,
    format_statement,
    make_statement,
    parse_statement,
    predicate_type,
)
from glasshouse_verify.tlog import leaf_hash
from glasshouse_verify.tree import Frontier

from glasshouse.ledger.digests import named_digests
from glasshouse.ledger.evidence import assemble
from glasshouse.ledger.history import History
from glasshouse.parties.signer import FileSigner, sign_statement

ORIGIN = "ledger.acme.example"
NOW = 1_800_000_000
PRODUCT = "acme/engine"
PLATFORM = "linux-x86_64"
FILE = "engine-1.0.whl"
SHIPPED = b"the engine as shipped"
DAY = 86_400
USES = {
    "acme": ["source", "release", "hold", "provenance", "charter"],
    "lab": ["commit", "rebuild", "status", "hold", "finding", "charter"],
    "second": ["commit", "rebuild", "status", "hold", "finding"],
    "ngo": ["charter"],
    "w1": [],
    "w2": [],
}
ROLES = {
    "acme": ["vendor", "ledger", "member"],
    "lab": ["rebuilder", "auditor", "member"],
    "second": ["rebuilder", "auditor"],
    "ngo": ["member"],
    "w1": ["witness"],
    "w2": ["witness"],
}


def digest(data: bytes) -> str:
    return sha256(data).hexdigest()


def seeded(name: str) -> FileSigner:
    """The same key for the same name in every run."""
    return FileSigner(Ed25519PrivateKey.from_private_bytes(sha256(name.encode()).digest()))


def charter_key(signer: FileSigner, site: str, uses: list[str]) -> dict[str, Any]:
    return {"public": encode_base64(signer.public), "site": site, "uses": uses}


class World:
    """One ledger and the parties around it. `post` logs an entry; nothing else changes the ledger."""

    def __init__(self, **changes: Any) -> None:
        self.now = NOW
        self.keys = {name: seeded(name) for name in (*ROLES, "log", "w1-note", "w2-note", "mallory", "acme-old")}
        self.witnesses, self.log_key = ("w1", "w2"), "log"
        self.entries: list[bytes] = []
        self.blobs = {digest(content): content for content in (b"pack", b"sbom")}
        self.handovers: dict[int, bytes] = {}
        self.openings: dict[tuple[str, str], Opening] = {}
        document = apply_patch(self._document(), changes)
        self.pin = make_statement(Use.CHARTER, decode(Charter, document, "charter"))
        self.history = History(self.pin)
        self.post(self.pin, "acme", "lab")

    def vkey(self, name: str, key: str, algorithm: int) -> VerifierKey:
        return VerifierKey(name=name, algorithm=algorithm, public=self.keys[key].public)

    def _document(self) -> dict[str, Any]:
        site = {"acme": "zurich-1", "lab": "bern"}
        parties: dict[str, Any] = {
            name: {
                "name": name.title(),
                "roles": roles,
                "keys": {self.keys[name].keyid: charter_key(self.keys[name], site.get(name, "oslo"), USES[name])},
            }
            for name, roles in ROLES.items()
        }
        old = self.keys["acme-old"]
        parties["acme"]["keys"][old.keyid] = charter_key(old, "moscow", ["source", "release", "provenance"])
        witnesses = {
            name: {
                "party": name,
                "key": format_vkey(self.vkey(f"{name}.example", f"{name}-note", COSIGNATURE_V1)),
                "url": f"http://{name}.example",
            }
            for name in ("w1", "w2")
        }
        return {
            "party": "acme",
            "initiative": "Test initiative",
            "version": 1,
            "time": NOW - 10 * DAY,
            "parties": parties,
            "sites": {
                "zurich-1": {"name": "Zurich", "jurisdiction": "CH"},
                "moscow": {"name": "Moscow", "jurisdiction": "RU"},
                "bern": {"name": "Bern", "jurisdiction": "CH"},
                "oslo": {"name": "Oslo", "jurisdiction": "NO"},
            },
            "members": {"parties": ["acme", "lab", "ngo"], "quorum": 2},
            "ledger": {
                "origin": ORIGIN,
                "key": format_vkey(self.vkey(ORIGIN, "log", ED25519)),
                "url": "http://ledger.acme.example",
                "faulty": 0,
                "witnesses": witnesses,
            },
            "status": {"parties": ["lab", "second"], "quorum": 2, "maximum_age": DAY},
            "products": {
                PRODUCT: {
                    "platforms": [PLATFORM],
                    "channels": ["stable"],
                    "reviewers": 0,
                    "gate": {
                        "rebuilders": ["lab", "second"],
                        "quorum": 2,
                        "accept": ["identical"],
                        "blind": False,
                        "build_in": ["CH"],
                        "sign_in": ["CH"],
                    },
                }
            },
        }

    # Logging

    def envelope(self, payload: bytes, *signers: str) -> Envelope:
        return sign_statement(payload, *(self.keys[name] for name in signers))

    def post(self, payload: bytes, *signers: str) -> str:
        """Log a payload signed by the named keys; returns the statement's id."""
        return self.post_entry(format_envelope(self.envelope(payload, *signers)))

    def post_entry(self, data: bytes) -> str:
        self.entries.append(data)
        self.history.feed(data)
        return statement_id(parse_envelope(data).payload)

    def amend(self, patch: dict[str, Any], *signers: str) -> str:
        return self.post(self.amendment(patch), *(signers or ("acme", "ngo")))

    def amendment(self, patch: dict[str, Any]) -> bytes:
        newest = self.history.chain.newest
        document = apply_patch(encode(newest.charter), patch)
        document |= {"version": newest.charter.version + 1, "previous": newest.id, "time": self.now}
        return make_statement(Use.CHARTER, decode(Charter, document, "charter"))

    # A release and what follows

    def source(self, version: str = "1.0", **changes: Any) -> Source:
        fields: dict[str, Any] = {
            "party": "acme",
            "product": PRODUCT,
            "version": version,
            "manifest": Tree(root=digest(b"tree" + version.encode()), size=42),
            "lock": Tree(root=digest(b"lock"), size=7),
            "lock_file": digest(b"lock file"),
            "indexes": (digest(b"InRelease"),),
            "recipe": "glasshouse/recipe.toml",
            "epoch": NOW - 5 * DAY,
            "time": NOW - DAY,
            "pack": Pack(sha256=digest(b"pack"), size=1000, recipients=("lab", "second")),
        }
        return Source(**(fields | changes))

    def provenance(self, source: Source, file: ReleasedFile, /, *signers: str, **parameters: Any) -> Envelope:
        external = build_parameters(source) | parameters
        predicate = {
            "buildDefinition": {"buildType": "https://glasshouse.example/build/v1", "externalParameters": external},
            "runDetails": {"builder": {"id": "https://glasshouse.example/conveyor"}},
        }
        payload = format_statement(predicate_type(Use.PROVENANCE), [(file.name, file.built)], predicate)
        return self.envelope(payload, *(signers or ("acme",)))

    def commit(self, party: str, source_id: str, *digests: str) -> str:
        """Log a party's commitment to the outputs of a source; returns its statement id."""
        source = self.statement(source_id)
        outputs = outputs_tree((PLATFORM, FILE, sha) for sha in digests)
        nonce = digest(f"nonce of {party}".encode())
        commit = Commit(
            party=party,
            product=source.product,
            version=source.version,
            source=source_id,
            commitment=commitment(party, source_id, source, nonce, outputs),
            time=NOW - DAY + 30,
        )
        identity = self.post(make_statement(Use.COMMIT, commit), party)
        self.openings[party, source_id] = Opening(commit=identity, nonce=nonce, outputs=outputs)
        return identity

    def release(
        self,
        version: str = "1.0",
        *,
        shipped: bytes = SHIPPED,
        name: str = FILE,
        unsigned: str | None = None,
        source: Source | None = None,
        provenance: Envelope | None = None,
        by: str = "acme",
        built_by: str = "acme",
        committed: tuple[str, ...] = (),
        **changes: Any,
    ) -> str:
        """Log source, the commitments of the parties named, and release; returns the release's statement id."""
        source = source or self.source(version)
        source_id = self.post(make_statement(Use.SOURCE, source), by)
        for party in committed:
            self.commit(party, source_id, unsigned or digest(shipped))
        file = ReleasedFile(platform=PLATFORM, name=name, sha256=digest(shipped), unsigned=unsigned)
        built = format_envelope(provenance or self.provenance(source, file, built_by))
        self.blobs[digest(built)] = built
        fields: dict[str, Any] = {
            "party": "acme",
            "product": PRODUCT,
            "version": version,
            "channel": "stable",
            "source": source_id,
            "provenance": digest(built),
            "sbom": digest(b"sbom"),
            "files": (file,),
            "time": NOW - DAY + 60,
        }
        return self.post(make_statement(Use.RELEASE, Release(**(fields | changes))), by)

    def statement(self, identity: str) -> Any:
        """The predicate of a logged statement, whether or not it stands."""
        envelopes = map(parse_envelope, self.entries)
        return next(parse_statement(e.payload).predicate for e in envelopes if statement_id(e.payload) == identity)

    def rebuild_of(self, release_id: str, party: str, verdict: Verdict = Verdict.IDENTICAL, **changes: Any) -> Rebuild:
        release = self.statement(release_id)
        file = release.files[0]
        rebuilt = {
            Verdict.IDENTICAL: file.sha256,
            Verdict.IDENTICAL_MODULO_SIGNATURE: file.built,
            Verdict.DIFFERS: digest(b"other"),
        }.get(verdict)
        fields: dict[str, Any] = {
            "party": party,
            "product": release.product,
            "version": release.version,
            "release": release_id,
            "source": release.source,
            "verdict": verdict,
            "files": (
                RebuiltFile(
                    platform=file.platform, name=file.name, shipped=file.sha256, verdict=verdict, rebuilt=rebuilt
                ),
            ),
            "opening": self.openings.get((party, release.source)),
            "explanation": "",
            "not_varied": ("kernel",),
            "time": NOW - DAY + 600,
        }
        return Rebuild(**(fields | changes))

    def rebuild(self, release_id: str, party: str, verdict: Verdict = Verdict.IDENTICAL, **changes: Any) -> str:
        signer = changes.pop("signer", party)
        return self.post(make_statement(Use.REBUILD, self.rebuild_of(release_id, party, verdict, **changes)), signer)

    def status_payload(self, **changes: Any) -> bytes:
        """The honest status over everything logged so far, with `changes` to its fields."""
        rows = list(self.history.status_rows())
        return self.status_of(rows, **changes)

    def status_of(self, rows: list[dict[str, Any]], **changes: Any) -> bytes:
        data, tree = b"".join(format_rows(rows)), ManifestTree(rows)
        self.blobs[digest(data)] = data
        head = Head(origin=ORIGIN, size=len(self.entries), root=self.frontier(len(self.entries)).root().hex())
        fields: dict[str, Any] = {
            "party": "lab",
            "checkpoint": head,
            "charter": self.history.chain.newest.id,
            "rows": Tree(root=tree.root.hex(), size=tree.size),
            "blob": digest(data),
            "time": self.now - 60,
        }
        return make_statement(Use.STATUS, Status(**(fields | changes)))

    def status(self, *signers: str, **changes: Any) -> str:
        return self.post(self.status_payload(**changes), *(signers or ("lab", "second")))

    def honest(self) -> str:
        """The whole honest run; returns the release's id."""
        release = self.release()
        self.oversee(release)
        return release

    def oversee(self, release: str) -> str:
        """Honest rebuilds of a release and the status after them; returns the status's id."""
        self.rebuild(release, "lab")
        self.rebuild(release, "second")
        return self.status()

    # The ledger as a source of evidence

    def frontier(self, size: int) -> Frontier:
        frontier = Frontier()
        for entry in self.entries[:size]:
            frontier.append(leaf_hash(entry))
        return frontier

    def checkpoint(self, *witnesses: str, size: int | None = None, key: str = "", when: int | None = None) -> bytes:
        size = len(self.entries) if size is None else size
        text = format_checkpoint(Checkpoint(origin=ORIGIN, size=size, root=self.frontier(size).root()))
        return self.cosign(text, *(witnesses or self.witnesses), key=key, when=when)

    def cosign(self, text: str, *witnesses: str, key: str = "", when: int | None = None) -> bytes:
        signatures = [self.note_signature(text, ORIGIN, key or self.log_key, ED25519, 0)]
        for name in witnesses:
            signatures.append(
                self.note_signature(text, f"{name}.example", f"{name}-note", COSIGNATURE_V1, when or self.now - 30)
            )
        return format_note(Note(text=text, signatures=tuple(signatures)))

    def note_signature(self, text: str, name: str, key: str, algorithm: int, when: int) -> NoteSignature:
        signature = self.keys[key].sign(signed_bytes(algorithm, text, when))
        value = signature_value(algorithm, signature, when)
        return NoteSignature(name=name, key_id=self.vkey(name, key, algorithm).key_id, value=value)

    def handover(self, version: int) -> bytes:
        return self.handovers[version]

    def entry(self, index: int) -> bytes:
        return self.entries[index]

    def lookup(self, sha: str) -> list[int]:
        return [n for n, entry in enumerate(self.entries) if sha in self._named(entry)]

    def _named(self, entry: bytes) -> frozenset[str]:
        return named_digests(parse_statement(parse_envelope(entry).payload))

    def read(self, level: int, index: int) -> bytes:
        frontier = Frontier()
        for entry in self.entries[index << level : (index + 1) << level]:
            frontier.append(leaf_hash(entry))
        return frontier.root()

    def blob(self, sha: str) -> bytes:
        return self.blobs[sha]

    def evidence(self, shipped: bytes = SHIPPED) -> Evidence:
        return assemble(self, self.pin, digest(shipped))

    def verify(self, evidence: Evidence | None = None, shipped: bytes = SHIPPED, at: int | None = None) -> Report:
        return check_file(self.pin, evidence or self.evidence(shipped), digest(shipped), self.now if at is None else at)


def texts(report: Report) -> dict[str, str]:
    """Claim → text, for what is not verified."""
    return {claim.claim: claim.text for claim in report.claims if claim.outcome}


__all__ = ["DAY", "FILE", "NOW", "PLATFORM", "PRODUCT", "SHIPPED", "World", "digest", "replace", "texts"]
