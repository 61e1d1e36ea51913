"""Ed25519 signatures (RFC 8032): the one place where the verifier meets public-key cryptography.

Keys are 32 bytes, signatures 64. A key of small order would verify signatures that nobody made, and a point may have a
second, non-canonical encoding under which one key counts twice; both are refused before they are ever used.
"""

import hashlib

from glasshouse_verify.errors import FormatError, SignatureError

_PRIME = 2**255 - 19
_ORDER_EIGHT_Y = 2707385501144840649318225287225658788936804267575313519463743609750303402022
_SMALL_ORDER_Y = frozenset({0, 1, _PRIME - 1, _ORDER_EIGHT_Y, _PRIME - _ORDER_EIGHT_Y})


def check_public(public: bytes, field: str) -> bytes:
    """Return `public` if it is a 32-byte key in canonical form and not of small order; `FormatError` otherwise."""
    if len(public) != 32:
        raise FormatError(field, f"{len(public)} bytes, an Ed25519 public key has 32")
    y = int.from_bytes(public, "little") & (2**255 - 1)
    if y >= _PRIME or y in _SMALL_ORDER_Y:
        raise FormatError(field, "weak Ed25519 public key")
    return public


def verify(public: bytes, message: bytes, signature: bytes, signer: str) -> None:
    """Check one signature; `SignatureError` naming `signer` if it does not hold."""
    # Imported here: formats are read by many programs that never check a signature, and the import costs milliseconds.
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        raise SignatureError(f"signature of {signer} does not verify") from None


def keyid(public: bytes) -> str:
    """Name a key in an envelope: the hex SHA-256 of its 32 raw bytes."""
    return hashlib.sha256(public).hexdigest()
