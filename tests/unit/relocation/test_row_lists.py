"""Lists of rows on disk: their roots, their order, and one row out of many."""

import random
from pathlib import Path

import pytest
from glasshouse_verify.errors import FormatError
from glasshouse_verify.row import Row, format_row
from glasshouse_verify.tlog import leaf_hash
from world import digest

from glasshouse.regions.shards import ShardTree, shard_root
from glasshouse.relocation import lists
from glasshouse.relocation.errors import InvalidInput


def rows_of(count: int) -> list[Row]:
    return [
        {"commitment": digest(b"commitment %d" % number), "key": digest(b"key %d" % number)} for number in range(count)
    ]


def kept(tmp_path: Path, rows: list[Row]) -> lists.RowList:
    return lists.keep_list(tmp_path / "rows", lists.in_order(rows, tmp_path / "scratch"))


def test_the_root_is_that_of_the_tree_in_memory(tmp_path: Path) -> None:
    rows = rows_of(300)
    found = kept(tmp_path, rows)
    tree = ShardTree(4)
    for row in rows:
        tree.put(row["key"][:4], *shard_root([leaf_hash(format_row(row))]))
    assert len({row["key"][:4] for row in rows}) == 300
    assert found.sharded == tree.sharded
    assert lists.check_list(found.path, found.sharded, "rows").sharded == tree.sharded


def test_more_rows_than_one_piece_are_merged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists, "_PIECE_LINES", 16)
    rows = rows_of(100)
    found = kept(tmp_path, rows)
    assert [row["key"] for row in found] == sorted(row["key"] for row in rows)
    assert not list((tmp_path / "scratch").iterdir())
    assert list(lists.keys_in_order((row["key"] for row in rows), tmp_path)) == sorted(row["key"] for row in rows)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 257])
def test_a_row_is_found_by_key_and_by_place(tmp_path: Path, count: int) -> None:
    rows = sorted(rows_of(count), key=lambda row: str(row["key"]))
    found = kept(tmp_path, random.Random(1).sample(rows, count))
    for place, row in enumerate(rows):
        assert found.at(place) == row
        assert found.find(row["key"]) == row
    for number in range(50):
        assert found.find(digest(b"another %d" % number)) is None
    with pytest.raises(InvalidInput, match="no place"):
        found.at(count)


def test_rows_of_different_lengths_are_found_by_key(tmp_path: Path) -> None:
    rows = [lists.ciphertext_row(digest(b"%d" % n), digest(b"sealed %d" % n), 10**n) for n in range(12)]
    found = kept(tmp_path, rows)
    assert all(found.find(row["key"]) == row for row in rows)
    with pytest.raises(InvalidInput, match="place"):
        found.at(0)


def test_what_is_no_list_is_refused(tmp_path: Path) -> None:
    one, other = (format_row(row) + b"\n" for row in rows_of(2))
    first, second = sorted([one, other], key=lambda line: line[-67:])
    with pytest.raises(FormatError, match="ascend"):
        lists.keep_list(tmp_path / "rows", [second, first])
    with pytest.raises(FormatError, match="ascend"):
        lists.keep_list(tmp_path / "rows", [first, first])
    with pytest.raises(FormatError, match="newline"):
        lists.keep_list(tmp_path / "rows", [first[:-1]])
    with pytest.raises(FormatError, match="64"):
        lists.keep_list(tmp_path / "rows", [b'{"key":"ab"}\n'])
    assert not list(tmp_path.iterdir())
    with pytest.raises(InvalidInput, match="comes twice"):
        list(lists.in_order([*rows_of(2), *rows_of(1)], tmp_path))


def test_another_list_than_the_signed_one_is_refused(tmp_path: Path) -> None:
    found, rows = kept(tmp_path, rows_of(5)), rows_of(6)
    (tmp_path / "other").mkdir()
    said = kept(tmp_path / "other", rows).sharded
    with pytest.raises(InvalidInput, match="the ledger has 6"):
        lists.check_list(found.path, said, "rows")
    with pytest.raises(InvalidInput, match="not there"):
        lists.check_list(tmp_path / "missing", said, "rows")
