"""Moving the conveyor: the same source builds to the same bytes at another site.

What moves is the archive of a release: the tree, its secret and its lock. The new site believes none of it: the tree
has to be the one whose root is in the ledger, and what it builds to has to be what was released.
"""

from dataclasses import dataclass
from pathlib import Path

from glasshouse_verify.codec import Digest, Product, Version
from glasshouse_verify.dsse import Envelope
from glasshouse_verify.row import ManifestRoot
from glasshouse_verify.statement import Release, Source, Tree

from glasshouse.conveyor.build import build
from glasshouse.conveyor.errors import InvalidInput, InvalidSource
from glasshouse.conveyor.lock import parse_lock
from glasshouse.conveyor.manifest import check_source
from glasshouse.conveyor.origin import fetch
from glasshouse.conveyor.provenance import provenance
from glasshouse.conveyor.recipe import parse_recipe
from glasshouse.conveyor.release import Press
from glasshouse.conveyor.rootfs import make_root
from glasshouse.conveyor.tree import RECIPE_PATH, scan_tree
from glasshouse.parties.signer import sign_statement

MAX_RECIPE_BYTES = 65_536


@dataclass(frozen=True, kw_only=True)
class MovedFile:
    """One file: the digest that the old site's build was released with, and the one that the new site got, if any."""

    name: str
    released: Digest
    rebuilt: str | None

    @property
    def identical(self) -> bool:
        """Whether both sites got the same bytes."""
        return self.rebuilt == self.released


@dataclass(frozen=True, kw_only=True)
class Moved:
    """A release built again at the new site, with the provenance that the new site's conveyor signed."""

    product: Product
    version: Version
    files: tuple[MovedFile, ...]
    provenance: Envelope

    @property
    def identical(self) -> bool:
        """Whether every file is the same."""
        return all(file.identical for file in self.files)


def rebuild_archived(archive: Path, release: Release, source: Source, press: Press, out: Path) -> Moved:
    """Build an archived release with the new site's `press` into the new directory `out` and compare.

    Raises InvalidSource where the archive is not the source in the ledger, ConveyorError where it cannot be built.
    """
    tree = scan_tree(archive / "tree")
    expected = ManifestRoot(root=bytes.fromhex(source.manifest.root), size=source.manifest.size)
    check_source(tree, _read(archive, "secret"), expected)
    lock = parse_lock(_read(archive, "lock.jsonl"))
    if source.lock != Tree(root=Digest(lock.root.root.hex()), size=lock.root.size):
        raise InvalidInput("lock.jsonl", "is not the lock that the ledger's source names")
    recipe = parse_recipe(tree.read(RECIPE_PATH, MAX_RECIPE_BYTES))
    fetch(lock, press.store, press.origins, press.progress)
    root = make_root(lock, press.store, press.roots, press.progress)
    result = build(tree, recipe, root, source.epoch, out)
    built = {output.name: output.sha256 for output in result.outputs}
    return Moved(
        product=release.product,
        version=release.version,
        files=tuple(MovedFile(name=f.name, released=f.built, rebuilt=built.get(f.name)) for f in release.files),
        provenance=sign_statement(provenance(source, result, press.vendor), press.conveyor),
    )


def _read(archive: Path, name: str) -> bytes:
    try:
        return (archive / name).read_bytes()
    except OSError as error:
        raise InvalidSource(name, f"cannot be read from the archive {archive}: {error.strerror}") from error
