"""fsck names what is damaged, and tells which of entries, tiles and checkpoint is the wrong one."""

from dataclasses import replace
from pathlib import Path

import pytest
from glasshouse_verify.checkpoint import format_checkpoint, parse_checkpoint
from glasshouse_verify.note import Note, format_note, parse_note
from glasshouse_verify.tile import format_bundle, parse_bundle
from ledgers import StillLog, ledger_node, no_quorum, still_log
from notary import Notary

from glasshouse.ledger.client import LedgerClient
from glasshouse.ledger.fsck import Finding, Report, check_log
from glasshouse.storage.db import Database

SIZE = 66_000


@pytest.fixture(scope="module")
def still(database: Database, tmp_path_factory: pytest.TempPathFactory) -> StillLog:
    log = still_log(database, tmp_path_factory.mktemp("fsck"), "fsck.example/log")
    log.sequence(*(b"%d" % n for n in range(SIZE)))
    with log.integrator() as integrator:
        for _ in range(3):
            integrator.step()
    return log


@pytest.fixture
def damaged() -> dict[str, bytes | None]:
    """Write into this what is to be served instead."""
    return {}


def check(still: StillLog, served: dict[str, bytes | None]) -> Report:
    def fetch(path: str) -> bytes:
        data = served.get(path, b"as stored")
        return still.store.get("missing/object" if data is None else path) if data in (None, b"as stored") else data

    return check_log(fetch, no_quorum(still.notary.key))


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def test_a_sound_log(still: StillLog) -> None:
    report = check(still, {})
    assert report.sound
    assert report.checkpoint is not None
    assert report.checkpoint.size == SIZE
    assert report.conclusion == "every entry and every tile is what was signed"


def test_an_altered_entry(still: StillLog, damaged: dict[str, bytes | None]) -> None:
    entries = parse_bundle(still.store.get("tile/entries/100"))
    damaged["tile/entries/100"] = format_bundle([*entries[:7], b"altered", *entries[8:]])
    report = check(still, damaged)
    (finding,) = report.findings
    assert finding.path == "tile/entries/100"
    assert finding.text.startswith("entry 25607 hashes to ")
    assert (
        report.conclusion == "the tree is the one that was signed; the entries named above were altered or are missing"
    )


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("tile/0/100", "hash 7 of tile/0/100 is"),
        ("tile/1/000", "hash 7 is"),
        ("tile/1/001.p/1", "hash 0 is"),
        ("tile/2/000.p/1", "hash 0 is"),
        ("tile/0/257.p/208", "hash 7 of tile/0/257.p/208 is"),
    ],
)
def test_an_altered_tile(still: StillLog, damaged: dict[str, bytes | None], path: str, says: str) -> None:
    stored = still.store.get(path)
    damaged[path] = flipped(stored, min(7 * 32, len(stored) - 32))
    report = check(still, damaged)
    assert any(says in finding.text for finding in report.findings), report.findings
    assert report.conclusion.startswith(
        "the entries are those that were signed; the tiles"
    ) or report.conclusion.startswith("the entries and the tree are those that were signed")


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("tile/entries/100", "is missing: entries 25600 to 25855"),
        ("tile/0/100", "is missing"),
        ("tile/1/000", "is missing"),
        ("tile/2/000.p/1", "is missing"),
        ("checkpoint", "is missing"),
    ],
)
def test_what_is_missing(still: StillLog, damaged: dict[str, bytes | None], path: str, says: str) -> None:
    damaged[path] = None
    report = check(still, damaged)
    assert report.findings[0] == Finding(path=path, text=says)


@pytest.mark.parametrize(
    ("path", "data", "says"),
    [
        ("tile/0/100", b"", "has 0 bytes, expected 8192"),
        ("tile/0/100", bytes(8193), "has 8193 bytes"),
        ("tile/0/257.p/208", bytes(8192), "has 8192 bytes, expected 6656"),
        ("tile/entries/100", b"\x00\x05x", "is no entry bundle"),
        ("tile/entries/100", b"\x00\x01x", "holds 1 entries, 256 were signed"),
        ("tile/entries/257.p/208", format_bundle([b"x"] * 209), "holds 209 entries"),
    ],
)
def test_what_is_misshapen(
    still: StillLog, damaged: dict[str, bytes | None], path: str, data: bytes, says: str
) -> None:
    damaged[path] = data
    report = check(still, damaged)
    assert any(finding.path == path and says in finding.text for finding in report.findings), report.findings


def test_a_checkpoint_of_another_key_or_tree(still: StillLog, damaged: dict[str, bytes | None]) -> None:
    note = parse_note(still.store.get("checkpoint"))
    forger = Notary(still.notary.key.name, salt="forger")
    damaged["checkpoint"] = format_note(Note(text=note.text, signatures=(forger.sign(note.text),)))
    report = check(still, damaged)
    assert [finding.path for finding in report.findings] == ["checkpoint"]
    assert report.conclusion.startswith("the entries and the tree are those")
    other = format_checkpoint(replace(parse_checkpoint(note.text), root=bytes(32)))
    damaged["checkpoint"] = format_note(Note(text=other, signatures=(still.notary.sign(other),)))
    report = check(still, damaged)
    assert report.findings[-1].text.startswith("its root is not that of the first 66000 entries")
    assert report.conclusion.startswith("neither the entries nor the tiles")
    damaged["checkpoint"] = b"nonsense"
    assert check(still, damaged).conclusion == "there is no checkpoint to go by"


def test_a_log_is_checked_over_http(database: Database, tmp_path: Path) -> None:
    with ledger_node(database, tmp_path, "fsck.example/http") as node, LedgerClient(node.url) as client:
        client.add_batch([b"%d" % n for n in range(600)])
        node.published(600)
        policy = no_quorum(node.notary.key)
        assert check_log(client.get, policy).sound
        client.add(b"one more")
        node.published(601)
        path = tmp_path / "objects" / "tile" / "entries" / "000"
        path.write_bytes(flipped(path.read_bytes(), 5))
        report = check_log(client.get, policy)
        assert [finding.path for finding in report.findings] == ["tile/entries/000"]
