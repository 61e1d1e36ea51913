"""The Merkle tree, exhaustively: every tree up to 100 leaves, every proof, every way to bend one."""

from collections.abc import Sequence

import pytest
from glasshouse_verify.errors import ProofError
from glasshouse_verify.tlog import leaf_hash, node_hash
from glasshouse_verify.tree import (
    EMPTY_ROOT,
    Frontier,
    consistency_proof,
    inclusion_proof,
    tree_root,
    verify_consistency,
    verify_inclusion,
)
from notary import Tree, corrupted, uniform_reader

SIZE = 100
TREE = Tree(SIZE)


def recursive_root(leaves: Sequence[bytes]) -> bytes:
    """RFC 6962 section 2.1, as written there."""
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return node_hash(recursive_root(leaves[:split]), recursive_root(leaves[split:]))


def recursive_path(index: int, leaves: Sequence[bytes]) -> list[bytes]:
    """PATH(m, D[n]) of RFC 6962 section 2.1.1."""
    if len(leaves) == 1:
        return []
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    if index < split:
        return [*recursive_path(index, leaves[:split]), recursive_root(leaves[split:])]
    return [*recursive_path(index - split, leaves[split:]), recursive_root(leaves[:split])]


def recursive_subproof(old: int, leaves: Sequence[bytes], whole: bool) -> list[bytes]:
    """SUBPROOF(m, D[n], b) of RFC 6962 section 2.1.2."""
    if old == len(leaves):
        return [] if whole else [recursive_root(leaves)]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    if old <= split:
        return [*recursive_subproof(old, leaves[:split], whole), recursive_root(leaves[split:])]
    return [*recursive_subproof(old - split, leaves[split:], False), recursive_root(leaves[:split])]


def refused_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    with pytest.raises(ProofError):
        verify_inclusion(leaf, index, size, proof, root)


