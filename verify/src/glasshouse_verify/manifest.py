"""Manifests: sorted rows under one Merkle root, so that any row can be proven in, and any key out.

    {"content":"5c1e…","key":"LICENSE","mode":"100644"}
    {"content":"9f2c…","key":"src/main.c","mode":"100644"}

Rows (see `row`) ascend by the UTF-8 bytes of their keys, without duplicates. At rest a manifest is its rows in
canonical JSON, each followed by a newline.

    absence proof   {"key":"src/evil.c","left":row proof,"right":row proof}

A key is absent if the rows to its left and right are neighbours, or one is the first or last row, or there are no rows;
a side without a row is left out. That holds for a manifest in order; who signs its root vouches for the order, and the
proof alone does not show it.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import BinaryIO

from glasshouse_verify.codec import Hash, expect
from glasshouse_verify.encoding import parse_json
from glasshouse_verify.errors import FormatError, ProofError
from glasshouse_verify.row import MAX_ROW, ManifestRoot, Row, RowProof, format_row, row_key, verify_row
from glasshouse_verify.tlog import leaf_hash
from glasshouse_verify.tree import EMPTY_ROOT, Frontier, multiproof


@dataclass(frozen=True, kw_only=True)
class AbsenceProof:
    """The neighbours between which `key` would stand; nothing is shown until `verify_absence`."""

    key: str
    left: RowProof | None = None
    right: RowProof | None = None


def parse_row(data: bytes) -> Row:
    """Read the canonical bytes of a row, without newline; `FormatError` otherwise."""
    row: Row = expect(dict, parse_json(data, "row", MAX_ROW), "row")
    row_key(row)
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


def _ascending(rows: Iterable[Row]) -> Iterator[Row]:
    """Yield rows as long as their keys ascend: by code point, which is the order of their UTF-8 bytes."""
    last: str | None = None
    for row in rows:
        key = row_key(row)
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
        index = bisect_left(self._rows, key, key=row_key)
        if index < self.size and row_key(self._rows[index]) == key:
            return self._prove_row(index)
        left = self._prove_row(index - 1) if index > 0 else None
        right = self._prove_row(index) if index < self.size else None
        return AbsenceProof(key=key, left=left, right=right)

    def _prove_row(self, index: int) -> RowProof:
        proof = multiproof([index], (), self.size, lambda level, place: self._levels[level][place])
        return RowProof(row=self._rows[index], index=index, proof=tuple(map(Hash, proof)))


def verify_absence(root: ManifestRoot, proof: AbsenceProof) -> None:
    """Check that no row of the ordered manifest has the proof's key; `ProofError` if that does not follow."""
    if proof.left is None and proof.right is None:
        if root.size or root.root != EMPTY_ROOT:
            raise ProofError("absence proof without neighbours from a manifest with rows")
        return
    place = 0
    if proof.left is not None:
        if not row_key(verify_row(root, proof.left)) < proof.key:
            raise ProofError("the left neighbour does not precede the absent key")
        place = proof.left.index + 1
    if proof.right is None:
        if place != root.size:
            raise ProofError("the left neighbour is not the last row")
    elif proof.right.index != place or not proof.key < row_key(verify_row(root, proof.right)):
        raise ProofError("the right neighbour is not the next row after the absent key")
