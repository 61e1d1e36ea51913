"""The tree above the shards of an inventory (see `glasshouse_verify.shards`), kept so that a change touches one path.

    tree = ShardTree(depth=4)
    tree.put("0a1f", *shard_root(leaves))      # the shard's leaf hashes, in order of their keys
    tree.sharded                               # what is signed
    tree.prove(rows, key)                      # rows: all rows of the key's shard

Empty shards are never mentioned: a tree begins with nothing but them.
"""

from collections.abc import Iterable
from functools import lru_cache
from hashlib import sha256

from glasshouse_verify.codec import Digest, Hash
from glasshouse_verify.manifest import AbsenceProof, ManifestTree
from glasshouse_verify.row import Row, RowProof
from glasshouse_verify.shards import Sharded, ShardProof, shard_leaf
from glasshouse_verify.tlog import node_hash
from glasshouse_verify.tree import EMPTY_ROOT, multiproof

from glasshouse.regions.errors import InvalidInput

DEPTH = 4


def shard_root(leaves: Iterable[bytes]) -> tuple[bytes, int]:
    """Root and size of a shard from the leaf hashes of its rows, which come in order of their keys."""
    nodes, sha = list(leaves), sha256
    size = len(nodes)
    while len(nodes) > 1:
        # Pairs from the left, and an odd one goes up as it is: the tree of RFC 6962.
        odd = nodes[len(nodes) & ~1 :]
        nodes = [sha(b"\x01" + left + right).digest() for left, right in zip(nodes[::2], nodes[1::2], strict=False)]
        nodes += odd
    return (nodes[0] if nodes else EMPTY_ROOT), size


class ShardTree:
    """16^depth shards by root and size. What `put` changes, the next look at the root takes in."""

    def __init__(self, depth: int = DEPTH, shards: Iterable[tuple[str, bytes, int]] = ()) -> None:
        """Start from the shards that are not empty: prefix, root, size."""
        self.depth = depth
        self._levels = [list(level) for level in _empty(depth)]
        self._shards: dict[int, tuple[bytes, int]] = {}
        self._changed: set[int] = set()
        self._size = 0
        for prefix, root, size in shards:
            self.put(prefix, root, size)

    def put(self, prefix: str, root: bytes, size: int) -> None:
        """Say what a shard is now; raises InvalidInput where the prefix is not `depth` hex digits."""
        if len(prefix) != self.depth or prefix.strip("0123456789abcdef"):
            raise InvalidInput("prefix", f"{prefix!r} is not {self.depth} hex digits", "Cut the handle there.")
        number = int(prefix, 16)
        self._size += size - self._shards.get(number, (EMPTY_ROOT, 0))[1]
        self._shards[number] = (root, size)
        self._levels[0][number] = shard_leaf(prefix, root.hex(), size)
        self._changed.add(number)

    @property
    def sharded(self) -> Sharded:
        """The root above, the rows in all shards, and the depth."""
        self._settle()
        return Sharded(root=Digest(self._levels[-1][0].hex()), size=self._size, depth=self.depth)

    def prove(self, rows: Iterable[Row], key: str) -> ShardProof:
        """Prove the row of a key, or that there is none, from all rows of its shard in order.

        Raises InvalidInput where these rows are not those that were put.
        """
        self._settle()
        shard, number = ManifestTree(rows), int(key[: self.depth], 16)
        if (shard.root, shard.size) != self._shards.get(number, (EMPTY_ROOT, 0)):
            raise InvalidInput("rows", "are not those of the key's shard", "Read them in one transaction.")
        hashes = multiproof([number], (), 16**self.depth, lambda level, place: self._levels[level][place])
        found = shard.prove(key)
        return ShardProof(
            root=Digest(shard.root.hex()),
            size=shard.size,
            above=tuple(map(Hash, hashes)),
            row=found if isinstance(found, RowProof) else None,
            absence=found if isinstance(found, AbsenceProof) else None,
        )

    def _settle(self) -> None:
        """Recompute the paths above the shards that have changed, each node once."""
        changed, self._changed = self._changed, set()
        for below, level in zip(self._levels, self._levels[1:], strict=False):
            changed = {number >> 1 for number in changed}
            for number in changed:
                level[number] = node_hash(below[2 * number], below[2 * number + 1])


@lru_cache(maxsize=2)
def _empty(depth: int) -> tuple[tuple[bytes, ...], ...]:
    """All nodes of a tree of empty shards, leaves first."""
    empty = EMPTY_ROOT.hex()
    levels = [tuple(shard_leaf(f"{number:0{depth}x}", empty, 0) for number in range(16**depth))]
    while len(levels[-1]) > 1:
        below = levels[-1]
        levels.append(tuple(map(node_hash, below[::2], below[1::2])))
    return tuple(levels)
