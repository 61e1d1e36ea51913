"""The tree above the shards, whatever changes in whatever order: as one built at once, and every proof of it holds."""

import random

import pytest
from glasshouse_verify.codec import encode
from glasshouse_verify.encoding import format_json
from glasshouse_verify.errors import FormatError, ProofError
from glasshouse_verify.manifest import manifest_root
from glasshouse_verify.row import Row, format_row
from glasshouse_verify.shards import Sharded, shard_leaf, verify_shard
from glasshouse_verify.tlog import leaf_hash
from glasshouse_verify.tree import Frontier
from hypothesis import given
from hypothesis import strategies as st
from world import digest

from glasshouse.regions.errors import InvalidInput
from glasshouse.regions.shards import DEPTH, ShardTree, shard_root

# Few prefixes, so that shards fill, change and empty again.
HANDLES = st.sampled_from([f"{prefix}{digest(b'%d' % n)[2:]}" for prefix in ("00", "0f", "7a", "ff") for n in range(6)])
STEPS = st.lists(st.tuples(HANDLES, st.booleans()), max_size=40)


def row(key: str) -> Row:
    return {"commitment": digest(key.encode()), "key": key}


def naive(rows: dict[str, Row], depth: int) -> Sharded:
    above = Frontier()
    for number in range(16**depth):
        prefix = f"{number:0{depth}x}"
        shard = manifest_root(rows[key] for key in sorted(rows) if key.startswith(prefix))
        above.append(shard_leaf(prefix, shard.root.hex(), shard.size))
    return Sharded(root=above.root().hex(), size=len(rows), depth=depth)


def shard_of(rows: dict[str, Row], key: str, depth: int) -> list[Row]:
    return [rows[other] for other in sorted(rows) if other[:depth] == key[:depth]]


@given(steps=STEPS, depth=st.sampled_from([1, 2]), looks=st.sets(st.integers(0, 40)))
def test_history_leaves_no_trace(steps: list[tuple[str, bool]], depth: int, looks: set[int]) -> None:
    tree, rows = ShardTree(depth), dict[str, Row]()
    for number, (key, is_there) in enumerate(steps):
        if is_there:
            rows[key] = row(key)
        else:
            rows.pop(key, None)
        leaves = [leaf_hash(format_row(found)) for found in shard_of(rows, key, depth)]
        tree.put(key[:depth], *shard_root(leaves))
        if number in looks:
            assert tree.sharded == naive(rows, depth)
    assert tree.sharded == naive(rows, depth)


@given(keys=st.sets(HANDLES), asked=HANDLES, other=HANDLES)
def test_every_proof_holds_and_no_other(keys: set[str], asked: str, other: str) -> None:
    rows, tree = {key: row(key) for key in keys}, ShardTree(2)
    for key in keys:
        tree.put(key[:2], *shard_root(leaf_hash(format_row(found)) for found in shard_of(rows, key, 2)))
    proof, sharded = tree.prove(shard_of(rows, asked, 2), asked), tree.sharded
    assert verify_shard(sharded, asked, proof) == rows.get(asked)
    if other != asked:
        with pytest.raises(ProofError):
            verify_shard(sharded, other, proof)
    with pytest.raises(ProofError):
        verify_shard(Sharded(root=digest(b"x"), size=sharded.size, depth=2), asked, proof)


@given(count=st.integers(0, 70))
def test_a_shard_is_a_manifest(count: int) -> None:
    rows = [row(key) for key in sorted(digest(b"%d" % n) for n in range(count))]
    root = manifest_root(rows)
    assert shard_root(leaf_hash(format_row(found)) for found in rows) == (root.root, root.size)


def test_a_proof_from_65_536_shards() -> None:
    """What a proof weighs follows from the depth and from the rows of one shard, however many there are elsewhere."""
    chance = random.Random(4)
    rows = {key: row(key) for key in (f"5c0e{chance.randbytes(30).hex()}" for _ in range(16))}
    tree = ShardTree(DEPTH)
    tree.put("5c0e", *shard_root(leaf_hash(format_row(rows[key])) for key in sorted(rows)))
    absent = f"5c0e{chance.randbytes(30).hex()}"
    proof = tree.prove(shard_of(rows, absent, DEPTH), absent)
    assert verify_shard(tree.sharded, absent, proof) is None
    assert len(proof.above) == 16
    assert len(format_json(encode(proof))) <= 3_072


@pytest.mark.parametrize("prefix", ["", "0", "000", "0G", "-1", "0x", "Ab"])
def test_prefixes(prefix: str) -> None:
    with pytest.raises(InvalidInput, match="is not 2 hex digits"):
        ShardTree(2).put(prefix, bytes(32), 1)


def test_rows_that_were_not_put() -> None:
    tree = ShardTree(2)
    tree.put("00", *shard_root([leaf_hash(b"another row")]))
    with pytest.raises(InvalidInput, match="are not those of the key's shard"):
        tree.prove([row("00" * 32)], "00" * 32)


@pytest.mark.parametrize("depth", [0, 7])
def test_depths(depth: int) -> None:
    with pytest.raises(FormatError, match="depth"):
        Sharded(root=digest(b"x"), size=0, depth=depth)
