"""The right edge of a log's tree: what must be in memory to append leaves and to write the tiles that become full.

For every tile level the hashes of the rightmost, unfinished tile: at most 255 of 32 bytes for each of 8 levels,
whatever the size of the log.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass

from glasshouse_verify.errors import FormatError, VerifyError
from glasshouse_verify.tile import TILE_WIDTH, TileFetcher, entries_path, tile_path, tile_reader, tile_width
from glasshouse_verify.tree import EMPTY_ROOT, Frontier

from glasshouse.storage.errors import ObjectMissing
from glasshouse.storage.objects import ObjectStore

HASH_BYTES = 32


@dataclass(frozen=True, kw_only=True)
class Tile:
    """A tile to be stored under ``key``."""

    key: str
    data: bytes


class Edge:
    """The unfinished tiles of a tree, and its root."""

    def __init__(self) -> None:
        self._frontier = Frontier()
        self._tiles: list[list[bytes]] = []

    @classmethod
    def load(cls, size: int, fetch: TileFetcher) -> "Edge":
        """The edge of a stored tree of ``size`` leaves. Raises FormatError for a tile of the wrong length.

        The caller compares the root: what was fetched proves nothing by itself.
        """
        edge = cls()
        edge._frontier = Frontier.load(size, tile_reader(size, fetch))
        level = 0
        while size >> 8 * level:
            index = size >> 8 * (level + 1)
            width = tile_width(level, index, size)
            data = fetch(level, index, width) if width else b""
            if len(data) != width * HASH_BYTES:
                raise FormatError(tile_path(level, index, width), f"{len(data)} bytes, expected {width * HASH_BYTES}")
            edge._tiles.append([data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES)])
            level += 1
        return edge

    @property
    def size(self) -> int:
        """The number of leaves."""
        return self._frontier.size

    @property
    def leaves(self) -> list[bytes]:
        """The leaf hashes of the unfinished tile at level 0."""
        return self._tiles[0] if self._tiles else []

    def root(self) -> bytes:
        """The root of all leaves."""
        return self._frontier.root() if self.size else EMPTY_ROOT

    def copy(self) -> "Edge":
        """An independent copy, so that a failed step leaves the original as it was."""
        return copy.deepcopy(self)

    def append(self, leaf: bytes) -> Iterator[Tile]:
        """Add a leaf hash; yields the tiles that became full, lowest level first."""
        completed = self._frontier.append(leaf)
        for level in range(0, len(completed), 8):
            if level // 8 == len(self._tiles):
                self._tiles.append([])
            tile = self._tiles[level // 8]
            tile.append(completed[level])
            if len(tile) == TILE_WIDTH:
                index = (self.size >> level + 8) - 1
                yield Tile(key=tile_path(level // 8, index), data=b"".join(tile))
                tile.clear()

    def partial_tiles(self) -> Iterator[Tile]:
        """The unfinished tiles, for a checkpoint of this size."""
        for level, tile in enumerate(self._tiles):
            if tile:
                yield Tile(key=tile_path(level, self.size >> 8 * (level + 1), len(tile)), data=b"".join(tile))


def stored_tile(store: ObjectStore, level: int, index: int, width: int) -> bytes:
    """A tile as it is stored. A partial one that is gone is the beginning of the full one. Raises ObjectMissing."""
    try:
        return store.get(tile_path(level, index, width))
    except ObjectMissing as error:
        return _full(store, tile_path(level, index), error)[: width * HASH_BYTES]


def stored_bundle(store: ObjectStore, index: int, width: int) -> bytes:
    """An entry bundle as it is stored. A partial one that is gone is the beginning of the full one.

    Raises ObjectMissing.
    """
    try:
        return store.get(entries_path(index, width))
    except ObjectMissing as error:
        data, end = _full(store, entries_path(index), error), 0
        for _ in range(width):
            end += 2 + int.from_bytes(data[end : end + 2], "big")
        return data[:end]


def tile_fetcher(store: ObjectStore) -> TileFetcher:
    """Tiles straight from the store, unchecked."""
    return lambda level, index, width: stored_tile(store, level, index, width)


def first_contradiction(size: int, store: ObjectStore, leaf_at: dict[int, bytes]) -> str:
    """Say in words which tile of the right edge contradicts the entries or the tile below it.

    ``leaf_at`` are the leaf hashes that the database has for the entries of the last, unfinished tile.
    """
    for level in range(8):
        if not size >> 8 * level:
            break
        index = size >> 8 * (level + 1)
        width = tile_width(level, index, size)
        key = tile_path(level, index, width) if width else ""
        for place in range(width):
            try:
                shown = stored_tile(store, level, index, width)[place * HASH_BYTES : (place + 1) * HASH_BYTES]
                number = index * TILE_WIDTH + place
                true = leaf_at.get(number) if level == 0 else _tile_root(store, level - 1, number)
            except ObjectMissing as error:
                return f"{error.key} is missing"
            except VerifyError as error:
                return str(error)
            if shown != true:
                below = f"entry {number}" if level == 0 else tile_path(level - 1, number)
                return f"hash {place} of {key} is not that of {below}"
    return "the tiles agree with each other, but not with the root that was signed"


def _tile_root(store: ObjectStore, level: int, index: int) -> bytes:
    data = stored_tile(store, level, index, TILE_WIDTH)
    if len(data) != TILE_WIDTH * HASH_BYTES:
        raise FormatError(tile_path(level, index), f"{len(data)} bytes, expected {TILE_WIDTH * HASH_BYTES}")
    tile = Frontier()
    for at in range(0, len(data), HASH_BYTES):
        tile.append(data[at : at + HASH_BYTES])
    return tile.root()


def _full(store: ObjectStore, key: str, missing: ObjectMissing) -> bytes:
    """The full form of a partial tile or bundle that is not there."""
    try:
        return store.get(key)
    except ObjectMissing:
        raise missing from None
