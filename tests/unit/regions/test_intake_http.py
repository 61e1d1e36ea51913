"""A site's interface for customers, at two real sites."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from customers import KEY, LISTED, Counters, counters, header
from glasshouse_verify.encoding import encode_base64
from glasshouse_verify.receipt import erasure_request
from sites import honoured, receipt_of

from glasshouse.regions.customers.accounts import Decisions
from glasshouse.regions.telemetry import format_batch
from glasshouse.storage.db import Database

RECORDS: list[dict[str, Any]] = [
    {"count": 1, "outcome": "blocked", "rule": "R", "sha256": "9f" * 32, "time": 1, "type": "detection"}
]


@pytest.fixture(scope="module")
def region(
    database: Database, other_database: Database, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Counters]:
    with counters(tmp_path_factory.mktemp("region"), database, other_database) as made:
        yield made


def test_a_file_and_its_receipt(region: Counters) -> None:
    answer = region.first.send(b"suspicious file", region.token, name="a.js")
    assert answer.status_code == 201, answer.text
    said = receipt_of(answer.content)
    assert (said.site, said.country, said.customer, said.size) == ("zurich-1", "AU", "kookaburra", 15)
    assert said.customer_key == KEY.public
    assert honoured(answer.content, region.first.site, region.second.site)


def test_the_same_again_has_the_same_receipt(region: Counters) -> None:
    first = region.first.send(b"twice", region.token)
    again = region.first.send(b"twice", region.token, name="other name")
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.content == again.content


def test_an_empty_file(region: Counters) -> None:
    answer = region.first.send(b"", region.token)
    assert answer.status_code == 201, answer.text
    assert receipt_of(answer.content).size == 0


def test_a_large_file_goes_through_the_spool(region: Counters) -> None:
    content = bytes(range(256)) * (10 << 12)
    answer = region.first.send(content, region.token)
    assert answer.status_code == 201, answer.text
    assert honoured(answer.content, region.first.site, region.second.site)


def test_telemetry(region: Counters) -> None:
    body = format_batch("telemetry", RECORDS)
    answer = region.first.ask("POST", "/intake/v1/telemetry", region.token, content=body)
    assert answer.status_code == 201, answer.text
    said = receipt_of(answer.content)
    assert (said.category, said.sha256) == ("telemetry", hashlib.sha256(body).hexdigest())
    assert honoured(answer.content, region.first.site, region.second.site)


@pytest.mark.parametrize("token", [None, "gh_wrong", "x" * 300])
def test_nobody_without_a_token(region: Counters, token: str | None) -> None:
    answer = region.first.send(b"nobody's", token)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert answer.json()["schema"] == "glasshouse.error/v1"


def test_errors_name_the_field_and_the_fix(region: Counters) -> None:
    before, place = region.first.objects(), f"/intake/v1/files/{'0' * 64}"
    cases = [
        (region.first.send(b"x", region.token, user="ann"), 422, "metadata.user"),
        (region.first.send(b"x", region.token, category="telemetry"), 422, "category"),
        (region.first.send(b"x", region.token, category="gossip"), 422, "category"),
        (region.first.send(b"x", region.token, sha256="0" * 64), 422, "sha256"),
        (region.first.send(b"x", region.token, sha256="zz"), 422, "sha256"),
        (
            region.first.ask("PUT", place, region.token, content=b"x"),
            422,
            "Glasshouse-Metadata",
        ),
        (
            region.first.ask("PUT", place, region.token, content=iter([b"x"])),
            411,
            "Content-Length",
        ),
        (region.first.ask("POST", "/intake/v1/telemetry", region.token, content=b"{}"), 422, "batch.category"),
        (region.first.ask("GET", "/intake/v1/nothing", region.token), 404, "path"),
        (region.first.ask("PATCH", "/intake/v1/policy", region.token), 405, "path"),
    ]
    for answer, status, field in cases:
        assert (answer.status_code, answer.json()["field"]) == (status, field), answer.text
        assert answer.json()["fix"]
        assert answer.json()["schema"] == "glasshouse.error/v1"
    assert region.first.objects() == before


def test_an_upload_in_parts(region: Counters) -> None:
    content = bytes(range(256)) * (5 << 12)
    declared = {
        "glasshouse-sha256": hashlib.sha256(content).hexdigest(),
        "upload-length": str(len(content)),
        "glasshouse-metadata": header({"category": "suspicious"}),
    }
    begun = region.first.ask("POST", "/intake/v1/uploads", region.token, headers=declared)
    assert (begun.status_code, begun.headers["upload-offset"]) == (201, "0"), begun.text
    place, at = begun.headers["location"], 0
    while at < len(content):
        part = content[at : at + 2_000_000]
        last = at + len(part) == len(content)
        answer = region.first.ask("PATCH", place, region.token, headers=part_headers(at, last=last), content=part)
        at += len(part)
        if not last:
            assert (answer.status_code, answer.headers["upload-offset"]) == (204, str(at)), answer.text
            shown = region.first.ask("HEAD", place, region.token)
            assert (shown.headers["upload-offset"], shown.headers["upload-complete"]) == (str(at), "?0")
    assert answer.status_code == 201, answer.text
    assert honoured(answer.content, region.first.site, region.second.site)
    assert region.first.ask("HEAD", place, region.token).status_code == 404
    again = region.first.ask("POST", "/intake/v1/uploads", region.token, headers=declared)
    assert (again.status_code, again.content) == (200, answer.content)


def part_headers(offset: int, *, last: bool) -> dict[str, str]:
    complete = "?1" if last else "?0"
    return {
        "content-type": "application/partial-upload",
        "upload-offset": str(offset),
        "upload-complete": complete,
    }


def begin(region: Counters, content: bytes, token: str | None = None) -> str:
    headers = {
        "glasshouse-sha256": hashlib.sha256(content).hexdigest(),
        "upload-length": str(len(content)),
        "glasshouse-metadata": header({"category": "suspicious"}),
    }
    begun = region.first.ask("POST", "/intake/v1/uploads", token or region.token, headers=headers)
    assert begun.status_code == 201, begun.text
    return begun.headers["location"]


def test_parts_that_do_not_fit(region: Counters) -> None:
    place = begin(region, b"0123456789")
    refusals = [
        (part_headers(3, last=False), b"345", 409, "Upload-Offset"),
        ({**part_headers(0, last=False), "content-type": "text/plain"}, b"0", 415, "Content-Type"),
        ({"content-type": "application/partial-upload", "upload-offset": "0"}, b"0", 422, "Upload-Complete"),
        ({"content-type": "application/partial-upload", "upload-complete": "?0"}, b"0", 422, "Upload-Offset"),
        ({**part_headers(0, last=False), "upload-offset": "+0"}, b"0", 400, "Upload-Offset"),
    ]
    for headers, content, status, field in refusals:
        answer = region.first.ask("PATCH", place, region.token, headers=headers, content=content)
        assert (answer.status_code, answer.json()["field"]) == (status, field), answer.text
    answer = region.first.ask("PATCH", place, region.token, headers=part_headers(0, last=False), content=b"0" * 11)
    assert (answer.status_code, answer.json()["field"]) == (422, "size")
    assert region.first.ask("HEAD", place, region.token).status_code == 404


def test_an_upload_is_cancelled(region: Counters) -> None:
    place = begin(region, b"never sent")
    assert region.first.ask("DELETE", place, region.token).status_code == 204
    assert region.first.ask("HEAD", place, region.token).status_code == 404


def test_few_uploads_are_under_way_at_once(region: Counters) -> None:
    token = region.enrol("galah")
    places = [begin(region, b"one of many %d" % number, token) for number in range(8)]
    headers = {
        "glasshouse-sha256": "0" * 64,
        "upload-length": "5",
        "glasshouse-metadata": header({"category": "unknown"}),
    }
    answer = region.first.ask("POST", "/intake/v1/uploads", token, headers=headers)
    assert (answer.status_code, answer.json()["field"]) == (429, "uploads")
    for place in places:
        assert region.first.ask("DELETE", place, token).status_code == 204


def test_what_a_customer_has_sent(region: Counters) -> None:
    token = region.enrol("emu")
    sent = [region.first.send(b"emu %d" % number, token) for number in range(3)]
    sent.append(region.second.send(b"emu at the other site", token))
    listed = region.first.ask("GET", "/intake/v1/uploads", token).json()
    handles = [receipt_of(answer.content).handle for answer in sent]
    assert {entry["handle"] for entry in listed["objects"]} == set(handles)
    assert listed["next"] is None
    assert {entry["site"] for entry in listed["objects"]} == {"zurich-1", "zurich-2"}
    again = region.second.ask("GET", f"/intake/v1/objects/{handles[0]}/receipt", token)
    assert again.content == sent[0].content
    assert region.first.ask("GET", "/intake/v1/uploads?after=nonsense", token).status_code == 422


def test_decisions_hold_at_once_where_they_are_made(region: Counters) -> None:
    token = region.enrol("quokka")
    shown = region.first.ask("GET", "/intake/v1/policy", token).json()
    assert (shown["off"], shown["categories_off"], shown["bytes_per_day"], shown["used_today"]) == (False, [], None, 0)
    wanted = {"off": False, "categories_off": ["unknown"], "bytes_per_day": 10}
    decided = region.first.ask("PUT", "/intake/v1/policy", token, content=json.dumps(wanted)).json()
    assert {name: decided[name] for name in wanted} == wanted
    cases = [
        (region.first.send(b"x", token, category="unknown"), "category"),
        (region.first.send(b"12345678901", token), "bytes_per_day"),
    ]
    for answer, field in cases:
        assert (answer.status_code, answer.json()["field"]) == (403, field), answer.text
    assert region.first.send(b"1234567890", token).status_code == 201
    assert region.first.ask("GET", "/intake/v1/policy", token).json()["used_today"] == 10
    assert region.first.send(b"1234567890", token).json().get("field") == "bytes_per_day"
    off = json.dumps({"off": True}).encode()
    assert region.first.ask("PUT", "/intake/v1/policy", token, content=off).json()["off"]
    assert region.first.send(b"", token).json()["field"] == "uploads"
    for body in (b"{", b'{"of":true}', b'{"categories_off":["gossip"]}', b'{"bytes_per_day":-1}'):
        assert region.first.ask("PUT", "/intake/v1/policy", token, content=body).status_code == 422


def test_what_was_not_taken_does_not_count_against_the_allowance(region: Counters) -> None:
    token = region.enrol("wombat")
    region.first.accounts.decide(region.first.accounts.signed_in(token), Decisions(bytes_per_day=100))
    assert region.first.send(b"x" * 60, token, sha256="0" * 64).status_code == 422
    assert region.first.send(b"x" * 60, token).status_code == 201
    assert region.first.send(b"x" * 60, token).status_code in (200, 403)
    assert region.first.ask("GET", "/intake/v1/policy", token).json()["used_today"] == 60


def test_look_ups(region: Counters) -> None:
    body = json.dumps({"sha256": [LISTED, "0" * 64]}).encode()
    answer = region.first.ask("POST", "/reputation/v1/lookup", region.token, content=body).json()
    assert answer["listed"] == {LISTED: "Dark Caracal"}
    assert answer["source"]["product"] == "acme/signature-base"
    one = region.first.ask("GET", f"/reputation/v1/files/{LISTED}", region.token).json()
    assert (one["listed"], one["about"]) == (True, "Dark Caracal")
    assert region.first.ask("GET", f"/reputation/v1/files/{'0' * 64}", region.token).json()["listed"] is False
    too_many = json.dumps({"sha256": ["0" * 64] * 1001}).encode()
    assert region.first.ask("POST", "/reputation/v1/lookup", region.token, content=too_many).status_code == 422
    assert region.first.ask("POST", "/reputation/v1/lookup", None, content=body).status_code == 401


def test_a_look_up_knows_nothing_of_what_customers_sent(region: Counters) -> None:
    region.first.send(b"a secret of kookaburra's", region.token)
    digest = hashlib.sha256(b"a secret of kookaburra's").hexdigest()
    other = region.enrol("lorikeet")
    answers = {region.first.ask("GET", f"/reputation/v1/files/{digest}", token).text for token in (other, region.token)}
    assert len(answers) == 1
    assert '"listed":false' in answers.pop()


def test_erasure_takes_the_customers_signature(region: Counters) -> None:
    handle = receipt_of(region.first.send(b"to be erased", region.token).content).handle
    place = f"/intake/v1/objects/{handle}"
    wrong = {"glasshouse-signature": encode_base64(KEY.sign(b"something else"))}
    right = {"glasshouse-signature": encode_base64(KEY.sign(erasure_request(handle)))}
    assert region.first.ask("DELETE", place, region.token).status_code == 422
    assert region.first.ask("DELETE", place, region.token, headers=wrong).status_code == 403
    assert region.first.ask("DELETE", f"/intake/v1/objects/{'0' * 64}", region.token, headers=right).status_code == 404
    answer = region.first.ask("DELETE", place, region.token, headers=right)
    assert answer.status_code == 200, answer.text
    listed = region.first.ask("GET", "/intake/v1/uploads", region.token).json()["objects"]
    assert [entry["state"] for entry in listed if entry["handle"] == handle] == ["removed"]
    assert region.first.ask("GET", f"{place}/receipt", region.token).status_code == 404
    assert region.first.ask("DELETE", place, region.token, headers=right).status_code == 200


def test_a_site_says_what_it_goes_by(region: Counters) -> None:
    shown = region.first.ask("GET", "/intake/v1/site", None).json()
    assert (shown["site"], shown["region"], shown["party"]) == ("zurich-1", "au", "acme")
    assert shown["rules"]["countries"] == ["AU", "NZ"]
    assert shown["charter"] == region.territory.link.id


def test_the_reference(region: Counters) -> None:
    document = region.first.ask("GET", "/openapi.json", None).json()
    assert "/intake/v1/files/{sha256}" in document["paths"]
    assert all(shown["summary"] for methods in document["paths"].values() for shown in methods.values())
    page = region.first.ask("GET", "/docs", None).text
    assert "<script" not in page
    assert "http" not in page.replace("HTTP", "").replace("http-", "")
    assert "PUT /intake/v1/files/{sha256}" in page


def test_the_client_does_all_of_it(region: Counters, tmp_path: Path) -> None:
    small, large = tmp_path / "small.js", tmp_path / "large.bin"
    small.write_bytes(b"small")
    large.write_bytes(bytes(range(256)) * (140 << 10))
    token, told = region.enrol("client"), []
    with region.client(token) as client:
        sent = client.send_file(small, {"category": "suspicious", "name": "small.js"}, told.append)
        assert (sent.created, sent.receipt.size, sum(told)) == (True, 5, 5)
        assert not client.send_file(small, {"category": "suspicious"}).created
        parts = client.send_file(large, {"category": "unknown"}, told.append)
        assert (parts.created, sum(told)) == (True, 5 + large.stat().st_size)
        assert client.send_telemetry("telemetry", RECORDS).created
        listed = list(client.sent())
        assert {5, large.stat().st_size} < {entry["size"] for entry in listed}
        assert client.receipt(sent.receipt.handle) == sent.envelope
        decided = client.decide({"off": True})
        assert {site: shown["off"] for site, shown in decided.items()} == {"zurich-1": True, "zurich-2": True}
        assert set(client.policies()) == {"zurich-1", "zurich-2"}
        assert client.look_up([LISTED, "0" * 64]) == {LISTED: "Dark Caracal"}
        client.erase(sent.receipt.handle)
    assert honoured(parts.envelope, region.first.site, region.second.site)


def test_a_lost_site_is_passed_over(region: Counters, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"sent to the other site")
    rules = region.destination.rules
    lost = replace(rules.sites["zurich-1"], url="http://127.0.0.1:9")
    sites = {**rules.sites, "zurich-1": lost}
    from glasshouse.regions.client import SiteClient

    with SiteClient(replace(region.destination, rules=replace(rules, sites=sites)), region.token) as client:
        assert client.send_file(path, {"category": "suspicious"}).site == "zurich-2"
