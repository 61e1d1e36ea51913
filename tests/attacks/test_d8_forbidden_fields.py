"""D8 Forbidden or unknown fields.

Cheat: a product says more than was agreed: a user's name, a path, an address, a note, in a member of its own, in a
    known one, in a member that stands twice, in the name of the file, or in white space.
Noticed by: the site that is asked to take it, and before that the customer's own client.
Seen: HTTP 422 with the name of the member; nothing is stored, and the upload counts as received and refused.
"""

import base64
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from customers import Counters, counters, header
from initiative import until

from glasshouse.regions.errors import InvalidInput
from glasshouse.regions.telemetry import format_batch
from glasshouse.storage.db import Database

DETECTION = {"count": 1, "outcome": "blocked", "rule": "R", "sha256": "9f" * 32, "time": 1, "type": "detection"}
SAID: dict[str, tuple[dict[str, Any], str]] = {
    "a user": ({"user": "ann"}, "metadata.user"),
    "a path": ({"path": "/home/ann/tax.pdf"}, "metadata.path"),
    "an address": ({"ip": "192.0.2.7"}, "metadata.ip"),
    "a path for a name": ({"name": "/home/ann/tax.pdf"}, "metadata.name"),
    "a windows path for a name": ({"name": "C:\\Users\\ann\\tax.pdf"}, "metadata.name"),
    "a note in the detection": ({"detection": "x" * 500}, "metadata.detection"),
    "an object in a member": ({"product": {"user": "ann"}}, "metadata.product"),
    "another spelling": ({"Category": "suspicious"}, "metadata.Category"),
}


@pytest.fixture(scope="module")
def region(
    database: Database, other_database: Database, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Counters]:
    with counters(tmp_path_factory.mktemp("region"), database, other_database) as made:
        yield made


def test_control_what_was_agreed(region: Counters) -> None:
    said = {
        "name": "tax.pdf",
        "detection": "HEUR:Exploit.PDF",
        "product": "engine 4.2",
        "found": "heuristics",
        "seen": 1,
    }
    assert region.first.send(b"a file", region.token, **said).status_code == 201
    body = format_batch("telemetry", [DETECTION])
    assert region.first.ask("POST", "/intake/v1/telemetry", region.token, content=body).status_code == 201


@pytest.mark.parametrize("way", SAID)
def test_attack_more_is_said_of_a_file(region: Counters, way: str) -> None:
    more, field = SAID[way]
    before, (received, refused) = region.first.objects(), region.first.counts()
    answer = region.first.send(b"a file with more", region.token, **more)
    assert (answer.status_code, answer.json()["field"]) == (422, field)
    assert region.first.objects() == before
    until(lambda: region.first.counts()[1] > refused)
    assert region.first.counts()[0] - received == region.first.counts()[1] - refused


def test_attack_a_member_twice(region: Counters) -> None:
    """A reader that takes the last would not see the first, and it would be stored."""
    twice = base64.urlsafe_b64encode(b'{"category":"ann@example.com","category":"suspicious"}').decode()
    spaced = base64.urlsafe_b64encode(b'{"category":"suspicious"}' + b" " * 100).decode()
    for value in (twice, spaced):
        headers = {"glasshouse-metadata": value}
        answer = region.first.ask("PUT", f"/intake/v1/files/{'0' * 64}", region.token, headers=headers, content=b"x")
        assert (answer.status_code, answer.json()["field"]) == (422, "metadata")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('"count":1,', '"count":1,"user":"ann",'),
        ('"count":1,', '"count":"ann","count":1,'),
        ('"count":1,', '"count":1,                   '),
        ('"rule":"R"', '"rule":"C:\\\\Users\\\\ann"'),
        ('"outcome":"blocked"', '"outcome":"ann was here"'),
        ('"records":[', '"host":"anns-laptop","records":['),
        ('"type":"detection"', '"type":"document"'),
    ],
)
def test_attack_more_in_a_batch(region: Counters, before: str, after: str) -> None:
    """One record of many says more: the whole batch is refused."""
    count = region.first.objects()
    text = format_batch("telemetry", [DETECTION | {"time": number} for number in range(100)]).decode()
    assert before in text
    place = text.rindex(before) if "records" not in before else text.index(before)
    body = (text[:place] + after + text[place + len(before) :]).encode()
    answer = region.first.ask("POST", "/intake/v1/telemetry", region.token, content=body)
    assert answer.status_code == 422, answer.text
    assert answer.json()["field"].startswith("batch")
    assert region.first.objects() == count


def test_attack_the_customers_own_client_refuses_first(region: Counters, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"never sent")
    with region.client() as client:
        for said in ({"category": "suspicious", "user": "ann"}, {"category": "suspicious", "name": "../x"}):
            with pytest.raises(InvalidInput, match=r"metadata\."):
                client.send_file(path, said)
        with pytest.raises(InvalidInput, match="batch"):
            client.send_telemetry("telemetry", [DETECTION | {"user": "ann"}])


def test_control_what_is_sealed_is_what_was_said(region: Counters) -> None:
    """Sealed with the content, and nowhere else: neither in the receipt nor in the database."""
    name = "a-telling-name.js"
    answer = region.first.send(b"named", region.token, name=name)
    assert name not in answer.text
    assert name not in base64.b64decode(json.loads(answer.content)["payload"]).decode()
    rows = region.first.site.rows("select object::text from regions.object")
    assert not any(name in row[0] for row in rows)
    assert header({"category": "suspicious"}).isascii()
    assert hashlib.sha256(b"named").hexdigest() in str(rows)
