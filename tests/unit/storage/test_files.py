import errno
import os
from pathlib import Path

import pytest

from glasshouse.storage import files
from glasshouse.storage.errors import ObjectConflict, StorageFull, StorageUnavailable


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_write_replaces(tmp_path: Path) -> None:
    path = tmp_path / "file"
    files.write(path, b"one")
    files.write(path, b"two", mode=0o600)
    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o777 == 0o600
    assert names(tmp_path) == ["file"]


def test_create_accepts_the_same_content_again_and_refuses_other_content(tmp_path: Path) -> None:
    path = tmp_path / "file"
    assert files.create(path, b"one") is True
    assert files.create(path, b"one") is False
    for other in (b"two", b"", b"one more"):
        with pytest.raises(ObjectConflict):
            files.create(path, other)
    assert path.read_bytes() == b"one"
    assert names(tmp_path) == ["file"]


def test_create_takes_the_content_of_a_file(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"x" * (files.CHUNK_BYTES + 1))
    assert files.create(tmp_path / "copy", source) is True
    assert files.create(tmp_path / "copy", source) is False
    assert (tmp_path / "copy").read_bytes() == source.read_bytes()


@pytest.mark.parametrize("operation", [files.write, files.create])
@pytest.mark.parametrize(
    ("number", "expected"), [(errno.ENOSPC, StorageFull), (errno.EDQUOT, StorageFull), (errno.EIO, StorageUnavailable)]
)
def test_a_disk_that_refuses_leaves_the_old_content(  # type: ignore[no-untyped-def]
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation, number: int, expected: type[Exception]
) -> None:
    path = tmp_path / "file"
    files.write(path, b"old")

    def refuse(_descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(expected):
        operation(path, b"new")
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def test_make_directory_makes_the_parents_with_the_mode(tmp_path: Path) -> None:
    files.make_directory(tmp_path / "a" / "b", mode=0o700)
    files.make_directory(tmp_path / "a" / "b", mode=0o755)
    assert [(tmp_path / part).stat().st_mode & 0o777 for part in ("a", "a/b")] == [0o700, 0o700]
