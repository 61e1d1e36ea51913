"""securesystemslib signs and reads the same envelopes: each verifies what the other signed."""

import json
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from glasshouse_verify.dsse import (
    PAYLOAD_TYPE,
    Envelope,
    EnvelopeSignature,
    format_envelope,
    pae,
    parse_envelope,
    verify_envelope,
)
from glasshouse_verify.ed25519 import keyid
from securesystemslib import dsse
from securesystemslib.signer import CryptoSigner, SSlibKey

PAYLOADS = [b"{}", '{"é":1}'.encode(), b"x" * 10_000]
PRIVATE = Ed25519PrivateKey.from_private_bytes(sha256(b"securesystemslib").digest())
PUBLIC = PRIVATE.public_key().public_bytes_raw()
KEY = SSlibKey(keyid(PUBLIC), "ed25519", "ed25519", {"public": PUBLIC.hex()})


def test_theirs_with_us() -> None:
    for payload in PAYLOADS:
        theirs = dsse.Envelope(payload, PAYLOAD_TYPE, {})
        assert theirs.pae() == pae(payload)
        theirs.sign(CryptoSigner(PRIVATE, KEY))
        # Their serialisation is not canonical JSON; the members and their encoding are the same.
        data = json.dumps(theirs.to_dict(), sort_keys=True, separators=(",", ":")).encode()
        assert verify_envelope(parse_envelope(data), {keyid(PUBLIC): PUBLIC}) == {keyid(PUBLIC)}


def test_ours_with_them() -> None:
    for payload in PAYLOADS:
        signature = EnvelopeSignature(keyid=keyid(PUBLIC), sig=PRIVATE.sign(pae(payload)))
        data = format_envelope(Envelope(payload=payload, signatures=(signature,)))
        theirs = dsse.Envelope.from_dict(json.loads(data))
        assert theirs.verify([KEY], 1)
        assert (theirs.payload, theirs.payload_type) == (payload, PAYLOAD_TYPE)
