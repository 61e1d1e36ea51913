"""Multiproofs: all small trees with all sets of leaves and cuts, and what a cheat could change."""

from collections.abc import Iterable, Iterator
from random import Random

import pytest
from glasshouse_verify.errors import ProofError
from glasshouse_verify.tlog import leaf_hash, verify_multiproof
from glasshouse_verify.tree import consistency_proof, inclusion_proof, multiproof, tree_root
from notary import Tree, corrupted, uniform_reader

TREE = Tree(300)


def subsets(numbers: Iterable[int]) -> Iterator[list[int]]:
    every = list(numbers)
    for mask in range(1 << len(every)):
        yield [number for place, number in enumerate(every) if mask >> place & 1]


def check(indexes: list[int], cuts: list[int], size: int) -> list[bytes]:
    proof = multiproof(indexes, cuts, size, TREE.read)
    leaves = {index: TREE.leaves[index] for index in indexes}
    assert verify_multiproof(leaves, cuts, size, TREE.roots[size], proof) == {cut: TREE.roots[cut] for cut in cuts}
    return proof


def refused(leaves: dict[int, bytes], cuts: list[int], size: int, root: bytes, proof: list[bytes]) -> None:
    with pytest.raises(ProofError):
        verify_multiproof(leaves, cuts, size, root, proof)


@pytest.mark.parametrize("size", range(1, 8))
def test_all_leaves_and_all_cuts(size: int) -> None:
    for indexes in subsets(range(size)):
        for cuts in subsets(range(1, size + 1)):
            check(indexes, cuts, size)


@pytest.mark.parametrize("size", range(8, 11))
def test_all_leaves_and_each_cut(size: int) -> None:
    every = list(range(1, size + 1))
    for indexes in subsets(range(size)):
        for cuts in ([], every, *([cut] for cut in every)):
            check(indexes, cuts, size)


@pytest.mark.parametrize("size", range(1, 7))
def test_everything_changed_is_refused(size: int) -> None:
    root = TREE.roots[size]
    for indexes in subsets(range(size)):
        for cuts in ([], [size], [1], list(range(1, size + 1))):
            proof = check(indexes, cuts, size)
            leaves = {index: TREE.leaves[index] for index in indexes}
            for place in range(len(proof)):
                bent = [*proof[:place], corrupted(proof[place], place), *proof[place + 1 :]]
                refused(leaves, cuts, size, root, bent)
                refused(leaves, cuts, size, root, proof[:place] + proof[place + 1 :])
            for place in range(len(proof) + 1):
                refused(leaves, cuts, size, root, [*proof[:place], bytes(32), *proof[place:]])
            for index in indexes:
                refused(leaves | {index: corrupted(leaves[index])}, cuts, size, root, proof)
            if indexes:
                last = indexes[-1]
                shifted = {index: leaf for index, leaf in leaves.items() if index != last} | {last + 1: leaves[last]}
                refused(shifted, cuts, size, root, proof)
            refused(leaves, cuts, size, corrupted(root), proof)


def test_it_never_costs_more_than_the_single_proofs() -> None:
    random = Random(1)
    for _ in range(300):
        size = random.randint(1, 300)
        indexes = random.sample(range(size), random.randint(0, min(size, 12)))
        cuts = [random.randint(1, size) for _ in range(random.randint(0, 6))]
        proof = check(indexes, cuts, size)
        single = sum(len(inclusion_proof(index, size, TREE.read)) for index in indexes)
        # A consistency proof leaves out the old root, which its verifier has and ours recomputes.
        single += sum(len(consistency_proof(cut, size, TREE.read)) + 1 for cut in cuts)
        assert len(proof) <= single + (not indexes and not cuts)
        assert len(set(proof)) == len(proof)


def test_one_leaf_is_an_inclusion_proof_in_another_order() -> None:
    for size in range(1, 40):
        for index in range(size):
            assert sorted(multiproof([index], [], size, TREE.read)) == sorted(inclusion_proof(index, size, TREE.read))


def test_nothing_wanted_is_the_root() -> None:
    assert check([], [], 7) == [TREE.roots[7]]
    assert check([], [7], 7) == [TREE.roots[7]]
    assert check([0], [1], 1) == []


@pytest.mark.parametrize(
    ("indexes", "cuts", "size"),
    [([], [], 0), ([0], [], 0), ([7], [], 7), ([-1], [], 7), ([], [0], 7), ([], [8], 7), ([], [-1], 7)],
)
def test_outside_the_tree(indexes: list[int], cuts: list[int], size: int) -> None:
    with pytest.raises(ProofError):
        multiproof(indexes, cuts, size, TREE.read)
    for proof in ([], [TREE.roots[size]]):
        refused({index: bytes(32) for index in indexes}, cuts, size, TREE.roots[size], proof)


def test_a_wrong_cut_gives_the_true_root_of_that_cut_or_nothing() -> None:
    """Whoever compares a returned root with a signed one is never deceived by a proof made for other cuts."""
    for size in range(2, 12):
        for cut in range(1, size):
            proof = multiproof([0], [cut], size, TREE.read)
            for other in range(1, size):
                try:
                    roots = verify_multiproof({0: TREE.leaves[0]}, [other], size, TREE.roots[size], proof)
                except ProofError:
                    continue
                assert roots == {other: TREE.roots[other]}


@pytest.mark.parametrize("size", [2**40 + 12345, 2**63 - 1])
def test_huge_trees(size: int) -> None:
    leaf = leaf_hash(b"")
    read = uniform_reader(leaf)
    indexes, cuts = [0, 5, size // 3, size - 1], [1, 6, size // 2, size - 1, size]
    proof = multiproof(indexes, cuts, size, read)
    roots = verify_multiproof(dict.fromkeys(indexes, leaf), cuts, size, tree_root(size, read), proof)
    assert roots == {cut: tree_root(cut, read) for cut in cuts}
