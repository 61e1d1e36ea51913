"""The Merkle tree of a log (RFC 6962 section 2, SHA-256) and everything that can be proven about it.

    root of no leaves   SHA-256("")
    leaf                SHA-256(0x00 ‖ entry)
    node                SHA-256(0x01 ‖ left ‖ right)     left covers the largest power of two below the leaves' number

A tree is read through one function, `read(level, index)`: the root of the complete subtree of 2**level leaves that
starts at leaf index << level. A complete subtree never changes, so it can come from a list, a tile or a cache:

    read = lambda level, index: stored[level][index]
    proof = inclusion_proof(5, 7, read)                      # [hash of leaf 4, root of leaves 0…3, leaf 6]
    verify_inclusion(leaf_hash(entry), 5, 7, proof, tree_root(7, read))

Inclusion and consistency proofs are those of RFC 6962 sections 2.1.1 and 2.1.2. `multiproof` proves many leaves and
many earlier tree sizes ("cuts") by one list of hashes, none of which can be derived from the others:

    prove(lo, hi)  =  nothing                              one leaf, wanted
                      the root of leaves lo … hi-1         no wanted leaf in it, and no cut with lo < cut < hi
                      prove(lo, mid) ‖ prove(mid, hi)      otherwise; mid = lo + largest power of two below hi - lo

Hashes are 32 bytes. Proving and verifying raise `ProofError` for indexes and sizes outside the tree.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from hashlib import sha256

from glasshouse_verify.errors import ProofError

HashReader = Callable[[int, int], bytes]

EMPTY_ROOT = sha256(b"").digest()


def leaf_hash(data: bytes) -> bytes:
    """Return the hash of an entry."""
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of the node above two hashes."""
    return sha256(b"\x01" + left + right).digest()


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
    _check_index(index, size)
    proof, low, high = [], 0, size
    while high - low > 1:
        middle = low + _split(high - low)
        if index < middle:
            proof.append(_range_root(middle, high, read))
            high = middle
        else:
            proof.append(_range_root(low, middle, read))
            low = middle
    return proof[::-1]


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Check that `leaf` (a leaf hash) is at `index` of the tree with `size` leaves and `root`; `ProofError` if not."""
    _check_index(index, size)
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
    if node != root:
        raise ProofError(f"inclusion proof of leaf {index} does not lead to the root of the tree of {size}")


def consistency_proof(old: int, new: int, read: HashReader) -> list[bytes]:
    """Prove that the tree of `old` leaves is a prefix of that of `new`; an empty proof if `old` is 0 or `new`."""
    if not 0 <= old <= new:
        raise ProofError(f"a tree of {new} does not grow from one of {old}")
    proof, low, high = [], 0, new if old else 0
    while old < high:
        middle = low + _split(high - low)
        if old <= middle:
            proof.append(_range_root(middle, high, read))
            high = middle
        else:
            proof.append(_range_root(low, middle, read))
            low = middle
    if low:
        proof.append(_range_root(low, high, read))
    return proof[::-1]


def verify_consistency(old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Check that the tree of `new` leaves extends that of `old` leaves; `ProofError` if not.

    An `old` of 0 is refused unless `new` is 0 too (RFC 9162 section 2.1.4.2): every tree extends the empty one, so
    there is nothing that could be checked.
    """
    if old == new and old >= 0:
        if proof or old_root != new_root or (old == 0 and old_root != EMPTY_ROOT):
            raise ProofError(f"two trees of {old} leaves differ")
        return
    if not 0 < old < new:
        raise ProofError(f"a tree of {new} cannot be shown to grow from one of {old}")
    # The proof starts with the old tree's last complete subtree, left out where that is the whole old tree.
    path = iter(proof) if old & (old - 1) else iter((old_root, *proof))
    left, last = old - 1, new - 1
    trailing = (~left & (left + 1)).bit_length() - 1
    left, last = left >> trailing, last >> trailing
    if (first := next(path, None)) is None:
        raise ProofError(f"empty consistency proof from {old} to {new}")
    old_node = new_node = first
    for sibling in path:
        if not last:
            raise ProofError(f"consistency proof from {old} to {new} is too long")
        if left & 1 or left == last:
            old_node, new_node = node_hash(sibling, old_node), node_hash(sibling, new_node)
            while left and not left & 1:
                left, last = left >> 1, last >> 1
        else:
            new_node = node_hash(new_node, sibling)
        left, last = left >> 1, last >> 1
    if last or old_node != old_root or new_node != new_root:
        raise ProofError(f"consistency proof from {old} to {new} does not lead to the two roots")


def multiproof(indexes: Collection[int], cuts: Collection[int], size: int, read: HashReader) -> list[bytes]:
    """Prove the leaves `indexes`, and the roots of the first `cut` leaves for all `cuts`, in the tree of `size`."""
    _check_multiproof(indexes, cuts, size)

    def prove(low: int, high: int, wanted: list[int], inside: list[int]) -> Iterator[bytes]:
        if not wanted and not inside:
            yield _range_root(low, high, read)
        elif high - low > 1:
            middle = low + _split(high - low)
            yield from prove(low, middle, [i for i in wanted if i < middle], [c for c in inside if c < middle])
            yield from prove(middle, high, [i for i in wanted if i >= middle], [c for c in inside if c > middle])

    return list(prove(0, size, sorted(set(indexes)), [cut for cut in set(cuts) if cut < size]))


def verify_multiproof(
    leaves: Mapping[int, bytes], cuts: Collection[int], size: int, root: bytes, hashes: Sequence[bytes]
) -> dict[int, bytes]:
    """Check `leaves` (index to leaf hash) against the tree of `size` leaves and `root`; return the root of each cut.

    Raises `ProofError` if the hashes do not lead to `root`, are too few or too many.
    """
    _check_multiproof(leaves, cuts, size)
    path, roots = iter(hashes), dict.fromkeys(cuts, root)

    def climb(low: int, high: int, wanted: list[int], inside: list[int]) -> bytes:
        """Return the root of leaves low … high-1; leave in `roots` that of leaves low … cut-1 for each cut inside."""
        if not wanted and not inside:
            if (given := next(path, None)) is None:
                raise ProofError(f"multiproof of {len(hashes)} hashes is too short")
            return given
        if high - low == 1:
            return leaves[low]
        middle = low + _split(high - low)
        left = climb(low, middle, [i for i in wanted if i < middle], [c for c in inside if c < middle])
        right = climb(middle, high, [i for i in wanted if i >= middle], [c for c in inside if c > middle])
        for cut in inside:
            if cut >= middle:
                roots[cut] = left if cut == middle else node_hash(left, roots[cut])
        return node_hash(left, right)

    if climb(0, size, sorted(leaves), [cut for cut in roots if cut < size]) != root or next(path, None) is not None:
        raise ProofError(f"multiproof does not lead to the root of the tree of {size}")
    return roots


def _check_multiproof(indexes: Collection[int], cuts: Collection[int], size: int) -> None:
    for index in indexes:
        _check_index(index, size)
    if size < 1 or not all(0 < cut <= size for cut in cuts):
        raise ProofError(f"a cut is not between 1 and the size {size}")


def _check_index(index: int, size: int) -> None:
    if not 0 <= index < size:
        raise ProofError(f"leaf {index} is not in a tree of {size}")


def _split(width: int) -> int:
    """Return the largest power of two below `width`, which is 2 or more."""
    return 1 << (width - 1).bit_length() - 1


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
