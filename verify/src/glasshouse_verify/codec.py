"""Typed records over canonical JSON: a frozen dataclass is its own schema.

`decode(Cls, value, where)` checks a JSON value against the annotations of a dataclass and builds it; `encode(record)`
gives the JSON value back. Together they are strict: an unknown or missing member, a wrong type, a value outside its
pattern is a FormatError that names the member, and encode(decode(v)) == v for every accepted v.

    annotation              JSON
    Digest                  64 lowercase hex digits (SHA-256)
    Identifier, Product …   string of the pattern given below
    int                     integer, 0 … 2^53-1
    bytes; Hash, PublicKey  base64 in its only spelling; of 32 bytes
    Json                    any value, passed through
    tuple[X, ...]           array          Mapping[K, X]   object
    X | None = None         member left out when None; null is never written
    X = constant            member that has to be there and to be this
    dataclass               object         StrEnum         one of its values
"""

import re
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import EnumMeta, StrEnum
from functools import cache
from typing import Any, NewType, TypeAlias, TypeVar, Union, get_args, get_origin, get_type_hints

from glasshouse_verify.encoding import MAX_INTEGER, decode_base64, encode_base64
from glasshouse_verify.errors import FormatError

Digest = NewType("Digest", str)
Identifier = NewType("Identifier", str)  # a party, site, platform or channel
Product = NewType("Product", str)  # vendor/product
Version = NewType("Version", str)
FileName = NewType("FileName", str)
Path = NewType("Path", str)
Country = NewType("Country", str)  # ISO 3166-1 alpha-2
Text = NewType("Text", str)  # prose for people
PublicKey = NewType("PublicKey", bytes)  # Ed25519
Hash = NewType("Hash", bytes)  # of a Merkle tree
Json: TypeAlias = Any

T = TypeVar("T")

MAX_TEXT = 4_000
_IDENTIFIER = r"[a-z0-9][a-z0-9._-]{0,63}"
_PATTERNS: dict[object, tuple[str, str]] = {
    Digest: (r"[0-9a-f]{64}", "must be 64 lowercase hex digits"),
    Identifier: (_IDENTIFIER, "must be lowercase letters, digits, '.', '_' or '-', at most 64"),
    Product: (f"{_IDENTIFIER}/{_IDENTIFIER}", "must be vendor/product"),
    Version: (r"[A-Za-z0-9][A-Za-z0-9.+~_-]{0,63}", "must be a version such as 4.5.4"),
    FileName: (r"(?!\.{1,2}\Z)[^/\x00-\x1f\x7f]{1,255}", "must be a file name without '/' or control characters"),
    Path: (r"(?!/)(?!(?:.*/)?\.{1,2}(?:/|\Z))[^\x00-\x1f\x7f]{1,1024}", "must be a relative path inside the tree"),
    Country: (r"[A-Z]{2}", "must be a two-letter country code such as CH"),
    Text: (rf"[^\x00-\x09\x0b-\x1f\x7f]{{0,{MAX_TEXT}}}", f"must be at most {MAX_TEXT} characters without controls"),
}
_BASE64_LENGTHS: dict[object, int | None] = {bytes: None, PublicKey: 32, Hash: 32}


@cache
def _members(record: type) -> dict[str, tuple[Any, Any]]:
    """Member name → (type, default)."""
    hints = get_type_hints(record)
    return {f.name: (hints[f.name], f.default) for f in fields(record)}


def decode(kind: Any, value: object, where: str) -> Any:
    """Build a `kind` from a JSON value; raises FormatError naming the member below `where`."""
    if kind is Json:
        return value
    if kind is bool or kind is str:
        return expect(kind, value, where)
    if kind in _PATTERNS:
        text = expect(str, value, where)
        if not re.fullmatch(_PATTERNS[kind][0], text, re.DOTALL):
            raise FormatError(where, _PATTERNS[kind][1])
        return text
    if kind in _BASE64_LENGTHS:
        return decode_base64(expect(str, value, where), where, _BASE64_LENGTHS[kind])
    if kind is int:
        if type(value) is not int or not 0 <= value <= MAX_INTEGER:
            raise FormatError(where, "must be an integer from 0 to 2^53-1")
        return value
    if isinstance(kind, EnumMeta):
        if expect(str, value, where) not in list[object](kind):
            raise FormatError(where, "must be one of " + ", ".join(map(str, kind)))
        return kind(value)
    if is_dataclass(kind):
        return _decode_record(kind, value, where)
    return _decode_container(kind, value, where)


def _decode_container(kind: Any, value: object, where: str) -> object:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return decode(next(a for a in arguments if a is not type(None)), value, where)
    if origin is tuple:
        items = expect(list, value, where)
        return tuple(decode(arguments[0], item, f"{where}[{n}]") for n, item in enumerate(items))
    if origin is Mapping:
        (names, items), pairs = arguments, expect(dict, value, where).items()
        return {decode(names, k, f"{where} member name"): decode(items, v, f"{where}.{k}") for k, v in pairs}
    raise TypeError(f"no JSON form for {kind!r}")


def _decode_record(kind: Any, value: object, where: str) -> object:
    object_ = expect(dict, value, where)
    members = _members(kind)
    for name in object_:
        if name not in members:
            raise FormatError(f"{where}.{name}", "is not a known member")
    arguments = {}
    for name, (hint, default) in members.items():
        if name in object_:
            arguments[name] = decode(hint, object_[name], f"{where}.{name}")
            if default not in (MISSING, None, arguments[name]):
                raise FormatError(f"{where}.{name}", f"must be {default}")
        elif default is not None:
            raise FormatError(f"{where}.{name}", "is missing")
    return kind(**arguments)


_NAMES: dict[type, str] = {str: "a string", bool: "true or false", list: "an array", dict: "an object"}


def expect(kind: type[T], value: object, where: str) -> T:
    """Return `value` if it is of exactly this JSON type (true is no integer); `FormatError` otherwise."""
    if type(value) is not kind:
        raise FormatError(where, f"must be {_NAMES[kind]}")
    return value


def encode(value: object) -> Any:
    """The JSON value of a record made by `decode` or by its constructor."""
    if isinstance(value, StrEnum):
        return value.value
    if is_dataclass(value) and not isinstance(value, type):
        pairs = ((f.name, getattr(value, f.name)) for f in fields(value))
        return {name: encode(member) for name, member in pairs if member is not None}
    if isinstance(value, bytes):
        return encode_base64(value)
    if isinstance(value, tuple):
        return [encode(item) for item in value]
    if isinstance(value, Mapping):
        return {key: encode(item) for key, item in value.items()}
    return value
