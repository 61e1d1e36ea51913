"""Wrapping: how an object's data key is kept, so that nobody reads the object without those whom the charter names.

    site custody   blob = W
    dual custody   blob = lid ‖ AES-256-GCM(lid key, nonce, associated data, W)    the custodian opens it, then the site
    W              = key service(data key, associated data)                        the site alone opens it
    lid            = HPKE(custodian's public key, lid key)                         one for a group of objects

The associated data are handle ‖ region (`seal.object_context`) in both layers. HPKE is RFC 9180 in base mode,
single-shot: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM; info = "glasshouse wrapping v1", aad empty;
encapsulated key ‖ ciphertext. It is what costs most, and what is wrapped together is in the site's memory together: so
such a group shares a lid, whose key is forgotten with it. Sealing needs the custodian's public key only, so that intake
never waits for the custodian. The custodian sees no data key: what it opens is still wrapped by the site.
Specification: docs/spec/wrapping.md.
"""

import functools
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from glasshouse_verify.codec import Digest, Text, decode, encode
from glasshouse_verify.encoding import format_json, parse_json

from glasshouse.regions.errors import InvalidInput, WrappingBroken
from glasshouse.regions.keys.interface import KeyService, Wrapped
from glasshouse.regions.seal import KEY_BYTES, TAG_BYTES, object_context

INFO = b"glasshouse wrapping v1"
MAX_WRAPPING = 4_096
LID_BYTES = 32 + KEY_BYTES + TAG_BYTES
_NONCE_BYTES = 12
_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


@dataclass(frozen=True, kw_only=True)
class Wrapping:
    """A data key as a site keeps it: by which epoch of its keys, and for which custodian's key, if any.

    `custodian` is the hex SHA-256 of an X25519 public key.
    """

    key_id: Text
    blob: bytes
    custodian: Digest | None = None


def format_wrapping(wrapping: Wrapping) -> bytes:
    """Write a wrapping as canonical JSON."""
    return format_json(encode(wrapping))


def parse_wrapping(data: bytes) -> Wrapping:
    """Read what `format_wrapping` wrote; raises FormatError."""
    wrapping: Wrapping = decode(Wrapping, parse_json(data, "wrapping", MAX_WRAPPING), "wrapping")
    return wrapping


class Wrapper:
    """Wraps and unwraps the data keys of one site; `custodian` is the raw public key where the custody is dual.

    Raises InvalidInput for a public key that nothing can be sealed to.
    """

    def __init__(self, keys: KeyService, custodian: bytes | None) -> None:
        self._keys = keys
        self._custodian = None if custodian is None else _public(custodian)
        self._custodian_id = None if custodian is None else custodian_id(custodian)

    def wrap(self, data_key: bytes, *, handle: str, region: str) -> Wrapping:
        """Wrap a data key under the current key epoch. Raises InvalidInput, KeysUnavailable."""
        return self.group()(data_key, handle, region)

    def group(self) -> Callable[[bytes, str, str], Wrapping]:
        """`wrap` for objects that are wrapped together (data key, handle, region): they share the custodian's lid."""
        wrap = self.group_for_transfer()
        return lambda data_key, handle, region: wrap(data_key, handle, region)[0]

    def group_for_transfer(self) -> Callable[[bytes, str, str], tuple[Wrapping, Wrapping | None]]:
        """As `group`, and beside each wrapping in dual custody the one that the site opens by itself."""
        lid = None if self._custodian is None else _Lid(self._custodian)

        def wrap(data_key: bytes, handle: str, region: str) -> tuple[Wrapping, Wrapping | None]:
            if len(data_key) != KEY_BYTES:
                raise InvalidInput("data key", f"{len(data_key)} bytes", f"A data key has {KEY_BYTES}.")
            context = object_context(handle, region)
            inner = self._keys.wrap(data_key, context)
            own = Wrapping(key_id=Text(inner.key_id), blob=inner.blob)
            if lid is None:
                return own, None
            return Wrapping(key_id=own.key_id, blob=lid.put_on(inner.blob, context), custodian=self._custodian_id), own

        return wrap

    def unwrap(self, wrapping: Wrapping, *, handle: str, region: str, opened: bytes | None = None) -> bytes:
        """The data key; `opened` is what the custodian answered for a wrapping in dual custody.

        Raises WrappingBroken, KeyDestroyed, KeysUnavailable, and InvalidInput where `opened` is missing.
        """
        if (wrapping.custodian is None) != (opened is None):
            fix = "Ask the custodian for what it opens, for each wrapping in dual custody and for no other."
            raise InvalidInput("wrapping", "the custodian's part is missing or too much", fix)
        inner = Wrapped(key_id=wrapping.key_id, blob=wrapping.blob if opened is None else opened)
        data_key = self._keys.unwrap(inner, object_context(handle, region))
        if len(data_key) != KEY_BYTES:
            raise WrappingBroken(f"what {wrapping.key_id} wrapped is no data key of {KEY_BYTES} bytes")
        return data_key


class _Lid:
    """A key that the custodian alone can open, over the inner wrappings of one group."""

    def __init__(self, custodian: X25519PublicKey) -> None:
        key = secrets.token_bytes(KEY_BYTES)
        self._sealed = _SUITE.encrypt(key, custodian, INFO)
        self._cipher = AESGCM(key)

    def put_on(self, inner: bytes, context: bytes) -> bytes:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return self._sealed + nonce + self._cipher.encrypt(nonce, inner, context)


def open_custody(keys: tuple[X25519PrivateKey, ...], blob: bytes, *, handle: str, region: str) -> bytes:
    """The custodian's part: the inner wrapping, by whichever of its keys it was sealed to. Raises WrappingBroken."""
    context = object_context(handle, region)
    lid, nonce, sealed = blob[:LID_BYTES], blob[LID_BYTES:][:_NONCE_BYTES], blob[LID_BYTES + _NONCE_BYTES :]
    for key in keys:
        try:
            return AESGCM(_SUITE.decrypt(lid, key, INFO)).decrypt(nonce, sealed, context)
        except (InvalidTag, ValueError):
            continue
    raise WrappingBroken(f"the wrapping of {handle[:16]}… was altered, or sealed to another key or for another object")


def custodian_id(public: bytes) -> Digest:
    """How wrappings name the custodian's key: the hex SHA-256 of its 32 raw bytes."""
    return Digest(sha256(public).hexdigest())


@functools.cache
def _public(raw: bytes) -> X25519PublicKey:
    try:
        key = X25519PublicKey.from_public_bytes(raw)
        # A key of small order is found out only by using it.
        _SUITE.encrypt(b"", key, INFO)
    except ValueError as error:
        fix = "Take it from the custodian's card: 32 bytes in base64."
        raise InvalidInput("custodian's key", "is no X25519 public key", fix) from error
    return key
