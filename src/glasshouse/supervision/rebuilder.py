"""The rebuilder: opens the source pack that was encrypted to it, builds the source itself, and says what it got.

A verdict is about what the release claims, so every failure that lies in the release (a pack that does not open, a
lock row that its public origin lacks, a build that fails, other bytes) is a verdict and is logged. What lies with this
machine (no sandbox, no network) is raised instead: nothing is said, and the rebuild is tried again later.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from glasshouse_verify.codec import Digest, Identifier, Text
from glasshouse_verify.codec import Path as TreePath
from glasshouse_verify.dsse import format_envelope
from glasshouse_verify.row import ManifestRoot
from glasshouse_verify.statement import (
    OpaqueFile,
    Rebuild,
    RebuiltFile,
    Release,
    ReleasedFile,
    Source,
    Tree,
    Use,
    Verdict,
)

from glasshouse.conveyor.build import NOT_VARIED, BuildResult, Output, build
from glasshouse.conveyor.errors import BuildFailed, InvalidInput, LockMismatch
from glasshouse.conveyor.lock import Lock, check_recipe, parse_lock
from glasshouse.conveyor.manifest import check_source
from glasshouse.conveyor.opaque import copied_from_source, opaque_files
from glasshouse.conveyor.origin import Origins, check, fetch
from glasshouse.conveyor.pack import open_pack
from glasshouse.conveyor.provenance import provenance
from glasshouse.conveyor.recipe import Recipe, parse_recipe
from glasshouse.conveyor.rootfs import make_root
from glasshouse.conveyor.store import Store
from glasshouse.conveyor.tree import LOCK_PATH, RECIPE_PATH, SourceTree
from glasshouse.ledger.errors import NotThere
from glasshouse.ledger.history import History, Record
from glasshouse.parties.signer import Signer, sign_statement
from glasshouse.supervision.diffoscope import diffoscope_report
from glasshouse.supervision.explain import explain

MAX_LOGGED_OPAQUE = 64
MAX_EXPLANATION = 3_500
MAX_BUILD_FILE = 4 * 2**20
_WORST = list(Verdict)


@dataclass(frozen=True, kw_only=True)
class Workshop:
    """What a rebuilder works with. `scratch` is emptied for every rebuild; the rest may be shared between them."""

    party: str
    signer: Signer
    identity: Path
    store: Store
    origins: Origins
    roots: Path
    scratch: Path


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A verdict ready to be signed and logged, with the blobs that it names."""

    rebuild: Rebuild
    blobs: dict[str, bytes]


class _Stop(Exception):
    """A verdict reached before anything was built."""

    def __init__(self, verdict: Verdict, explanation: str, log: bytes | None = None) -> None:
        super().__init__(explanation)
        self.verdict, self.explanation, self.log = verdict, explanation, log


def awaiting(history: History, party: str) -> Iterator[Record]:
    """Releases that ask for this party's verdict and do not have it yet, oldest first."""
    for record in history.standing(Use.RELEASE):
        product = history.chain.at(record.index).charter.products.get(record.predicate.product)
        if product is not None and party in product.gate.rebuilders and party not in history.verdicts(record):
            yield record


def rebuild_release(
    history: History, record: Record, workshop: Workshop, get_blob: Callable[[str], bytes], now: int
) -> Outcome:
    """Rebuild one release and judge it.

    `get_blob` fetches what statements name; its answers are hashed again here. Raises ConveyorError where this machine
    cannot rebuild at all; then there is no verdict.
    """
    release: Release = record.predicate
    work = _Rebuild(history, record, workshop, get_blob, now)
    shutil.rmtree(workshop.scratch, ignore_errors=True)
    workshop.scratch.mkdir(parents=True)
    try:
        return work.judge()
    except _Stop as stop:
        files = tuple(
            RebuiltFile(platform=f.platform, name=f.name, shipped=f.sha256, verdict=stop.verdict) for f in release.files
        )
        return work.outcome(files, stop.explanation, NOT_VARIED, log=stop.log)
    finally:
        shutil.rmtree(workshop.scratch, ignore_errors=True)


