"""The scalars and the JSON that every other format is made of, each with exactly one spelling.

Decimals are ASCII without sign, space, underscore or leading zero. Base64 is RFC 4648 section 4 with padding and with
zero trailing bits. JSON is RFC 8785 canonical, restricted to integers of at most 2**53 - 1 in
magnitude:

    {"content":"9f2c…","key":"src/main.c","mode":"100644","size":1204}

Anything else, although another reader may understand it, is refused with a `FormatError` that names the field, so that
`format(parse(b)) == b` holds for all bytes that parse: two different byte strings are never taken for one value.
"""

import binascii
import json
from types import NoneType
from typing import NoReturn, TypeAlias

from glasshouse_verify.errors import FormatError

JSON: TypeAlias = bool | int | str | list["JSON"] | dict[str, "JSON"] | None

MAX_INTEGER = 2**53 - 1
MAX_DEPTH = 64

_BY_CODE_POINT = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True)
_AS_GIVEN = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def parse_decimal(text: str, field: str) -> int:
    """Read a non-negative integer below 2**63 in its only ASCII spelling; `FormatError` otherwise."""
    # int() alone accepts " 42", "+42", "1_000", "٤٢" and unbounded lengths.
    if not (text.isascii() and text.isdigit() and len(text) <= 19) or (text[0] == "0" and text != "0"):
        raise FormatError(field, "not a decimal without sign, space or leading zero")
    value = int(text)
    if value >= 2**63:
        raise FormatError(field, "decimal is 2**63 or more")
    return value


def encode_base64(data: bytes) -> str:
    """Write standard base64 with padding (RFC 4648 section 4)."""
    return binascii.b2a_base64(data, newline=False).decode("ascii")


def decode_base64(text: str, field: str, length: int | None = None) -> bytes:
    """Read standard base64 of `length` bytes (any, if None) in its only spelling; `FormatError` otherwise."""
    try:
        data = binascii.a2b_base64(text)
    except ValueError:
        data = None
    # The decoder skips foreign characters and ignores trailing bits; one spelling only survives the way back.
    if data is None or encode_base64(data) != text:
        raise FormatError(field, "not canonical base64")
    if length is not None and len(data) != length:
        raise FormatError(field, f"{len(data)} bytes, expected {length}")
    return data


def format_json(value: object) -> bytes:
    """Write RFC 8785 canonical JSON; `FormatError` for floats, large integers, lone surrogates and foreign types."""
    _check_json(value, "json")
    return _canonical(value, "json")


def parse_json(data: bytes, field: str, limit: int) -> JSON:
    """Read at most `limit` bytes of canonical JSON (RFC 8785, integers only); `FormatError` on `field` otherwise."""
    if len(data) > limit:
        raise FormatError(field, f"{len(data)} bytes, more than {limit}")
    try:
        value: JSON = json.loads(data.decode(), parse_float=_refuse_number, parse_constant=_refuse_number)
    except RecursionError:
        raise FormatError(field, f"nested deeper than {MAX_DEPTH}") from None
    except ValueError as error:
        raise FormatError(field, f"not JSON: {error}") from None
    _check_json(value, field)
    # A duplicate key, a space, an escape too many, a key out of order: none of them comes back as it was.
    if _canonical(value, field) != data:
        raise FormatError(field, "not canonical JSON (RFC 8785)")
    return value


def _refuse_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is not an integer")


def _canonical(value: object, field: str) -> bytes:
    """Serialise a checked value: by code point, which is UTF-16 order too unless a key is outside ASCII."""
    text = _BY_CODE_POINT.encode(value)
    try:
        if not text.isascii():
            text = _AS_GIVEN.encode(_utf16_ordered(value))
        return text.encode()
    except UnicodeEncodeError:
        raise FormatError(field, "text holds a lone surrogate") from None


def _utf16_ordered(value: object) -> object:
    """Rebuild a value with its keys in the order of their UTF-16 code units (RFC 8785 section 3.2.3)."""
    if isinstance(value, dict):
        keys = sorted(value, key=lambda key: key.encode("utf-16-be"))
        return {key: _utf16_ordered(value[key]) for key in keys}
    return [_utf16_ordered(item) for item in value] if isinstance(value, list | tuple) else value


def _check_json(value: object, field: str, depth: int = 0) -> None:
    """Refuse what canonical JSON cannot hold, before its depth can exhaust the stack."""
    kind = type(value)
    if isinstance(value, dict | list | tuple):
        if depth == MAX_DEPTH:
            raise FormatError(field, f"nested deeper than {MAX_DEPTH}")
        if isinstance(value, dict) and not all(type(key) is str for key in value):
            raise FormatError(field, "member name is not text")
        for item in value.values() if isinstance(value, dict) else value:
            _check_json(item, field, depth + 1)
    elif isinstance(value, int) and kind is not bool:
        if kind is not int or abs(value) > MAX_INTEGER:
            raise FormatError(field, "integer beyond 2**53 - 1")
    elif kind not in (str, bool, NoneType):
        raise FormatError(field, f"{kind.__name__} has no canonical JSON")
