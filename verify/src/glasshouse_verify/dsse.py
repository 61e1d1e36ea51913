"""DSSE envelopes: an in-toto statement and the signatures over it, as one entry of the ledger.

    {"payload":"eyJfdHlwZSI6Imh0…","payloadType":"application/vnd.in-toto+json",
     "signatures":[{"keyid":"65dce41f…","sig":"YQ2f…"}]}

(one line of canonical JSON without a final newline, at most 65,535 bytes). Signatures are made over the
pre-authentication encoding of the payload, never over the JSON:

    "DSSEv1" SP "28" SP "application/vnd.in-toto+json" SP length SP payload

A statement is identified by the SHA-256 of that encoding, so that neither order nor number of the signatures, which
nothing signs, makes another statement. `keyid` is the SHA-256 of the raw public key in hex; a key signs at most once.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from glasshouse_verify import ed25519
from glasshouse_verify.codec import Digest, decode, encode
from glasshouse_verify.encoding import format_json, parse_json
from glasshouse_verify.errors import FormatError

PAYLOAD_TYPE = "application/vnd.in-toto+json"
MAX_ENTRY = 65_535
MAX_SIGNATURES = 100


@dataclass(frozen=True, kw_only=True)
class EnvelopeSignature:
    """One signature over the payload's encoding; `keyid` is a claim that only a successful check makes good."""

    keyid: Digest
    sig: bytes


@dataclass(frozen=True, kw_only=True)
class Envelope:
    """A payload with one or more signatures, none of them checked yet."""

    payload: bytes
    payloadType: str = PAYLOAD_TYPE
    signatures: tuple[EnvelopeSignature, ...]


def parse_envelope(data: bytes) -> Envelope:
    """Read an envelope of at most `MAX_ENTRY` bytes; `FormatError` unless `format_envelope` would write these bytes."""
    envelope: Envelope = decode(Envelope, parse_json(data, "envelope", MAX_ENTRY), "envelope")
    if not 1 <= len(envelope.signatures) <= MAX_SIGNATURES:
        raise FormatError("envelope.signatures", f"{len(envelope.signatures)}, expected 1 to {MAX_SIGNATURES}")
    if len({signature.keyid for signature in envelope.signatures}) < len(envelope.signatures):
        raise FormatError("envelope.signatures", "a key signs twice")
    return envelope


def format_envelope(envelope: Envelope) -> bytes:
    """Write the entry bytes of an envelope; `FormatError` if `parse_envelope` would refuse them."""
    data = format_json(encode(envelope))
    parse_envelope(data)
    return data


def pae(payload: bytes) -> bytes:
    """Return the pre-authentication encoding of a payload: what signers sign (DSSE v1, "Signature Definition")."""
    return b"DSSEv1 %d %s %d %s" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(payload), payload)


def statement_id(payload: bytes) -> str:
    """Return the identity of a statement: the hex SHA-256 of its pre-authentication encoding."""
    return hashlib.sha256(pae(payload)).hexdigest()


def verify_envelope(envelope: Envelope, keys: Mapping[str, bytes]) -> frozenset[str]:
    """Return which of `keys` (keyid to raw public key) signed; other keyids are ignored.

    Raises `SignatureError` if a signature that claims one of `keys` does not verify, however many others do.
    """
    claims = [signature for signature in envelope.signatures if signature.keyid in keys]
    message = pae(envelope.payload)
    for claim in claims:
        ed25519.verify(keys[claim.keyid], message, claim.sig, claim.keyid)
    return frozenset(claim.keyid for claim in claims)
