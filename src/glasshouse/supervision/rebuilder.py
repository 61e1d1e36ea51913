"""The rebuilder: commits to what it built from a logged source, and once the release is out says what it got.

A verdict is about what the release claims, so every failure that lies in the release (a pack that does not open, a
lock row that its public origin lacks, a build that fails, other bytes) is a verdict and is logged. What lies with this
machine (no sandbox, no network) is raised instead: nothing is said, and the rebuild is tried again later.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from glasshouse_verify.blind import Commit, commitment, outputs_tree
from glasshouse_verify.codec import Digest, Identifier, Text
from glasshouse_verify.statement import (
    OpaqueFile,
    Opening,
    Rebuild,
    RebuiltFile,
    Release,
    ReleasedFile,
    Source,
    Tree,
    Use,
    Verdict,
)

from glasshouse.conveyor.build import Output
from glasshouse.ledger.errors import NotThere
from glasshouse.ledger.history import History, Record
from glasshouse.supervision.authenticode import check_modulo_signature
from glasshouse.supervision.compare import compare
from glasshouse.supervision.difference_page import Sides, difference_page
from glasshouse.supervision.diffoscope import make_report
from glasshouse.supervision.errors import SignatureRefused
from glasshouse.supervision.explain import describe
from glasshouse.supervision.workshop import (
    NOT_VARIED,
    Built,
    GetBlob,
    Unbuilt,
    Workshop,
    build_source,
    fetch_blob,
    remembering,
    scratch,
)

MAX_EXPLANATION = 3_500
UPLOAD_SECONDS = 120
_WORST = list(Verdict)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A verdict ready to be signed and logged, with the blobs that it names."""

    rebuild: Rebuild
    blobs: dict[str, bytes]


def uncommitted(history: History, party: str) -> Iterator[Record]:
    """Sources that ask for this party's rebuild, unreleased, that it has not committed to; oldest first."""
    committed = {r.predicate.source for r in history.standing(Use.COMMIT) if r.predicate.party == party}
    released = {r.predicate.source for r in history.standing(Use.RELEASE)}
    for record in history.standing(Use.SOURCE):
        if record.id not in committed | released and _asks(history, record, party):
            yield record


def awaiting(history: History, party: str) -> Iterator[Record]:
    """Releases that ask for this party's verdict and do not have it yet, oldest first."""
    for record in history.standing(Use.RELEASE):
        if _asks(history, record, party) and party not in history.verdicts(record):
            yield record


def _asks(history: History, record: Record, party: str) -> bool:
    product = history.chain.at(record.index).charter.products.get(record.predicate.product)
    return product is not None and party in product.gate.rebuilders


def commit_to(record: Record, workshop: Workshop, get_blob: GetBlob, now: int) -> Commit:
    """Build a source before its release and commit to the outputs. Raises Unbuilt, ConveyorError."""
    source: Source = record.predicate
    built = build_source(record.id, source, workshop, remembering(get_blob, workshop))
    return Commit(
        party=Identifier(workshop.party),
        product=source.product,
        version=source.version,
        source=Digest(record.id),
        commitment=commitment(workshop.party, record.id, source, built.nonce, _outputs(built)),
        time=now,
    )


def rebuild_release(history: History, record: Record, workshop: Workshop, get_blob: GetBlob, now: int) -> Outcome:
    """Judge one release by a rebuild, the committed one where there is one.

    `get_blob` fetches what statements name; its answers are hashed again here. Raises ConveyorError where this machine
    cannot rebuild at all; then there is no verdict.
    """
    judge = _Judge(history, record, workshop, remembering(get_blob, workshop), now)
    try:
        return judge.judge()
    except Unbuilt as fault:
        return judge.unbuilt(fault)


def _outputs(built: Built) -> Tree:
    return outputs_tree((built.platform, output.name, output.sha256) for output in built.outputs)


