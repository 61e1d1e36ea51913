"""L3 Entry or tile altered on disk.

Cheat: somebody with access to the log's disk, its operator included, changes a published entry or a tile in place.
Noticed by: every party that fetches the entry into its view; fsck, run by anybody over HTTP; and the log itself, before
    it signs the next checkpoint, and again when it starts.
Seen: the view names the entry; fsck says whether entries, tiles or checkpoint are the wrong ones; the log raises an
    alarm that names the tile, and signs nothing more.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from glasshouse_verify.tile import format_bundle, parse_bundle
from glasshouse_verify.tlog import leaf_hash
from ledgers import LedgerNode, ledger_node, no_quorum, until
from notary import Notary

from glasshouse.ledger.client import LedgerClient
from glasshouse.ledger.errors import EntryAltered, LogAlarm
from glasshouse.ledger.fsck import check_log
from glasshouse.ledger.view import View
from glasshouse.storage.db import Database

ENTRIES = [b"entry %d" % n for n in range(600)]


@pytest.fixture
def node(database: Database, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[LedgerNode]:
    with ledger_node(database, tmp_path, f"altered.example/{request.node.name}") as running:
        with LedgerClient(running.url) as client:
            client.add_batch(ENTRIES)
        running.published(600)
        yield running


def alter_tile(node: LedgerNode, key: str, place: int) -> None:
    path = node.directory / "objects" / key
    data = bytearray(path.read_bytes())
    data[32 * place] ^= 1
    path.write_bytes(data)


def test_attack_an_entry_is_rewritten(node: LedgerNode, tmp_path: Path) -> None:
    path = node.directory / "objects" / "tile" / "entries" / "001"
    entries = parse_bundle(path.read_bytes())
    path.write_bytes(format_bundle([*entries[:44], b"never said", *entries[45:]]))
    policy = no_quorum(node.notary.key)
    with LedgerClient(node.url) as client, View(tmp_path / "view", policy) as view:
        with pytest.raises(EntryAltered, match=r"entry 300 \(in tile/entries/001\) is not what the witnesses saw"):
            view.update(client)
        assert view.size == 0
        report = check_log(client.get, policy)
    (finding,) = report.findings
    assert finding.text.startswith("entry 300 hashes to ")
    assert report.conclusion.startswith("the tree is the one that was signed; the entries named above were altered")


def test_attack_entry_and_its_hash_are_rewritten_together(node: LedgerNode, tmp_path: Path) -> None:
    tile = node.directory / "objects" / "tile" / "0" / "001"
    hashes = bytearray(tile.read_bytes())
    hashes[44 * 32 : 45 * 32] = leaf_hash(b"never said")
    tile.write_bytes(hashes)
    bundle = node.directory / "objects" / "tile" / "entries" / "001"
    entries = parse_bundle(bundle.read_bytes())
    bundle.write_bytes(format_bundle([*entries[:44], b"never said", *entries[45:]]))
    policy = no_quorum(node.notary.key)
    with LedgerClient(node.url) as client, View(tmp_path / "view", policy) as view:
        with pytest.raises(EntryAltered):
            view.update(client)
        report = check_log(client.get, policy)
    assert [finding.path for finding in report.findings] == ["tile/1/000.p/2"]
    assert "hash 1 is" in report.findings[0].text


def test_attack_a_tile_that_the_next_checkpoint_rests_on(node: LedgerNode) -> None:
    """The log looks at what is stored, not at what it remembers, before it signs again."""
    before = node.store.get("checkpoint")
    alter_tile(node, "tile/1/000.p/2", 0)
    with LedgerClient(node.url) as client:
        client.add(b"one more")
    until(lambda: node.running.alarm)
    assert node.running.alarm == "tile/1/000.p/2 is stored with other content than the entries have"
    assert node.store.get("checkpoint") == node.store.get("checkpoint.pending") == before


@pytest.mark.parametrize(
    ("key", "place", "says"),
    [
        ("tile/0/002.p/88", 40, r"hash 40 of tile/0/002\.p/88 is not that of entry 552"),
        ("tile/1/000.p/2", 1, r"hash 1 of tile/1/000\.p/2 is not that of tile/0/001"),
    ],
)
def test_attack_a_tile_altered_while_the_log_is_down(
    database: Database, tmp_path: Path, key: str, place: int, says: str
) -> None:
    origin = f"altered.example/down/{place}"
    with ledger_node(database, tmp_path, origin) as node, LedgerClient(node.url) as client:
        client.add_batch(ENTRIES)
        node.published(600)
    alter_tile(node, key, place)
    with pytest.raises(LogAlarm, match=says), ledger_node(database, tmp_path, origin, create=False):
        pass


def test_control_an_untouched_log(node: LedgerNode, tmp_path: Path) -> None:
    policy = no_quorum(Notary(node.notary.key.name).key)
    with LedgerClient(node.url) as client, View(tmp_path / "view", policy) as view:
        assert view.update(client).new_size == 600
        client.add(b"one more")
        node.published(601)
        assert view.update(client).new_size == 601
        assert check_log(client.get, policy).sound
