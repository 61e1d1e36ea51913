"""Manifests: sorted rows under one Merkle root, so that any row can be proven in, and any key out.

    {"content":"5c1e…","key":"LICENSE","mode":"100644"}
    {"content":"9f2c…","key":"src/main.c","mode":"100644"}

A row is a JSON object with a text member "key"; its other members belong to whoever uses the manifest. Rows ascend by
the UTF-8 bytes of their keys, without duplicates. At rest a manifest is its rows in canonical JSON, each followed by a
newline. The tree is the ledger's: leaf = SHA-256(0x00 ‖ canonical row). What is signed is root and size.

    row proof       {"index":1,"proof":["base64 hash",…],"row":{"key":…}}
    absence proof   {"key":"src/evil.c","left":row proof | null,"right":row proof | null}

A key is absent if the rows to its left and right are neighbours, or one is the first or last row, or there are no rows.
That holds for a manifest in order; who signs its root vouches for the order, and the proof alone does not show it.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import BinaryIO, TypeAlias

from glasshouse_verify.encoding import JSON, decode_base64, encode_base64, expect, format_json, parse_json, read_object
from glasshouse_verify.errors import FormatError, ProofError
from glasshouse_verify.tlog import leaf_hash, verify_inclusion
from glasshouse_verify.tree import EMPTY_ROOT, Frontier, inclusion_proof

Row: TypeAlias = Mapping[str, JSON]

MAX_ROW = 65_535


@dataclass(frozen=True, kw_only=True)
class ManifestRoot:
    """What a signer commits to: the Merkle root of a manifest and its number of rows."""

    root: bytes
    size: int


@dataclass(frozen=True, kw_only=True)
class RowProof:
    """A row and its inclusion proof; nothing is shown until `verify_row`."""

    row: Row
    index: int
    proof: tuple[bytes, ...]

    def to_json(self) -> dict[str, JSON]:
        """Return the JSON value that `from_json` reads."""
        return {"index": self.index, "proof": [encode_base64(node) for node in self.proof], "row": dict(self.row)}

    @classmethod
    def from_json(cls, value: JSON, field: str = "row proof") -> "RowProof":
        """Read a row proof; `FormatError` unless `to_json` would give this value."""
        members = read_object(value, field, "index", "proof", "row")
        nodes, row = expect(list, members["proof"], f"{field}.proof"), expect(dict, members["row"], f"{field}.row")
        format_row(row)
        return cls(
            row=row,
            index=expect(int, members["index"], f"{field}.index"),
            proof=tuple(decode_base64(expect(str, node, f"{field}.proof"), f"{field}.proof", 32) for node in nodes),
        )


@dataclass(frozen=True, kw_only=True)
class AbsenceProof:
    """The neighbours between which `key` would stand; nothing is shown until `verify_absence`."""

    key: str
    left: RowProof | None
    right: RowProof | None

    def to_json(self) -> dict[str, JSON]:
        """Return the JSON value that `from_json` reads."""
        left, right = (side.to_json() if side else None for side in (self.left, self.right))
        return {"key": self.key, "left": left, "right": right}

    @classmethod
    def from_json(cls, value: JSON, field: str = "absence proof") -> "AbsenceProof":
        """Read an absence proof; `FormatError` unless `to_json` would give this value."""
        members = read_object(value, field, "key", "left", "right")
        left, right = (
            None if members[side] is None else RowProof.from_json(members[side], f"{field}.{side}")
            for side in ("left", "right")
        )
        return cls(key=expect(str, members["key"], f"{field}.key"), left=left, right=right)


def format_row(row: Row) -> bytes:
    """Write the canonical bytes of a row, without newline; `FormatError` if it has no key, floats or too many bytes."""
    _key(row)
    data = format_json(dict(row))
    if len(data) > MAX_ROW:
        raise FormatError("row", f"{len(data)} bytes, more than {MAX_ROW}")
    return data


def parse_row(data: bytes) -> Row:
    """Read the canonical bytes of a row, without newline; `FormatError` otherwise."""
    row: Row = expect(dict, parse_json(data, "row", MAX_ROW), "row")
    _key(row)
    return row


def format_rows(rows: Iterable[Row]) -> Iterator[bytes]:
    """Yield the lines of a manifest at rest; `FormatError` where rows are out of order."""
    return (format_row(row) + b"\n" for row in _ascending(rows))


def parse_rows(source: BinaryIO | bytes) -> Iterator[Row]:
    """Yield the rows of a manifest at rest, one line in memory at a time; `FormatError` at the first fault."""
    stream = BytesIO(source) if isinstance(source, bytes) else source
    return _ascending(parse_row(line) for line in _lines(stream))


def _lines(stream: BinaryIO) -> Iterator[bytes]:
    while line := stream.readline(MAX_ROW + 1):
        if not line.endswith(b"\n"):
            raise FormatError("row", f"not a line of at most {MAX_ROW} bytes that ends in a newline")
        yield line[:-1]


def _key(row: Row) -> str:
    return expect(str, row.get("key"), "row.key")


def _ascending(rows: Iterable[Row]) -> Iterator[Row]:
    """Yield rows as long as their keys ascend: by code point, which is the order of their UTF-8 bytes."""
    last: str | None = None
    for row in rows:
        key = _key(row)
        if last is not None and key <= last:
            raise FormatError("row.key", f"{key!r} does not ascend from {last!r}")
        last = key
        yield row


def manifest_root(rows: Iterable[Row]) -> ManifestRoot:
    """Compute the root of rows that arrive in order, in constant memory; `FormatError` where they do not ascend."""
    frontier = Frontier()
    for row in _ascending(rows):
        frontier.append(leaf_hash(format_row(row)))
    return ManifestRoot(root=frontier.root(), size=frontier.size)


class ManifestTree:
    """A manifest held in memory to prove from; `FormatError` where rows do not ascend."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._rows: list[Row] = []
        self._levels: list[list[bytes]] = []
        frontier = Frontier()
        for row in _ascending(rows):
            self._rows.append(row)
            for level, node in enumerate(frontier.append(leaf_hash(format_row(row)))):
                if level == len(self._levels):
                    self._levels.append([])
                self._levels[level].append(node)
        self.root, self.size = frontier.root(), frontier.size

    def prove(self, key: str) -> RowProof | AbsenceProof:
        """Prove the row of `key`, or that there is none."""
        index = bisect_left(self._rows, key, key=_key)
        if index < self.size and _key(self._rows[index]) == key:
            return self._prove_row(index)
        left = self._prove_row(index - 1) if index > 0 else None
        right = self._prove_row(index) if index < self.size else None
        return AbsenceProof(key=key, left=left, right=right)

    def _prove_row(self, index: int) -> RowProof:
        proof = inclusion_proof(index, self.size, lambda level, place: self._levels[level][place])
        return RowProof(row=self._rows[index], index=index, proof=tuple(proof))


def verify_row(root: ManifestRoot, proof: RowProof) -> Row:
    """Return the row that `proof` shows to be in the manifest; `ProofError` if it does not."""
    verify_inclusion(leaf_hash(format_row(proof.row)), proof.index, root.size, proof.proof, root.root)
    return proof.row


def verify_absence(root: ManifestRoot, proof: AbsenceProof) -> None:
    """Check that no row of the ordered manifest has the proof's key; `ProofError` if that does not follow."""
    if proof.left is None and proof.right is None:
        if root.size or root.root != EMPTY_ROOT:
            raise ProofError("absence proof without neighbours from a manifest with rows")
        return
    place = 0
    if proof.left is not None:
        if not _key(verify_row(root, proof.left)) < proof.key:
            raise ProofError("the left neighbour does not precede the absent key")
        place = proof.left.index + 1
    if proof.right is None:
        if place != root.size:
            raise ProofError("the left neighbour is not the last row")
    elif proof.right.index != place or not proof.key < _key(verify_row(root, proof.right)):
        raise ProofError("the right neighbour is not the next row after the absent key")