class _Rebuild:
    def __init__(
        self, history: History, record: Record, workshop: Workshop, get_blob: Callable[[str], bytes], now: int
    ) -> None:
        self.record, self.workshop, self.now = record, workshop, now
        self.release: Release = record.predicate
        self.blobs: dict[str, bytes] = {}
        self.opaque: tuple[OpaqueFile, ...] | None = None
        self.provenance: Digest | None = None
        self._get_blob = get_blob
        found = history.records.get(self.release.source)
        self.source: Source | None = found.predicate if found and isinstance(found.predicate, Source) else None

    def judge(self) -> Outcome:
        if self.source is None or self.source.product != self.release.product:
            raise _Stop(Verdict.PACK_NOT_RECEIVED, "the release names no source that is in the ledger")
        tree = self._open_pack(self.source)
        recipe, lock = self._environment(self.source, tree)
        self._list_opaque(tree)
        result = self._build(self.source, tree, recipe, lock)
        copied = copied_from_source(result.outputs, tree)
        if copied:
            output, path = copied[0]
            raise _Stop(
                Verdict.BUILD_FAILED, f"{output} was not built: it is a copy of the binary {path} in the source"
            )
        self._keep_provenance(self.source, result)
        built = {output.name: output for output in result.outputs}
        notes: list[str] = []
        files = tuple(self._compare(file, built.get(file.name), notes) for file in self.release.files)
        return self.outcome(files, "\n".join(notes), result.not_varied, log=result.log.read_bytes())

    def _open_pack(self, source: Source) -> SourceTree:
        expected = ManifestRoot(root=bytes.fromhex(source.manifest.root), size=source.manifest.size)
        path = self.workshop.scratch / "pack.age"
        try:
            path.write_bytes(self._blob(source.pack.sha256))
            tree, secret = open_pack(path, self.workshop.identity, self.workshop.scratch / "source")
            check_source(tree, secret, expected)
        except NotThere as error:
            raise _Stop(Verdict.PACK_NOT_RECEIVED, f"the source pack cannot be had: {error}") from error
        except InvalidInput as error:
            raise _Stop(Verdict.PACK_NOT_RECEIVED, f"the source pack is not the source shown: {error}") from error
        return tree

    def _environment(self, source: Source, tree: SourceTree) -> tuple[Recipe, Lock]:
        """The recipe and the lock of the tree, every row of the lock checked against its public origin."""
        workshop = self.workshop
        try:
            recipe = parse_recipe(tree.read(source.recipe, MAX_BUILD_FILE))
            lock = parse_lock(tree.read(LOCK_PATH, MAX_BUILD_FILE))
            if tree_of(lock.root) != source.lock or source.recipe != RECIPE_PATH:
                raise _Stop(Verdict.BUILD_FAILED, "the source names another recipe or environment lock than it holds")
            check_recipe(lock, recipe.environment)
            for row in lock.indexes:
                if not workshop.store.has(row.sha256):
                    workshop.store.add(self._blob(row.sha256))
            check(lock, workshop.store, workshop.origins)
        except (InvalidInput, LockMismatch) as error:
            raise _Stop(
                Verdict.BUILD_FAILED, f"the environment is not what its public origins hold: {error}"
            ) from error
        except NotThere as error:
            raise _Stop(Verdict.BUILD_FAILED, f"an archived package index cannot be had: {error}") from error
        return recipe, lock

    def _build(self, source: Source, tree: SourceTree, recipe: Recipe, lock: Lock) -> BuildResult:
        workshop = self.workshop
        fetch(lock, workshop.store, workshop.origins)
        root = make_root(lock, workshop.store, workshop.roots)
        # Another CPU set than the conveyor's default: a build that looks at the number of CPUs shows itself.
        cpus = sorted(os.sched_getaffinity(0))[-1:]
        try:
            return build(tree, recipe, root, source.epoch, workshop.scratch / "out", cpus=cpus)
        except BuildFailed as error:
            log = workshop.scratch / "out" / "build.log"
            content = log.read_bytes() if log.is_file() else None
            raise _Stop(Verdict.BUILD_FAILED, f"the build gave no output: {error}", content) from error

    def _list_opaque(self, tree: SourceTree) -> None:
        found = opaque_files(tree)
        self.opaque = tuple(
            OpaqueFile(path=TreePath(item.path), sha256=Digest(item.sha256)) for item in found[:MAX_LOGGED_OPAQUE]
        )

    def _keep_provenance(self, source: Source, result: BuildResult) -> None:
        payload = provenance(source, result, self.workshop.party)
        data = format_envelope(sign_statement(payload, self.workshop.signer))
        self.provenance = self._keep(data)

    def _compare(self, file: ReleasedFile, rebuilt: Output | None, notes: list[str]) -> RebuiltFile:
        digest = None if rebuilt is None else Digest(rebuilt.sha256)
        same = digest == file.built
        if rebuilt is None:
            notes.append(f"{file.name}: the build left no file of this name")
        elif not same:
            notes.append(f"{file.name}: {self._explain(file, rebuilt.path)}")
        return RebuiltFile(
            platform=file.platform,
            name=file.name,
            shipped=file.sha256,
            verdict=Verdict.IDENTICAL if same else Verdict.DIFFERS,
            rebuilt=digest,
        )

    def _explain(self, file: ReleasedFile, rebuilt: Path) -> str:
        shipped = self.workshop.scratch / "shipped" / file.name
        shipped.parent.mkdir(exist_ok=True)
        try:
            shipped.write_bytes(self._blob(file.sha256))
        except NotThere:
            return "other bytes; the shipped file itself cannot be had to compare"
        report = diffoscope_report(shipped, rebuilt)
        if report is not None:
            self._keep(report)
        return explain(shipped, rebuilt)

    def outcome(
        self, files: tuple[RebuiltFile, ...], explanation: str, not_varied: tuple[str, ...], log: bytes | None
    ) -> Outcome:
        reports = [digest for digest in self.blobs if digest != self.provenance]
        rebuild = Rebuild(
            party=Identifier(self.workshop.party),
            product=self.release.product,
            version=self.release.version,
            release=Digest(self.record.id),
            source=self.release.source,
            verdict=max((f.verdict for f in files), key=_WORST.index),
            files=files,
            blind=False,
            explanation=Text(explanation[:MAX_EXPLANATION]),
            not_varied=tuple(Text(item) for item in not_varied),
            time=self.now,
            opaque=self.opaque,
            provenance=self.provenance,
            report=Digest(reports[0]) if reports else None,
            log=None if log is None else self._keep(log),
        )
        return Outcome(rebuild=rebuild, blobs=self.blobs)

    def _keep(self, data: bytes) -> Digest:
        digest = Digest(sha256(data).hexdigest())
        self.blobs[digest] = data
        return digest

    def _blob(self, digest: str) -> bytes:
        data = self._get_blob(digest)
        if sha256(data).hexdigest() != digest:
            raise NotThere(f"the blob {digest[:16]}… has other content than its name says")
        return data


def tree_of(root: ManifestRoot) -> Tree:
    """A manifest root as statements name it."""
    return Tree(root=Digest(root.root.hex()), size=root.size)
