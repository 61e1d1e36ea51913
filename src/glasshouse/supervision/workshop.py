"""The rebuilder's workshop: from a source statement to built files, with everything checked on the way.

What is built is kept under the source's id until the verdict is logged, so that the commitment made before the release
and the verdict made after it speak of one and the same build, across crashes too.
"""

import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from glasshouse_verify.codec import Digest, Identifier, Text
from glasshouse_verify.codec import Path as TreePath
from glasshouse_verify.dsse import format_envelope
from glasshouse_verify.errors import FormatError
from glasshouse_verify.lineage import history_of, parse_lineage
from glasshouse_verify.row import ManifestRoot
from glasshouse_verify.statement import OpaqueFile, Source, Tree, Verdict

from glasshouse.conveyor.ancestry import git_tree
from glasshouse.conveyor.build import NOT_VARIED, BuildResult, Output, build
from glasshouse.conveyor.errors import BuildFailed, InvalidInput, InvalidSource, LockMismatch
from glasshouse.conveyor.execution import Executor
from glasshouse.conveyor.lock import Lock, check_recipe, parse_lock
from glasshouse.conveyor.manifest import check_source
from glasshouse.conveyor.opaque import copied_from_source, opaque_files
from glasshouse.conveyor.origin import Origins, check, fetch
from glasshouse.conveyor.pack import open_pack
from glasshouse.conveyor.provenance import provenance
from glasshouse.conveyor.recipe import Recipe, parse_recipe
from glasshouse.conveyor.rootfs import make_root
from glasshouse.conveyor.sandbox import Bubblewrap
from glasshouse.conveyor.store import Store
from glasshouse.conveyor.tree import LOCK_PATH, RECIPE_PATH, SourceTree
from glasshouse.ledger.errors import NotThere
from glasshouse.parties.signer import Signer, sign_statement
from glasshouse.storage import files

GetBlob = Callable[[str], bytes]
MAX_LOGGED_OPAQUE = 64
MAX_BUILD_FILE = 4 * 2**20
RECORD = "built.json"


@dataclass(frozen=True, kw_only=True)
class Workshop:
    """What a rebuilder works with. `kept` holds what it has built and not yet judged; the rest may be shared."""

    party: str
    signer: Signer
    identity: Path
    store: Store
    origins: Origins
    roots: Path
    kept: Path
    executor: Executor = field(default_factory=Bubblewrap)


@dataclass(frozen=True, kw_only=True)
class Built:
    """A finished rebuild: its outputs, what was not varied, the opaque files of the source, log, signed provenance.

    `executor` names what isolated it, `platform` is what the recipe says that the outputs run on. `nonce` hides the
    outputs in the commitment until they are released.
    """

    platform: Identifier
    outputs: tuple[Output, ...]
    executor: Text
    not_varied: tuple[Text, ...]
    opaque: tuple[OpaqueFile, ...]
    log: bytes
    provenance: bytes
    nonce: Digest


class Unbuilt(Exception):
    """The release's own fault: why there is nothing to compare, as a verdict; `executor` if a build was tried."""

    def __init__(
        self, verdict: Verdict, explanation: str, log: bytes | None = None, executor: Text | None = None
    ) -> None:
        super().__init__(explanation)
        self.verdict, self.explanation, self.log, self.executor = verdict, explanation, log, executor


def build_source(identity: str, source: Source, workshop: Workshop, get_blob: GetBlob) -> Built:
    """Build the source logged as `identity`, or take up what was built of it before.

    Raises Unbuilt where the fault is the source's, ConveyorError where this machine cannot build now.
    """
    place = workshop.kept / identity
    if not (place / RECORD).exists():
        shutil.rmtree(place, ignore_errors=True)
        files.make_directory(place, mode=0o700)
        _build(place, source, workshop, get_blob)
    return _load(place)


def forget(identity: str, workshop: Workshop) -> None:
    """Let go of what was built of a source."""
    shutil.rmtree(workshop.kept / identity, ignore_errors=True)


@contextmanager
def scratch(workshop: Workshop) -> Iterator[Path]:
    """A directory for one comparison, empty before and gone after."""
    place = workshop.kept / "scratch"
    shutil.rmtree(place, ignore_errors=True)
    files.make_directory(place, mode=0o700)
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def fetch_blob(get_blob: GetBlob, digest: str) -> bytes:
    """A blob whose content is what its name says; raises NotThere."""
    data = get_blob(digest)
    if sha256(data).hexdigest() != digest:
        raise NotThere(f"the blob {digest[:16]}… has other content than its name says")
    return data


def remembering(get_blob: GetBlob, workshop: Workshop) -> GetBlob:
    """The same blobs: from the deposit where it has them, and kept there where it does not."""
    deposit = workshop.origins.deposit
    if deposit is None:
        return get_blob

    def get(digest: str) -> bytes:
        kept = deposit.read(digest)
        if kept is None:
            kept = fetch_blob(get_blob, digest)
            deposit.keep(digest, kept)
        return kept

    return get


