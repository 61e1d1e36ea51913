"""Properties of trees, manifests and policies of any size and shape."""

from hashlib import sha256

import pytest
from glasshouse_verify.codec import decode, encode
from glasshouse_verify.errors import ProofError
from glasshouse_verify.manifest import AbsenceProof, ManifestTree, verify_absence
from glasshouse_verify.note import VerifierKey
from glasshouse_verify.policy import Group, Policy, witness_policy
from glasshouse_verify.policy_file import format_policy, parse_policy
from glasshouse_verify.row import ManifestRoot, RowProof, verify_row
from glasshouse_verify.tile import TILE_WIDTH, new_tiles, tile_reader, tile_width
from glasshouse_verify.tlog import leaf_hash, verify_multiproof
from glasshouse_verify.tree import (
    Frontier,
    consistency_proof,
    inclusion_proof,
    multiproof,
    tree_root,
    verify_consistency,
    verify_inclusion,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from notary import Notary, Tree, corrupted, uniform_reader, witness

LARGEST = 2**63 - 1
SIZES = st.one_of(st.integers(1, 70), st.integers(1, LARGEST), st.sampled_from([2**40, 2**40 - 1, 2**40 + 1, LARGEST]))
LEAF = leaf_hash(b"leaf")
UNIFORM = uniform_reader(LEAF)
TREE = Tree(1500)


@st.composite
def places(draw: st.DrawFn) -> tuple[int, int]:
    size = draw(SIZES)
    return draw(st.integers(0, size - 1)), size


@settings(max_examples=200, deadline=None)
@given(places(), st.integers(0, 63))
def test_any_leaf_of_any_tree(place: tuple[int, int], bend: int) -> None:
    index, size = place
    proof, root = inclusion_proof(index, size, UNIFORM), tree_root(size, UNIFORM)
    verify_inclusion(LEAF, index, size, proof, root)
    if proof:
        bend %= len(proof)
        for bent in (
            [*proof[:bend], corrupted(proof[bend]), *proof[bend + 1 :]],
            proof[:bend] + proof[bend + 1 :],
            [*proof, proof[bend]],
        ):
            with pytest.raises(ProofError):
                verify_inclusion(LEAF, index, size, bent, root)


@settings(max_examples=200, deadline=None)
@given(places(), st.integers(0, 63))
def test_any_prefix_of_any_tree(place: tuple[int, int], bend: int) -> None:
    old, new = place[0] + 1, place[1]
    proof, old_root, root = consistency_proof(old, new, UNIFORM), tree_root(old, UNIFORM), tree_root(new, UNIFORM)
    verify_consistency(old, new, old_root, root, proof)
    assert Frontier.load(old, UNIFORM).root() == old_root
    if proof:
        bend %= len(proof)
        for bent in ([*proof[:bend], corrupted(proof[bend]), *proof[bend + 1 :]], proof[:bend] + proof[bend + 1 :]):
            with pytest.raises(ProofError):
                verify_consistency(old, new, old_root, root, bent)
    with pytest.raises(ProofError):
        verify_consistency(old, new, corrupted(old_root), root, proof)


@st.composite
def wishes(draw: st.DrawFn) -> tuple[int, set[int], set[int]]:
    size = draw(st.integers(1, 1500))
    indexes = draw(st.sets(st.integers(0, size - 1), max_size=8))
    return size, indexes, draw(st.sets(st.integers(1, size), max_size=5))


@settings(max_examples=200, deadline=None)
@given(wishes(), st.integers(0, 2**16))
def test_multiproof(wish: tuple[int, set[int], set[int]], bend: int) -> None:
    size, indexes, cuts = wish
    proof = multiproof(indexes, cuts, size, TREE.read)
    leaves, root = {index: TREE.leaves[index] for index in indexes}, TREE.roots[size]
    assert verify_multiproof(leaves, cuts, size, root, proof) == {cut: TREE.roots[cut] for cut in cuts}
    assert len(set(proof)) == len(proof)
    if proof:
        bend %= len(proof)
        for bent in (
            [*proof[:bend], corrupted(proof[bend]), *proof[bend + 1 :]],
            proof[:bend] + proof[bend + 1 :],
            [*proof[: bend + 1], *proof[bend:]],
            proof[::-1] if proof != proof[::-1] else [],
        ):
            with pytest.raises(ProofError):
                verify_multiproof(leaves, cuts, size, root, bent)
    for index in indexes:
        with pytest.raises(ProofError):
            verify_multiproof(leaves | {index: corrupted(leaves[index])}, cuts, size, root, proof)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 300), min_size=1, max_size=5))
