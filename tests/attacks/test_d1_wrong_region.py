"""D1 Upload to a site outside the region.

Cheat: a customer's product, misled or careless, sends data to a site of another region; or a site of another region
    takes it; or an amendment has moved the country, and the old site goes on.
Noticed by: the site, before it reads the body; the customer's client, which speaks to no other site than those that the
    charter names for its country, whatever an answer says.
Seen: HTTP 421 with the sites that are right; nothing of the object at any site, no receipt, no count.
"""

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from customers import Counters, Territory, counters, header
from glasshouse_verify.errors import CharterError

from glasshouse.regions.client import SiteClient
from glasshouse.regions.destination import destination_of
from glasshouse.regions.errors import SiteAnswered, SiteUnavailable
from glasshouse.storage.db import Database

ELSEWHERE = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def region(
    database: Database, other_database: Database, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Counters]:
    with counters(tmp_path_factory.mktemp("region"), database, other_database, elsewhere=ELSEWHERE) as made:
        yield made


def test_control_the_right_region(region: Counters) -> None:
    answer = region.first.send(b"from Australia", region.token)
    assert answer.status_code == 201, answer.text
    headers = {"glasshouse-country": "AU", "glasshouse-metadata": header({"category": "suspicious"})}
    again = region.first.ask("GET", "/intake/v1/uploads", region.token, headers=headers)
    assert again.status_code == 200


@pytest.mark.parametrize("token", ["its own", "none", "unknown"])
def test_attack_data_of_another_region(region: Counters, token: str) -> None:
    """Whether or not the site knows who asks, it says where the data belongs."""
    before, counted = region.first.objects(), region.first.counts()[1]
    known = {"its own": region.token, "none": None, "unknown": "gh_x"}[token]
    headers = {"glasshouse-country": "DE", "glasshouse-metadata": header({"category": "suspicious"})}
    answer = region.first.ask("PUT", f"/intake/v1/files/{'0' * 64}", known, headers=headers, content=b"from Germany")
    assert answer.status_code == 421
    said = answer.json()
    assert (said["region"], said["sites"], said["field"]) == ("eu", [ELSEWHERE], "Glasshouse-Country")
    assert ELSEWHERE in said["fix"]
    assert (region.first.objects(), region.first.counts()[1]) == (before, counted)


def test_attack_the_body_is_not_read(region: Counters) -> None:
    """Headers alone are sent, of a file of 5 GiB: the answer comes, and the connection ends."""
    lines = (
        f"PUT /intake/v1/files/{'0' * 64} HTTP/1.1",
        "Host: site",
        "Glasshouse-Country: DE",
        f"Content-Length: {5 << 30}",
    )
    port = region.territory.public_ports["zurich-1"]
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        answer = bytearray()
        while piece := connection.recv(65_536):
            answer += piece
    assert answer.startswith(b"HTTP/1.1 421 ")
    assert b"100 Continue" not in answer


@pytest.mark.parametrize("path", ["/intake/v1/uploads", "/intake/v1/telemetry", "/reputation/v1/lookup"])
def test_attack_by_another_way_in(region: Counters, path: str) -> None:
    before = region.first.objects()
    headers = {"glasshouse-country": "DE", "upload-length": "1", "glasshouse-sha256": "0" * 64}
    answer = region.first.ask("POST", path, region.token, headers=headers, content=b"{}")
    assert answer.status_code == 421
    assert region.first.objects() == before


def test_attack_a_country_that_no_region_has(region: Counters) -> None:
    answer = region.first.ask("GET", "/intake/v1/uploads", region.token, headers={"glasshouse-country": "RU"})
    assert (answer.status_code, answer.json()["sites"]) == (421, [])
    with pytest.raises(CharterError, match="no region for the country RU"):
        destination_of(region.territory.link, "RU")


def test_attack_an_account_that_has_moved_with_its_country(region: Counters) -> None:
    """The site enrolled it before an amendment gave its country to another region."""
    token = region.enrol("bilby", "DE")
    before = region.first.objects()
    answer = region.first.send(b"from Germany", token)
    assert (answer.status_code, answer.json()["sites"]) == (421, [ELSEWHERE])
    assert region.first.objects() == before


def test_attack_another_country_than_enrolled(region: Counters) -> None:
    """Both countries are of this region; the one in the receipt is the account's, whatever a request says."""
    answer = region.first.ask("GET", "/intake/v1/uploads", region.token, headers={"glasshouse-country": "NZ"})
    assert (answer.status_code, answer.json()["field"]) == (422, "Glasshouse-Country")


def test_attack_a_client_is_told_to_go_elsewhere(region: Counters, tmp_path: Path) -> None:
    """Its pin is of an older charter, in which the sites were others: it stops, and does not follow the answer."""
    older = Territory(tmp_path / "older", public_ports=region.territory.public_ports, countries=("AU", "DE"))
    older.elsewhere = ELSEWHERE
    changes = older._changes()
    changes["regions"]["eu"]["countries"] = ["FR"]
    older._changes = lambda: changes  # type: ignore[method-assign]
    path = tmp_path / "a"
    path.write_bytes(b"from Germany, by an old charter")
    with SiteClient(destination_of(older.link, "DE"), region.token) as client:
        with pytest.raises(SiteAnswered) as caught:
            client.send_file(path, {"category": "suspicious"})
        assert (caught.value.status, caught.value.field) == (421, "Glasshouse-Country")
        # Site and address, and no path of digests.
        assert str(caught.value).startswith(f"zurich-1 ({older.url('zurich-1')}) answers 421: data of DE belongs to")


def test_control_a_region_whose_sites_are_down_is_not_left(region: Counters, tmp_path: Path) -> None:
    """Europe's only site does not answer: the client sends nothing to Australia instead."""
    path, before = tmp_path / "a", region.first.objects()
    path.write_bytes(b"from Germany")
    with SiteClient(destination_of(region.territory.link, "DE"), region.token) as client:
        assert set(client.destination.urls.values()) == {ELSEWHERE}
        with pytest.raises(SiteUnavailable, match=re.escape(f"({ELSEWHERE}) does not answer: ")):
            client.send_file(path, {"category": "suspicious"})
    assert region.first.objects() == before
