"""The witness, over HTTP, by the rules of c2sp.org/tlog-witness in their order."""

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from glasshouse_verify.encoding import encode_base64
from glasshouse_verify.errors import FormatError
from glasshouse_verify.note import Note, parse_note, verify_note
from ledgers import MemoryTree, RunningWitness, witness_node
from notary import Notary
from notary import witness as witness_notary

from glasshouse.ledger.witness import Witness
from glasshouse.parties.ring import KeyRing
from glasshouse.parties.signer import FileSigner

LOG, OTHER = Notary("witnessed.example/log"), Notary("elsewhere.example/log")
TREE = MemoryTree(LOG.key.name, [b"%d" % n for n in range(40)])
FORK = MemoryTree(LOG.key.name, [b"%d" % n for n in range(20)] + [b"fork"] * 20)
STRANGE = MemoryTree(OTHER.key.name, [b"x"])


@pytest.fixture
def witness(tmp_path: Path) -> Iterator[RunningWitness]:
    with witness_node(tmp_path / "witness.sqlite3", "witness.example/w", [LOG.key]) as node:
        yield node


def submit(witness: RunningWitness, body: bytes) -> httpx.Response:
    return httpx.post(f"{witness.url}/add-checkpoint", content=body)


def cosigned(witness: RunningWitness, tree: MemoryTree, size: int, answer: httpx.Response) -> Note:
    assert answer.status_code == 200, answer.text
    note = parse_note(tree.text(size).encode() + b"\n" + answer.content)
    ((key, moment),) = verify_note(note, [witness.notary.key])
    assert key == witness.notary.key
    assert moment > 1_700_000_000
    return note


def monitored(witness: RunningWitness, origin: str) -> httpx.Response:
    return httpx.get(f"{witness.url}/{hashlib.sha256(origin.encode()).hexdigest()}/checkpoint")


def test_a_log_grows_under_the_witness(witness: RunningWitness) -> None:
    assert monitored(witness, LOG.key.name).status_code == 404
    old = 0
    for size in (0, 0, 1, 7, 8, 8, 40):
        cosigned(witness, TREE, size, submit(witness, TREE.request(old, size, LOG)))
        shown = parse_note(monitored(witness, LOG.key.name).content)
        assert shown.text == TREE.text(size)
        assert {key.name for key, _ in verify_note(shown, [LOG.key, witness.notary.key])} == {
            LOG.key.name,
            "witness.example/w",
        }
        old = size


def test_foreign_signatures_are_ignored_and_not_kept(witness: RunningWitness) -> None:
    cosigned(witness, TREE, 3, submit(witness, TREE.request(0, 3, LOG, OTHER, witness_notary("other.example"))))
    shown = parse_note(monitored(witness, LOG.key.name).content)
    assert {signature.name for signature in shown.signatures} == {LOG.key.name, "witness.example/w"}


def test_another_size_than_the_one_seen(witness: RunningWitness) -> None:
    cosigned(witness, TREE, 20, submit(witness, TREE.request(0, 20, LOG)))
    for old, size in ((0, 30), (0, 20), (19, 30), (21, 30), (10, 10), (0, 0)):
        answer = submit(witness, TREE.request(old, size, LOG))
        assert (answer.status_code, answer.text) == (409, "20\n")
        assert answer.headers["content-type"] == "text/x.tlog.size"


def test_what_does_not_extend(witness: RunningWitness) -> None:
    cosigned(witness, TREE, 30, submit(witness, TREE.request(0, 30, LOG)))
    before = monitored(witness, LOG.key.name).content
    for body in (
        FORK.request(30, 40, LOG),
        FORK.request(30, 30, LOG),
        TREE.request(30, 40, LOG, proof=()),
        TREE.request(30, 40, LOG, proof=(bytes(32),) * 63),
        TREE.request(30, 30, LOG, proof=(bytes(32),)),
    ):
        assert submit(witness, body).status_code == 422
    assert monitored(witness, LOG.key.name).content == before
    kept = witness.state.conflicts(LOG.key.name)
    assert {parse_note(conflict.note).text for conflict in kept} == {
        FORK.text(40),
        FORK.text(30),
        TREE.text(40),
        TREE.text(30),
    }
    assert {conflict.known for conflict in kept} == {before}


