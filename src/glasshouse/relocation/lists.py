"""Lists of rows on disk, ascending by their keys: what stands behind the root that a statement commits to.

    {"commitment":"…","key":"…"}              the rows of objects: all lines are equally long
    {"key":"…","sha256":"…","size":1234}      the rows of ciphertexts

Each row is canonical JSON and ends in a newline, as in a manifest at rest. Lists may be longer than memory: they are
sorted in pieces, read in one pass, and a single row is found by its key or by its place without reading the others.
"""

import heapq
import itertools
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import BinaryIO

from glasshouse_verify.errors import FormatError
from glasshouse_verify.manifest import parse_row
from glasshouse_verify.row import MAX_ROW, Row, format_row
from glasshouse_verify.shards import Sharded
from glasshouse_verify.tlog import leaf_hash

from glasshouse.regions.shards import DEPTH, ShardTree, shard_root
from glasshouse.relocation.errors import InvalidInput
from glasshouse.storage import files
from glasshouse.storage.errors import from_os_error

KEY_DIGITS = 64
_PIECE_LINES = 100_000
_BUFFER_BYTES = 64 << 10
# A little more than a row has.
_BACK_BYTES = 512


def ciphertext_row(handle: str, sha256: str, size: int) -> Row:
    """What a destination's list says of one ciphertext: its hex SHA-256 and its size in bytes."""
    return {"key": handle, "sha256": sha256, "size": size}


def in_order(rows: Iterable[Row], scratch: Path) -> Iterator[bytes]:
    """The lines of rows that come in any order, ascending by their keys (64 hex digits).

    Memory is bounded by a piece of 100,000 rows; the others wait in a temporary directory below `scratch`. Raises
    InvalidInput for a key that comes twice.
    """
    lines = (_key(row).encode() + format_row(row) + b"\n" for row in rows)
    before = b""
    for line in sorted_lines(lines, scratch):
        if line[:KEY_DIGITS] == before:
            raise InvalidInput("rows", f"{before.decode()[:16]}… comes twice", "List every object once.")
        before = line[:KEY_DIGITS]
        yield line[KEY_DIGITS:]


def keys_in_order(keys: Iterable[str], scratch: Path) -> Iterator[str]:
    """Keys that come in any order, ascending; memory is bounded as for `in_order`."""
    return (line[:-1].decode() for line in sorted_lines((key.encode() + b"\n" for key in keys), scratch))


def sorted_lines(lines: Iterator[bytes], scratch: Path) -> Iterator[bytes]:
    """Lines in the order of their bytes, in the memory of 100,000 of them; the others wait below `scratch`."""
    files.make_directory(scratch, mode=0o700)
    with tempfile.TemporaryDirectory(dir=scratch) as directory:
        pieces: list[Path] = []
        while piece := sorted(itertools.islice(lines, _PIECE_LINES)):
            if not pieces and len(piece) < _PIECE_LINES:
                yield from piece
                return
            path = Path(directory) / str(len(pieces))
            with path.open("wb") as file:
                file.writelines(piece)
            pieces.append(path)
            del piece
        opened = [path.open("rb", buffering=_BUFFER_BYTES) for path in pieces]
        try:
            yield from heapq.merge(*opened)
        finally:
            for one in opened:
                one.close()


class Roots:
    """Root and size of rows that come as ascending lines, in the memory of one shard."""

    def __init__(self, depth: int = DEPTH) -> None:
        self._depth = depth
        self.width: int | None = None
        self.sharded = ShardTree(depth).sharded

    def over(self, lines: Iterable[bytes]) -> Iterator[bytes]:
        """The same lines; once they have ended, `sharded` is theirs, and `width` their length where all have one.

        Raises FormatError for a line that is no row, or does not ascend from the one before.
        """
        tree, widths, before = ShardTree(self._depth), set[int](), ""

        def checked() -> Iterator[tuple[str, bytes]]:
            nonlocal before
            for line in lines:
                if not line.endswith(b"\n"):
                    raise FormatError("row", "does not end in a newline")
                key = _key(parse_row(line[:-1]))
                if key <= before:
                    raise FormatError("row.key", f"{key[:16]}… does not ascend from {before[:16]}…")
                before = key
                if len(widths) < 2:
                    widths.add(len(line))
                yield key, line

        for prefix, members in groupby(checked(), key=lambda found: found[0][: self._depth]):
            leaves = []
            for _, line in members:
                leaves.append(leaf_hash(line[:-1]))
                yield line
            tree.put(prefix, *shard_root(leaves))
        self.sharded, self.width = tree.sharded, widths.pop() if len(widths) == 1 else None


