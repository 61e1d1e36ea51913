"""L12 An outsider fills the log.

Cheat: somebody who is no party of the charter posts entries: junk, statements signed with a key of their own, or that
    claim a party's key, or signed with a party's key that the charter has stopped.
Noticed by: the log's admission, entry by entry, before anything is written.
Seen: 403 (or 400 for what is no statement) with the field and the fix; not one entry or blob is added, and the
    parties' own entries go through meanwhile.
"""

import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from glasshouse_verify.dsse import Envelope, EnvelopeSignature, format_envelope
from glasshouse_verify.encoding import encode_base64
from glasshouse_verify.statement import Use, make_statement
from glasshouse_verify.tile import format_bundle
from ledgers import LedgerNode, ledger_node
from world import World

from glasshouse.ledger.admission import CharterAdmission
from glasshouse.ledger.log import read_head
from glasshouse.storage.db import Database


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def node(database: Database, tmp_path: Path, world: World, request: pytest.FixtureRequest) -> Iterator[LedgerNode]:
    with ledger_node(
        database, tmp_path, f"admitting.example/{request.node.name}", admission=CharterAdmission(world.pin)
    ) as running:
        httpx.post(f"{running.url}/add", content=world.entries[0]).raise_for_status()
        yield running


def count(node: LedgerNode) -> int:
    return read_head(node.running.database, node.running.log).sequenced


def post(node: LedgerNode, entry: bytes) -> httpx.Response:
    return httpx.post(f"{node.url}/add", content=entry)


def outsiders_entries(world: World) -> list[tuple[int, bytes]]:
    payload = make_statement(Use.SOURCE, world.source())
    acme = world.keys["acme"]
    claimed = Envelope(payload=payload, signatures=(EnvelopeSignature(keyid=acme.keyid, sig=bytes(64)),))
    both = world.envelope(payload, "mallory", "acme")
    spoiled = Envelope(
        payload=payload,
        signatures=(both.signatures[1], EnvelopeSignature(keyid=world.keys["lab"].keyid, sig=bytes(64))),
    )
    return [
        (403, format_envelope(world.envelope(payload, "mallory"))),
        (403, format_envelope(claimed)),
        (403, format_envelope(spoiled)),
        (400, b"junk"),
        (400, payload),
        (400, format_envelope(world.envelope(b'{"not":"a statement"}', "acme"))),
        (400, format_envelope(both) + b"\n"),
    ]


def test_attack_entries_of_an_outsider(node: LedgerNode, world: World) -> None:
    for status, entry in outsiders_entries(world):
        answer = post(node, entry)
        assert answer.status_code == status, answer.text
        told = answer.json()
        assert told["schema"] == "glasshouse.error/v1"
        assert told["field"].startswith(("envelope", "statement"))
        assert told["fix"]
    assert count(node) == 1


def test_attack_one_bad_entry_in_a_batch(node: LedgerNode, world: World) -> None:
    good = format_envelope(world.envelope(make_statement(Use.SOURCE, world.source()), "acme"))
    for status, bad in outsiders_entries(world):
        answer = httpx.post(f"{node.url}/add-batch", content=format_bundle([good, bad]))
        assert answer.status_code == status
    assert count(node) == 1


def test_attack_a_flood(node: LedgerNode, world: World) -> None:
    mine = [
        format_envelope(world.envelope(make_statement(Use.SOURCE, world.source(f"1.{n}")), "acme")) for n in range(20)
    ]
    payload = make_statement(Use.SOURCE, world.source())
    junk = [format_envelope(world.envelope(payload, "mallory")) for _ in range(50)]
    junk += [secrets.token_bytes(1000) for _ in range(50)]
    with httpx.Client() as http, ThreadPoolExecutor(8) as pool:

        def answer(entry: bytes) -> int:
            return http.post(f"{node.url}/add", content=entry).status_code

        answers = list(pool.map(answer, [*junk, *mine]))
    assert set(answers[:100]) == {400, 403}
    assert answers[100:] == [200] * 20
    assert count(node) == 21


def test_attack_a_blob_that_nobody_named(node: LedgerNode) -> None:
    answer = httpx.put(f"{node.url}/blob/{'0' * 64}", content=b"x" * 100_000)
    assert (answer.status_code, answer.json()["field"]) == (403, "path")
    assert list(node.store.list("blob/")) == []


def test_attack_a_key_that_was_stopped(node: LedgerNode, world: World) -> None:
    stolen = world.keys["acme-old"].keyid
    late = format_envelope(world.envelope(make_statement(Use.SOURCE, world.source("9.9")), "acme-old"))
    early = format_envelope(world.envelope(make_statement(Use.SOURCE, world.source("0.9")), "acme-old"))
    assert post(node, early).text == "1\n"
    amendment = world.amendment({"parties": {"acme": {"keys": {stolen: {"stops": 2}}}}})
    assert post(node, format_envelope(world.envelope(amendment, "acme", "ngo"))).text == "2\n"
    answer = post(node, late)
    assert answer.status_code == 403
    assert "no party of charter version 2 signed this statement" in answer.json()["error"]
    assert httpx.get(f"{node.url}/charter").json()["version"] == 2


def test_attack_after_a_restart_the_amendment_still_holds(database: Database, tmp_path: Path, world: World) -> None:
    origin = "admitting.example/restarted"
    stolen = world.keys["acme-old"].keyid
    amendment = world.amendment({"parties": {"acme": {"keys": {stolen: {"stops": 1}}}}})
    with ledger_node(database, tmp_path, origin, admission=CharterAdmission(world.pin)) as node:
        assert post(node, world.entries[0]).text == "0\n"
        assert post(node, format_envelope(world.envelope(amendment, "acme", "lab"))).text == "1\n"
    with ledger_node(database, tmp_path, origin, admission=CharterAdmission(world.pin), create=False) as node:
        assert httpx.get(f"{node.url}/charter").json()["index"] == 1
        late = format_envelope(world.envelope(make_statement(Use.SOURCE, world.source("9.9")), "acme-old"))
        assert post(node, late).status_code == 403


def test_attack_an_amendment_without_votes_admits_nobody(node: LedgerNode, world: World) -> None:
    mallory = world.keys["mallory"]
    key = {"public": encode_base64(mallory.public), "site": "oslo", "uses": ["charter"]}
    patch = {"parties": {"ngo": {"keys": {mallory.keyid: key}}}}
    alone = format_envelope(world.envelope(world.amendment(patch), "acme"))
    assert post(node, alone).text == "1\n"
    assert httpx.get(f"{node.url}/charter").json()["version"] == 1
    entry = format_envelope(world.envelope(make_statement(Use.SOURCE, world.source()), "mallory"))
    assert post(node, entry).status_code == 403


def test_control_the_parties_add(node: LedgerNode, world: World) -> None:
    world.honest()
    for index, entry in enumerate(world.entries):
        assert post(node, entry).text == f"{index}\n"