def test_a_proof_from_nothing_must_be_empty(witness: RunningWitness) -> None:
    assert submit(witness, TREE.request(0, 5, LOG, proof=(bytes(32),))).status_code == 422
    empty = MemoryTree(LOG.key.name, [])
    empty.roots[0] = bytes(32)
    assert submit(witness, empty.request(0, 0, LOG)).status_code == 422


def test_unknown_logs_and_bad_signatures(witness: RunningWitness) -> None:
    assert submit(witness, STRANGE.request(0, 1, OTHER)).status_code == 404
    assert submit(witness, TREE.request(0, 1, OTHER)).status_code == 403
    note = TREE.request(0, 1, LOG, OTHER)
    (line,) = (line for line in note.splitlines() if line.startswith("— witnessed".encode()))
    forged = LOG.key.key_id + bytes(64)
    broken = note.replace(line, f"— {LOG.key.name} {encode_base64(forged)}".encode())
    assert submit(witness, broken).status_code == 403
    assert monitored(witness, OTHER.key.name).status_code == 404
    assert monitored(witness, LOG.key.name).status_code == 404


GOOD = TREE.request(0, 5, LOG)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"", "request"),
        (GOOD.replace(b"old 0", b"old 00"), "old size"),
        (GOOD.replace(b"old 0", b"old +0"), "old size"),
        (GOOD.replace(b"old 0", b"old -1"), "old size"),
        (GOOD.replace(b"old 0", b"new 0"), "old size"),
        (GOOD.replace(b"old 0\n", b"old 0\r\n"), "old size"),
        (GOOD.replace(b"old 0\n", b"old 0\nAAAA\n"), "consistency proof"),
        (GOOD.replace(b"old 0\n", b"old 0\n" + (encode_base64(bytes(32)) + "\n").encode() * 64), "consistency proof"),
        (GOOD.replace(b"old 0", "old ٠".encode()), "request"),
        (GOOD.replace(b"\n5\n", b"\n05\n"), "checkpoint size"),
        (TREE.request(6, 5, LOG), "old size"),
        (GOOD[:-1], "note signature"),
    ],
)
def test_malformed_requests_name_the_field(witness: RunningWitness, body: bytes, field: str) -> None:
    answer = submit(witness, body)
    assert (answer.status_code, answer.json()["field"]) == (400, field)
    assert answer.json()["schema"] == "glasshouse.error/v1"
    assert monitored(witness, LOG.key.name).status_code == 404


def test_a_request_has_a_limit(witness: RunningWitness) -> None:
    assert submit(witness, b"x" * 1_000_001).status_code == 413


def test_two_requests_at_once_never_lead_to_two_trees(witness: RunningWitness) -> None:
    cosigned(witness, TREE, 20, submit(witness, TREE.request(0, 20, LOG)))
    bodies = [tree.request(20, size, LOG) for size in range(21, 29) for tree in (TREE, FORK)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda body: submit(witness, body), bodies))
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 15


def test_the_state_survives_and_is_checked_across_processes(tmp_path: Path) -> None:
    path, notary = tmp_path / "witness.sqlite3", witness_notary("witness.example/w")
    with witness_node(path, "witness.example/w", [LOG.key]) as node:
        cosigned(node, TREE, 20, submit(node, TREE.request(0, 20, LOG)))
    with (
        witness_node(path, "witness.example/w", [LOG.key]) as one,
        witness_node(path, notary.key.name, [LOG.key]) as two,
    ):
        assert submit(one, TREE.request(0, 21, LOG)).text == "20\n"
        cosigned(two, TREE, 21, submit(two, TREE.request(20, 21, LOG)))
        assert submit(one, FORK.request(20, 21, LOG)).text == "21\n"


def test_a_log_may_have_several_keys(tmp_path: Path) -> None:
    second = Notary(LOG.key.name, salt="second")
    with witness_node(tmp_path / "w.sqlite3", "witness.example/w", [LOG.key, second.key]) as node:
        cosigned(node, TREE, 1, submit(node, TREE.request(0, 1, LOG)))
        cosigned(node, TREE, 2, submit(node, TREE.request(1, 2, second)))
        cosigned(node, TREE, 3, submit(node, TREE.request(2, 3, LOG, second)))


def test_keys_must_be_of_their_kind(tmp_path: Path) -> None:
    notary = witness_notary("witness.example/w")

    keys = KeyRing(FileSigner(notary.private))
    with pytest.raises(FormatError, match="log key"):
        Witness(tmp_path / "w.sqlite3", name=notary.key.name, keys=keys, logs=[notary.key])
