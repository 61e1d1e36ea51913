"""DSSE envelopes: one spelling, and what a signature covers."""

import json
from dataclasses import replace

import pytest
from glasshouse_verify.dsse import (
    MAX_ENTRY,
    MAX_SIGNATURES,
    PAYLOAD_TYPE,
    Envelope,
    EnvelopeSignature,
    format_envelope,
    pae,
    parse_envelope,
    statement_id,
    verify_envelope,
)
from glasshouse_verify.ed25519 import keyid
from glasshouse_verify.encoding import encode_base64
from glasshouse_verify.errors import FormatError, SignatureError, VerifyError
from notary import Notary

PAYLOAD = b'{"_type":"https://in-toto.io/Statement/v1"}'
VENDOR, OTHER = Notary("vendor"), Notary("other")
KEYS = {keyid(notary.key.public): notary.key.public for notary in (VENDOR, OTHER)}


def sign(payload: bytes, *notaries: Notary) -> Envelope:
    signatures = (
        EnvelopeSignature(keyid=keyid(notary.key.public), sig=notary.sign_raw(pae(payload))) for notary in notaries
    )
    return Envelope(payload=payload, signatures=tuple(signatures))


GOOD = sign(PAYLOAD, VENDOR, OTHER)
DATA = format_envelope(GOOD)


def test_pre_authentication_encoding() -> None:
    assert pae(b"hello") == b"DSSEv1 28 application/vnd.in-toto+json 5 hello"
    assert pae("é".encode()) == b"DSSEv1 28 application/vnd.in-toto+json 2 \xc3\xa9"
    assert statement_id(b"hello") == "da5f43a9aaf2cd15f728e5795a842ce934aace09db0dc41144b1c3d23f84d038"


def test_round_trip() -> None:
    assert parse_envelope(DATA) == GOOD
    assert format_envelope(parse_envelope(DATA)) == DATA
    assert DATA.startswith(b'{"payload":"eyJf')
    assert json.loads(DATA)["payloadType"] == PAYLOAD_TYPE


def test_who_signed() -> None:
    assert verify_envelope(GOOD, KEYS) == KEYS.keys()
    assert verify_envelope(GOOD, {}) == frozenset()
    vendor = keyid(VENDOR.key.public)
    assert verify_envelope(GOOD, {vendor: KEYS[vendor]}) == {vendor}
    assert verify_envelope(sign(PAYLOAD, OTHER), {vendor: KEYS[vendor]}) == frozenset()


def test_a_known_key_whose_signature_fails_rejects_the_envelope() -> None:
    signature = GOOD.signatures[1]
    bad = replace(GOOD, signatures=(GOOD.signatures[0], replace(signature, sig=signature.sig[::-1])))
    with pytest.raises(SignatureError, match=signature.keyid):
        verify_envelope(bad, KEYS)
    assert verify_envelope(bad, {keyid(VENDOR.key.public): VENDOR.key.public}) == {keyid(VENDOR.key.public)}
    swapped = tuple(
        replace(signature, keyid=other.keyid)
        for signature, other in zip(GOOD.signatures, GOOD.signatures[::-1], strict=True)
    )
    for envelope in (replace(GOOD, signatures=swapped), replace(GOOD, payload=PAYLOAD + b" ")):
        with pytest.raises(SignatureError):
            verify_envelope(envelope, KEYS)


def test_a_signature_over_the_bare_payload_is_none() -> None:
    signature = EnvelopeSignature(keyid=keyid(VENDOR.key.public), sig=VENDOR.sign_raw(PAYLOAD))
    with pytest.raises(SignatureError):
        verify_envelope(Envelope(payload=PAYLOAD, signatures=(signature,)), KEYS)


def test_identity_ignores_signatures() -> None:
    """Attack row L11: the same statement under other envelope bytes stays the same statement."""
    reordered = replace(GOOD, signatures=GOOD.signatures[::-1])
    assert format_envelope(reordered) != DATA
    assert statement_id(reordered.payload) == statement_id(GOOD.payload)


def test_no_truncation_or_bit_flip_keeps_both_signatures() -> None:
    for place in range(len(DATA)):
        for changed in (
            DATA[:place],
            *(DATA[:place] + bytes([DATA[place] ^ 1 << bit]) + DATA[place + 1 :] for bit in range(8)),
        ):
            try:
                assert len(verify_envelope(parse_envelope(changed), KEYS)) < 2
            except VerifyError:
                continue


def text(**changes: object) -> bytes:
    value = json.loads(DATA)
    for name, change in changes.items():
        if change is None:
            del value[name]
        else:
            value[name] = change
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


KEY, SIGNATURE = "0" * 64, encode_base64(bytes(64))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[]",
        DATA + b"\n",
        b" " + DATA,
        DATA.replace(b",", b", "),
        text(payloadType=None),
        text(payloadType="application/json"),
        text(payload=None),
        text(payload=1),
        text(payload="eyJ"),
        text(payload="eyJf\n"),
        text(signatures=None),
        text(signatures=[]),
        text(signatures={}),
        text(signatures=[[]]),
        text(signatures=[{}]),
        text(signatures=[{"sig": SIGNATURE}]),
        text(signatures=[{"keyid": KEY}]),
        text(signatures=[{"keyid": KEY, "sig": SIGNATURE, "cert": ""}]),
        text(signatures=[{"keyid": KEY[:-1], "sig": SIGNATURE}]),
        text(signatures=[{"keyid": KEY[:-1] + "A", "sig": SIGNATURE}]),
        text(signatures=[{"keyid": "", "sig": SIGNATURE}]),
        text(signatures=[{"keyid": KEY, "sig": SIGNATURE[:-1]}]),
        text(signatures=[{"keyid": KEY, "sig": None}]),
        text(signatures=[{"keyid": KEY, "sig": SIGNATURE}] * 2),
        text(signatures=[{"keyid": f"{n:064x}", "sig": "AA=="} for n in range(MAX_SIGNATURES + 1)]),
        text(more=1),
        text(payload=encode_base64(bytes(MAX_ENTRY))),
    ],
)
def test_broken_envelopes_are_refused(data: bytes) -> None:
    with pytest.raises(FormatError, match="envelope"):
        parse_envelope(data)


def test_envelopes_that_would_not_be_read_back_are_not_written() -> None:
    signature = GOOD.signatures[0]
    for envelope in (
        replace(GOOD, signatures=()),
        replace(GOOD, signatures=(signature, signature)),
        replace(GOOD, signatures=(replace(signature, keyid="key"),)),
        replace(GOOD, payload=bytes(MAX_ENTRY)),
    ):
        with pytest.raises(FormatError):
            format_envelope(envelope)
