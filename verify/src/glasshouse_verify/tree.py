"""The Merkle tree of a log (see `tlog`) as those need it who keep one: growing it, its root, and proofs from it.

A tree is read through one function, `read(level, index)`: the root of the complete subtree of 2**level leaves that
starts at leaf index << level. A complete subtree never changes, so it can come from a list, a tile or a cache:

    read = lambda level, index: stored[level][index]
    proof = inclusion_proof(5, 7, read)                      # [hash of leaf 4, root of leaves 0…3, leaf 6]
    verify_inclusion(leaf_hash(entry), 5, 7, proof, tree_root(7, read))

Inclusion and consistency proofs are those of RFC 6962 sections 2.1.1 and 2.1.2. They are checked here, for other logs,
witnesses and monitors: the release gate knows multiproofs only. Hashes are 32 bytes; indexes and sizes outside the tree
raise `ProofError`.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from hashlib import sha256

from glasshouse_verify.errors import ProofError
from glasshouse_verify.tlog import check_index, climb, node_hash, split

HashReader = Callable[[int, int], bytes]

EMPTY_ROOT = sha256(b"").digest()


class Frontier:
    """The right edge of a growing tree: the roots of its largest complete subtrees, left to right, at most 63 hashes.

    It is all that is needed to append and to know the root, so a tree of any size grows in constant memory.
    """

    def __init__(self, size: int = 0, hashes: Sequence[bytes] = ()) -> None:
        """Restore a frontier from its saved `size` and `hashes`; `ProofError` if their numbers do not agree."""
        if size < 0 or len(hashes) != size.bit_count():
            raise ProofError(f"{len(hashes)} hashes cannot be the frontier of a tree of size {size}")
        self.size = size
        self.hashes = list(hashes)

    @classmethod
    def load(cls, size: int, read: HashReader) -> "Frontier":
        """Read the frontier of the first `size` leaves of a stored tree."""
        return cls(size, [read(level, index) for level, index in _complete_subtrees(0, size)])

    def append(self, leaf: bytes) -> list[bytes]:
        """Add a leaf hash and return the roots of the subtrees it completes, by level.

        The one at `level` has index `(size - 1) >> level`: it is what `read(level, index)` answers from now on.
        """
        completed, rest = [leaf], self.size
        while rest & 1:
            completed.append(leaf := sha256(b"\x01" + self.hashes.pop() + leaf).digest())
            rest >>= 1
        self.hashes.append(leaf)
        self.size += 1
        return completed

    def root(self) -> bytes:
        """Return the root of all leaves so far."""
        return _fold(self.hashes) if self.hashes else EMPTY_ROOT


def tree_root(size: int, read: HashReader) -> bytes:
    """Return the root of the first `size` leaves."""
    return _range_root(0, size, read) if size else EMPTY_ROOT


def inclusion_proof(index: int, size: int, read: HashReader) -> list[bytes]:
    """Prove that leaf `index` is in the tree of `size` leaves: sibling hashes from the leaf upwards."""
    check_index(index, size)
    siblings, _ = _descend(index, size, index)
    return [_range_root(low, high, read) for low, high in siblings]


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Check that `leaf` (a leaf hash) is at `index` of the tree with `size` leaves and `root`; `ProofError` if not."""
    check_index(index, size)
    # Up to where the paths of this leaf and of the last leaf meet, the index says on which side the sibling is. Above,
    # the path is the tree's right edge: every sibling is on the left, and levels without one are skipped.
    inner = (index ^ (size - 1)).bit_length()
    if len(proof) != inner + (index >> inner).bit_count():
        raise ProofError(f"inclusion proof of leaf {index} in a tree of {size} has {len(proof)} hashes")
    sha, node, bits = sha256, leaf, index
    for sibling in proof[:inner]:
        node = sha(b"\x01" + sibling + node if bits & 1 else b"\x01" + node + sibling).digest()
        bits >>= 1
    for sibling in proof[inner:]:
        node = sha(b"\x01" + sibling + node).digest()
    if node != root or len(leaf) != 32:
        raise ProofError(f"inclusion proof of leaf {index} does not lead to the root of the tree of {size}")


