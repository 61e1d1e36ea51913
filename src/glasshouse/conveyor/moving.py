"""Moving the conveyor: the same source builds to the same bytes at another site.

What moves is the archive of a release, of which this reads:

    tree/              the source with its recipe and lock
    secret             the release secret, without which the tree's root cannot be recomputed
    provenance.dsse    what the old site's conveyor signed

The new site believes none of it: the tree has to be the one whose root is in the ledger, the provenance the one that
the release names, and what the tree builds to has to be what was released.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from glasshouse_verify.charter import Charter, entitled, verified_keyids
from glasshouse_verify.codec import Country, Digest, Identifier, Product, Version
from glasshouse_verify.dsse import Envelope, parse_envelope
from glasshouse_verify.row import ManifestRoot
from glasshouse_verify.statement import Release, Source, Use

from glasshouse.conveyor.build import BuildResult, build
from glasshouse.conveyor.errors import InvalidSource
from glasshouse.conveyor.lock import parse_lock
from glasshouse.conveyor.manifest import check_source
from glasshouse.conveyor.origin import fetch
from glasshouse.conveyor.provenance import provenance
from glasshouse.conveyor.recipe import parse_recipe
from glasshouse.conveyor.release import Press
from glasshouse.conveyor.rootfs import make_root
from glasshouse.conveyor.tree import LOCK_PATH, RECIPE_PATH, SourceTree, scan_tree
from glasshouse.parties.signer import sign_statement

MAX_FILE_BYTES = 4 << 20
TREE, SECRET, PROVENANCE = "tree", "secret", "provenance.dsse"


@dataclass(frozen=True, kw_only=True)
class Place:
    """A site of the charter, as people call it: moscow (RU)."""

    site: Identifier
    country: Country

    def __str__(self) -> str:
        return f"{self.site} ({self.country})"


@dataclass(frozen=True, kw_only=True)
class Archived:
    """A release as its archive holds it, found to be what the ledger says; `built_at` is where its conveyor stood."""

    directory: Path
    release: Release
    source: Source
    tree: SourceTree
    built_at: Place


@dataclass(frozen=True, kw_only=True)
class MovedFile:
    """One file: the SHA-256 that the old site's build was released with, and the new site's; None where it has none."""

    name: str
    released: str | None
    rebuilt: str | None

    @property
    def identical(self) -> bool:
        """Whether both sites got the same bytes."""
        return self.rebuilt == self.released


@dataclass(frozen=True, kw_only=True)
class Moved:
    """A release built again at the new site into `out`, with the provenance that the new site's conveyor signed."""

    archived: Archived
    files: tuple[MovedFile, ...]
    provenance: Envelope
    out: Path

    @property
    def product(self) -> Product:
        """vendor/product."""
        return self.archived.release.product

    @property
    def version(self) -> Version:
        """The version that was built at both sites."""
        return self.archived.release.version

    @property
    def identical(self) -> bool:
        """Whether every file is the same."""
        return all(file.identical for file in self.files)


def place_of(charter: Charter, keyid: str) -> Place:
    """Where the charter says that one of its keys is held."""
    site = charter.parties[charter.owners[keyid]].keys[Digest(keyid)].site
    return Place(site=site, country=charter.sites[site].jurisdiction)


def open_archived(directory: Path, release: Release, source: Source, charter: Charter) -> Archived:
    """Check the archive of a release in the ledger; `charter` is the one in force at its entry.

    Raises InvalidSource naming the file that is missing, or that is not what the ledger says.
    """
    for name in (TREE, SECRET, PROVENANCE):
        if not (directory / name).exists():
            raise InvalidSource(str(directory / name), "is missing", f"copy {_origin(release)} again, whole")
    envelope = _provenance(directory, release)
    keys = entitled(charter, verified_keyids(charter, envelope), Use.PROVENANCE).get(release.party, [])
    if not keys:
        reason = f"is signed by no conveyor that charter {charter.version} gives {release.party}"
        raise InvalidSource(str(directory / PROVENANCE), reason)
    tree = scan_tree(directory / TREE)
    expected = ManifestRoot(root=bytes.fromhex(source.manifest.root), size=source.manifest.size)
    try:
        check_source(tree, (directory / SECRET).read_bytes(), expected)
    except InvalidSource as error:
        reason = f"is not the source that {release.product} {release.version} was released from: {error.reason}"
        fix = f"copy {_origin(release)} again with its file modes: rsync -a, cp -a"
        raise InvalidSource(str(directory / TREE), reason, fix) from error
    built_at = place_of(charter, keys[0])
    return Archived(directory=directory, release=release, source=source, tree=tree, built_at=built_at)


def rebuild_archived(archived: Archived, press: Press, out: Path) -> Moved:
    """Build an archived release with the new site's `press` into the new directory `out` and compare.

    Raises ConveyorError where it cannot be built here.
    """
    lock = parse_lock(archived.tree.read(LOCK_PATH, MAX_FILE_BYTES))
    recipe = parse_recipe(archived.tree.read(RECIPE_PATH, MAX_FILE_BYTES))
    fetch(lock, press.store, press.origins, press.progress)
    root = make_root(lock, press.store, press.roots, press.progress)
    result = build(archived.tree, recipe, root, archived.source.epoch, out)
    return Moved(
        archived=archived,
        files=tuple(_compared(archived.release, result)),
        provenance=sign_statement(provenance(archived.source, result, press.vendor), press.conveyor),
        out=out,
    )


def _compared(release: Release, result: BuildResult) -> Iterator[MovedFile]:
    released: dict[str, str] = {file.name: file.built for file in release.files}
    rebuilt: dict[str, str] = {output.name: output.sha256 for output in result.outputs}
    for name in sorted({*released, *rebuilt}):
        yield MovedFile(name=name, released=released.get(name), rebuilt=rebuilt.get(name))


def _provenance(directory: Path, release: Release) -> Envelope:
    data = (directory / PROVENANCE).read_bytes()
    if sha256(data).hexdigest() != release.provenance:
        reason = f"is not the one that the release of {release.product} {release.version} names"
        raise InvalidSource(str(directory / PROVENANCE), reason, f"copy {_origin(release)} again")
    return parse_envelope(data)


def _origin(release: Release) -> str:
    """Where the archive of a release lies in the node that made it."""
    return f"data/releases/{release.product.split('/')[1]}/{release.version} of the old site's node"
