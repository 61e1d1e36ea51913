"""L11 Two disjoint witness quorums on two forks; one statement logged again under other envelope bytes.

Cheat: the log, with as many faulty witnesses as the charter tolerates, divides the honest ones and shows each half
    another fork; or a statement is logged a second time in an envelope with other bytes, to give it another index.
Noticed by: arithmetic: any two quorums share an honest witness, which signs one fork only; and every reader, for whom a
    statement is its pre-authentication encoding and stands at its lowest sufficient entry.
Seen: one fork at most gathers a quorum, the other stays unpublished and a view refuses it; the second entry changes
    nothing.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from glasshouse_verify.dsse import Envelope, format_envelope, parse_envelope
from glasshouse_verify.errors import FormatError, QuorumError
from glasshouse_verify.note import Note, parse_note
from glasshouse_verify.policy import check_checkpoint, witness_policy
from ledgers import MemoryTree, RunningWitness, ledger_node, no_quorum, witness_node
from notary import Notary
from notary import witness as witness_notary
from world import World

from glasshouse.ledger.client import LedgerClient
from glasshouse.ledger.history import History
from glasshouse.ledger.view import View
from glasshouse.storage.db import Database

ORIGIN = "divided.example/log"
LOG = Notary(ORIGIN)
LEFT = MemoryTree(ORIGIN, [b"release 1.0", b"release 1.1"])
RIGHT = MemoryTree(ORIGIN, [b"release 1.0", b"release 1.1 with a back door"])


@pytest.fixture
def honest(tmp_path: Path) -> Iterator[list[RunningWitness]]:
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(witness_node(tmp_path / name, name, [LOG.key]))
            for name in ("w1.example", "w2.example", "w3.example")
        ]


def gather(tree: MemoryTree, asked: list[RunningWitness], *faulty: Notary) -> Note:
    """What the cheating log can put together for one fork: faulty witnesses sign anything."""
    text = tree.text(2)
    found = [LOG.sign(text), *(notary.sign(text, 1_800_000_000) for notary in faulty)]
    for witness in asked:
        answer = httpx.post(f"{witness.url}/add-checkpoint", content=tree.request(0, 2, LOG))
        if answer.status_code == 200:
            found += parse_note(text.encode() + b"\n" + answer.content).signatures
    return Note(text=text, signatures=tuple(found))


def test_attack_the_honest_witnesses_are_divided(honest: list[RunningWitness]) -> None:
    faulty = witness_notary("w4.example")
    groups = {w.notary.key.name: [w.notary.key] for w in honest} | {"w4.example": [faulty.key]}
    policy = witness_policy(LOG.key, groups, 1)
    left = gather(LEFT, honest[:2], faulty)
    right = gather(RIGHT, honest[2:], faulty)
    # Asking the others too does not help: they have seen the left one.
    more = gather(RIGHT, honest, faulty)
    assert check_checkpoint(policy, left).checkpoint.root == LEFT.roots[2]
    for note in (right, more):
        with pytest.raises(QuorumError):
            check_checkpoint(policy, note)


@pytest.mark.parametrize(("parties", "faulty"), [(3, 1), (2, 1), (1, 1), (6, 2), (0, 0)])
def test_attack_a_charter_that_tolerates_too_much(parties: int, faulty: int) -> None:
    """With fewer than three honest parties for each faulty one, two quorums need not share an honest witness."""
    groups = {f"w{n}": [witness_notary(f"w{n}.example").key] for n in range(parties)}
    with pytest.raises(FormatError, match="cannot tolerate"):
        witness_policy(LOG.key, groups, faulty)


def test_attack_a_statement_logged_again_under_other_bytes(database: Database, tmp_path: Path) -> None:
    world = World()
    release = world.release()
    before = world.history.records[release]
    entry = parse_envelope(world.entries[before.index])
    other_key = world.envelope(entry.payload, "acme", "ngo")
    turned = Envelope(payload=entry.payload, signatures=other_key.signatures[::-1])
    again = [format_envelope(other_key), format_envelope(turned)]
    assert len({world.entries[before.index], *again}) == 3
    origin = "logged-again.example/log"
    with (
        ledger_node(database, tmp_path, origin) as node,
        LedgerClient(node.url) as client,
        View(tmp_path / "view", no_quorum(Notary(origin).key)) as view,
    ):
        indexes = client.add_batch([*world.entries, *again])
        assert indexes[-2:] == [len(world.entries), len(world.entries) + 1]
        node.published(len(indexes))
        view.update(client)
        assert view.lookup(release)[0] == before.index
        assert set(indexes[-2:]) <= set(view.lookup(release))
        history = History(world.pin)
        for _, data in view.entries(0):
            history.feed(data)
        assert history.records[release].index == before.index
        assert len([r for r in history.records.values() if r.id == release]) == 1


def test_control_one_faulty_witness_of_four_stops_nothing(honest: list[RunningWitness]) -> None:
    silent = witness_notary("w4.example")
    groups = {w.notary.key.name: [w.notary.key] for w in honest} | {"w4.example": [silent.key]}
    assert check_checkpoint(witness_policy(LOG.key, groups, 1), gather(LEFT, honest)).checkpoint.size == 2


def test_control_the_same_bytes_have_one_index(database: Database, tmp_path: Path) -> None:
    world = World()
    world.release()
    with ledger_node(database, tmp_path, "logged-once.example/log") as node, LedgerClient(node.url) as client:
        first = client.add_batch(world.entries)
        assert client.add_batch(world.entries) == first == list(range(len(world.entries)))