class _Judge:
    def __init__(self, history: History, record: Record, workshop: Workshop, get_blob: GetBlob, now: int) -> None:
        self.history, self.record, self.workshop, self.get_blob, self.now = history, record, workshop, get_blob, now
        self.release: Release = record.predicate
        self.blobs: dict[str, bytes] = {}
        self.report: Digest | None = None

    def judge(self) -> Outcome:
        found = self.history.records.get(self.release.source)
        if found is None or not isinstance(found.predicate, Source) or found.predicate.product != self.release.product:
            raise Unbuilt(Verdict.PACK_NOT_RECEIVED, "the release names no source of this product in the ledger")
        source = found.predicate
        built = build_source(found.id, source, self.workshop, self.get_blob)
        outputs = {output.name: output for output in built.outputs}
        notes: list[str] = []
        with scratch(self.workshop) as place:
            files = tuple(self._compare(file, outputs.get(file.name), place, notes) for file in self.release.files)
        return self._outcome(
            files,
            "\n".join(notes),
            executor=built.executor,
            not_varied=built.not_varied,
            opaque=built.opaque or None,
            provenance=self._keep(built.provenance),
            log=self._keep(built.log),
            opening=self._opening(found, source, built),
        )

    def unbuilt(self, fault: Unbuilt) -> Outcome:
        """The verdict where there is nothing to compare."""
        files = tuple(
            RebuiltFile(platform=f.platform, name=f.name, shipped=f.sha256, verdict=fault.verdict)
            for f in self.release.files
        )
        not_varied = tuple(Text(item) for item in NOT_VARIED)
        log = None if fault.log is None else self._keep(fault.log)
        return self._outcome(files, fault.explanation, executor=fault.executor, not_varied=not_varied, log=log)

    def _opening(self, found: Record, source: Source, built: Built) -> Opening | None:
        """What opens this party's commitment to the source, if it made one to this very build before the release."""
        outputs = _outputs(built)
        expected = commitment(self.workshop.party, found.id, source, built.nonce, outputs)
        wanted = (self.workshop.party, found.id, expected)
        for record in self.history.standing(Use.COMMIT):
            commit: Commit = record.predicate
            said = (commit.party, commit.source, commit.commitment)
            if said == wanted and record.index < self.record.index:
                return Opening(commit=Digest(record.id), nonce=built.nonce, outputs=outputs)
        return None

    def _compare(self, file: ReleasedFile, rebuilt: Output | None, place: Path, notes: list[str]) -> RebuiltFile:
        digest = None if rebuilt is None else Digest(rebuilt.sha256)
        verdict, words = self._verdict(file, rebuilt, place)
        if words:
            notes.append(f"{file.name}: {words}")
        return RebuiltFile(
            platform=file.platform,
            name=file.name,
            shipped=file.sha256,
            verdict=verdict,
            rebuilt=digest,
        )

    def _verdict(self, file: ReleasedFile, rebuilt: Output | None, place: Path) -> tuple[Verdict, str]:
        """The verdict on one file, and what there is to say about it."""
        if rebuilt is None:
            return Verdict.DIFFERS, "the build left no file of this name"
        if rebuilt.sha256 == file.sha256:
            if self.workshop.origins.deposit is not None:
                self.workshop.origins.deposit.keep(file.sha256, rebuilt.path)
            return Verdict.IDENTICAL, ""
        if rebuilt.sha256 == file.unsigned:
            return self._verdict_on_signed(file, rebuilt.path)
        return Verdict.DIFFERS, self._explain(file, rebuilt.path, place)

    def _verdict_on_signed(self, file: ReleasedFile, rebuilt: Path) -> tuple[Verdict, str]:
        """The verdict on a file of which the vendor says that it embedded a signature in just these rebuilt bytes."""
        pins = self.history.chain.at(self.record.index).charter.products[self.release.product].gate.authenticode
        if pins is None:
            return Verdict.DIFFERS, "the charter pins no certificate for signatures inside of files"
        try:
            shipped = fetch_blob(self.get_blob, file.sha256)
        except NotThere as error:
            # The vendor stores files right after it has logged them.
            if 0 <= self.now - self.release.time < UPLOAD_SECONDS:
                raise
            raise Unbuilt(
                Verdict.PACK_NOT_RECEIVED, f"{file.name} as shipped cannot be had to check its signature: {error}"
            ) from error
        try:
            return Verdict.IDENTICAL_MODULO_SIGNATURE, str(check_modulo_signature(shipped, rebuilt.read_bytes(), pins))
        except SignatureRefused as refused:
            return Verdict.DIFFERS, str(refused)

    def _explain(self, file: ReleasedFile, rebuilt: Path, place: Path) -> str:
        shipped = place / file.name
        try:
            shipped.write_bytes(fetch_blob(self.get_blob, file.sha256))
        except NotThere:
            return "other bytes; the shipped file itself cannot be had to compare"
        comparison, report = compare(shipped, rebuilt), make_report(shipped, rebuilt)
        page = difference_page(Sides(shipped=shipped, rebuilt=rebuilt), comparison, report)
        self.report = self.report or self._keep(page)
        words = describe(comparison)
        return words if report.data is not None else f"{words}\nNo diffoscope report: {report.reason}"

    def _outcome(
        self,
        files: tuple[RebuiltFile, ...],
        explanation: str,
        *,
        executor: Text | None,
        not_varied: tuple[Text, ...],
        log: Digest | None,
        opaque: tuple[OpaqueFile, ...] | None = None,
        provenance: Digest | None = None,
        opening: Opening | None = None,
    ) -> Outcome:
        rebuild = Rebuild(
            party=Identifier(self.workshop.party),
            product=self.release.product,
            version=self.release.version,
            release=Digest(self.record.id),
            source=self.release.source,
            verdict=max((f.verdict for f in files), key=_WORST.index),
            files=files,
            explanation=Text(explanation[:MAX_EXPLANATION]),
            executor=executor,
            not_varied=not_varied,
            time=self.now,
            opening=opening,
            opaque=opaque,
            provenance=provenance,
            report=self.report,
            log=log,
        )
        return Outcome(rebuild=rebuild, blobs=self.blobs)

    def _keep(self, data: bytes) -> Digest:
        digest = Digest(sha256(data).hexdigest())
        self.blobs[digest] = data
        return digest
