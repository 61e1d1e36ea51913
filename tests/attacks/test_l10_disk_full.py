"""L10 Disk full.

Cheat: none, or somebody who fills the disk: tiles and blobs, the witness's state, a party's view cannot be written.
Noticed by: whoever holds the disk, at the write.
Seen: entries whose tiles do not fit stay acknowledged and unpublished; blobs and witness requests get 503 with
    Retry-After; nothing is half-written; once there is space everything goes on by itself.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from disks import fill, small_disk
from ledgers import (
    LedgerNode,
    MemoryTree,
    ledger_node,
    no_quorum,
    until,
    witness_node,
)
from notary import Notary

from glasshouse.ledger.client import LedgerClient
from glasshouse.ledger.fsck import check_log
from glasshouse.ledger.view import View
from glasshouse.storage.db import Database
from glasshouse.storage.errors import StorageUnavailable

DISK_BYTES = 512 << 10


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A real disk of half a megabyte."""
    with small_disk(tmp_path / "disk", DISK_BYTES) as place:
        yield place


@pytest.fixture
def node(database: Database, disk: Path, request: pytest.FixtureRequest) -> Iterator[LedgerNode]:
    with ledger_node(database, disk, f"full.example/{request.node.name}") as running:
        running.published(0)
        yield running


def test_attack_no_space_for_tiles(node: LedgerNode, disk: Path) -> None:
    with LedgerClient(node.url) as client:
        ballast = fill(disk)
        assert client.add_batch([b"%d" % n for n in range(300)]) == list(range(300))
        with pytest.raises(TimeoutError):
            until(lambda: node.running.published_size > 0, timeout_seconds=0.5)
        assert node.running.alarm is None
        assert check_log(client.get, no_quorum(node.notary.key)).sound
        ballast.unlink()
        node.published(300)
        assert client.add(b"299") == 299
        assert check_log(client.get, no_quorum(node.notary.key)).sound
    assert not [path for path in disk.rglob("*") if path.name.endswith(".tmp")]


def test_attack_no_space_for_a_blob(node: LedgerNode, disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("glasshouse.ledger.running.RunningLog.lookup", lambda _self, _digest: [0])
    content = b"x" * DISK_BYTES
    url = f"{node.url}/blob/{hashlib.sha256(content).hexdigest()}"
    answer = httpx.put(url, content=content)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "30")
    assert httpx.get(url).status_code == 404
    assert list((disk / "spool").iterdir()) == []
    small = f"{node.url}/blob/{hashlib.sha256(b'small').hexdigest()}"
    assert httpx.put(small, content=b"small").status_code == 201


def test_attack_no_space_for_the_witness(disk: Path) -> None:
    log = Notary("full.example/witnessed")
    tree = MemoryTree(log.key.name, [b"%d" % n for n in range(1000)])
    with witness_node(disk / "witness", "w1.example", [log.key]) as witness, httpx.Client(base_url=witness.url) as http:
        assert http.post("/add-checkpoint", content=tree.request(0, 1, log)).status_code == 200
        ballast = fill(disk)
        size, status = 1, 200
        while status == 200 and size < 1000:
            answer = http.post("/add-checkpoint", content=tree.request(size, size + 1, log))
            status = answer.status_code
            size += status == 200
        assert (status, answer.headers["retry-after"]) == (503, "1")
        # What it did not persist it did not sign: it still goes by the last size it answered for.
        ballast.unlink()
        assert http.post("/add-checkpoint", content=tree.request(0, 1, log)).text == f"{size}\n"
        assert http.post("/add-checkpoint", content=tree.request(size, size + 1, log)).status_code == 200


def test_attack_no_space_for_a_view(database: Database, disk: Path, tmp_path: Path) -> None:
    with (
        ledger_node(database, tmp_path, "full.example/viewed") as node,
        LedgerClient(node.url) as client,
        View(disk / "view", no_quorum(node.notary.key)) as view,
    ):
        client.add(b"first")
        node.published(1)
        assert view.update(client).new_size == 1
        client.add_batch([b"%d" % n * 500 for n in range(1000)])
        node.published(1001)
        with pytest.raises(StorageUnavailable, match="the view's database refuses"):
            view.update(client)
        assert [data for _, data in view.entries(0)] == [b"first"]


def test_control_a_disk_with_space(node: LedgerNode) -> None:
    with LedgerClient(node.url) as client:
        client.add_batch([b"%d" % n for n in range(300)])
        node.published(300)
        assert check_log(client.get, no_quorum(node.notary.key)).sound