def consistency_proof(old: int, new: int, read: HashReader) -> list[bytes]:
    """Prove that the tree of `old` leaves is a prefix of that of `new`; an empty proof if `old` is 0 or `new`."""
    if not 0 <= old <= new:
        raise ProofError(f"a tree of {new} does not grow from one of {old}")
    siblings, start = _descend(old - 1, new, 0) if old else ([], 0)
    ranges = [(start, old), *siblings] if start else siblings
    return [_range_root(low, high, read) for low, high in ranges]


def verify_consistency(old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Check that the tree of `new` leaves extends that of `old` leaves; `ProofError` if not.

    An `old` of 0 is refused unless `new` is 0 too (RFC 9162 section 2.1.4.2): every tree extends the empty one, so
    there is nothing that could be checked.
    """
    if not 0 < old <= new and (old, new, old_root) != (0, 0, EMPTY_ROOT):
        raise ProofError(f"a tree of {new} cannot be shown to grow from one of {old}")
    siblings, start = _descend(old - 1, new, 0) if old else ([], 0)
    # The proof starts with the old tree's last complete subtree, left out where that is the whole old tree.
    first, *rest = proof if start and proof else (old_root, *proof)
    if len(rest) != len(siblings):
        raise ProofError(f"consistency proof from {old} to {new} has {len(proof)} hashes")
    old_node = new_node = first
    for (low, _), sibling in zip(siblings, rest, strict=True):
        if low < old:
            old_node, new_node = node_hash(sibling, old_node), node_hash(sibling, new_node)
        else:
            new_node = node_hash(new_node, sibling)
    if old_node != old_root or new_node != new_root:
        raise ProofError(f"consistency proof from {old} to {new} does not lead to the two roots")


def multiproof(indexes: Collection[int], cuts: Collection[int], size: int, read: HashReader) -> list[bytes]:
    """Prove the leaves `indexes`, and the roots of the first `cut` leaves for all `cuts`, in the tree of `size`."""
    hashes: list[bytes] = []

    def supply(low: int, high: int) -> bytes:
        hashes.append(_range_root(low, high, read))
        return hashes[-1]

    # The prover walks as the verifier will; what it computes on the way from placeholder leaves is of no interest.
    climb(dict.fromkeys(indexes, b""), cuts, size, supply)
    return hashes


def _descend(leaf: int, size: int, start: int) -> tuple[list[tuple[int, int]], int]:
    """Follow the path from the root to `leaf` until the range below ends with that leaf and starts at `start` or later.

    Return the ranges of the siblings passed, deepest first, and where the last range starts.
    """
    siblings, low, high = list[tuple[int, int]](), 0, size
    while leaf + 1 < high or low < start:
        middle = low + split(high - low)
        siblings.append((middle, high) if leaf < middle else (low, middle))
        low, high = (low, middle) if leaf < middle else (middle, high)
    return siblings[::-1], low


def _complete_subtrees(low: int, high: int) -> Iterator[tuple[int, int]]:
    """Yield (level, index) of the complete subtrees that make up leaves low … high-1, a range that is a tree's node."""
    for level in reversed(range((high - low).bit_length())):
        if (high - low) >> level & 1:
            yield level, low >> level
            low += 1 << level


def _range_root(low: int, high: int, read: HashReader) -> bytes:
    return _fold([read(level, index) for level, index in _complete_subtrees(low, high)])


def _fold(subtrees: Sequence[bytes]) -> bytes:
    """Return the root above complete subtrees of decreasing size."""
    root = subtrees[-1]
    for left in subtrees[-2::-1]:
        root = node_hash(left, root)
    return root
