"""The evidence file: strict, one spelling, every member named; and what its helpers promise."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from glasshouse_verify.dsse import format_envelope
from glasshouse_verify.encoding import encode_base64, format_json
from glasshouse_verify.errors import FormatError
from glasshouse_verify.evidence import (
    MAX_EVIDENCE,
    SCHEMA,
    format_evidence,
    parse_evidence,
)
from glasshouse_verify.gate import _Gate
from glasshouse_verify.statement import Use
from world import NOW, SHIPPED, World, digest

USES = (Use.CHARTER, Use.SOURCE, Use.RELEASE, Use.REBUILD, Use.STATUS)
OPTIONAL = {("status",), ("row",)}


@pytest.fixture(scope="module")
def world() -> World:
    made = World()
    made.honest()
    made.amend({"time": 1})
    made.status()
    return made


@pytest.fixture(scope="module")
def honest(world: World) -> bytes:
    return format_evidence(world.evidence())


def document(data: bytes) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(data)
    return value


def records(value: dict[str, Any]) -> Iterator[tuple[str | int, ...]]:
    """The places of all members that the evidence itself defines, not those of statements and deltas."""
    for name in value:
        yield (name,)
    for name in ("source", "release", "status", "provenance"):
        yield from ((name, inner) for inner in value[name])
        yield from ((name, "signatures", 0, inner) for inner in value[name]["signatures"][0])
    yield from (("row", inner) for inner in value["row"])
    for name in ("amendments", "rebuilds"):
        yield from ((name, 0, inner) for inner in value[name][0])


def at(value: Any, place: tuple[str | int, ...]) -> Any:
    for step in place:
        value = value[step]
    return value


def field_of(place: tuple[str | int, ...]) -> str:
    return "evidence" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place)


def refused(value: Any) -> FormatError:
    with pytest.raises(FormatError) as caught:
        parse_evidence(format_json(value))
    return caught.value


def test_round_trip(world: World, honest: bytes) -> None:
    evidence = parse_evidence(honest)
    assert evidence == world.evidence()
    assert format_evidence(evidence) == honest
    assert len(honest) < 10_000


def test_without_status_and_row() -> None:
    world = World()
    world.release()
    evidence = world.evidence()
    assert evidence.status is None
    assert evidence.row is None
    assert parse_evidence(format_evidence(evidence)) == evidence


def test_every_member_removed(honest: bytes) -> None:
    for place in records(document(honest)):
        changed = document(honest)
        del at(changed, place[:-1])[place[-1]]
        error = refused(changed)
        if place in OPTIONAL:
            assert (error.field, error.reason) == ("evidence.row", "stands with the status or not at all")
        else:
            assert (error.field, error.reason) == (field_of(place), "is missing")


def test_every_member_mistyped(honest: bytes) -> None:
    free = {"statement", "predicate", "delta"}
    for place in records(document(honest)):
        if place[-1] in free:
            continue
        for wrong in (None, True, -1, 7, [None], {"x": 1}, "\x00"):
            changed = document(honest)
            old = at(changed, place)
            if type(old) is type(wrong) and place[-1] == "checkpoint":
                continue
            if type(old) is int and wrong == 7:
                continue
            at(changed, place[:-1])[place[-1]] = wrong
            assert refused(changed).field.startswith((field_of(place), "row.")), (place, wrong)


def test_a_stranger_beside_every_member(honest: bytes) -> None:
    for place in records(document(honest)):
        changed = document(honest)
        at(changed, place[:-1])["stranger"] = 1
        error = refused(changed)
        assert (error.field, error.reason) == (field_of((*place[:-1], "stranger")), "is not a known member")


@pytest.mark.parametrize("schema", ["", "glasshouse.evidence/v2", SCHEMA + " ", SCHEMA.upper()])
def test_another_schema(honest: bytes, schema: str) -> None:
    assert refused(document(honest) | {"schema": schema}).field == "evidence.schema"


@pytest.mark.parametrize("length", [1, 31, 33, 63])
def test_hashes_are_whole(honest: bytes, length: int) -> None:
    error = refused(document(honest) | {"hashes": encode_base64(bytes(length))})
    assert error.field == "evidence.hashes"


def test_hashes_are_split(world: World) -> None:
    assert replace(world.evidence(), hashes=b"").nodes == []
    assert replace(world.evidence(), hashes=bytes(range(64))).nodes == [bytes(range(32)), bytes(range(32, 64))]


def test_one_spelling(honest: bytes) -> None:
    for other in (honest + b"\n", b" " + honest, honest.replace(b":", b": ", 1), json.dumps(document(honest)).encode()):
        with pytest.raises(FormatError):
            parse_evidence(other)


def test_too_long() -> None:
    with pytest.raises(FormatError, match=f"more than {MAX_EVIDENCE}"):
        parse_evidence(b" " * (MAX_EVIDENCE + 1))


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"null", b"\xff\xfe", b"\x1f\x8b\x08", b"{" * 70_000])
def test_other_files(data: bytes) -> None:
    with pytest.raises(FormatError):
        parse_evidence(data)


def test_envelopes_come_back_byte_for_byte(world: World) -> None:
    gate = _Gate(world.pin, world.evidence(), digest(SHIPPED), NOW)
    gate.charter()
    assert {entry.use for entry in gate.entries} == set(USES)
    for entry in gate.entries:
        assert format_envelope(entry.envelope) == world.entries[entry.index]
