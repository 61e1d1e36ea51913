"""L9 Stale checkpoint presented as fresh.

Cheat: a server (or whoever sits between) keeps showing an old, genuine, fully witnessed checkpoint, so that a hold or a
    newer release stays unseen.
Noticed by: the view, by the times in the cosignatures, which the server cannot make; a party that has seen more, by
    the size.
Seen: the update is refused as stale, or as rolled back; nothing of it is taken. An idle log has its checkpoint
    cosigned anew, so that honest quiet is not mistaken for a freeze.
"""

import time
from pathlib import Path

import pytest
from ledgers import ledger_node, policy_of, witness_node, witnessing_of
from notary import Notary

from glasshouse.ledger.client import LedgerClient
from glasshouse.ledger.errors import RolledBack, Stale
from glasshouse.ledger.view import View
from glasshouse.storage.db import Database

MAX_AGE_SECONDS = 3600


def test_attack_a_frozen_log(database: Database, tmp_path: Path) -> None:
    origin = "frozen.example/log"
    log = Notary(origin).key
    with (
        witness_node(tmp_path / "w1", "w1.example", [log]) as witness,
        ledger_node(database, tmp_path, origin, witnessing=witnessing_of(log, witness)) as node,
        LedgerClient(node.url) as client,
        View(tmp_path / "newcomer", policy_of(log, witness)) as newcomer,
        View(tmp_path / "regular", policy_of(log, witness)) as regular,
    ):
        client.add(b"release 1.0")
        node.published(1)
        frozen = client.checkpoint()
        client.add(b"hold on release 1.0")
        node.published(2)
        now = int(time.time())
        regular.update(client, now=now, max_age_seconds=MAX_AGE_SECONDS)
        node.store.put("checkpoint", frozen)
        for later in (now + MAX_AGE_SECONDS + 5, now + 10 * MAX_AGE_SECONDS):
            with pytest.raises(Stale, match="not witnessed recently enough"):
                newcomer.update(client, now=later, max_age_seconds=MAX_AGE_SECONDS)
        assert newcomer.size == 0
        # Even while it is young enough, somebody who has seen more is not fooled.
        with pytest.raises(RolledBack, match="shows 1 entries, of which this view has verified 2"):
            regular.update(client, now=now, max_age_seconds=MAX_AGE_SECONDS)


def test_control_an_idle_log_stays_fresh(database: Database, tmp_path: Path) -> None:
    origin = "idle.example/log"
    log = Notary(origin).key
    with (
        witness_node(tmp_path / "w1", "w1.example", [log]) as witness,
        ledger_node(database, tmp_path, origin, witnessing=witnessing_of(log, witness), refresh_seconds=0.5) as node,
        LedgerClient(node.url) as client,
        View(tmp_path / "view", policy_of(log, witness)) as view,
    ):
        client.add(b"release 1.0")
        node.published(1)
        first = view.update(client)
        time.sleep(2.5)
        second = view.update(client, now=int(time.time()), max_age_seconds=2)
        assert second.checkpoint == first.checkpoint
        assert second.witnesses["w1.example/1"] > first.witnesses["w1.example/1"]
