"""Tiles and entry bundles (c2sp.org/tlog-tiles)."""

from itertools import pairwise

import pytest
from glasshouse_verify.errors import FormatError
from glasshouse_verify.tile import (
    MAX_ENTRY_LENGTH,
    TilePath,
    entries_path,
    format_bundle,
    new_tiles,
    parse_bundle,
    parse_tile_path,
    tile_path,
    tile_reader,
    tile_width,
)
from glasshouse_verify.tlog import leaf_hash
from glasshouse_verify.tree import Frontier, inclusion_proof, tree_root, verify_inclusion
from notary import Tree

PATHS = [
    ("tile/0/000", 0, 0, 256),
    ("tile/0/x001/x234/067", 0, 1234067, 256),
    ("tile/1/000.p/17", 1, 0, 17),
    ("tile/63/999.p/255", 63, 999, 255),
    ("tile/0/x001/000.p/1", 0, 1000, 1),
    ("tile/entries/x003/273.p/112", None, 3273, 112),
    ("tile/entries/000", None, 0, 256),
    ("tile/0/x009/x223/x372/x036/x854/x775/807", 0, 2**63 - 1, 256),
]


@pytest.mark.parametrize(("text", "level", "index", "width"), PATHS)
def test_paths(text: str, level: int | None, index: int, width: int) -> None:
    assert parse_tile_path(text) == TilePath(level=level, index=index, width=width)
    assert tile_path(level, index, width) == text
    if level is None:
        assert entries_path(index, width) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tile",
        "tile/",
        "tile/0",
        "tile/0/",
        "tile//000",
        "/tile/0/000",
        "tile/0/000/",
        "tile/0/0",
        "tile/0/00",
        "tile/0/0000",
        "tile/00/000",
        "tile/64/000",
        "tile/-1/000",
        "tile/x/000",
        "tile/entry/000",
        "tile/Entries/000",
        "tile/0/x000",
        "tile/0/x000/001",
        "tile/0/001/002",
        "tile/0/x001/02",
        "tile/0/X001/002",
        "tile/0/x001/x002",
        "tile/0/000.p",
        "tile/0/000.p/",
        "tile/0/000.p/0",
        "tile/0/000.p/01",
        "tile/0/000.p/256",
        "tile/0/000.p/+1",
        "tile/0/000.p/1.p/1",
        "tile/0/000.p/1/",
        "tile/0/x009/x223/x372/x036/x854/x775/808",
        "tile/0/" + "x999/" * 1000 + "000",
        "tile/0/٠٠٠",
        "tile/0/../000",
        "tile/0/000\n",
        "checkpoint",
    ],
)
def test_other_paths_are_refused(text: str) -> None:
    with pytest.raises(FormatError, match="tile"):
        parse_tile_path(text)


@pytest.mark.parametrize(
    ("level", "index", "width"), [(64, 0, 256), (-1, 0, 1), (0, -1, 1), (0, 2**63, 1), (0, 0, 0), (0, 0, 257)]
)
def test_paths_out_of_range_are_not_written(level: int, index: int, width: int) -> None:
    with pytest.raises(FormatError, match="tile path"):
        tile_path(level, index, width)


def test_tiles_of_the_specification() -> None:
    """c2sp.org/tlog-tiles, "Partial Tiles": the tree of 70,000 and that of 256."""
    tiles = list(new_tiles(0, 70_000))
    assert sum(tile.level == 0 and tile.width == 256 for tile in tiles) == 273
    assert [(tile.level, tile.index, tile.width) for tile in tiles[273:]] == [
        (0, 273, 112),
        (1, 0, 256),
        (1, 1, 17),
        (2, 0, 1),
    ]
    assert [(tile.level, tile.index, tile.width) for tile in new_tiles(0, 256)] == [(0, 0, 256), (1, 0, 1)]


def test_new_tiles_are_those_that_changed() -> None:
    sizes = [0, 1, 2, 255, 256, 257, 511, 512, 513, 65_535, 65_536, 65_537, 66_000]
    for old, new in pairwise(sizes):
        before, after = set(new_tiles(0, old)), set(new_tiles(0, new))
        assert set(new_tiles(old, new)) == after - before
    assert list(new_tiles(300, 300)) == []
    assert tile_width(0, 1, 300) == 44
    assert tile_width(0, 2, 300) == 0


def make_tiles(size: int) -> tuple[Tree, dict[tuple[int, int, int], bytes]]:
    """The tiles of a tree by their definition: MTH(D[(n*256+i) * 256**l : (n*256+i+1) * 256**l])."""
    tree = Tree(size)
    return tree, {
        (tile.level or 0, tile.index, tile.width): b"".join(
            tree.read(8 * (tile.level or 0), 256 * tile.index + place) for place in range(tile.width)
        )
        for tile in new_tiles(0, size)
    }


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 700, 65_537])
def test_reading_a_tree_from_tiles(size: int) -> None:
    tree, tiles = make_tiles(size)
    fetched: list[tuple[int, int, int]] = []

    def fetch(level: int, index: int, width: int) -> bytes:
        fetched.append((level, index, width))
        return tiles[level, index, width]

    read = tile_reader(size, fetch)
    assert tree_root(size, read) == tree.roots[size]
    for index in {0, size // 2, size - 1}:
        verify_inclusion(tree.leaves[index], index, size, inclusion_proof(index, size, read), tree.roots[size])
    assert Frontier.load(size, read).root() == tree.roots[size]
    assert len(fetched) == len(set(fetched)), "tiles are kept"
    for level in range(size.bit_length()):
        for index in {0, (size >> level) // 2, (size >> level) - 1}:
            assert read(level, index) == tree.read(level, index)


def test_nodes_outside_the_tree_and_short_tiles_are_refused() -> None:
    _, tiles = make_tiles(300)
    read = tile_reader(300, lambda *place: tiles[place])
    for level, index in ((0, 300), (8, 1), (9, 0), (0, -1), (-1, 0), (63, 0)):
        with pytest.raises(FormatError, match="no node"):
            read(level, index)
    for change in (b"", bytes(31), bytes(32 * 255), bytes(32 * 256 + 1)):
        with pytest.raises(FormatError, match="tile/0/000"):
            tile_reader(300, lambda *_place, data=change: data)(0, 5)


@pytest.mark.parametrize("entries", [[], [b""], [b"one"], [b"one", b"", b"three"], [bytes(MAX_ENTRY_LENGTH)] * 2])
def test_bundles(entries: list[bytes]) -> None:
    data = format_bundle(entries)
    assert parse_bundle(data) == entries
    assert format_bundle(parse_bundle(data)) == data


def test_bundle_bytes() -> None:
    assert format_bundle([b"one", b"three"]) == b"\x00\x03one\x00\x05three"
    assert [leaf_hash(entry) for entry in parse_bundle(b"\x00\x01a")] == [leaf_hash(b"a")]


def test_cut_or_oversize_bundles_are_refused() -> None:
    data = format_bundle([b"one", b"three"])
    for end in range(len(data)):
        if end not in (0, 5):
            with pytest.raises(FormatError, match="cut short"):
                parse_bundle(data[:end])
    with pytest.raises(FormatError, match="more than"):
        format_bundle([bytes(MAX_ENTRY_LENGTH + 1)])
