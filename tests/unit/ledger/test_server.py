"""The HTTP interface, as a client that knows nothing of this program sees it."""

import gzip
import hashlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from glasshouse_verify.note import parse_note
from glasshouse_verify.tile import format_bundle, parse_bundle
from glasshouse_verify.tlog import leaf_hash
from glasshouse_verify.tlogproof import parse_tlog_proof, verify_tlog_proof
from ledgers import LedgerNode, ledger_node, no_quorum
from world import World

from glasshouse.ledger import writer
from glasshouse.ledger.errors import Busy
from glasshouse.storage.db import Database
from glasshouse.storage.errors import DatabaseUnavailable, StorageFull

ENTRIES = [b"entry %d" % n for n in range(600)]


@pytest.fixture(scope="module")
def node(database: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LedgerNode]:
    with ledger_node(database, tmp_path_factory.mktemp("server"), "server.example/log") as running:
        httpx.post(f"{running.url}/add-batch", content=format_bundle(ENTRIES)).raise_for_status()
        running.published(600)
        yield running


@pytest.fixture(scope="module")
def http(node: LedgerNode) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=node.url) as client:
        yield client


def refused(response: httpx.Response, status: int, field: str) -> str:
    assert response.status_code == status, response.text[:300]
    told = response.json()
    assert set(told) == {"schema", "error", "field", "fix"}
    assert (told["schema"], told["field"]) == ("glasshouse.error/v1", field)
    assert told["error"]
    assert told["fix"]
    return str(told["error"])


def test_adding(http: httpx.Client) -> None:
    answer = http.post("/add", content=b"entry 7")
    assert (answer.status_code, answer.text) == (200, "7\n")
    answer = http.post("/add-batch", content=format_bundle([b"entry 1", b"entry 0"]))
    assert answer.json() == [1, 0]


@pytest.mark.parametrize(
    ("path", "body", "status", "field"),
    [
        ("/add", b"", 400, "entry"),
        ("/add", b"x" * 65_536, 413, "entry"),
        ("/add-batch", b"", 400, "batch"),
        ("/add-batch", b"\x00\x05four", 400, "entry bundle"),
        ("/add-batch", b"\x00\x01x\x00", 400, "entry bundle"),
        ("/add-batch", b"\x00\x01x\x00\x00", 400, "entry"),
        ("/add-batch", format_bundle([b"x"] * 1025), 413, "batch"),
        ("/add-batch", format_bundle([b"x" * 65_000] * 65), 413, "batch"),
    ],
)
def test_bad_input_is_refused_by_name(
    node: LedgerNode, http: httpx.Client, path: str, body: bytes, status: int, field: str
) -> None:
    before = node.running.lookup(bytes(32))
    refused(http.post(path, content=body), status, field)
    refused(http.post(path, content=iter([body])), status, field)
    assert node.running.lookup(bytes(32)) == before
    assert http.post("/add", content=b"entry 599").text == "599\n"


def test_the_checkpoint_is_not_cached_and_tiles_are(http: httpx.Client) -> None:
    checkpoint = http.get("/checkpoint")
    assert checkpoint.headers["content-type"] == "text/plain; charset=utf-8"
    assert checkpoint.headers["cache-control"] == "no-cache"
    assert parse_note(checkpoint.content).text.startswith("server.example/log\n600\n")
    assert http.get("/checkpoint/pending").content == checkpoint.content
    tile = http.get("/tile/0/001")
    assert tile.headers["content-type"] == "application/octet-stream"
    assert "immutable" in tile.headers["cache-control"]
    assert tile.content == b"".join(leaf_hash(entry) for entry in ENTRIES[256:512])
    assert http.get("/tile/1/000.p/2").headers["content-length"] == "64"


