"""Vectors of others: the Merkle proofs of transparency-dev/merkle, and a log written by Tessera.

They lie beside the repository, in ../shared/data/vectors; without them these tests skip.
"""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from glasshouse_verify.checkpoint import parse_checkpoint
from glasshouse_verify.errors import FormatError, ProofError, VerifyError
from glasshouse_verify.note import format_note, format_vkey, parse_note, parse_vkey, verify_note
from glasshouse_verify.policy import Policy, check_checkpoint
from glasshouse_verify.tile import entries_path, format_bundle, parse_bundle, parse_tile_path, tile_path, tile_reader
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

VECTORS = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "vectors"
MERKLE, TESSERA = VECTORS / "merkle", VECTORS / "tessera-log"
TESSERA_KEY = parse_vkey("example.com/log/testdata+33d7b496+AeHTu4Q3hEIMHNqc6fASMsq3rKNx280NI+oO5xCFkkSx")
SIZES = range(1, 16)

pytestmark = pytest.mark.skipif(not VECTORS.is_dir(), reason="the foreign vectors are not beside this checkout")


def vectors(kind: str) -> list[Any]:
    return [
        pytest.param(json.loads(path.read_bytes()), id=str(path.relative_to(MERKLE / kind).with_suffix("")))
        for path in sorted((MERKLE / kind).rglob("*.json"))
    ]


def decoded(vector: dict[str, Any], *names: str) -> tuple[bytes, ...]:
    return tuple(base64.b64decode(vector[name] or "") for name in names)


def proof_of(vector: dict[str, Any]) -> list[bytes]:
    return [base64.b64decode(node) for node in vector["proof"] or ()]


def test_all_vectors_are_here() -> None:
    assert (len(vectors("inclusion")), len(vectors("consistency"))) == (98, 98)


@pytest.mark.parametrize("vector", vectors("inclusion"))
def test_inclusion(vector: dict[str, Any]) -> None:
    leaf, root = decoded(vector, "leafHash", "root")
    arguments = (leaf, vector["leafIdx"], vector["treeSize"], proof_of(vector), root)
    if vector["wantErr"]:
        with pytest.raises(ProofError):
            verify_inclusion(*arguments)
    else:
        verify_inclusion(*arguments)


@pytest.mark.parametrize("vector", vectors("consistency"))
def test_consistency(vector: dict[str, Any]) -> None:
    arguments = (vector["size1"], vector["size2"], *decoded(vector, "root1", "root2"), proof_of(vector))
    if vector["wantErr"]:
        with pytest.raises(ProofError):
            verify_consistency(*arguments)
    else:
        verify_consistency(*arguments)


def tessera_root(size: int) -> bytes:
    note = parse_note((TESSERA / f"checkpoint.{size}").read_bytes())
    policy = Policy(logs=(TESSERA_KEY,), witnesses={}, groups=(), quorum="none")
    checkpoint = check_checkpoint(policy, note).checkpoint
    assert checkpoint.size == size
    return checkpoint.root


def tessera_tile(level: int, index: int, width: int) -> bytes:
    return (TESSERA / tile_path(level, index, width)).read_bytes()


@pytest.mark.parametrize("size", range(16))
def test_tessera_checkpoints(size: int) -> None:
    data = (TESSERA / f"checkpoint.{size}").read_bytes()
    note = parse_note(data)
    assert format_note(note) == data
    assert verify_note(note, [TESSERA_KEY]) == ((TESSERA_KEY, 0),)
    assert parse_checkpoint(note.text).origin == "example.com/log/testdata"
    for place in range(len(data)):
        with pytest.raises(VerifyError):
            verify_note(parse_note(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]), [TESSERA_KEY])


def test_tessera_key_and_newest_checkpoint() -> None:
    assert format_vkey(TESSERA_KEY).startswith("example.com/log/testdata+33d7b496+")
    newest = parse_checkpoint(parse_note((TESSERA / "checkpoint").read_bytes()).text)
    assert newest.root == tessera_root(newest.size)


@pytest.mark.parametrize("size", SIZES)
def test_tessera_tree_from_its_tiles_and_from_its_entries(size: int) -> None:
    root, read = tessera_root(size), tile_reader(size, tessera_tile)
    assert tree_root(size, read) == Frontier.load(size, read).root() == root
    data = (TESSERA / entries_path(0, size)).read_bytes()
    entries = parse_bundle(data)
    assert (format_bundle(entries), len(entries)) == (data, size)
    frontier = Frontier()
    for index, entry in enumerate(entries):
        assert frontier.root() == tessera_root(index)
        frontier.append(leaf_hash(entry))
        verify_inclusion(leaf_hash(entry), index, size, inclusion_proof(index, size, read), root)
    assert frontier.root() == root
    for old in range(1, size + 1):
        verify_consistency(old, size, tessera_root(old), root, consistency_proof(old, size, read))
    cuts = range(1, size + 1)
    leaves = {index: leaf_hash(entry) for index, entry in enumerate(entries) if index % 3 == 0}
    roots = verify_multiproof(leaves, cuts, size, root, multiproof(leaves.keys(), cuts, size, read))
    assert roots == {cut: tessera_root(cut) for cut in cuts}


def test_tessera_paths_are_ours() -> None:
    paths = [path.relative_to(TESSERA).as_posix() for path in (TESSERA / "tile").rglob("*") if path.is_file()]
    assert len(paths) == 30
    for text in paths:
        path = parse_tile_path(text)
        assert tile_path(path.level, path.index, path.width) == text


def test_a_tile_of_another_size_is_refused() -> None:
    with pytest.raises(FormatError, match="expected 480"):
        tree_root(15, tile_reader(15, lambda level, index, _width: tessera_tile(level, index, 14)))
