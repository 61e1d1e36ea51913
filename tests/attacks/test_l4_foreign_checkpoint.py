"""L4 Unknown key, wrong origin, other log's checkpoint.

Cheat: a server shows a checkpoint signed by a key of the right name that is not the log's, or one of another log that
    is genuine in itself; or such a checkpoint is slipped into the log's own store.
Noticed by: the view, which goes by the pinned key; every witness; the log when it starts.
Seen: a signature error; the witness answers 403 for a wrong key and 404 for an unknown origin; the log raises an alarm.
"""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from glasshouse_verify.errors import SignatureError
from ledgers import LedgerNode, MemoryTree, RunningWitness, ledger_node, policy_of, witness_node, witnessing_of
from notary import Notary

from glasshouse.ledger.client import LedgerClient
from glasshouse.ledger.errors import LogAlarm
from glasshouse.ledger.view import View
from glasshouse.storage.db import Database
from glasshouse.storage.objects import DirectoryStore


@pytest.fixture
def log(request: pytest.FixtureRequest) -> Notary:
    return Notary(f"ours.example/{request.node.name}")


@pytest.fixture
def impostor(log: Notary) -> Notary:
    """The same name, another key."""
    return Notary(log.key.name, salt="impostor")


@pytest.fixture
def other(log: Notary) -> Notary:
    return Notary(log.key.name.replace("ours.", "other."))


@pytest.fixture
def witness(tmp_path: Path, log: Notary) -> Iterator[RunningWitness]:
    with witness_node(tmp_path / "witness", "w1.example", [log.key]) as node:
        yield node


@pytest.fixture
def node(database: Database, tmp_path: Path, log: Notary, witness: RunningWitness) -> Iterator[LedgerNode]:
    (tmp_path / "ours").mkdir()
    with (
        ledger_node(database, tmp_path / "ours", log.key.name, witnessing=witnessing_of(log.key, witness)) as running,
        LedgerClient(running.url) as client,
    ):
        client.add(b"entry")
        running.published(1)
        yield running


def test_attack_another_key_of_the_same_name(
    node: LedgerNode, tmp_path: Path, log: Notary, impostor: Notary, witness: RunningWitness
) -> None:
    forged = MemoryTree(log.key.name, [b"entry", b"forged"])
    answer = httpx.post(f"{witness.url}/add-checkpoint", content=forged.request(1, 2, impostor))
    assert answer.status_code == 403
    node.store.put("checkpoint", forged.request(0, 2, impostor).partition(b"\n\n")[2])
    with LedgerClient(node.url) as client, View(tmp_path / "view", policy_of(log.key, witness)) as view:
        with pytest.raises(SignatureError, match=r"no log of the policy signed|no known key"):
            view.update(client)
        assert view.size == 0


def test_attack_a_genuine_checkpoint_of_another_log(
    node: LedgerNode, database: Database, tmp_path: Path, log: Notary, other: Notary, witness: RunningWitness
) -> None:
    (tmp_path / "other").mkdir()
    with (
        witness_node(tmp_path / "both", "w1.example", [log.key, other.key]) as lenient,
        ledger_node(
            database, tmp_path / "other", other.key.name, witnessing=witnessing_of(other.key, lenient)
        ) as theirs,
        LedgerClient(theirs.url) as client,
    ):
        client.add_batch([b"entry", b"of another log"])
        theirs.published(2)
        genuine = client.checkpoint()
        # The witness has the same key, so its cosignature is good; the log's is not one of ours.
        with View(tmp_path / "view", policy_of(log.key, witness)) as view, pytest.raises(SignatureError):
            view.update(client)
    tree = MemoryTree(other.key.name, [b"entry", b"of another log"])
    assert httpx.post(f"{witness.url}/add-checkpoint", content=tree.request(0, 2, other)).status_code == 404
    node.store.put("checkpoint", genuine)
    with (
        LedgerClient(node.url) as client,
        View(tmp_path / "view 2", policy_of(log.key, witness)) as view,
        pytest.raises(SignatureError),
    ):
        view.update(client)


@pytest.mark.parametrize("key", ["checkpoint", "checkpoint.pending"])
def test_attack_a_foreign_checkpoint_in_the_store(
    database: Database, tmp_path: Path, log: Notary, impostor: Notary, key: str
) -> None:
    origin = log.key.name + key
    with ledger_node(database, tmp_path, origin) as running:
        running.published(0)
    forged = MemoryTree(origin, [b"x"]).request(0, 1, Notary(origin, salt="impostor")).partition(b"\n\n")[2]
    DirectoryStore(tmp_path / "objects").put(key, forged)
    with (
        pytest.raises(LogAlarm, match=f"{key} in the store is not a checkpoint of this log"),
        ledger_node(database, tmp_path, origin, create=False),
    ):
        pass


def test_control_the_logs_own_checkpoint(
    node: LedgerNode, tmp_path: Path, log: Notary, witness: RunningWitness
) -> None:
    with LedgerClient(node.url) as client, View(tmp_path / "view", policy_of(log.key, witness)) as view:
        assert view.update(client).new_size == 1