class RowList:
    """A list on disk that was found to have this root. Threads may share one."""

    def __init__(self, path: Path, sharded: Sharded, width: int | None) -> None:
        self.path, self.sharded, self._width = path, sharded, width

    def __iter__(self) -> Iterator[Row]:
        """Every row, in order."""
        with self._open() as file:
            while line := file.readline(MAX_ROW + 1):
                yield parse_row(line[:-1])

    def at(self, place: int) -> Row:
        """The row at a place, counted from 0; raises InvalidInput where there is none or rows differ in length."""
        if self._width is None or not 0 <= place < self.sharded.size:
            raise InvalidInput("place", f"{place} is no place of this list", "Take the rows of objects, as drawn.")
        with self._open() as file:
            file.seek(place * self._width)
            return parse_row(file.read(self._width)[:-1])

    def find(self, key: str) -> Row | None:
        """The row of a key, None where there is none."""
        with self._open() as file:
            low, high = 0, file.seek(0, os.SEEK_END)
            while low < high:
                middle = (low + high) // 2
                start = _line_start(file, middle, low)
                line = file.readline(MAX_ROW + 1)
                found = str(json.loads(line)["key"])
                if found == key:
                    return parse_row(line[:-1])
                low, high = (start + len(line), high) if found < key else (low, start)
        return None

    def _open(self) -> BinaryIO:
        try:
            return self.path.open("rb")
        except OSError as error:
            raise from_os_error(error, f"reading {self.path}") from error


def _line_start(file: BinaryIO, middle: int, low: int) -> int:
    """Go to where the line begins that has the byte `middle`; `low` is where some line begins, not after it."""
    at = middle
    while at > low:
        step = max(low, at - _BACK_BYTES)
        file.seek(step)
        end = file.read(at - step).rfind(b"\n")
        if end >= 0:
            at = step + end + 1
            break
        at = step
    file.seek(at)
    return at


def keep_list(path: Path, lines: Iterable[bytes], *, depth: int = DEPTH) -> RowList:
    """Durably write a list of ascending lines, replacing what is there; it appears once it is whole.

    Raises FormatError for lines that are no list, StorageUnavailable.
    """
    files.make_directory(path.parent, mode=0o700)
    roots, partial = Roots(depth), path.with_name(f".{path.name}.part")
    try:
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.writelines(roots.over(lines))
        files.adopt(path, partial)
    except OSError as error:
        raise from_os_error(error, f"writing {path}") from error
    finally:
        partial.unlink(missing_ok=True)
    return RowList(path, roots.sharded, roots.width)


def check_list(path: Path, said: Sharded, what: str) -> RowList:
    """A list that was kept, read through once. Raises InvalidInput where it is not the one that `said` commits to."""
    roots = Roots(said.depth)
    try:
        with path.open("rb") as file:
            for _ in roots.over(iter(lambda: file.readline(MAX_ROW + 2), b"")):
                continue
    except FileNotFoundError:
        raise InvalidInput(what, f"{path} is not there", "Fetch it or make it anew.") from None
    except FormatError as error:
        raise InvalidInput(what, str(error), "Fetch it or make it anew.") from error
    expect_root(roots.sharded, said, what)
    return RowList(path, said, roots.width)


def known_list(path: Path, said: Sharded, what: str) -> RowList:
    """A list that this process or one before it has kept here itself, as `said`; it is not read through again.

    Raises InvalidInput where it is not there.
    """
    try:
        with path.open("rb") as file:
            width = len(file.readline(MAX_ROW + 1))
            whole = file.seek(0, os.SEEK_END)
    except FileNotFoundError:
        raise InvalidInput(what, f"{path} is not there", "Make it anew.") from None
    except OSError as error:
        raise from_os_error(error, f"reading {path}") from error
    return RowList(path, said, width if width * said.size == whole else None)


def expect_root(found: Sharded, said: Sharded, what: str) -> None:
    """Raise InvalidInput where rows are not those that a statement commits to."""
    if found != said:
        told = f"{found.size} rows under {found.root[:16]}…, the ledger has {said.size} under {said.root[:16]}…"
        raise InvalidInput(what, told, "Ask whoever signed the statement for the rows that it commits to.")


def _key(row: Row) -> str:
    key = str(row["key"])
    if len(key) != KEY_DIGITS or key.strip("0123456789abcdef"):
        raise FormatError("row.key", "must be 64 lowercase hex digits")
    return key
