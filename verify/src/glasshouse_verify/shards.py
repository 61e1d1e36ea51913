"""Sharded manifests: rows keyed by hex digits, cut by fixed prefixes, so that a change touches few rows.

With depth 4 there are 16^4 shards, one for each prefix of four hex digits; a shard is a manifest (see `manifest`) of
the rows whose keys begin with it. The tree above them has one leaf a shard, in the order of their prefixes:

    leaf = SHA-256(0x00 ‖ {"prefix":"0a1f","root":"…","size":15})

What is signed is the root above, the number of rows in all shards, and the depth: it does not depend on the history.
"""

from dataclasses import dataclass

from glasshouse_verify.codec import Digest, Hash
from glasshouse_verify.encoding import format_json
from glasshouse_verify.errors import FormatError, ProofError
from glasshouse_verify.manifest import AbsenceProof, verify_absence
from glasshouse_verify.row import ManifestRoot, Row, RowProof, row_key, verify_row
from glasshouse_verify.tlog import leaf_hash, verify_multiproof

MAX_DEPTH = 6


@dataclass(frozen=True, kw_only=True)
class Sharded:
    """What a signer commits to: the root above the shards, the rows in all of them, the digits of a prefix."""

    root: Digest
    size: int
    depth: int

    def __post_init__(self) -> None:
        if not 1 <= self.depth <= MAX_DEPTH:
            raise FormatError("sharded.depth", f"must be from 1 to {MAX_DEPTH}")


@dataclass(frozen=True, kw_only=True)
class ShardProof:
    """A shard by root and size, the proof that it stands in the tree above, and of one key that it has or lacks it."""

    root: Digest
    size: int
    above: tuple[Hash, ...]
    row: RowProof | None = None
    absence: AbsenceProof | None = None

    def __post_init__(self) -> None:
        if (self.row is None) == (self.absence is None):
            raise FormatError("shard", "proves either a row or an absence")


def shard_leaf(prefix: str, root: str, size: int) -> bytes:
    """The leaf hash of a shard in the tree above."""
    return leaf_hash(format_json({"prefix": prefix, "root": root, "size": size}))


def verify_shard(sharded: Sharded, key: str, proof: ShardProof) -> Row | None:
    """The row of `key`, or None where there is none; raises ProofError where `proof` shows neither."""
    prefix = key[: sharded.depth]
    leaves = {int(prefix, 16): shard_leaf(prefix, proof.root, proof.size)}
    verify_multiproof(leaves, (), 16**sharded.depth, bytes.fromhex(sharded.root), proof.above)
    shard = ManifestRoot(root=bytes.fromhex(proof.root), size=proof.size)
    if proof.row is not None:
        row = verify_row(shard, proof.row)
        if row_key(row) != key:
            raise ProofError("the proof is of another row")
        return row
    if proof.absence is None or proof.absence.key != key:
        raise ProofError("the proof is of another key's absence")
    verify_absence(shard, proof.absence)
    return None
