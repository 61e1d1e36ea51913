"""L1 Two checkpoints of one size (split view).

Cheat: the log's operator keeps two logs under one origin and key, and shows one to the public, the other to a victim.
Noticed by: every witness, which has seen one tree of that size and refuses the other; and, where there are no
    witnesses, any party that meets both trees.
Seen: the witness answers 422 and keeps the signed contradiction; the victim's checkpoint never reaches its quorum; a
    view that meets the other tree stops, with both signed checkpoints kept as evidence files.
"""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from glasshouse_verify.errors import QuorumError
from glasshouse_verify.note import parse_note, verify_note
from glasshouse_verify.policy import check_checkpoint
from ledgers import ledger_node, no_quorum, own_database, policy_of, size_of, until, witness_node, witnessing_of
from notary import Notary

from glasshouse.ledger.client import LedgerClient
from glasshouse.ledger.cosign import format_request
from glasshouse.ledger.errors import SplitView
from glasshouse.ledger.view import View
from glasshouse.storage.db import Database


@pytest.fixture(scope="module")
def second_database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    with own_database(tmp_path_factory.mktemp("second")) as opened:
        yield opened


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    """The operator's two directories."""
    for name in ("public", "victim"):
        (tmp_path / name).mkdir()
    return tmp_path / "public", tmp_path / "victim"


def test_attack_the_witnesses_refuse_the_other_tree(
    database: Database, second_database: Database, tmp_path: Path, places: tuple[Path, Path]
) -> None:
    origin = "two-faced.example/witnessed"
    log = Notary(origin).key
    with (
        witness_node(tmp_path / "w1", "w1.example", [log]) as w1,
        witness_node(tmp_path / "w2", "w2.example", [log]) as w2,
    ):
        witnessing, policy = witnessing_of(log, w1, w2), policy_of(log, w1, w2)
        with (
            ledger_node(database, places[0], origin, witnessing=witnessing) as public,
            LedgerClient(public.url) as client,
            View(tmp_path / "view", policy) as view,
        ):
            client.add_batch([b"release 1.0", b"release 1.1"])
            public.published(2)
            assert view.update(client).new_size == 2
        # The program would refuse to go on as soon as a witness showed it the other tree, so the operator asks the
        # witnesses by hand.
        with ledger_node(second_database, places[1], origin) as victim, LedgerClient(victim.url) as client:
            client.add_batch([b"release 1.0", b"release 1.1 with a back door"])
            victim.published(2)
            note = parse_note(client.checkpoint())
            for old in (0, 1, 2):
                for witness in (w1, w2):
                    answer = httpx.post(f"{witness.url}/add-checkpoint", content=format_request(old, (), note))
                    assert answer.status_code == (422 if old == 2 else 409)
            with pytest.raises(QuorumError):
                check_checkpoint(policy, note)
            with View(tmp_path / "victim's view", policy) as view, pytest.raises(QuorumError):
                view.update(client)
        for witness in (w1, w2):
            (conflict,) = witness.state.conflicts(origin)
            for kept in (conflict.note, conflict.known):
                assert log in dict(verify_note(parse_note(kept), [log]))
            assert parse_note(conflict.note).text != parse_note(conflict.known).text
            assert size_of(conflict.note) == size_of(conflict.known) == 2


def test_attack_the_operators_own_program_refuses(
    database: Database, second_database: Database, tmp_path: Path, places: tuple[Path, Path]
) -> None:
    origin = "two-faced.example/alarmed"
    log = Notary(origin).key
    with witness_node(tmp_path / "w1", "w1.example", [log]) as witness:
        witnessing = witnessing_of(log, witness)
        with (
            ledger_node(database, places[0], origin, witnessing=witnessing) as public,
            LedgerClient(public.url) as client,
        ):
            client.add(b"release 1.0")
            public.published(1)
        with ledger_node(second_database, places[1], origin, witnessing=witnessing) as victim:
            until(lambda: victim.running.alarm)
            assert "witness w1.example shows a tree of 1 entries signed by this log's key" in str(victim.running.alarm)


def test_attack_a_party_meets_both_trees(
    database: Database, second_database: Database, tmp_path: Path, places: tuple[Path, Path]
) -> None:
    origin = "two-faced.example/unwitnessed"
    policy = no_quorum(Notary(origin).key)
    with (
        ledger_node(database, places[0], origin) as public,
        ledger_node(second_database, places[1], origin) as victim,
        LedgerClient(public.url) as honest,
        LedgerClient(victim.url) as forked,
        View(tmp_path / "view", policy) as view,
    ):
        honest.add_batch([b"release 1.0", b"release 1.1"])
        forked.add_batch([b"release 1.0", b"release 1.1 with a back door"])
        public.published(2)
        victim.published(2)
        view.update(honest)
        with pytest.raises(SplitView, match="two trees of 2 entries") as caught:
            view.update(forked)
        assert [path.read_bytes() for path in caught.value.evidence] == [honest.checkpoint(), forked.checkpoint()]
        # Growing the fork does not help: it still does not extend what the party has seen.
        forked.add(b"release 1.2")
        victim.published(3)
        with pytest.raises(SplitView, match="does not extend the verified one of 2"):
            view.update(forked)
        assert [data for _, data in view.entries(0)] == [b"release 1.0", b"release 1.1"]


def test_control_one_log_for_everybody(database: Database, tmp_path: Path, places: tuple[Path, Path]) -> None:
    origin = "one-faced.example/log"
    log = Notary(origin).key
    with (
        witness_node(tmp_path / "w1", "w1.example", [log]) as w1,
        witness_node(tmp_path / "w2", "w2.example", [log]) as w2,
        ledger_node(database, places[0], origin, witnessing=witnessing_of(log, w1, w2)) as node,
        LedgerClient(node.url) as client,
        View(tmp_path / "one", policy_of(log, w1, w2)) as one,
        View(tmp_path / "two", policy_of(log, w1, w2)) as two,
    ):
        for number in range(3):
            client.add(b"release 1.%d" % number)
            node.published(number + 1)
            one.update(client)
        two.update(client)
        assert one.checkpoint() == two.checkpoint() == client.checkpoint()
        assert w1.state.conflicts(origin) == []