def test_bundles_are_compressed_for_those_who_ask(http: httpx.Client) -> None:
    plain = http.get("/tile/entries/002.p/88", headers={"accept-encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert parse_bundle(plain.content) == ENTRIES[512:]
    with http.stream("GET", "/tile/entries/002.p/88", headers={"accept-encoding": "gzip"}) as packed:
        assert packed.headers["content-encoding"] == "gzip"
        assert packed.headers["vary"] == "accept-encoding"
        raw = b"".join(packed.iter_raw())
    assert gzip.decompress(raw) == plain.content
    assert len(raw) < len(plain.content)


def test_a_partial_tile_is_there_as_long_as_the_full_one(http: httpx.Client) -> None:
    assert parse_bundle(http.get("/tile/entries/000.p/3").content) == ENTRIES[:3]
    assert http.get("/tile/0/000.p/3").content == b"".join(leaf_hash(entry) for entry in ENTRIES[:3])


@pytest.mark.parametrize(
    "path",
    [
        "/tile/0/003",
        "/tile/0/0",
        "/tile/0/1",
        "/tile/00/000",
        "/tile/64/000",
        "/tile/0/000.p/256",
        "/tile/0/000.p/0",
        "/tile/0/000.p/03",
        "/tile/entries/x000/000",
        "/tile/entries/%2e%2e/0/000",
        "/tile/entries/000/",
        "/tile/",
        "/proof/600",
        "/blob/" + "0" * 64,
        "/charter",
    ],
)
def test_what_is_not_there(http: httpx.Client, path: str) -> None:
    refused(http.get(path), 404, "path")


@pytest.mark.parametrize(
    ("path", "field"), [("/proof/01", "index"), ("/lookup/abc", "digest"), ("/blob/xyz", "digest")]
)
def test_paths_that_make_no_sense(http: httpx.Client, path: str, field: str) -> None:
    refused(http.get(path), 400, field)


def test_a_proof_is_complete(node: LedgerNode, http: httpx.Client) -> None:
    for index in (0, 255, 256, 599):
        proof = parse_tlog_proof(http.get(f"/proof/{index}").content)
        cosigned = verify_tlog_proof(proof, leaf_hash(ENTRIES[index]), no_quorum(node.notary.key))
        assert (proof.index, cosigned.checkpoint.size) == (index, 600)


def test_statements_are_found_by_digest_and_blobs_follow(database: Database, tmp_path: Path) -> None:
    world = World()
    world.honest()
    with ledger_node(database, tmp_path, "server.example/blobs") as node, httpx.Client(base_url=node.url) as http:
        content = b"content of a blob " * 1000
        digest = hashlib.sha256(content).hexdigest()
        refused(http.put(f"/blob/{digest}", content=content), 403, "path")
        for entry in world.entries:
            http.post("/add", content=entry).raise_for_status()
        sbom = hashlib.sha256(b"sbom").hexdigest()
        found = http.get(f"/lookup/{sbom}").json()
        assert found == {"schema": "glasshouse.lookup/v1", "digest": sbom, "indexes": world.lookup(sbom)}
        assert http.get(f"/lookup/{digest}").json()["indexes"] == []
        refused(http.put(f"/blob/{sbom}", content=b"something else"), 400, "body")
        assert http.get(f"/blob/{sbom}").status_code == 404
        assert http.put(f"/blob/{sbom}", content=b"sbom").status_code == 201
        assert http.put(f"/blob/{sbom}", content=iter([b"sb", b"om"])).status_code == 200
        answer = http.get(f"/blob/{sbom}")
        assert (answer.content, answer.headers["content-length"]) == (b"sbom", "4")
        assert list((tmp_path / "spool").iterdir()) == []


def test_a_blob_has_a_limit(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("glasshouse.ledger.running.RunningLog.lookup", lambda _self, _digest: [0])
    with ledger_node(database, tmp_path, "server.example/limit", max_blob_bytes=10) as node:
        digest = hashlib.sha256(b"x" * 11).hexdigest()
        refused(httpx.put(f"{node.url}/blob/{digest}", content=b"x" * 11), 413, "body")
        refused(httpx.put(f"{node.url}/blob/{digest}", content=iter([b"x" * 6, b"x" * 5])), 413, "body")
        assert list((tmp_path / "spool").iterdir()) == []


@pytest.mark.parametrize(
    ("error", "status", "after"),
    [
        (Busy("enough"), 429, "1"),
        (DatabaseUnavailable("gone"), 503, "1"),
        (StorageFull("no space"), 503, "30"),
    ],
)
def test_pushing_back(
    node: LedgerNode, http: httpx.Client, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int, after: str
) -> None:
    def refuse(_self: writer.Sequencer, _entries: object) -> None:
        raise error

    monkeypatch.setattr(writer.Sequencer, "submit", refuse)
    answer = http.post("/add", content=b"entry 7")
    assert (answer.status_code, answer.headers["retry-after"]) == (status, after)
    assert "password" not in answer.text


def test_a_log_that_stopped_signing_takes_nothing(node: LedgerNode, http: httpx.Client) -> None:
    integrator = node.running._integrator
    integrator._alarm = "the store was rolled back"
    try:
        assert refused(http.post("/add", content=b"new"), 503, "") == "the store was rolled back"
        refused(http.put(f"/blob/{'0' * 64}", content=b""), 503, "")
        assert http.get("/checkpoint").status_code == 200
    finally:
        integrator._alarm = None


def test_before_the_first_checkpoint(node: LedgerNode, http: httpx.Client) -> None:
    saved = {key: node.store.get(key) for key in ("checkpoint", "checkpoint.pending")}
    for key in saved:
        node.store.delete(key)
    try:
        for path in ("/checkpoint", "/checkpoint/pending", "/proof/0"):
            refused(http.get(path), 404, "path")
    finally:
        for key, data in saved.items():
            node.store.put(key, data)
