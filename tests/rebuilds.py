"""A rebuilder at work on a real source: pack, lock, isolation and comparison are those of the product.

The ledger around it is `world`'s. Nothing is fetched that `workshop` does not have in its cache.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from glasshouse_verify.codec import Digest
from glasshouse_verify.statement import Pack, Source
from workshop import EPOCH, cache, environment, origins, store, tree_of
from world import World, digest

from glasshouse.conveyor.execution import Executor
from glasshouse.conveyor.manifest import new_secret, source_root
from glasshouse.conveyor.origin import Origins
from glasshouse.conveyor.pack import new_identity, seal_pack
from glasshouse.conveyor.recipe import Recipe
from glasshouse.conveyor.sandbox import Bubblewrap
from glasshouse.conveyor.store import Store
from glasshouse.conveyor.tree import LOCK_PATH, RECIPE_PATH, scan_tree
from glasshouse.ledger.errors import NotThere
from glasshouse.supervision.rebuilder import Outcome, rebuild_release
from glasshouse.supervision.workshop import Workshop
from glasshouse.supervision.workshop import tree_of as tree_named


@dataclass
class Rebuilder:
    """One party with a directory of its own, laid out as a node's. `asked` lists the blobs it asks for, in order."""

    world: World
    directory: Path
    party: str = "lab"
    executor: Executor = field(default_factory=Bubblewrap)
    store: Store = field(default_factory=store)
    origins: Origins = field(default_factory=origins)
    roots: Path = field(default_factory=lambda: cache() / "roots")
    asked: list[str] = field(default_factory=list)
    watched: Callable[[str], None] = field(default=lambda _: None)

    def __post_init__(self) -> None:
        self.identity = self.directory / "keys" / "recipient.age"
        if not self.identity.exists():
            for name in ("keys", "data"):
                (self.directory / name).mkdir(parents=True, mode=0o700)
            secret, self.recipient = new_identity()
            self.identity.write_text(secret + "\n")
            self.identity.chmod(0o600)

    @property
    def workshop(self) -> Workshop:
        return Workshop(
            party=self.party,
            signer=self.world.keys[self.party],
            identity=self.identity,
            store=self.store,
            origins=self.origins,
            roots=self.roots,
            kept=self.directory / "data" / "rebuilds",
            executor=self.executor,
        )

    def source(self, recipe: Recipe, files: Mapping[str, str | bytes], version: str = "1.0") -> Source:
        """A source that this party can open; its pack, lock and indexes are in the ledger."""
        lock = environment().lock
        place = self.directory.parent / f"vendor-{version}"
        tree_of(place, {**files, RECIPE_PATH: recipe.text, LOCK_PATH: lock.data})
        tree, secret, pack = scan_tree(place), new_secret(), place.with_name(f"{place.name}.age")
        sealed = seal_pack(tree, secret, [self.recipient], pack)
        self.world.blobs |= {sealed.sha256: pack.read_bytes(), digest(lock.data): lock.data}
        self.world.blobs |= {row.sha256: store().path(row.sha256).read_bytes() for row in lock.indexes}
        return self.world.source(
            version,
            manifest=tree_named(source_root(tree, secret)),
            lock=tree_named(lock.root),
            lock_file=Digest(digest(lock.data)),
            indexes=tuple(row.sha256 for row in lock.indexes),
            epoch=EPOCH,
            pack=Pack(sha256=Digest(sealed.sha256), size=sealed.size, recipients=(self.party,)),
        )

    def judge(self, release: str) -> Outcome:
        """The verdict on a logged release."""
        record = self.world.history.records[release]
        return rebuild_release(self.world.history, record, self.workshop, self._blob, self.world.now)

    def _blob(self, sha: str) -> bytes:
        self.asked.append(sha)
        self.watched(sha)
        if sha not in self.world.blobs:
            raise NotThere(f"the ledger has no blob {sha[:16]}…")
        return self.world.blobs[sha]


def unreachable(known: Origins) -> Origins:
    """The same origins after every mirror and index has gone."""
    nowhere = "http://127.0.0.1:9"
    return replace(known, mirrors=dict.fromkeys(known.mirrors, nowhere), index_url=f"{nowhere}/simple")
