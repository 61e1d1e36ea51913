"""What every object store promises; a test class inherits these and brings the fixture ``store``."""

from pathlib import Path

import pytest

from glasshouse.storage.errors import ObjectConflict, ObjectMissing, StorageError
from glasshouse.storage.objects import MAX_GET_BYTES, ObjectStore


class ObjectStorePromises:
    def test_put_replaces(self, store: ObjectStore) -> None:
        store.put("checkpoint", b"one")
        store.put("checkpoint", b"two")
        assert store.get("checkpoint") == b"two"
        assert store.size("checkpoint") == 3

    def test_create_is_once(self, store: ObjectStore) -> None:
        assert store.create("tile/0/000.p/7", b"one") is True
        assert store.create("tile/0/000.p/7", b"one") is False
        with pytest.raises(ObjectConflict) as caught:
            store.create("tile/0/000.p/7", b"two")
        assert caught.value.key == "tile/0/000.p/7"
        assert store.get("tile/0/000.p/7") == b"one"

    def test_create_from_a_file_and_stream(self, store: ObjectStore, tmp_path: Path) -> None:
        content = bytes(range(256)) * 10_000
        (tmp_path / "blob").write_bytes(content)
        assert store.create("blob/ab", tmp_path / "blob") is True
        assert store.create("blob/ab", tmp_path / "blob") is False
        assert b"".join(store.stream("blob/ab")) == content
        (tmp_path / "blob").write_bytes(content + b"!")
        with pytest.raises(ObjectConflict):
            store.create("blob/ab", tmp_path / "blob")

    def test_what_is_not_there(self, store: ObjectStore) -> None:
        store.put("tile/0/000", b"")
        assert store.get("tile/0/000") == b""
        for key in ("nothing", "tile/0", "tile/0/000/deeper"):
            assert store.size(key) is None
            with pytest.raises(ObjectMissing):
                store.get(key)
            with pytest.raises(ObjectMissing):
                store.stream(key)
        store.delete("nothing")

    def test_list_and_delete(self, store: ObjectStore) -> None:
        keys = {"checkpoint", "tile/0/000", "tile/0/000.p/7", "tile/0/000.p/9", "tile/entries/000"}
        for key in keys:
            store.put(key, key.encode())
        assert set(store.list("")) == keys
        assert set(store.list("tile/0/")) == {"tile/0/000", "tile/0/000.p/7", "tile/0/000.p/9"}
        assert set(store.list("tile/0/000.p/")) == {"tile/0/000.p/7", "tile/0/000.p/9"}
        assert set(store.list("nothing/")) == set()
        store.delete("tile/0/000.p/7")
        assert set(store.list("tile/0/000.p/")) == {"tile/0/000.p/9"}

    @pytest.mark.parametrize(
        "key", ["", "/lead", "a//b", "../up", "a/../b", "dir/", ".hidden", "a/.b", "ä", "a b", "a\n"]
    )
    def test_what_is_no_key(self, store: ObjectStore, key: str) -> None:
        for call in (lambda: store.get(key), lambda: store.put(key, b""), lambda: store.create(key, b"")):
            with pytest.raises(StorageError, match="is no object key"):
                call()

    def test_what_is_too_long_to_get_must_be_streamed(self, store: ObjectStore, tmp_path: Path) -> None:
        with (tmp_path / "long").open("wb") as file:
            file.truncate(MAX_GET_BYTES + 1)
        store.create("blob/long", tmp_path / "long")
        with pytest.raises(StorageError, match="must be streamed"):
            store.get("blob/long")
