"""D16 Plaintext or digest sent to a site outside the region.

Cheat: a site, or somebody on the way, sends the client on to a server outside the region, by a redirect, by a 421 that
    names it, or by failing until the client looks elsewhere; or a site asks others about what customers send.
Noticed by: the client, which speaks to the region's sites alone and tells no other server even the digest; what the
    sites keep and exchange is ciphertext.
Seen: the command ends with 1 and names the site that answered so; the server outside has not been connected to.
"""

import contextlib
import hashlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from customers import Counters, counters
from ledgers import served
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from glasshouse.regions.client import SiteClient
from glasshouse.regions.destination import Destination
from glasshouse.regions.errors import SiteAnswered, SiteUnavailable, Unverifiable
from glasshouse.storage.db import Database

CONTENT = b"a document that must not leave the region"


@pytest.fixture(scope="module")
def region(
    database: Database, other_database: Database, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Counters]:
    with counters(tmp_path_factory.mktemp("region"), database, other_database) as made:
        yield made


class Outside:
    """A server outside the region; it keeps how often anybody has connected."""

    def __init__(self) -> None:
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                connection.close()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()


@pytest.fixture
def outside() -> Iterator[Outside]:
    server = Outside()
    yield server
    server.close()


def sent_by(destination: Destination, url: str, path: Path) -> None:
    """A file and a look-up, by a client whose region has this one site."""
    rules = destination.rules
    sites = {"zurich-1": replace(rules.sites["zurich-1"], url=url)}
    there = replace(destination, rules=replace(rules, sites=sites))
    with SiteClient(there, "gh_token") as client:
        for ask in (
            lambda: client.send_file(path, {"category": "suspicious"}),
            lambda: client.look_up([hashlib.sha256(CONTENT).hexdigest()]),
            lambda: list(client.sent()),
            lambda: client.decide({"off": True}),
        ):
            with pytest.raises((SiteAnswered, SiteUnavailable, Unverifiable)):
                ask()


ANSWERS = {
    "redirected for good": lambda url: Response(status_code=308, headers={"location": f"{url}/intake/v1/files"}),
    "redirected for now": lambda url: Response(status_code=307, headers={"location": url}),
    "told another site": lambda url: JSONResponse(
        {"error": "wrong site", "field": "", "fix": f"Send it to {url}.", "sites": [url]}, 421
    ),
    "told that it is there": lambda url: Response(b"{}", 200, headers={"content-location": url, "link": f"<{url}>"}),
    "refused": lambda url: Response(status_code=503, headers={"location": url, "alt-svc": f'h2="{url}"'}),
}


@pytest.mark.parametrize("way", ANSWERS)
def test_attack_a_site_sends_the_client_elsewhere(region: Counters, outside: Outside, tmp_path: Path, way: str) -> None:
    path = tmp_path / "document"
    path.write_bytes(CONTENT)
    asked = []

    async def answer(request: Request) -> Response:
        asked.append(request.url.path)
        return ANSWERS[way](outside.url)

    methods = ["GET", "PUT", "POST", "DELETE", "HEAD", "PATCH"]
    with served(Starlette(routes=[Route("/{path:path}", answer, methods=methods)])) as url:
        sent_by(region.destination, url, path)
    assert len(asked) >= 4
    assert outside.connections == 0


def test_attack_the_other_regions_of_the_charter(region: Counters, outside: Outside) -> None:
    """Of the other regions a client knows addresses; it speaks to none of them, not even to look a digest up."""
    territory = region.territory
    assert {str(name) for name in territory.link.charter.regions} == {"au", "eu"}
    with region.client() as client:
        client.look_up([hashlib.sha256(CONTENT).hexdigest()])
        assert set(client.destination.urls) == {"zurich-1", "zurich-2"}
    assert outside.connections == 0


def test_attack_what_lies_at_the_sites_tells_nothing(region: Counters) -> None:
    """Whoever copies a vault has neither content nor digest: no object's bytes hold either."""
    answer = region.first.send(CONTENT, region.token)
    assert answer.status_code == 201
    digest = hashlib.sha256(CONTENT)
    for counter in region.counters.values():
        vault = counter.site.place.vault
        for handle in vault.handles():
            stored = b"".join(vault.stream(handle))
            assert CONTENT not in stored
            assert digest.digest() not in stored
            assert digest.hexdigest().encode() not in stored
            assert handle != digest.hexdigest()


def test_control_the_regions_own_sites(region: Counters, tmp_path: Path) -> None:
    path = tmp_path / "document"
    path.write_bytes(CONTENT + b" once more")
    with region.client() as client:
        assert client.send_file(path, {"category": "suspicious"}).created
        assert client.look_up([hashlib.sha256(CONTENT).hexdigest()]) == {}


def test_control_the_other_site_of_the_region_may_be_asked(region: Counters, tmp_path: Path) -> None:
    path = tmp_path / "document"
    path.write_bytes(CONTENT + b" by the other way")
    rules = region.destination.rules
    down = {**rules.sites, "zurich-1": replace(rules.sites["zurich-1"], url="http://127.0.0.1:9")}
    destination = replace(region.destination, rules=replace(rules, sites=down))
    with SiteClient(destination, region.token) as client:
        assert client.send_file(path, {"category": "suspicious"}).site == "zurich-2"
