"""L5 Quorum unsatisfied or one witness counted twice.

Cheat: the log publishes with fewer cosignatures than its policy asks for, or fills the number up with a second
    signature, or a second key, of a witness party that has signed already.
Noticed by: the log's own publisher, which publishes nothing short of the policy; and every view.
Seen: the checkpoint stays pending; a view that is shown it anyway raises a quorum error and takes nothing.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from glasshouse_verify.errors import FormatError, QuorumError
from glasshouse_verify.note import Note, format_note, parse_note
from glasshouse_verify.policy import Policy, witness_policy
from ledgers import LedgerNode, RunningWitness, ledger_node, policy_of, size_of, until, witness_node
from notary import Notary

from glasshouse.ledger.client import LedgerClient
from glasshouse.ledger.cosign import WitnessEndpoint, Witnessing
from glasshouse.ledger.errors import NotThere
from glasshouse.ledger.view import View
from glasshouse.storage.db import Database

NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
def log(request: pytest.FixtureRequest) -> Notary:
    return Notary(f"quorum.example/{request.node.name}")


@pytest.fixture
def witnesses(tmp_path: Path, log: Notary) -> Iterator[list[RunningWitness]]:
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(witness_node(tmp_path / name, name, [log.key]))
            for name in ("w1.example", "w2.example", "w1-second.example")
        ]


def pending_only(node: LedgerNode, view: View) -> None:
    """The checkpoint exists, is not published, and is not taken when it is shown all the same."""
    with LedgerClient(node.url) as client:
        client.add(b"entry")
        until(lambda: size_of(client.pending()) == 1)
        with pytest.raises(NotThere):
            client.checkpoint()
        assert node.running.published_size == -1
        node.store.put("checkpoint", client.pending())
        with pytest.raises(QuorumError):
            view.update(client)
        assert view.size == 0


def test_attack_a_witness_is_left_out(
    database: Database, tmp_path: Path, log: Notary, witnesses: list[RunningWitness]
) -> None:
    policy = policy_of(log.key, *witnesses[:2])
    endpoints = (witnesses[0].endpoint, replace(witnesses[1].endpoint, url=NOWHERE))
    with (
        ledger_node(
            database, tmp_path, log.key.name, witnessing=Witnessing(policies=(policy,), endpoints=endpoints)
        ) as node,
        View(tmp_path / "view", policy) as view,
    ):
        pending_only(node, view)


def test_attack_two_keys_of_one_party(
    database: Database, tmp_path: Path, log: Notary, witnesses: list[RunningWitness]
) -> None:
    """The first party has two witnesses; both sign, the second party does not."""
    w1, w2, second = witnesses
    parties = {"one": [w1.notary.key, second.notary.key], "two": [w2.notary.key]}
    policy = witness_policy(log.key, parties, 0)
    endpoints = (w1.endpoint, second.endpoint, replace(w2.endpoint, url=NOWHERE))
    with (
        ledger_node(
            database, tmp_path, log.key.name, witnessing=Witnessing(policies=(policy,), endpoints=endpoints)
        ) as node,
        View(tmp_path / "view", policy) as view,
    ):
        pending_only(node, view)


def test_attack_one_witness_signs_twice(
    database: Database, tmp_path: Path, log: Notary, witnesses: list[RunningWitness]
) -> None:
    w1, w2, _ = witnesses
    alone, both = policy_of(log.key, w1), policy_of(log.key, w1, w2)
    with (
        ledger_node(
            database, tmp_path, log.key.name, witnessing=Witnessing(policies=(alone,), endpoints=(w1.endpoint,))
        ) as node,
        LedgerClient(node.url) as client,
        View(tmp_path / "view", both) as view,
    ):
        client.add(b"entry")
        node.published(1)
        note = parse_note(client.checkpoint())
        again = w1.notary.sign(note.text, 1_900_000_000)
        node.store.put("checkpoint", format_note(Note(text=note.text, signatures=(*note.signatures, again))))
        with pytest.raises(QuorumError, match=r"is not satisfied by witnesses: w1\.example"):
            view.update(client)


def test_attack_one_key_under_two_names(log: Notary, witnesses: list[RunningWitness]) -> None:
    """A policy that counts one public key twice is no policy."""
    key = witnesses[0].notary.key
    for twice in ({"one": [key], "two": [key]}, {"one": [key], "two": [replace(key, name="other.example")]}):
        with pytest.raises(FormatError, match="one public key"):
            witness_policy(log.key, twice, 0)


def satisfied(database: Database, directory: Path, log: Notary, policy: Policy, *asked: WitnessEndpoint) -> None:
    with (
        ledger_node(
            database, directory, log.key.name, witnessing=Witnessing(policies=(policy,), endpoints=asked)
        ) as node,
        LedgerClient(node.url) as client,
        View(directory / "view", policy) as view,
    ):
        client.add(b"entry")
        node.published(1)
        assert view.update(client).new_size == 1


def test_control_all_that_are_needed(
    database: Database, tmp_path: Path, log: Notary, witnesses: list[RunningWitness]
) -> None:
    satisfied(database, tmp_path, log, policy_of(log.key, *witnesses), *(witness.endpoint for witness in witnesses))


def test_control_one_of_four_may_be_away(
    database: Database, tmp_path: Path, log: Notary, witnesses: list[RunningWitness]
) -> None:
    with witness_node(tmp_path / "w4", "w4.example", [log.key]) as fourth:
        policy = policy_of(log.key, *witnesses, fourth, faulty=1)
        away = replace(fourth.endpoint, url=NOWHERE)
        satisfied(database, tmp_path, log, policy, *(witness.endpoint for witness in witnesses), away)
