"""From an entry posted to an entry verified: ledger, witnesses, client and view together, over HTTP."""

from pathlib import Path

from glasshouse_verify.note import parse_note
from glasshouse_verify.policy import check_checkpoint
from glasshouse_verify.tlog import leaf_hash
from glasshouse_verify.tlogproof import parse_tlog_proof, verify_tlog_proof
from glasshouse_verify.tree import inclusion_proof, verify_inclusion
from ledgers import ledger_node, policy_of, witness_node, witnessing_of
from notary import Notary

from glasshouse.ledger.client import LedgerClient
from glasshouse.ledger.view import View
from glasshouse.storage.db import Database


def test_entries_reach_a_verified_view(database: Database, tmp_path: Path) -> None:
    log_key = Notary("chain.example/log").key
    with (
        witness_node(tmp_path / "w1.sqlite3", "w1.example", [log_key]) as w1,
        witness_node(tmp_path / "w2.sqlite3", "w2.example", [log_key]) as w2,
        ledger_node(database, tmp_path, "chain.example/log", witnessing=witnessing_of(log_key, w1, w2)) as node,
        LedgerClient(node.url) as client,
        View(tmp_path / "view", policy_of(log_key, w1, w2)) as view,
    ):
        node.published(0)
        assert view.update(client).new_size == 0
        assert client.add(b"first") == 0
        assert client.add_batch([b"%d" % n for n in range(600)]) == list(range(1, 601))
        assert client.add(b"first") == 0
        node.published(601)
        update = view.update(client)
        assert (update.old_size, update.new_size, set(update.witnesses)) == (0, 601, {"w1.example/1", "w2.example/1"})
        assert [data for _, data in view.entries(0)] == [b"first", *(b"%d" % n for n in range(600))]
        assert client.add_batch([b"x%d" % n for n in range(500)])[-1] == 1100
        node.published(1101)
        assert view.update(client).new_size == 1101
        proof = parse_tlog_proof(client.proof(700))
        verify_tlog_proof(proof, leaf_hash(view.entry(700)), view.policy)
        root = check_checkpoint(view.policy, parse_note(view.checkpoint())).checkpoint.root
        hashes = inclusion_proof(12, 1101, view.read)
        verify_inclusion(leaf_hash(view.entry(12)), 12, 1101, hashes, root)
        assert client.entry(1100) == b"x499"
    with ledger_node(database, tmp_path, "chain.example/log", create=False) as node, LedgerClient(node.url) as client:
        assert client.add(b"last") == 1101
        node.published(1102)
