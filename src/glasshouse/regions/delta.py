"""What an epoch changed: the rows that came, those that went with their tombstones, and the tombstones that changed.

    {"added":1,"changed":1,"epoch":3,"region":"au","removed":1,"schema":"glasshouse.inventory-delta/v1"}
    {"commitment":"9239…","key":"c2a1…"}                                        added to the held
    {"key":"5c0e…","reason":"retention","removed":1831536000,"residue_until":1834128000}     from held to erased
    {"key":"77aa…","reason":"retention","removed":1829000000}                   erased before, irrecoverable by now

Lines of canonical JSON, each ended by a newline: the header with the number of rows of each kind, then the rows of each
kind, ascending by key. An object that came and went within one epoch is in both the first and the second. The sites of
a region write the same bytes. The format is strict: what `format_delta` would not write, `parse_delta` refuses.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import pairwise
from typing import TypeVar

from glasshouse_verify.codec import Digest, Identifier, decode, encode
from glasshouse_verify.encoding import format_json, parse_json
from glasshouse_verify.errors import FormatError
from glasshouse_verify.receipt import Tombstone
from glasshouse_verify.row import Row

SCHEMA = "glasshouse.inventory-delta/v1"
MAX_LINE_BYTES = 1_024
# So many rows stay below what a ledger takes as one blob; who closes an epoch cuts it before there are more.
MAX_ROWS = 250_000

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class HeldRow:
    """A row of the held: the handle, and the commitment that the receipt opens."""

    key: Digest
    commitment: Digest

    @property
    def row(self) -> Row:
        """The row as it stands in the inventory."""
        return {"commitment": self.commitment, "key": self.key}


@dataclass(frozen=True, kw_only=True)
class Delta:
    """The changes of one epoch; each tuple ascends by key."""

    region: Identifier
    epoch: int
    added: tuple[HeldRow, ...] = ()
    removed: tuple[Tombstone, ...] = ()
    changed: tuple[Tombstone, ...] = ()

    def __post_init__(self) -> None:
        for name in ("added", "removed", "changed"):
            keys = [row.key for row in getattr(self, name)]
            if any(key >= after for key, after in pairwise(keys)):
                raise FormatError(f"delta.{name}", "must ascend by key, each once")
        if len(self.added) + len(self.removed) + len(self.changed) > MAX_ROWS:
            raise FormatError("delta", f"has more than {MAX_ROWS} rows")


@dataclass(frozen=True, kw_only=True)
class _Header:
    schema: str = SCHEMA
    region: Identifier
    epoch: int
    added: int
    removed: int
    changed: int


def format_delta(delta: Delta) -> bytes:
    """The bytes of a delta."""
    header = _Header(
        region=delta.region,
        epoch=delta.epoch,
        added=len(delta.added),
        removed=len(delta.removed),
        changed=len(delta.changed),
    )
    return b"".join(_lines((header,), delta.added, delta.removed, delta.changed))


def _lines(*parts: Iterable[object]) -> Iterator[bytes]:
    return (format_json(encode(record)) + b"\n" for part in parts for record in part)


def parse_delta(data: bytes) -> Delta:
    """Read a delta strictly; raises FormatError naming the line."""
    stream = BytesIO(data)
    header: _Header = decode(_Header, _line(stream, "delta"), "delta")
    if header.added + header.removed + header.changed > MAX_ROWS:
        raise FormatError("delta", f"announces more than {MAX_ROWS} rows")
    delta = Delta(
        region=header.region,
        epoch=header.epoch,
        added=tuple(_read(HeldRow, stream, header.added, "delta.added")),
        removed=tuple(_read(Tombstone, stream, header.removed, "delta.removed")),
        changed=tuple(_read(Tombstone, stream, header.changed, "delta.changed")),
    )
    if stream.read(1):
        raise FormatError("delta", "has more lines than its header announces")
    return delta


def _read(kind: type[T], stream: BytesIO, count: int, where: str) -> Iterator[T]:
    return (decode(kind, _line(stream, f"{where}[{n}]"), f"{where}[{n}]") for n in range(count))


def _line(stream: BytesIO, where: str) -> object:
    line = stream.readline(MAX_LINE_BYTES + 1)
    if not line.endswith(b"\n"):
        raise FormatError(where, f"is not a line of at most {MAX_LINE_BYTES} bytes that ends in a newline")
    return parse_json(line[:-1], where, MAX_LINE_BYTES)


def changed_prefixes(delta: Delta, depth: int) -> tuple[set[str], set[str]]:
    """The shards that a delta touches: of the held, and of the erased."""

    def cut(rows: Sequence[HeldRow] | Sequence[Tombstone]) -> set[str]:
        return {row.key[:depth] for row in rows}

    return cut(delta.added) | cut(delta.removed), cut(delta.removed) | cut(delta.changed)
