"""Tiles: a log's tree and entries as static files (c2sp.org/tlog-tiles).

    tile/0/x001/x234/067        hashes 256·1234067 … of the leaves: 256 times 32 bytes
    tile/1/000.p/17             the first 17 hashes of level 1; each is the root of one full tile of level 0
    tile/entries/x003/273.p/112 an entry bundle: 112 entries, each after its length as a big-endian uint16

A tile at level L holds nodes of the tree's level 8·L; the seven levels between two tile levels are recomputed. Tiles
of width below 256 are partial: they exist only at the right edge of a tree, floor(size / 256**L) mod 256 hashes wide,
never 0.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from glasshouse_verify.encoding import parse_decimal
from glasshouse_verify.errors import FormatError
from glasshouse_verify.tlog import node_hash
from glasshouse_verify.tree import HashReader

TILE_WIDTH = 256
MAX_ENTRY_LENGTH = 65_535
CACHED_TILES = 256

TileFetcher = Callable[[int, int, int], bytes]


@dataclass(frozen=True, kw_only=True)
class TilePath:
    """Where a tile (`level` 0 to 63) or an entry bundle (`level` None) is served, relative to the log's prefix."""

    level: int | None
    index: int
    width: int


def tile_path(level: int | None, index: int, width: int = TILE_WIDTH) -> str:
    """Return the path of a tile, or of an entry bundle if `level` is None; `FormatError` if a part is out of range."""
    if not 0 <= (level or 0) < 64 or not 0 <= index < 2**63 or not 1 <= width <= TILE_WIDTH:
        raise FormatError("tile path", f"no tile {index} of width {width} at level {level}")
    groups, rest = f"{index % 1000:03d}", index // 1000
    while rest:
        groups, rest = f"x{rest % 1000:03d}/{groups}", rest // 1000
    return f"tile/{'entries' if level is None else level}/{groups}" + (f".p/{width}" if width < TILE_WIDTH else "")


def entries_path(index: int, width: int = TILE_WIDTH) -> str:
    """Return the path of an entry bundle; `FormatError` if a part is out of range."""
    return tile_path(None, index, width)


def parse_tile_path(text: str) -> TilePath:
    """Read the path of a tile or entry bundle; `FormatError` unless `tile_path` would write this text."""
    place, _, width = text.partition(".p/")
    _, level, *groups = place.split("/", 10) if place.count("/") > 1 else ("", "", "")
    index = "".join(group[-3:] for group in groups).lstrip("0") or "0"
    path = TilePath(
        level=None if level == "entries" else parse_decimal(level, "tile level"),
        index=parse_decimal(index, "tile index"),
        width=parse_decimal(width, "tile width") if width else TILE_WIDTH,
    )
    if tile_path(path.level, path.index, path.width) != text:
        raise FormatError("tile path", "not tile/<level>/<index>[.p/<width>] in its only spelling")
    return path


def format_bundle(entries: Iterable[bytes]) -> bytes:
    """Write entries, each after its big-endian 16-bit length; `FormatError` if one is longer than 65,535 bytes."""
    parts: list[bytes] = []
    for entry in entries:
        if len(entry) > MAX_ENTRY_LENGTH:
            raise FormatError("entry", f"{len(entry)} bytes, more than {MAX_ENTRY_LENGTH}")
        parts += (len(entry).to_bytes(2, "big"), entry)
    return b"".join(parts)


def parse_bundle(data: bytes) -> list[bytes]:
    """Read the entries of a bundle, however many; `FormatError` unless the last one ends where the data does."""
    entries: list[bytes] = []
    start = 0
    while start < len(data):
        end = start + 2 + int.from_bytes(data[start : start + 2], "big")
        if end > len(data) or start + 2 > len(data):
            raise FormatError("entry bundle", f"entry {len(entries)} is cut short")
        entries.append(data[start + 2 : end])
        start = end
    return entries


def tile_width(level: int, index: int, size: int) -> int:
    """Return how many hashes tile `index` at `level` has in a tree of `size` leaves: 0 where there is no such tile."""
    return max(0, min(TILE_WIDTH, (size >> 8 * level) - index * TILE_WIDTH))


def new_tiles(old: int, new: int) -> Iterator[TilePath]:
    """Yield the tiles of a tree of `new` leaves that one of `old` lacks, lowest level first; bundles are as level 0."""
    level = 0
    while new >> 8 * level:
        for index in range((old >> 8 * level) // TILE_WIDTH, -(-(new >> 8 * level) // TILE_WIDTH)):
            width = tile_width(level, index, new)
            if width != tile_width(level, index, old):
                yield TilePath(level=level, index=index, width=width)
        level += 1


def tile_reader(size: int, fetch: TileFetcher) -> HashReader:
    """Return a `tree.HashReader` for a tree of `size` leaves over `fetch(level, index, width)`, the bytes of a tile.

    Nothing fetched is trusted by itself: a proof or root computed from it must be checked. The last `CACHED_TILES`
    tiles are kept. The reader raises `FormatError` for a tile of the wrong length or a node outside the tree.
    """

    @lru_cache(maxsize=CACHED_TILES)
    def tile(level: int, index: int) -> bytes:
        width = tile_width(level, index, size)
        data = fetch(level, index, width)
        if len(data) != 32 * width:
            raise FormatError(tile_path(level, index, width), f"{len(data)} bytes, expected {32 * width}")
        return data

    def read(level: int, index: int) -> bytes:
        if level < 0 or index < 0 or (index + 1) << level > size:
            raise FormatError("tile hash", f"no node {index} at level {level} in a tree of {size}")
        first, count = (index << level % 8) % TILE_WIDTH, 1 << level % 8
        data = tile(level // 8, (index << level % 8) // TILE_WIDTH)
        nodes = [data[32 * place : 32 * place + 32] for place in range(first, first + count)]
        while len(nodes) > 1:
            nodes = [node_hash(left, right) for left, right in zip(nodes[::2], nodes[1::2], strict=True)]
        return nodes[0]

    return read
