"""The Merkle tree of a log (RFC 6962 section 2, SHA-256): what a proof shows to somebody who has only a root.

    root of no leaves   SHA-256("")
    leaf                SHA-256(0x00 ‖ entry)
    node                SHA-256(0x01 ‖ left ‖ right)     left covers the largest power of two below the leaves' number

A multiproof shows leaves, and the roots of earlier tree sizes ("cuts"), by one list of hashes, none of which can be
derived from the others. For one leaf they are the hashes of its inclusion proof, left to right.

    prove(lo, hi)  =  nothing                              one leaf, wanted
                      the root of leaves lo … hi-1         no wanted leaf in it, and no cut with lo < cut < hi
                      prove(lo, mid) ‖ prove(mid, hi)      otherwise; mid = lo + largest power of two below hi - lo

    verify_multiproof({5: leaf_hash(entry)}, (), 7, root, [root of leaves 0…3, leaf 4, leaf 6])

Hashes are 32 bytes. `ProofError` is raised for indexes and sizes outside the tree too. Proofs are made in `tree`, where
the inclusion and consistency proofs of RFC 6962 are checked too.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from hashlib import sha256

from glasshouse_verify.errors import ProofError


def leaf_hash(data: bytes) -> bytes:
    """Return the hash of an entry."""
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of the node above two hashes."""
    return sha256(b"\x01" + left + right).digest()


def verify_multiproof(
    leaves: Mapping[int, bytes], cuts: Collection[int], size: int, root: bytes, hashes: Sequence[bytes]
) -> dict[int, bytes]:
    """Check `leaves` (index to leaf hash) against the tree of `size` leaves and `root`; return the root of each cut.

    Raises `ProofError` if the hashes do not lead to `root`, are too few or too many.
    """
    path = iter(hashes)

    def supply(low: int, high: int) -> bytes:
        if (given := next(path, None)) is None:
            raise ProofError(f"multiproof has no hash for leaves {low} to {high - 1}")
        return given

    roots = climb(leaves, cuts, size, supply)
    if roots[size] != root or next(path, None) is not None:
        raise ProofError(f"multiproof does not lead to the root of the tree of {size}")
    return {cut: roots[cut] for cut in cuts}


def climb(
    leaves: Mapping[int, bytes], cuts: Collection[int], size: int, supply: Callable[[int, int], bytes]
) -> dict[int, bytes]:
    """Return the root of the first `cut` leaves for each cut and for `size`, asking `supply` for underivable nodes.

    Prover and verifier walk the same way: the one computes what it is asked for, the other takes it from the proof.
    """
    for index in leaves:
        check_index(index, size)
    if size < 1 or not all(0 < cut <= size for cut in cuts):
        raise ProofError(f"a cut is not between 1 and the size {size}")
    roots: dict[int, bytes] = {}

    def root_of(low: int, high: int, wanted: list[int], inside: list[int]) -> bytes:
        """Return the root of leaves low … high-1; leave in `roots` that of leaves low … cut-1 for each cut inside."""
        if not wanted and not inside:
            return supply(low, high)
        if high - low == 1:
            return leaves[low]
        middle = low + split(high - low)
        left = root_of(low, middle, [i for i in wanted if i < middle], [c for c in inside if c < middle])
        right = root_of(middle, high, [i for i in wanted if i >= middle], [c for c in inside if c > middle])
        for cut in inside:
            if cut >= middle:
                roots[cut] = left if cut == middle else node_hash(left, roots[cut])
        return node_hash(left, right)

    roots[size] = root_of(0, size, sorted(leaves), [cut for cut in set(cuts) if cut < size])
    return roots


def check_index(index: int, size: int) -> None:
    """Refuse the index of a leaf outside the tree of `size` leaves with `ProofError`."""
    if not 0 <= index < size:
        raise ProofError(f"leaf {index} is not in a tree of {size}")


def split(width: int) -> int:
    """Return the largest power of two below `width`, which is 2 or more."""
    return 1 << (width - 1).bit_length() - 1
