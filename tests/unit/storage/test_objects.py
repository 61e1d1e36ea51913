"""Both object stores keep the same promises."""

from pathlib import Path

import pytest
from obstore.store import MemoryStore
from promises import ObjectStorePromises

from glasshouse.storage.objects import DirectoryStore, ObjectStore
from glasshouse.storage.remote import RemoteObjects


class TestObjectStores(ObjectStorePromises):
    @pytest.fixture(params=["directory", "remote", "remote below a prefix"])
    def store(self, request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
        if request.param == "directory":
            return DirectoryStore(tmp_path / "objects")
        return RemoteObjects(MemoryStore(), root="logs/one/" if "prefix" in request.param else "")


def test_an_unfinished_write_is_not_listed(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    store.put("tile/0/000", b"")
    (tmp_path / "tile" / "0" / ".001.abc.tmp").write_bytes(b"half")
    assert list(store.list("")) == ["tile/0/000"]


def test_a_store_is_probed_for_conditional_writes() -> None:
    assert RemoteObjects(MemoryStore()).honours_create() is True
