"""One row of a manifest (see `manifest`), and the proof that it is there.

    {"index":1,"proof":["base64 hash",…],"row":{"key":"src/main.c",…}}

A row is a JSON object with a text member "key"; its other members belong to whoever uses the manifest. The tree is the
ledger's: leaf = SHA-256(0x00 ‖ canonical row). What is signed is root and size.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from glasshouse_verify.codec import Hash, Json, expect
from glasshouse_verify.encoding import format_json
from glasshouse_verify.errors import FormatError
from glasshouse_verify.tlog import leaf_hash, verify_multiproof

Row: TypeAlias = Mapping[str, Json]

MAX_ROW = 65_535


@dataclass(frozen=True, kw_only=True)
class ManifestRoot:
    """What a signer commits to: the Merkle root of a manifest and its number of rows."""

    root: bytes
    size: int


@dataclass(frozen=True, kw_only=True)
class RowProof:
    """A row and the multiproof of its leaf; nothing is shown until `verify_row`. `FormatError` if it is no row."""

    row: Row
    index: int
    proof: tuple[Hash, ...]

    def __post_init__(self) -> None:
        format_row(self.row)


def row_key(row: Row) -> str:
    """Return the key of a row; `FormatError` where it has none."""
    return expect(str, row.get("key"), "row.key")


def format_row(row: Row) -> bytes:
    """Write the canonical bytes of a row, without newline; `FormatError` if it has no key, floats or too many bytes."""
    row_key(row)
    data = format_json(dict(row))
    if len(data) > MAX_ROW:
        raise FormatError("row", f"{len(data)} bytes, more than {MAX_ROW}")
    return data


def verify_row(root: ManifestRoot, proof: RowProof) -> Row:
    """Return the row that `proof` shows to be in the manifest; `ProofError` if it does not."""
    verify_multiproof({proof.index: leaf_hash(format_row(proof.row))}, (), root.size, root.root, proof.proof)
    return proof.row
