"""L2 Truncated or rolled-back log.

Cheat: the operator restores an older copy of the database, of the tiles, or of both, so that entries disappear.
Noticed by: the log's own start, which compares database, tiles and stored checkpoints before it signs anything; where
    all of them were restored together, the witnesses; and every party's own view.
Seen: an alarm that says what is missing; the log takes no entry and signs nothing more; a view refuses the older size.
"""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from glasshouse_verify.checkpoint import parse_checkpoint
from glasshouse_verify.note import parse_note
from ledgers import (
    LedgerNode,
    RunningWitness,
    cluster_of,
    ledger_node,
    own_database,
    policy_of,
    until,
    witness_node,
    witnessing_of,
)
from notary import Notary

from glasshouse.ledger.client import LedgerClient
from glasshouse.ledger.errors import LogAlarm, RolledBack
from glasshouse.ledger.view import View
from glasshouse.storage.files import write

ORIGIN = "rolled-back.example/log"
LOG = Notary(ORIGIN).key
EARLY, LATE = [b"early %d" % n for n in range(300)], [b"late %d" % n for n in range(300)]


class Operator:
    """Who has the log's machine, and backups of it from the time when it had 300 entries; it has 600 now."""

    def __init__(self, directory: Path, witness: RunningWitness) -> None:
        self.directory = directory
        self.witness = witness
        self.postgres = directory / "postgres"
        self.backup = directory / "backup"
        self.log_directory = directory / "log"
        self.log_directory.mkdir()
        with self.running(create=True) as node:
            self.add(node, EARLY)
        shutil.copytree(cluster_of(self.postgres), self.backup / "cluster")
        shutil.copytree(self.log_directory, self.backup / "log")
        with self.running() as node:
            self.add(node, LATE)

    @contextlib.contextmanager
    def running(self, *, create: bool = False) -> Iterator[LedgerNode]:
        with (
            own_database(self.postgres) as database,
            ledger_node(
                database, self.log_directory, ORIGIN, witnessing=witnessing_of(LOG, self.witness), create=create
            ) as node,
        ):
            yield node

    def add(self, node: LedgerNode, entries: list[bytes]) -> None:
        with LedgerClient(node.url) as client:
            node.published(client.add_batch(entries)[-1] + 1)

    def restore_database(self) -> None:
        cluster = cluster_of(self.postgres)
        owner = cluster.stat()
        shutil.rmtree(cluster)
        shutil.copytree(self.backup / "cluster", cluster)
        for path in (cluster, *cluster.rglob("*")):
            shutil.chown(path, owner.st_uid, owner.st_gid)

    def restore_tiles(self) -> None:
        shutil.rmtree(self.log_directory)
        shutil.copytree(self.backup / "log", self.log_directory)


@pytest.fixture
def witness(tmp_path: Path) -> Iterator[RunningWitness]:
    with witness_node(tmp_path / "witness", "w1.example", [LOG]) as node:
        yield node


@pytest.fixture
def operator(tmp_path: Path, witness: RunningWitness) -> Operator:
    return Operator(tmp_path, witness)


def test_attack_older_tiles(operator: Operator) -> None:
    operator.restore_tiles()
    with (
        pytest.raises(LogAlarm, match=r"tile/\S+ is missing, but a tree of 600 entries was signed: the store was"),
        operator.running(),
    ):
        pass


def test_attack_older_database(operator: Operator) -> None:
    operator.restore_database()
    with (
        pytest.raises(LogAlarm, match=r"is signed for 600 entries, the database knows of 300: the database was rolled"),
        operator.running(),
    ):
        pass


def test_attack_both_restored_together_is_seen_by_the_witness(operator: Operator) -> None:
    operator.restore_database()
    operator.restore_tiles()
    with operator.running() as node:
        # New entries come in before the log has heard from its witness.
        httpx.post(f"{node.url}/add", content=b"instead of what was there")
        until(lambda: node.running.alarm)
        assert "witness w1.example shows a tree of 600 entries" in str(node.running.alarm)
        answer = httpx.post(f"{node.url}/add", content=b"one more")
        assert answer.status_code == 503
        assert "rolled back" in answer.json()["error"]


def test_attack_a_view_is_shown_the_older_log(operator: Operator) -> None:
    stored = operator.log_directory / "objects" / "checkpoint"
    with (
        operator.running() as node,
        LedgerClient(node.url) as client,
        View(operator.directory / "view", policy_of(LOG, operator.witness)) as view,
    ):
        assert view.update(client).new_size == 600
        newest = stored.read_bytes()
        write(stored, (operator.backup / "log" / "objects" / "checkpoint").read_bytes())
        with pytest.raises(RolledBack, match="shows 300 entries, of which this view has verified 600") as caught:
            view.update(client)
        assert {parse_checkpoint(parse_note(path.read_bytes()).text).size for path in caught.value.evidence} == {
            300,
            600,
        }
        write(stored, newest)
        assert view.update(client).new_size == 600


def test_control_a_restart_with_nothing_restored(operator: Operator) -> None:
    with operator.running() as node, LedgerClient(node.url) as client:
        assert client.add_batch([EARLY[0], LATE[299], b"new"]) == [0, 599, 600]
        node.published(601)
