"""Typed records: every annotation accepts its own spelling and nothing else, and names the member that is wrong."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any

import pytest
from glasshouse_verify import codec
from glasshouse_verify.codec import (
    MAX_TEXT,
    Country,
    Digest,
    FileName,
    Hash,
    Identifier,
    Json,
    Path,
    Product,
    PublicKey,
    Text,
    Version,
    decode,
    encode,
    expect,
)
from glasshouse_verify.encoding import MAX_INTEGER, encode_base64
from glasshouse_verify.errors import FormatError


class Colour(StrEnum):
    RED = "red"
    GREEN = "green"


@dataclass(frozen=True, kw_only=True)
class Inner:
    number: int
    flag: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Outer:
    digest: Digest
    colour: Colour
    inner: Inner
    list: tuple[Inner, ...]
    table: Mapping[Identifier, Inner]
    names: tuple[Identifier, ...]
    anything: Json
    raw: str
    schema: str = "outer/v1"
    maybe: Inner | None = None
    many: tuple[Text, ...] | None = None


SAMPLE: dict[str, Any] = {
    "digest": "0" * 64,
    "colour": "red",
    "inner": {"number": 1, "flag": True},
    "list": [{"number": 2}, {"number": 3, "flag": False}],
    "table": {"one": {"number": 4}},
    "names": ["a", "b"],
    "anything": [1, {"x": None}, "y"],
    "raw": "\x00 any text",
    "schema": "outer/v1",
    "maybe": {"number": 5},
    "many": [],
}

GOOD: dict[Any, list[Any]] = {
    Digest: ["0" * 64, "0123456789abcdef" * 4],
    Identifier: ["a", "0", "acme", "a.b_c-d", "9" + "z" * 63],
    Product: ["a/b", "acme/yara-python", "a" * 64 + "/" + "b" * 64],
    Version: ["1", "4.5.4", "1.0~rc1+git_2-3", "V" + "1" * 63],
    FileName: ["a", "…", "a b", "...", ".hidden", "x" * 255, "a\\b", "naïve.whl"],
    Path: ["a", "a/b", "...", "a/...", ".git/x", "a/b c", "x" * 1024, "a//b", "a/"],
    Country: ["CH", "RU"],
    Text: ["", "two\nlines", "\N{EM DASH}", "x" * MAX_TEXT],
    PublicKey: [encode_base64(bytes(32)), encode_base64(bytes(range(32)))],
    Hash: [encode_base64(bytes(32))],
    bytes: ["", encode_base64(b"\x00"), encode_base64(bytes(64))],
    int: [0, 1, MAX_INTEGER],
    bool: [True, False],
    str: ["", "\x00"],
    Json: [None, 1, [], {"a": None}],
    Colour: ["red", "green"],
}
BAD: dict[Any, list[Any]] = {
    Digest: ["", "0" * 63, "0" * 65, "0" * 63 + "g", "A" * 64, "0" * 64 + "\n", 0, None, b"0" * 64],
    Identifier: ["", "A", "-a", ".a", "_a", "a b", "a/b", "a\n", "é", "a" * 65, 5, None, ["a"], "\u0661"],
    Product: ["", "a", "/", "a/", "/b", "a/b/c", "A/b", "a/b\n", "a" * 65 + "/b"],
    Version: ["", "-1", ".1", "1 2", "1/2", "1\n", "v" * 65, "\u0661", 1],
    FileName: ["", ".", "..", "a/b", "/", "a\n", "a\x00", "\x7f", "x" * 256, "a\x1bb"],
    Path: ["", "/a", ".", "..", "a/..", "../a", "a/../b", "a/./b", "./a", "a\n", "x" * 1025, "a/..\n", "\x00"],
    Country: ["", "C", "CHE", "ch", "C1", "CH\n", 41],
    Text: ["x" * (MAX_TEXT + 1), "\x00", "tab\t", "cr\r", "\x1b[2J", "\x7f", 1, None],
    PublicKey: ["", encode_base64(bytes(31)), encode_base64(bytes(33)), encode_base64(bytes(32))[:-1], "!" * 44, 1],
    Hash: ["", encode_base64(bytes(31)), encode_base64(bytes(33)), encode_base64(bytes(32)) + "\n", None],
    bytes: ["AA", "AB==", "AA==\n", "A A=", "_w==", "\u0661", b"", None, 1],
    int: [-1, MAX_INTEGER + 1, 1.0, "1", True, False, None, [1]],
    bool: [0, 1, "true", None],
    str: [1, None, b"", ["a"]],
    Colour: ["", "Red", "RED", "blue", 1, None],
    Inner: [None, [], "x", {}, {"number": None}, {"number": 1, "flag": None}, {"number": 1, "x": 1}],
}


@pytest.mark.parametrize(("kind", "value"), [(kind, value) for kind, values in GOOD.items() for value in values])
def test_accepted(kind: Any, value: Any) -> None:
    assert encode(decode(kind, value, "here")) == value


@pytest.mark.parametrize(("kind", "value"), [(kind, value) for kind, values in BAD.items() for value in values])
def test_refused(kind: Any, value: Any) -> None:
    with pytest.raises(FormatError) as caught:
        decode(kind, value, "here")
    assert caught.value.field.startswith("here")
    assert caught.value.reason


def test_every_pattern_is_tried() -> None:
    assert set(codec._PATTERNS) | set(codec._BASE64_LENGTHS) <= set(GOOD) & set(BAD)


def test_expected_types_are_exact() -> None:
    assert expect(int, 1, "count") == 1
    assert expect(bool, True, "flag") is True
    for kind, other in ((bool, 1), (str, 1), (list, {}), (dict, [])):
        with pytest.raises(FormatError, match="thing: must be"):
            expect(kind, other, "thing")


def test_round_trip() -> None:
    outer = decode(Outer, SAMPLE, "outer")
    assert outer.inner == Inner(number=1, flag=True)
    assert outer.list[1].flag is False
    assert outer.table["one"].number == 4
    assert encode(outer) == SAMPLE


@pytest.mark.parametrize("member", [f.name for f in fields(Outer)])
def test_a_missing_member(member: str) -> None:
    less = {name: value for name, value in SAMPLE.items() if name != member}
    if member in ("maybe", "many"):
        assert encode(decode(Outer, less, "outer")) == less
        return
    with pytest.raises(FormatError) as caught:
        decode(Outer, less, "outer")
    assert (caught.value.field, caught.value.reason) == (f"outer.{member}", "is missing")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"extra": 1}, "outer.extra"),
        ({"inner": {"number": 1, "extra": 1}}, "outer.inner.extra"),
        ({"list": [{"number": 1}, {"number": "2"}]}, "outer.list[1].number"),
        ({"list": {"0": {"number": 1}}}, "outer.list"),
        ({"table": {"one": {"number": -1}}}, "outer.table.one.number"),
        ({"table": {"No": {"number": 1}}}, "outer.table member name"),
        ({"table": [["one", {"number": 1}]]}, "outer.table"),
        ({"names": "ab"}, "outer.names"),
        ({"names": ["a", 1]}, "outer.names[1]"),
        ({"schema": "outer/v2"}, "outer.schema"),
        ({"schema": None}, "outer.schema"),
        ({"maybe": None}, "outer.maybe"),
        ({"many": None}, "outer.many"),
        ({"many": ["\x07"]}, "outer.many[0]"),
        ({"colour": "blue"}, "outer.colour"),
    ],
)
def test_the_member_is_named(change: dict[str, Any], field: str) -> None:
    with pytest.raises(FormatError) as caught:
        decode(Outer, SAMPLE | change, "outer")
    assert caught.value.field == field


def test_null_is_never_written() -> None:
    assert encode(Inner(number=1)) == {"number": 1}


def test_an_annotation_without_json_form_is_a_mistake_of_the_programmer() -> None:
    with pytest.raises(TypeError, match="no JSON form"):
        decode(list[int], [1], "here")