def test_a_log_grown_in_steps_from_its_tiles(steps: list[int]) -> None:
    """An integrator that keeps only tiles: load the frontier, append, write the tiles that changed, forget the rest."""
    tiles: dict[tuple[int, int], bytes] = {}
    size = 0
    for step in steps:
        frontier = Frontier.load(size, tile_reader(size, lambda level, index, width: tiles[level, index][: 32 * width]))
        rows: dict[int, list[bytes]] = {}
        for index in range(size, size + step):
            for level, node in enumerate(frontier.append(leaf_hash(b"%d" % index))):
                if level % 8 == 0:
                    rows.setdefault(level // 8, []).append(node)
        for tile in new_tiles(size, size + step):
            level = tile.level or 0
            kept = tile_width(level, tile.index, size)
            first = max(0, tile.index * TILE_WIDTH - (size >> 8 * level))
            fresh = rows[level][first : first + tile.width - kept]
            tiles[level, tile.index] = tiles.get((level, tile.index), b"")[: 32 * kept] + b"".join(fresh)
            assert len(tiles[level, tile.index]) == 32 * tile.width
        size += step
        assert frontier.root() == TREE.roots[size]
        read = tile_reader(size, lambda level, index, width: tiles[level, index][: 32 * width])
        assert tree_root(size, read) == TREE.roots[size]


KEYS = st.text(st.characters(exclude_categories=["Cs"]), max_size=3)


@settings(max_examples=150, deadline=None)
@given(st.sets(KEYS, max_size=20), st.lists(KEYS, min_size=1, max_size=4))
def test_each_key_is_shown_in_or_out_of_a_manifest_never_both(keys: set[str], asked: list[str]) -> None:
    tree = ManifestTree({"key": key} for key in sorted(keys, key=str.encode))
    root = ManifestRoot(root=tree.root, size=tree.size)
    for key in asked:
        proof = tree.prove(key)
        if isinstance(proof, RowProof):
            assert verify_row(root, proof)["key"] == key
            assert decode(RowProof, encode(proof), "row proof") == proof
        else:
            verify_absence(root, proof)
            assert decode(AbsenceProof, encode(proof), "absence proof") == proof
        assert isinstance(proof, RowProof) is (key in keys)


NAMES = [f"w{n}" for n in range(6)]
VKEYS: dict[str, VerifierKey] = {name: witness(f"{name}.example").key for name in NAMES}


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """Any tree of groups over six witnesses."""
    free, groups = list(NAMES), list[Group]()
    for number in range(draw(st.integers(0, 4))):
        members = draw(st.lists(st.sampled_from(free), min_size=1, max_size=4, unique=True))
        groups.append(Group(name=f"g{number}", threshold=draw(st.integers(1, len(members))), members=tuple(members)))
        free = [name for name in free if name not in members] + [f"g{number}"]
    quorum = draw(st.sampled_from(["none", *NAMES, *(group.name for group in groups)]))
    return Policy(logs=(), witnesses=VKEYS, groups=tuple(groups), quorum=quorum)


@settings(max_examples=200, deadline=None)
@given(policies(), st.sets(st.sampled_from(NAMES)))
def test_quorum_as_the_specification_defines_it(policy: Policy, signers: set[str]) -> None:
    groups = {group.name: group for group in policy.groups}

    def witnessed(name: str) -> bool:
        if name not in groups:
            return name == "none" or name in signers
        return sum(map(witnessed, groups[name].members)) >= groups[name].threshold

    assert policy.satisfied_by(signers) is witnessed(policy.quorum)
    assert parse_policy(format_policy(policy)) == policy
    if policy.satisfied_by(signers):
        assert policy.satisfied_by(NAMES), "more cosignatures never hurt"


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 4), st.integers(0, 8))
def test_two_quorums_share_an_honest_party(faulty: int, more: int) -> None:
    count = 3 * faulty + 1 + more
    parties = {f"p{n}": [witness(f"p{n}").key] for n in range(count)}
    policy = witness_policy(Notary("log").key, parties, faulty)
    needed = policy.groups[-1].threshold
    assert 2 * needed - count >= faulty + 1
    assert needed <= count - faulty


def test_the_leaf_of_the_uniform_tree_is_what_it_says() -> None:
    assert sha256(b"\x00leaf").digest() == LEAF