def refused_consistency(old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> None:
    with pytest.raises(ProofError):
        verify_consistency(old, new, old_root, new_root, proof)


def test_constants() -> None:
    assert EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert leaf_hash(b"").hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    assert tree_root(0, TREE.read) == Frontier().root() == EMPTY_ROOT


@pytest.mark.parametrize("size", range(1, SIZE + 1))
def test_root(size: int) -> None:
    root = recursive_root(TREE.leaves[:size])
    assert TREE.roots[size] == tree_root(size, TREE.read) == root
    frontier = Frontier.load(size, TREE.read)
    assert (frontier.root(), frontier.size) == (root, size)
    restored = Frontier(size, tuple(frontier.hashes))
    restored.append(leaf_hash(b"%d" % size))
    assert size == SIZE or restored.root() == TREE.roots[size + 1]
    assert restored.size == size + 1
    assert frontier.size == size


def test_a_frontier_reports_every_complete_subtree_once() -> None:
    seen: dict[tuple[int, int], bytes] = {}
    frontier = Frontier()
    for leaf in TREE.leaves:
        for level, node in enumerate(frontier.append(leaf)):
            place = (level, (frontier.size - 1) >> level)
            assert place not in seen
            seen[place] = node
            low = place[1] << level
            assert node == recursive_root(TREE.leaves[low : low + (1 << level)])
    assert seen.keys() == {(level, index) for level in range(7) for index in range(SIZE >> level)}


@pytest.mark.parametrize(
    ("size", "hashes"), [(0, [bytes(32)]), (1, []), (3, [bytes(32)]), (4, [bytes(32)] * 2), (-1, [])]
)
def test_a_frontier_of_another_size_is_refused(size: int, hashes: list[bytes]) -> None:
    with pytest.raises(ProofError):
        Frontier(size, hashes)


@pytest.mark.parametrize("size", range(1, SIZE + 1))
def test_inclusion(size: int) -> None:
    root = TREE.roots[size]
    for index in range(size):
        leaf, proof = TREE.leaves[index], inclusion_proof(index, size, TREE.read)
        assert proof == recursive_path(index, TREE.leaves[:size])
        verify_inclusion(leaf, index, size, proof, root)
        for place in range(len(proof)):
            bent = [*proof[:place], corrupted(proof[place], index % 32), *proof[place + 1 :]]
            refused_inclusion(leaf, index, size, bent, root)
            refused_inclusion(leaf, index, size, proof[:place] + proof[place + 1 :], root)
            refused_inclusion(leaf, index, size, [*proof[:place], bytes(32), *proof[place:]], root)
        for other in range(-1, size + 1):
            if other != index:
                refused_inclusion(leaf, other, size, proof, root)
        refused_inclusion(corrupted(leaf), index, size, proof, root)
        refused_inclusion(leaf, index, size, proof, corrupted(root))
        refused_inclusion(leaf, index, size, [*proof, root], root)


def test_inclusion_in_another_size_follows_only_if_the_paths_are_the_same_shape() -> None:
    """A proof does not bind the size where both trees give the leaf one path: the signed size is what counts."""
    for size in range(1, 40):
        for index in range(size):
            proof = inclusion_proof(index, size, TREE.read)
            for other in range(40):
                if other == size:
                    continue
                same = other > index and len(recursive_path(index, TREE.leaves[:other])) == len(proof)
                if not same:
                    refused_inclusion(TREE.leaves[index], index, other, proof, TREE.roots[size])
                if other and TREE.roots[other] != TREE.roots[size]:
                    refused_inclusion(TREE.leaves[index], index, size, proof, TREE.roots[other])


@pytest.mark.parametrize("new", range(1, SIZE + 1))
def test_consistency(new: int) -> None:
    root = TREE.roots[new]
    for old in range(1, new + 1):
        old_root, proof = TREE.roots[old], consistency_proof(old, new, TREE.read)
        assert proof == recursive_subproof(old, TREE.leaves[:new], True)
        verify_consistency(old, new, old_root, root, proof)
        for place in range(len(proof)):
            bent = [*proof[:place], corrupted(proof[place], old % 32), *proof[place + 1 :]]
            refused_consistency(old, new, old_root, root, bent)
            refused_consistency(old, new, old_root, root, proof[:place] + proof[place + 1 :])
            refused_consistency(old, new, old_root, root, [*proof[:place], bytes(32), *proof[place:]])
        refused_consistency(old, new, corrupted(old_root), root, proof)
        refused_consistency(old, new, old_root, corrupted(root), proof)
        refused_consistency(old, new, old_root, root, [*proof, root])
        for shifted in (old - 1, old + 1):
            refused_consistency(shifted, new, old_root, root, proof)
        if old != new:
            refused_consistency(old, new, root, old_root, proof)
            refused_consistency(new, old, root, old_root, proof)


def test_consistency_with_an_empty_tree_proves_nothing() -> None:
    assert consistency_proof(0, 7, TREE.read) == []
    refused_consistency(0, 7, EMPTY_ROOT, TREE.roots[7], [])
    verify_consistency(0, 0, EMPTY_ROOT, EMPTY_ROOT, [])
    refused_consistency(0, 0, bytes(32), bytes(32), [])
    refused_consistency(0, 0, EMPTY_ROOT, EMPTY_ROOT, [bytes(32)])
    refused_consistency(-1, -1, EMPTY_ROOT, EMPTY_ROOT, [])
    refused_consistency(-1, 7, EMPTY_ROOT, TREE.roots[7], [])


def test_a_fork_is_never_consistent() -> None:
    fork = Tree(0)
    frontier = Frontier()
    for index in range(40):
        frontier.append(leaf_hash(b"fork" if index == 20 else b"%d" % index))
        fork.roots.append(frontier.root())
    for old in range(21, 40):
        for new in range(old + 1, 41):
            proof = consistency_proof(old, new, TREE.read)
            refused_consistency(old, new, fork.roots[old], TREE.roots[new], proof)
            refused_consistency(old, new, TREE.roots[old], fork.roots[new], proof)


def test_provers_refuse_what_is_not_in_the_tree() -> None:
    for index, size in ((0, 0), (1, 1), (-1, 1), (5, 3)):
        with pytest.raises(ProofError):
            inclusion_proof(index, size, TREE.read)
    for old, new in ((2, 1), (-1, 1)):
        with pytest.raises(ProofError):
            consistency_proof(old, new, TREE.read)


def test_hashes_of_other_lengths_do_not_pass() -> None:
    """The only tree where nothing would be hashed at all is that of one leaf."""
    refused_inclusion(b"", 0, 1, [], b"")
    refused_inclusion(b"short", 0, 1, [], b"short")
    proof = inclusion_proof(3, 7, TREE.read)
    joined = b"".join(proof)
    refused_inclusion(TREE.leaves[3], 3, 7, [joined[:31], joined[31:64], joined[64:]], TREE.roots[7])


@pytest.mark.parametrize("size", [2**32, 2**40 + 12345, 2**62 - 1, 2**63 - 1])
def test_proofs_in_huge_trees(size: int) -> None:
    leaf = leaf_hash(b"")
    read = uniform_reader(leaf)
    root = tree_root(size, read)
    for index in (0, 1, size // 3, size // 2, size - 2, size - 1):
        proof = inclusion_proof(index, size, read)
        assert len(proof) <= 63
        verify_inclusion(leaf, index, size, proof, root)
        old = index + 1
        steps = consistency_proof(old, size, read)
        verify_consistency(old, size, tree_root(old, read), root, steps)
        assert len(Frontier.load(size, read).hashes) <= 63
