"""Many files at once, and files that move to their place."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from glasshouse.storage import files
from glasshouse.storage.errors import ObjectConflict, StorageUnavailable
from glasshouse.storage.objects import DirectoryStore


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


def test_many_files_are_written(tmp_path: Path, threads: ThreadPoolExecutor) -> None:
    contents = {str(tmp_path / str(number)): b"x" * number for number in range(50)}
    files.write_fresh(contents, threads)
    assert {str(path): path.read_bytes() for path in tmp_path.iterdir()} == contents


def test_all_or_none(tmp_path: Path, threads: ThreadPoolExecutor) -> None:
    (tmp_path / "taken").write_bytes(b"first")
    with pytest.raises(ObjectConflict):
        files.write_fresh({str(tmp_path / "fresh"): b"1", str(tmp_path / "taken"): b"2"}, threads)
    with pytest.raises(StorageUnavailable):
        files.write_fresh({str(tmp_path / "fresh"): b"1", str(tmp_path / "nowhere" / "fresh"): b"2"}, threads)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("taken", b"first")]


def test_a_file_moves_to_its_place(tmp_path: Path) -> None:
    for content in (b"old", b"new"):
        source = tmp_path / "source"
        source.write_bytes(content)
        files.adopt(tmp_path / "place", source)
        assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("place", content)]
    with pytest.raises(StorageUnavailable):
        files.adopt(tmp_path / "place", tmp_path / "source")


def test_a_store_takes_the_content_of_a_file(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"content")
    store = DirectoryStore(tmp_path / "store")
    store.put("a/b", source)
    store.put("a/b", source)
    assert store.get("a/b") == b"content"
