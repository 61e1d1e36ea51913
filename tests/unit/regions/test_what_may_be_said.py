"""Metadata of files and telemetry: every member that is not listed is refused by name, and nothing rides along."""

import base64
from typing import Any

import pytest
from glasshouse_verify.encoding import format_json
from hypothesis import given
from hypothesis import strategies as st

from glasshouse.regions import telemetry
from glasshouse.regions.errors import InvalidInput
from glasshouse.regions.metadata import as_json, check_metadata, format_metadata, is_plain_name, parse_metadata
from glasshouse.regions.telemetry import format_batch, parse_batch

WHOLE: dict[str, Any] = {
    "category": "suspicious",
    "name": "Rechnung März.js",
    "media_type": "text/javascript",
    "detection": "HEUR:Trojan.Script",
    "product": "engine 4.2",
    "platform": "linux-x86_64",
    "found": "heuristics",
    "seen": 1_800_000_000,
}
RECORDS: list[dict[str, Any]] = [
    {"count": 2, "outcome": "blocked", "rule": "APT_Dropper", "sha256": "9f" * 32, "time": 1, "type": "detection"},
    {"outcome": "installed", "product": "acme/engine", "time": 2, "type": "update", "version": "4.2"},
    {"platform": "linux-x86_64", "product": "acme/engine", "time": 3, "type": "heartbeat", "version": "4.2"},
    {"component": "unpacker", "count": 1, "product": "engine", "time": 4, "type": "fault", "version": "4.2"},
]


def test_metadata_come_back_as_they_were_sent() -> None:
    for said in (WHOLE, {"category": "unknown"}):
        assert as_json(parse_metadata(format_metadata(said))) == said


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"user": "ann"}, "metadata.user"),
        ({"path": "/home/ann/x"}, "metadata.path"),
        ({"category": None}, "metadata.category"),
        ({"category": "Suspicious"}, "metadata.category"),
        ({"seen": "1800000000"}, "metadata.seen"),
        ({"seen": True}, "metadata.seen"),
        ({"seen": -1}, "metadata.seen"),
        ({"found": "gossip"}, "metadata.found"),
        ({"name": ""}, "metadata.name"),
        ({"name": "a" * 256}, "metadata.name"),
        ({"name": "../../etc/passwd"}, "metadata.name"),
        ({"name": "C:\\Users\\ann\\x.exe"}, "metadata.name"),
        ({"name": ".."}, "metadata.name"),
        ({"name": "a\x00b"}, "metadata.name"),
        ({"detection": "two\nlines"}, "metadata.detection"),
        ({"media_type": "text"}, "metadata.media_type"),
        ({"product": {"deep": 1}}, "metadata.product"),
    ],
)
def test_the_member_that_is_wrong_is_named(change: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_metadata(WHOLE | change)
    assert caught.value.field == field
    assert caught.value.fix


def test_the_category_is_asked_for() -> None:
    with pytest.raises(InvalidInput, match=r"metadata\.category: is missing"):
        check_metadata({})


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "!",
        "e30",
        base64.urlsafe_b64encode(b'{"category": "suspicious"}').decode(),
        base64.urlsafe_b64encode(b'{"category":"a","category":"b"}').decode(),
        base64.urlsafe_b64encode(format_json({"category": "a", "name": "n" * 5000})).decode(),
        base64.urlsafe_b64encode(b"[" * 5000).decode(),
        base64.urlsafe_b64encode(b'{"category":"a","seen":1e400}').decode(),
    ],
)
def test_headers_that_are_no_metadata(header: str | None) -> None:
    with pytest.raises(InvalidInput):
        parse_metadata(header)


@given(st.text(max_size=40))
def test_a_name_never_leaves_its_directory(name: str) -> None:
    if is_plain_name(name):
        assert not set(name) & set("/\\\0\n")
        assert name not in (".", "..")


def test_a_batch_of_every_kind() -> None:
    data = format_batch("telemetry", RECORDS)
    batch = parse_batch(data)
    assert (batch.category, len(batch.records)) == ("telemetry", 4)
    assert data == format_json({"category": "telemetry", "records": RECORDS, "schema": telemetry.SCHEMA})


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ('"count":2', '"count":2,"path":"/home/ann"', "batch.records.0.detection.path: is not a known field"),
        ('"count":2', '"count":"2"', "batch.records.0.detection.count"),
        ('"count":2', '"count":0', "batch.records.0.detection.count"),
        ('"count":2,', "", "batch.records.0.detection.count: is missing"),
        ('"count":2,', '"count":9,"count":2,', "not canonical JSON"),
        ('"count":2,', '"count":2, ', "not canonical JSON"),
        ('"APT_Dropper"', '"\\u0041PT_Dropper"', "not canonical JSON"),
        ('"APT_Dropper"', '"two\\nlines"', "batch.records.0.detection.rule"),
        ('"type":"update"', '"type":"diary"', "batch.records.1"),
        ('"records":[', '"notes":"hello","records":[', "batch.notes: is not a known field"),
        ("telemetry/v1", "telemetry/v2", "batch.schema"),
        ('"category":"telemetry",', "", "batch.category: is missing"),
    ],
)
def test_what_a_batch_cannot_carry(before: str, after: str, words: str) -> None:
    text = format_batch("telemetry", RECORDS).decode()
    assert before in text
    with pytest.raises(InvalidInput) as caught:
        parse_batch(text.replace(before, after, 1).encode())
    assert words in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"\xff", b"{" * 100_000, b" " * (9 << 20)])
def test_what_is_no_batch(data: bytes) -> None:
    with pytest.raises(InvalidInput):
        parse_batch(data)


def test_a_batch_is_neither_empty_nor_too_long() -> None:
    with pytest.raises(InvalidInput, match="at least 1"):
        format_batch("telemetry", [])
    with pytest.raises(InvalidInput, match=str(telemetry.MAX_RECORDS)):
        format_batch("telemetry", RECORDS[:1] * (telemetry.MAX_RECORDS + 1))
