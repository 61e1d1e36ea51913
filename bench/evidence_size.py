"""Bytes of the evidence for a released file, after five charter amendments in a ledger of 10^6 entries.

A release of four files with three rebuilds and a status over 20,000 files, near the end of the ledger; the amendments
are spread over it, and one of them changes the witnesses, so that a handover is due. Statements and signatures are
real, assembled as for a customer and judged by the gate, which has to say verified. The other entries are leaf hashes.
"""

import importlib
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from glasshouse_verify.codec import Digest, FileName
from glasshouse_verify.evidence import format_evidence, parse_evidence
from glasshouse_verify.gate import check_file
from glasshouse_verify.note import COSIGNATURE_V1, format_vkey
from glasshouse_verify.report import Outcome
from glasshouse_verify.statement import RebuiltFile, ReleasedFile, Source, Verdict
from glasshouse_verify.tlog import leaf_hash
from glasshouse_verify.tree import Frontier

from bench import Figure, median_seconds
from glasshouse.conveyor.build import NOT_VARIED, BuildResult, Output
from glasshouse.conveyor.provenance import provenance

TESTS = Path(__file__).resolve().parent.parent / "tests"
SIZE = 1_000_000
LIMIT_BYTES = 32_768
AMENDED_AT = (50_000, 210_000, 400_000, 620_000, 850_000)
RELEASED_AT = (990_000, 990_004, 991_300, 991_950, 992_700)  # source, release, three rebuilds
STATUS_AT = 999_000
STATUS_ROWS = 20_000
FILES = ("engine-2.0.whl", "engine-2.0.tar.gz", "engine-cli-2.0.whl", "engine-2.0.rules.tar")
ROUNDS = 15

# The initiative in memory that the tests judge the gate by; tests/ is no package, so it is found by its path.
sys.path.insert(0, str(TESTS))
world: Any = importlib.import_module("world")


class _Entries(list[bytes]):
    """The entries that somebody will read; `len` counts the others too."""

    def __init__(self) -> None:
        super().__init__()
        self.places: dict[int, bytes] = {}
        self.size = 0

    def append(self, entry: bytes) -> None:
        super().append(entry)
        self.places[self.size] = entry
        self.size += 1

    def __len__(self) -> int:
        return self.size


class Long(world.World):  # type: ignore[misc]
    """The same initiative with a long ledger: `skip_to` fills it up with entries of which only the hash is known."""

    entries: Any

    def __init__(self) -> None:
        self._levels = [bytearray() for _ in range(SIZE.bit_length())]
        self._growing = Frontier()
        super().__init__()
        for name in ("w3", "w3-note", "third", "lab-2"):
            self.keys[name] = world.seeded(name)

    def post_entry(self, data: bytes) -> str:
        if not isinstance(self.entries, _Entries):
            self.entries = _Entries()
        identity: str = super().post_entry(data)
        self._grow(leaf_hash(data))
        return identity

    def skip_to(self, index: int) -> None:
        for place in range(len(self.entries), index):
            self._grow(leaf_hash(place.to_bytes(8, "big")))
        self.entries.size = self.history.size = index

    def _grow(self, leaf: bytes) -> None:
        for level, node in enumerate(self._growing.append(leaf)):
            self._levels[level] += node

    def read(self, level: int, index: int) -> bytes:
        return bytes(self._levels[level][32 * index : 32 * index + 32])

    def frontier(self, size: int) -> Frontier:
        return Frontier.load(size, self.read)

    def entry(self, index: int) -> bytes:
        data: bytes = self.entries.places[index]
        return data

    def lookup(self, sha: str) -> list[int]:
        return [index for index, entry in self.entries.places.items() if sha in self._named(entry)]


def _amendments(ledger: Long) -> Iterator[dict[str, Any]]:
    """What charters are amended for: a platform, a rotated key, a witness, a deadline, a third rebuilder."""
    product, old, new = world.PRODUCT, ledger.keys["lab"].keyid, ledger.keys["lab-2"]
    yield {"products": {product: {"platforms": ["linux-x86_64", "windows-x86_64"]}}}
    rotated = world.charter_key(new, "bern", world.USES["lab"])
    yield {"parties": {"lab": {"keys": {old: {"stops": AMENDED_AT[2]}, new.keyid: rotated}}}}
    key = format_vkey(ledger.vkey("w3.example", "w3-note", COSIGNATURE_V1))
    yield {
        "parties": {"w3": {"name": "Third witness", "roles": ["witness"], "keys": {}}},
        "ledger": {"witnesses": {"w3": {"party": "w3", "key": key, "url": "https://w3.example"}}},
    }
    yield {"status": {"maximum_age": 43_200}}
    third = ledger.keys["third"]
    yield {
        "parties": {
            "third": {
                "name": "Third rebuilder",
                "roles": ["rebuilder", "auditor"],
                "keys": {third.keyid: world.charter_key(third, "oslo", world.USES["second"])},
            }
        },
        "products": {product: {"gate": {"rebuilders": ["lab", "second", "third"]}}},
        "status": {"parties": ["lab", "second", "third"]},
    }


