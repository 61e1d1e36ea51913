"""Public keys that would let anybody sign are no keys."""

import pytest
from glasshouse_verify.ed25519 import check_public, keyid, verify
from glasshouse_verify.errors import FormatError, SignatureError
from notary import Notary

PRIME = 2**255 - 19
# The eight points of small order (their y), as in RFC 7748 implementations' block lists; x signs are set below.
SMALL_ORDER = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
]


def with_sign(encoded: bytes) -> bytes:
    return encoded[:31] + bytes([encoded[31] | 0x80])


@pytest.mark.parametrize("encoded", SMALL_ORDER)
def test_small_order_is_refused(encoded: str) -> None:
    for public in (bytes.fromhex(encoded), with_sign(bytes.fromhex(encoded))):
        with pytest.raises(FormatError, match="weak"):
            check_public(public, "key")


def test_what_a_small_order_key_would_allow() -> None:
    """The neutral element as key, R neutral, S = 0: the library alone accepts this for every message."""
    neutral = bytes.fromhex(SMALL_ORDER[0])
    verify(neutral, b"anything", neutral + bytes(32), "nobody")


@pytest.mark.parametrize("y", [PRIME, PRIME + 1, PRIME + 3, 2**255 - 1])
def test_non_canonical_points_are_refused(y: int) -> None:
    for public in (y.to_bytes(32, "little"), with_sign(y.to_bytes(32, "little"))):
        with pytest.raises(FormatError, match="weak"):
            check_public(public, "key")


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_length(length: int) -> None:
    with pytest.raises(FormatError, match="has 32"):
        check_public(b"\x09" * length, "key")


def test_signature() -> None:
    notary = Notary("example.com/log")
    public, message = notary.key.public, b"message"
    assert check_public(public, "key") == public
    signature = notary.sign_raw(message)
    verify(public, message, signature, "log")
    order = 2**252 + 27742317777372353535851937790883648493
    malleated = signature[:32] + (int.from_bytes(signature[32:], "little") + order).to_bytes(32, "little")
    wrong = [b"", signature[:63], signature + b"\x00", malleated, bytes(64)]
    wrong += [
        bytes(b ^ (1 << bit) if n == place else b for n, b in enumerate(signature))
        for place in range(64)
        for bit in (0, 7)
    ]
    for other in wrong:
        with pytest.raises(SignatureError, match="log"):
            verify(public, message, other, "log")
    with pytest.raises(SignatureError):
        verify(public, b"other message", signature, "log")
    with pytest.raises(SignatureError):
        verify(b"\x02" + bytes(31), message, signature, "log")
    assert len(keyid(public)) == 64
