"""Whatever the bytes: a parser either raises FormatError, or it would write exactly these bytes again."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from glasshouse_verify.checkpoint import format_checkpoint, parse_checkpoint
from glasshouse_verify.codec import decode, encode
from glasshouse_verify.dsse import Envelope, EnvelopeSignature, format_envelope, parse_envelope
from glasshouse_verify.encoding import (
    MAX_INTEGER,
    decode_base64,
    encode_base64,
    format_json,
    parse_decimal,
    parse_json,
)
from glasshouse_verify.errors import FormatError
from glasshouse_verify.manifest import AbsenceProof, ManifestTree, format_rows, parse_rows
from glasshouse_verify.note import format_note, format_vkey, parse_note, parse_vkey
from glasshouse_verify.policy import witness_policy
from glasshouse_verify.policy_file import format_policy, parse_policy
from glasshouse_verify.row import RowProof
from glasshouse_verify.tile import format_bundle, parse_bundle, parse_tile_path, tile_path
from glasshouse_verify.tlogproof import TlogProof, format_tlog_proof, parse_tlog_proof
from glasshouse_verify.tree import inclusion_proof
from hypothesis import given, settings
from hypothesis import strategies as st
from notary import Notary, Tree, signed, witness

LOG, WITNESS = Notary("example.com/log"), witness("w.example")
TREE = Tree(9)
NOTE = signed(TREE.checkpoint(9), LOG, WITNESS)
MANIFEST = ManifestTree({"key": key} for key in "bdfh")
PROOF = TlogProof(index=3, proof=tuple(inclusion_proof(3, 9, TREE.read)), checkpoint=NOTE, extra=b"extra")
SIGNATURE = EnvelopeSignature(keyid="0" * 64, sig=bytes(64))


def row_proof(data: bytes) -> bytes:
    return format_json(encode(decode(RowProof, parse_json(data, "json", 100_000), "row proof")))


def absence_proof(data: bytes) -> bytes:
    return format_json(encode(decode(AbsenceProof, parse_json(data, "json", 100_000), "absence proof")))


def tile_text(data: bytes) -> bytes:
    path = parse_tile_path(data.decode(errors="surrogateescape"))
    return tile_path(path.level, path.index, path.width).encode()


def text(data: bytes) -> str:
    return data.decode(errors="replace")


# Name, the bytes written again after reading, and honest bytes to bend.
FORMATS: list[tuple[str, Callable[[bytes], bytes], bytes]] = [
    ("decimal", lambda data: str(parse_decimal(text(data), "n")).encode(), b"1234567890"),
    ("base64", lambda data: encode_base64(decode_base64(text(data), "b")).encode(), b"SGVsbG8gd29ybGQ="),
    (
        "json",
        lambda data: format_json(parse_json(data, "json", 100_000)),
        '{"a":[1,true,null,"é"],"b":{"c":-5}}'.encode(),
    ),
    ("vkey", lambda data: format_vkey(parse_vkey(text(data))).encode(), format_vkey(LOG.key).encode()),
    ("note", lambda data: format_note(parse_note(data)), format_note(NOTE)),
    ("checkpoint", lambda data: format_checkpoint(parse_checkpoint(text(data))).encode(), NOTE.text.encode()),
    ("tlog-proof", lambda data: format_tlog_proof(parse_tlog_proof(data)), format_tlog_proof(PROOF)),
    ("tile path", tile_text, b"tile/entries/x001/x234/067.p/8"),
    ("bundle", lambda data: format_bundle(parse_bundle(data)), format_bundle([b"one", b"", b"three"])),
    ("rows", lambda data: b"".join(format_rows(parse_rows(data))), b'{"key":"a","n":1}\n{"key":"b"}\n'),
    ("row proof", row_proof, format_json(encode(MANIFEST.prove("d")))),
    ("absence proof", absence_proof, format_json(encode(MANIFEST.prove("e")))),
    (
        "envelope",
        lambda data: format_envelope(parse_envelope(data)),
        format_envelope(Envelope(payload=b"{}", signatures=(SIGNATURE,))),
    ),
]


@st.composite
def bent(draw: st.DrawFn, honest: bytes) -> bytes:
    """Honest bytes with a few pieces replaced, removed, repeated or inserted."""
    data = honest
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(len(data), start + draw(st.sampled_from([0, 1, 2, 40])))))
        piece = draw(
            st.one_of(
                st.binary(max_size=3),
                st.sampled_from(
                    [
                        b"\n",
                        b"\n\n",
                        b" ",
                        b"0",
                        b"+",
                        b"=",
                        b"\r",
                        b'"',
                        b",",
                        b"\\u0061",
                        "—".encode(),
                        data[start:end] * 2,
                    ]
                ),
            )
        )
        data = data[:start] + piece + data[end:]
    return data


@pytest.mark.parametrize(("name", "again", "honest"), FORMATS, ids=[name for name, _, _ in FORMATS])
def test_one_spelling(name: str, again: Callable[[bytes], bytes], honest: bytes) -> None:
    assert again(honest) == honest
    accepted = text if name in {"decimal", "base64", "hex", "vkey", "checkpoint"} else bytes

    @settings(max_examples=150, deadline=None)
    @given(st.one_of(bent(honest), st.binary(max_size=80)))
    def check(data: bytes) -> None:
        try:
            result = again(data)
        except FormatError:
            return
        assert accepted(result) == accepted(data)

    check()


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_policy_means_the_same_when_written_again(data: st.DataObject) -> None:
    honest = format_policy(witness_policy(LOG.key, {"a": [WITNESS.key], "b": [witness("b").key]}, 0))
    try:
        policy = parse_policy(data.draw(bent(honest)))
    except FormatError:
        return
    assert parse_policy(format_policy(policy)) == policy


KEYS = st.text(st.characters(exclude_categories=["Cs"]), max_size=4)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-MAX_INTEGER, MAX_INTEGER), KEYS),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(KEYS, inner, max_size=4)),
    max_leaves=20,
)


@settings(max_examples=400, deadline=None)
@given(VALUES)
def test_json_of_any_value(value: Any) -> None:
    data = format_json(value)
    assert parse_json(data, "json", 1_000_000) == value == json.loads(data)
    assert type(parse_json(data, "json", 1_000_000)) is type(value)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(KEYS, st.integers(0, 9), min_size=2, max_size=8))
def test_json_members_are_in_utf16_order(value: dict[str, int]) -> None:
    keys = list(json.loads(format_json(value)))
    assert keys == sorted(value, key=lambda key: key.encode("utf-16-be"))


@settings(max_examples=300, deadline=None)
@given(VALUES, st.integers(0, 3), st.booleans())
def test_json_in_any_other_spelling_is_refused(value: Any, indent: int, escaped: bool) -> None:
    other = json.dumps(value, indent=indent or None, ensure_ascii=escaped).encode()
    if other != format_json(value):
        with pytest.raises(FormatError):
            parse_json(other, "json", 1_000_000)