def _release(ledger: Long, shipped: list[bytes]) -> None:
    """Log the source, the release and its rebuilds."""
    source = ledger.source("2.0", commit="9f1c2d7b5e0a4c3f8d6b7a9e1f2c3d4b5a697887")
    digests = [world.digest(content) for content in shipped]
    files = tuple(
        ReleasedFile(platform=world.PLATFORM, name=FileName(name), sha256=Digest(sha))
        for name, sha in sorted(zip(FILES, digests, strict=True))
    )
    ledger.skip_to(RELEASED_AT[0])
    built = ledger.envelope(_provenance(source, digests), "acme")
    release = ledger.release("2.0", source=source, provenance=built, files=files)
    for index, party in zip(RELEASED_AT[2:], ("lab", "second", "third"), strict=True):
        ledger.skip_to(index)
        same = tuple(
            RebuiltFile(
                platform=file.platform,
                name=file.name,
                shipped=file.sha256,
                verdict=Verdict.IDENTICAL,
                rebuilt=file.sha256,
            )
            for file in files
        )
        logs = {name: world.digest(f"{party} {name}".encode()) for name in ("provenance", "log")}
        signer = "lab-2" if party == "lab" else party
        ledger.rebuild(release, party, signer=signer, files=same, not_varied=NOT_VARIED, opaque=(), **logs)


def _provenance(source: Source, digests: list[str]) -> bytes:
    with tempfile.NamedTemporaryFile(suffix="build.log") as log:
        path = Path(log.name)
        outputs = tuple(Output(name=n, path=path, sha256=sha, size=1) for n, sha in zip(FILES, digests, strict=True))
        times = {"started": source.time, "finished": source.time + 60}
        result = BuildResult(
            outputs=outputs, log=path, executor="bubblewrap 0.8.0", variations={}, not_varied=NOT_VARIED, **times
        )
        return provenance(source, result, "acme")


def _status(ledger: Long) -> None:
    """A status over as many files as such a ledger may hold."""
    rows = list(ledger.history.status_rows())
    like = rows[0]
    rows += [like | {"key": f"acme/engine/1.{n}/{world.PLATFORM}/engine-1.{n}.whl"} for n in range(STATUS_ROWS)]
    payload = ledger.status_of(sorted(rows, key=lambda row: row["key"]))
    ledger.skip_to(STATUS_AT)
    ledger.post(payload, "lab-2", "second", "third")


def _breakdown(data: bytes) -> dict[str, int]:
    """Bytes by what they are for; what is left over is the JSON around them."""
    members = json.loads(data)

    def size(value: object) -> int:
        return len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())

    logged = [members[name] for name in ("source", "release", "status")] + members["rebuilds"]
    signed = [members["provenance"], *logged, *members["amendments"]]
    parts = {
        "predicates": sum(size(item["predicate"]) for item in logged),
        "provenance": size(members["provenance"]["statement"]),
        "amendments' deltas": sum(size(item["delta"]) for item in members["amendments"]),
        "signatures": sum(size(item["signatures"]) for item in signed),
        "checkpoints": size(members["checkpoint"]) + size(members["handovers"]),
        "ledger hashes": size(members["hashes"]),
        "status row with its hashes": size(members["row"]),
    }
    return parts | {"the rest": len(data) - sum(parts.values())}


def long_evidence() -> tuple[Long, bytes, bytes]:
    """The ledger, the largest of the four files' evidence, and what that file holds."""
    ledger, shipped = Long(), [name.encode() for name in FILES]
    for index, patch in zip(AMENDED_AT, _amendments(ledger), strict=True):
        ledger.skip_to(index)
        ledger.amend(patch)
        if "ledger" in patch:
            ledger.handovers[ledger.history.chain.newest.charter.version] = ledger.checkpoint(size=index + 1)
    _release(ledger, shipped)
    _status(ledger)
    ledger.skip_to(SIZE)
    checkpoint = ledger.checkpoint("w1", "w2", "w3")
    ledger.checkpoint = lambda: checkpoint
    written = [format_evidence(ledger.evidence(content)) for content in shipped]
    return ledger, *max(zip(written, shipped, strict=True), key=lambda pair: len(pair[0]))


def run() -> Figure:
    """The figure is that of the largest of the four files' evidence; times are of the gate alone."""
    ledger, data, content = long_evidence()
    evidence = parse_evidence(data)
    assert (len(evidence.amendments), len(evidence.handovers)) == (len(AMENDED_AT), 1)

    def judge() -> None:
        report = check_file(ledger.pin, evidence, world.digest(content), world.NOW)
        assert report.outcome == Outcome.VERIFIED, report

    gate_seconds, parse_seconds = median_seconds(judge, lambda: parse_evidence(data), rounds=ROUNDS)
    parts = ", ".join(f"{name} {size:,}" for name, size in _breakdown(data).items())
    return {
        "name": "evidence_size",
        "ours": len(data),
        "limit": LIMIT_BYTES,
        "ratio": LIMIT_BYTES / len(data),
        "unit": "bytes",
        "target": f"at most {LIMIT_BYTES:,} bytes",
        "notes": f"{len(FILES)} files, 3 rebuilds, 5 amendments, 1 handover, {SIZE:,} entries; {parts}; "
        f"check_file {gate_seconds * 1_000:.1f} ms after {parse_seconds * 1_000:.1f} ms of parsing",
    }