def _build(place: Path, source: Source, workshop: Workshop, get_blob: GetBlob) -> None:
    tree = _open_pack(place, source, workshop, get_blob)
    recipe, lock = _environment(source, tree, workshop, get_blob)
    fetch(lock, workshop.store, workshop.origins)
    try:
        root = make_root(lock, workshop.store, workshop.roots)
    except InvalidInput as error:
        raise Unbuilt(Verdict.BUILD_FAILED, f"the environment cannot be unpacked: {error}") from error
    # Another CPU set than the conveyor's default: a build that looks at the number of CPUs shows itself.
    cpus = sorted(os.sched_getaffinity(0))[-1:]
    try:
        result = build(tree, recipe, root, source.epoch, place / "out", cpus=cpus, executor=workshop.executor)
    except BuildFailed as error:
        log = place / "out" / "build.log"
        raise Unbuilt(
            Verdict.BUILD_FAILED,
            f"the build gave no output: {error}",
            log.read_bytes() if log.is_file() else None,
            Text(workshop.executor.describe()),
        ) from error
    copied = copied_from_source(result.outputs, tree)
    if copied:
        output, path = copied[0]
        raise Unbuilt(Verdict.BUILD_FAILED, f"{output} was not built: it is a copy of the binary {path} in the source")
    _keep(place, source, tree, recipe, result, workshop)


def _open_pack(place: Path, source: Source, workshop: Workshop, get_blob: GetBlob) -> SourceTree:
    expected = ManifestRoot(root=bytes.fromhex(source.manifest.root), size=source.manifest.size)
    pack = place / "pack.age"
    try:
        pack.write_bytes(fetch_blob(get_blob, source.pack.sha256))
        tree, secret = open_pack(pack, workshop.identity, place / "source")
        check_source(tree, secret, expected)
        _check_commit(tree, source, get_blob)
    except NotThere as error:
        raise Unbuilt(Verdict.PACK_NOT_RECEIVED, f"the source pack cannot be had: {error}") from error
    except (InvalidInput, FormatError) as error:
        raise Unbuilt(Verdict.PACK_NOT_RECEIVED, f"the source pack is not the source shown: {error}") from error
    return tree


def _check_commit(tree: SourceTree, source: Source, get_blob: GetBlob) -> None:
    """Developers sign and review a commit; whether its tree is the one in the pack, its recipients can see."""
    history = history_of(source)
    if history is None:
        return
    commit = parse_lineage(fetch_blob(get_blob, history.lineage)).commits.get(source.commit or "")
    if commit is None or commit.tree != git_tree(tree, len(commit.tree)):
        raise InvalidSource(f"commit {source.commit}", "has another tree than the source pack")


def _environment(source: Source, tree: SourceTree, workshop: Workshop, get_blob: GetBlob) -> tuple[Recipe, Lock]:
    """The recipe and the lock of the tree, every row of the lock checked against its public origin."""
    try:
        recipe = parse_recipe(tree.read(source.recipe, MAX_BUILD_FILE))
        lock = parse_lock(tree.read(LOCK_PATH, MAX_BUILD_FILE))
        if tree_of(lock.root) != source.lock or source.recipe != RECIPE_PATH:
            raise Unbuilt(Verdict.BUILD_FAILED, "the source names another recipe or environment lock than it holds")
        check_recipe(lock, recipe.environment)
        for row in lock.indexes:
            if not workshop.store.has(row.sha256):
                workshop.store.add(fetch_blob(get_blob, row.sha256))
        check(lock, workshop.store, workshop.origins)
        if workshop.origins.deposit is not None:
            workshop.origins.deposit.keep(sha256(lock.data).hexdigest(), lock.data)
    except (InvalidInput, LockMismatch) as error:
        text = f"the environment is not what its public origins hold: {error}"
        raise Unbuilt(Verdict.BUILD_FAILED, text) from error
    except NotThere as error:
        raise Unbuilt(Verdict.BUILD_FAILED, f"an archived package index cannot be had: {error}") from error
    return recipe, lock


def _keep(
    place: Path, source: Source, tree: SourceTree, recipe: Recipe, result: BuildResult, workshop: Workshop
) -> None:
    signed = format_envelope(sign_statement(provenance(source, result, workshop.party), workshop.signer))
    files.write(place / "provenance.dsse", signed)
    opaque = opaque_files(tree)[:MAX_LOGGED_OPAQUE]
    record = {
        "platform": recipe.platform,
        "outputs": [{"name": o.name, "sha256": o.sha256, "size": o.size} for o in result.outputs],
        "executor": result.executor,
        "not_varied": list(result.not_varied),
        "opaque": [{"path": item.path, "sha256": item.sha256} for item in opaque],
        "nonce": secrets.token_hex(32),
    }
    files.write(place / RECORD, json.dumps(record).encode(), mode=0o600)
    shutil.rmtree(place / "source", ignore_errors=True)
    (place / "pack.age").unlink(missing_ok=True)


def _load(place: Path) -> Built:
    record = json.loads((place / RECORD).read_bytes())
    outputs = (Output(path=place / "out" / o["name"], **o) for o in record["outputs"])
    opaque = (OpaqueFile(path=TreePath(o["path"]), sha256=Digest(o["sha256"])) for o in record["opaque"])
    return Built(
        platform=Identifier(record["platform"]),
        outputs=tuple(outputs),
        executor=Text(record["executor"]),
        not_varied=tuple(Text(item) for item in record["not_varied"]),
        opaque=tuple(opaque),
        log=(place / "out" / "build.log").read_bytes(),
        provenance=(place / "provenance.dsse").read_bytes(),
        nonce=Digest(record["nonce"]),
    )


def tree_of(root: ManifestRoot) -> Tree:
    """A manifest root as statements name it."""
    return Tree(root=Digest(root.root.hex()), size=root.size)


__all__ = [
    "NOT_VARIED",
    "Built",
    "GetBlob",
    "Unbuilt",
    "Workshop",
    "build_source",
    "fetch_blob",
    "forget",
    "remembering",
    "scratch",
]
