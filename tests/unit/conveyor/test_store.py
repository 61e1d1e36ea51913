"""The cache of downloads: by digest, resumed, bounded, shared, and never trusted for being there."""

import http.server
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import httpx
import pytest
from debian_archive import served

from glasshouse.conveyor.errors import OriginUnavailable
from glasshouse.conveyor.package_index import DEFAULT_INDEX_URL, default_index_url, list_files
from glasshouse.conveyor.store import Store, Wanted, get_bytes, http_client

DATA = bytes(range(256)) * 2000
DIGEST = sha256(DATA).hexdigest()


class Origin:
    """An HTTP server with a will of its own: `answers` are the ways in which it treats the next requests."""

    def __init__(self, answers: list[str]) -> None:
        self.answers = answers
        self.ranges: list[str | None] = []
        self.url = ""

    def handle(self, request: http.server.BaseHTTPRequestHandler) -> None:
        answer = self.answers.pop(0) if self.answers else "whole"
        asked = request.headers.get("Range")
        self.ranges.append(asked)
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and answer != "no ranges" else 0
        body = DATA[start:]
        request.send_response(503 if answer == "busy" else 206 if start else 200)
        if answer == "endless":
            body += b"x" * 10_000
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body[: len(body) // 2] if answer == "cut" else body)


@contextmanager
def origin_with(*answers: str) -> Iterator[tuple[Origin, httpx.Client]]:
    origin = Origin(list(answers))

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            origin.handle(self)

        def log_message(self, format: str, *args: object) -> None:
            """Tests print nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server, http_client() as client:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        origin.url = f"http://127.0.0.1:{server.server_address[1]}/file"
        try:
            yield origin, client
        finally:
            server.shutdown()
            thread.join()


def test_a_broken_download_goes_on_where_it_stopped(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with origin_with("cut") as (origin, client):
        store.fetch([Wanted(url=origin.url, sha256=DIGEST, size=len(DATA))], client)
    assert origin.ranges == [None, f"bytes={len(DATA) // 2}-"]
    assert store.path(DIGEST).read_bytes() == DATA


def test_a_server_without_ranges_is_asked_for_the_whole(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with origin_with("cut", "no ranges") as (origin, client):
        store.fetch([Wanted(url=origin.url, sha256=DIGEST)], client)
    assert store.has(DIGEST)


def test_a_partial_file_of_something_else_is_thrown_away(tmp_path: Path) -> None:
    store = Store(tmp_path)
    (tmp_path / f".{DIGEST}.part").write_bytes(b"rubbish")
    with origin_with() as (origin, client):
        wanted = Wanted(url=origin.url, sha256=DIGEST, size=len(DATA))
        with pytest.raises(OriginUnavailable, match="has SHA-256"):
            store.fetch([wanted], client)
        store.fetch([wanted], client)
    assert store.has(DIGEST)


@pytest.mark.parametrize("answers", [("busy", "busy", "busy"), ("endless",), ("cut", "cut", "cut")])
def test_what_cannot_be_had_is_named(answers: tuple[str, ...], tmp_path: Path) -> None:
    store = Store(tmp_path)
    with origin_with(*answers) as (origin, client), pytest.raises(OriginUnavailable, match="/file"):
        store.fetch([Wanted(url=origin.url, sha256=DIGEST, size=len(DATA))], client)
    assert not store.has(DIGEST)


def test_other_bytes_are_never_stored(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with origin_with() as (origin, client), pytest.raises(OriginUnavailable, match=f"has SHA-256 {DIGEST}"):
        store.fetch([Wanted(url=origin.url, sha256="0" * 64)], client)
    assert [path for path in tmp_path.iterdir() if not path.name.startswith(".")] == []


def test_many_ask_and_one_fetches(tmp_path: Path) -> None:
    with origin_with() as (origin, client):
        wanted = [Wanted(url=origin.url, sha256=DIGEST, size=len(DATA))]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: Store(tmp_path).fetch(wanted, client), range(8)))
        assert len(origin.ranges) == 1
    assert Store(tmp_path).has(DIGEST)


def test_a_damaged_file_is_not_handed_out(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.add(DATA) == DIGEST
    with store.open_verified(DIGEST) as content:
        assert content.read() == DATA
    store.path(DIGEST).write_bytes(DATA[:-1])
    assert not store.has(DIGEST)
    with pytest.raises(OriginUnavailable, match="damaged"), store.open_verified(DIGEST):
        pass
    with pytest.raises(OriginUnavailable, match="not been fetched"), store.open_verified("0" * 64):
        pass


def test_progress_counts_to_the_end(tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    with origin_with() as (origin, client):
        Store(tmp_path).fetch([Wanted(url=origin.url, sha256=DIGEST)], client, lambda *what: seen.append(what))
    assert seen == [("file", 1, 1)]


def test_a_document_is_bounded() -> None:
    with origin_with() as (origin, client):
        assert get_bytes(origin.url, client, len(DATA))[0] == DATA
        with pytest.raises(OriginUnavailable, match="larger"):
            get_bytes(origin.url, client, len(DATA) - 1)


# --- the package index ----------------------------------------------------------------------------------------------

PAGE = """<!DOCTYPE html><html><body>
<a href="../../files/x-1.tar.gz#sha256={one}" data-requires-python="&gt;=3">x-1.tar.gz</a>
<a href="https://elsewhere.example/x%2B1.whl#sha256={two}">x</a>
<a href="x-2.tar.gz">no digest</a> <a href="x-3.tar.gz#md5=00">old</a> <a>none</a> <a href="x-4#sha256=00">short</a>
"""
JSON = (
    '{"files":[{"filename":"x-1.tar.gz","url":"f/x-1.tar.gz","hashes":{"sha256":"%s"}},'
    '{"filename":"y","url":"y","hashes":{}}]}'
)


def test_an_index_page_in_html(tmp_path: Path) -> None:
    page = tmp_path / "simple" / "a-b-c" / "index.html"
    page.parent.mkdir(parents=True)
    page.write_text(PAGE.format(one="1" * 64, two="2" * 64))
    with served(tmp_path) as base, http_client() as client:
        files = list_files("A_b.C", client, f"{base}/simple/")
        assert {name: file.sha256[0] for name, file in files.items()} == {"x-1.tar.gz": "1", "x%2B1.whl": "2"}
        assert files["x-1.tar.gz"].url == f"{base}/files/x-1.tar.gz"


@pytest.mark.parametrize(
    ("body", "good"), [(JSON % ("1" * 64), True), ("{}", False), ("[", False), ('{"files":[{}]}', False), ("7", False)]
)
def test_an_index_page_in_json(body: str, good: bool) -> None:
    transport = httpx.MockTransport(
        lambda _: httpx.Response(200, text=body, headers={"content-type": "application/vnd.pypi.simple.v1+json"})
    )
    with httpx.Client(transport=transport) as client:
        if good:
            assert list(list_files("x", client, "http://index")) == ["x-1.tar.gz"]
            return
        with pytest.raises(OriginUnavailable, match="not a package index page"):
            list_files("x", client, "http://index")


def test_the_index_is_the_machine_s_or_the_public_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    assert default_index_url() == DEFAULT_INDEX_URL
    monkeypatch.setenv("PIP_INDEX_URL", "https://mirror.example/simple")
    assert default_index_url() == "https://mirror.example/simple"
