"""One spelling for every scalar, and RFC 8785 for JSON."""

import json

import pytest
from glasshouse_verify.encoding import (
    MAX_DEPTH,
    MAX_INTEGER,
    decode_base64,
    encode_base64,
    format_json,
    parse_decimal,
    parse_json,
)
from glasshouse_verify.errors import FormatError, VerifyError

LIMIT = 100_000


@pytest.mark.parametrize(("text", "value"), [("0", 0), ("7", 7), ("10", 10), (str(2**63 - 1), 2**63 - 1)])
def test_decimal(text: str, value: int) -> None:
    assert parse_decimal(text, "size") == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        " 42",
        "42 ",
        "42\n",
        "\t42",
        "+42",
        "-42",
        "-0",
        "00",
        "042",
        "1_000",
        "4.2",
        "1e3",
        "0x10",
        "٤٢",
        "４２",
        "²",
        str(2**63),
        "9" * 20,
        "9" * 10_000,
    ],
)
def test_decimal_has_one_spelling(text: str) -> None:
    with pytest.raises(FormatError) as caught:
        parse_decimal(text, "size")
    assert caught.value.field == "size"
    assert isinstance(caught.value, VerifyError)
    assert str(caught.value) == f"size: {caught.value.reason}"


@pytest.mark.parametrize("data", [b"", b"a", b"ab", b"abc", bytes(range(256))])
def test_base64(data: bytes) -> None:
    assert decode_base64(encode_base64(data), "hash") == data
    assert decode_base64(encode_base64(data), "hash", len(data)) == data
    with pytest.raises(FormatError, match="expected"):
        decode_base64(encode_base64(data), "hash", len(data) + 1)


@pytest.mark.parametrize(
    "text",
    [
        "YQ",
        "YQ=",
        "YQ===",
        "YR==",
        "YWJ=",
        " YQ==",
        "YQ==\n",
        "Y Q==",
        "YQ==YQ==",
        "=",
        "====",
        "_-==",
        "é===",
        "YQ==\x00",
    ],
)
def test_base64_has_one_spelling(text: str) -> None:
    with pytest.raises(FormatError) as caught:
        decode_base64(text, "hash")
    assert caught.value.field == "hash"


def test_every_neighbour_of_canonical_base64_is_refused_or_means_something_else() -> None:
    text = encode_base64(bytes(range(31)))
    for place in range(len(text)):
        for char in "\n\r\t -_=+/Aa9é\x00":
            for changed in (text[:place] + char + text[place + 1 :], text[:place] + char + text[place:]):
                try:
                    data = decode_base64(changed, "hash")
                except FormatError:
                    continue
                assert encode_base64(data) == changed


def test_json_example_of_rfc_8785_section_3_2_3() -> None:
    """Keys sort by UTF-16 code units: the emoji (D83D DE00) comes before U+FB33, although its code point is larger."""
    value = {
        "\u20ac": "Euro Sign",
        "\r": "Carriage Return",
        "\ufb33": "Hebrew Letter Dalet With Dagesh",
        "1": "One",
        "\U0001f600": "Emoji: Grinning Face",
        "\u0080": "Control",
        "\u00f6": "Latin Small Letter O With Diaeresis",
    }
    data = format_json(value)
    assert [pair.split(":")[0].strip('"') for pair in data.decode().strip("{}").split(',"')] == [
        "\\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ufb33",
    ]  # fmt: skip
    assert parse_json(data, "json", LIMIT) == value


def test_json_escapes_only_what_it_must() -> None:
    every = "".join(map(chr, range(0x20))) + '"\\/\x7f\u0080\u2028é\U0001f600'
    expected = (
        '"\\u0000\\u0001\\u0002\\u0003\\u0004\\u0005\\u0006\\u0007\\b\\t\\n\\u000b\\f\\r\\u000e\\u000f'
        "\\u0010\\u0011\\u0012\\u0013\\u0014\\u0015\\u0016\\u0017\\u0018\\u0019\\u001a\\u001b\\u001c\\u001d\\u001e\\u001f"
        '\\"\\\\/\x7f\u0080\u2028é\U0001f600"'
    )
    assert format_json(every) == expected.encode()
    assert parse_json(expected.encode(), "json", LIMIT) == every


@pytest.mark.parametrize(
    "data",
    [
        b"null",
        b"true",
        b"0",
        b"-1",
        str(MAX_INTEGER).encode(),
        str(-MAX_INTEGER).encode(),
        b'""',
        b"[]",
        b"{}",
        b'{"":null}',
        b'{"a":[1,{"b":false}],"aa":"\xc3\xa9"}',
    ],
)
def test_json(data: bytes) -> None:
    assert format_json(parse_json(data, "json", LIMIT)) == data


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" 1",
        b"1 ",
        b"1\n",
        b"01",
        b"+1",
        b"-0",
        b"1.0",
        b"1e3",
        b"0.5",
        b"NaN",
        b"Infinity",
        b"-Infinity",
        b"nul",
        b"'a'",
        b'"a',
        b'"\n"',
        b'"\\/"',
        b'"\\u0061"',
        b'"\\u001F"',
        b'"\\u000a"',
        b'"\\ud800"',
        b'"\\udc00\\ud800"',
        b'"\\ud83d\\ude00"',
        b'{"\\ud800":1}',
        b'"\xff"',
        b'"\xed\xa0\x80"',
        b"\xef\xbb\xbf1",
        b"[1, 2]",
        b"[1,]",
        b'{"a": 1}',
        b'{"b":1,"a":2}',
        b'{"a":1,"a":1}',
        b'{"a":1,"a":2}',
        b'{"\xef\xac\xb3":1,"\xf0\x9f\x98\x80":2}',
        b"{a:1}",
        b"[1][2]",
        b"1//",
        str(MAX_INTEGER + 1).encode(),
        str(-MAX_INTEGER - 1).encode(),
        b"9" * 5000,
        b"[" * 5000,
        b"[" * 50_000 + b"]" * 50_000,
        b'{"a":' * 5000,
        "1".encode("utf-16"),
        "１".encode(),
    ],
)
def test_json_has_one_spelling(data: bytes) -> None:
    with pytest.raises(FormatError) as caught:
        parse_json(data, "thing", LIMIT)
    assert caught.value.field == "thing"


def test_json_is_bounded() -> None:
    deep = b"[" * MAX_DEPTH + b"]" * MAX_DEPTH
    assert format_json(parse_json(deep, "json", LIMIT)) == deep
    for too_deep in (b"[" + deep + b"]", b'{"a":' * MAX_DEPTH + b"[]" + b"}" * MAX_DEPTH):
        with pytest.raises(FormatError, match="nested deeper"):
            parse_json(too_deep, "json", LIMIT)
    with pytest.raises(FormatError, match="nested deeper"):
        format_json(json.loads(b"[" + deep + b"]"))
    assert parse_json(b"1" * 16, "json", 16) == int("1" * 16)
    with pytest.raises(FormatError, match="more than 15"):
        parse_json(b"1" * 16, "json", 15)


@pytest.mark.parametrize(
    "value",
    [
        1.0,
        float("nan"),
        b"a",
        {1: 2},
        {"a": 1.5},
        [object()],
        {"a": {None: 1}},
        MAX_INTEGER + 1,
        "\ud800",
        {"\udfff": 1},
        {1},
    ],
)
def test_json_refuses_to_write_what_it_would_not_read(value: object) -> None:
    with pytest.raises(FormatError):
        format_json(value)


def test_json_writes_tuples_as_arrays() -> None:
    assert format_json({"b": (1, "é"), "a": ()}) == '{"a":[],"b":[1,"é"]}'.encode()
