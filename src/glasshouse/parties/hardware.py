"""Private keys in hardware: Ed25519 keys made inside a PKCS#11 token, which signs with them and never gives them away.

    [keys.release]                                    # in node.toml; nothing in it is secret
    module = "/usr/lib/softhsm/libsofthsm2.so"        # the maker's PKCS#11 library
    token = "acme"                                    # the token's label
    label = "release"                                 # the key's label in it
    pin_file = "keys/pin"                             # or: pin_variable = "ACME_PIN"

Mechanisms CKM_EC_EDWARDS_KEY_PAIR_GEN and CKM_EDDSA of PKCS#11 3.0. A token locks itself after a few wrong PINs, so a
PIN that was refused once is not tried again by the same process, and whoever repeats work stops at `PinRefused`.
"""

import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glasshouse_verify.codec import decode, encode
from glasshouse_verify.ed25519 import check_public, keyid, verify
from glasshouse_verify.encoding import format_json, parse_json
from glasshouse_verify.errors import FormatError, SignatureError

from glasshouse.parties.errors import KeyUnavailable, PinRefused
from glasshouse.parties.keys import read_private

if TYPE_CHECKING:
    from pkcs11 import Session, Token

_CURVE = "1.3.101.112"
_OCTETS_OF_32 = b"\x04\x20"
_MAX_PLACE = 10_000
_refused: set[tuple[str, str]] = set()
_opening = threading.Lock()


@dataclass(frozen=True, kw_only=True)
class TokenKey:
    """Where a key is, and where its token's PIN is to be read: a private file, or a variable of the environment."""

    module: str
    token: str
    label: str
    pin_file: str | None = None
    pin_variable: str | None = None

    def __str__(self) -> str:
        return f"key {self.label!r} in token {self.token!r}"

    def read_pin(self) -> str:
        """The token's PIN; raises KeyUnavailable where it is missing or others can read it."""
        if self.pin_file is not None:
            try:
                return read_private(Path(self.pin_file)).decode().removesuffix("\n")
            except UnicodeDecodeError:
                raise KeyUnavailable(f"{self.pin_file} holds no PIN: it is not UTF-8") from None
        pin = os.environ.get(self.pin_variable or "")
        if pin is None:
            raise KeyUnavailable(f"the environment variable {self.pin_variable} with the token's PIN is not set")
        return pin


def format_place(place: TokenKey) -> str:
    """A place as one line of JSON, for the signing process's command line."""
    return format_json(encode(place)).decode()


def parse_place(text: str) -> TokenKey:
    """Read what `format_place` wrote; raises FormatError."""
    place: TokenKey = decode(TokenKey, parse_json(text.encode(), "key", _MAX_PLACE), "key")
    return place


class HardwareSigner:
    """A key in a token; opening it raises KeyUnavailable, or PinRefused. Threads may share it."""

    def __init__(self, place: TokenKey) -> None:
        self._place = place
        self._lock = threading.Lock()
        self._key, self.public = _find_key(open_session(place), place)
        self.keyid = keyid(self.public)

    def sign(self, message: bytes) -> bytes:
        """Have the token sign; raises KeyUnavailable. A session that was lost is opened once more."""
        from pkcs11 import PKCS11Error

        with self._lock:
            try:
                signature = self._sign(message)
            except PKCS11Error:
                self._key, public = _find_key(open_session(self._place), self._place)
                if public != self.public:
                    raise KeyUnavailable(f"{self._place} is not the key that it was") from None
                try:
                    signature = self._sign(message)
                except PKCS11Error as error:
                    raise KeyUnavailable(f"{self._place} does not sign: {reason_of(error)}") from error
        try:
            verify(self.public, message, signature, str(self._place))
        except SignatureError as error:
            raise KeyUnavailable(f"{error}: the public key beside it is another's") from error
        return signature

    def _sign(self, message: bytes) -> bytes:
        from pkcs11 import Mechanism

        return bytes(self._key.sign(message, mechanism=Mechanism.EDDSA))


def generate_in_token(place: TokenKey) -> bytes:
    """Make a key pair inside the token, not extractable, and return its raw public key.

    Raises KeyUnavailable, also where the label is taken: a key is never overwritten.
    """
    from pkcs11 import Attribute, KeyType, Mechanism, PKCS11Error
    from pkcs11.util.ec import encode_named_curve_parameters

    session = open_session(place, write=True)
    try:
        if any(True for _ in session.get_objects({Attribute.LABEL: place.label})):
            raise KeyUnavailable(f"the label is taken: there is a {place} already")
        curve = session.create_domain_parameters(
            KeyType.EC_EDWARDS, {Attribute.EC_PARAMS: encode_named_curve_parameters(_CURVE)}, local=True
        )
        curve.generate_keypair(
            mechanism=Mechanism.EC_EDWARDS_KEY_PAIR_GEN,
            store=True,
            label=place.label,
            id=os.urandom(8),
            private_template={Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False},
        )
        key, public = _find_key(session, place)
        if not key[Attribute.NEVER_EXTRACTABLE]:
            raise KeyUnavailable(f"the token made {place}, but does not vouch that it can never be read out")
    except PKCS11Error as error:
        raise KeyUnavailable(f"the token made no {place}: {reason_of(error)}") from error
    return public


def is_never_extractable(place: TokenKey) -> bool:
    """Whether the token says that the key was made in it and could at no time be read out."""
    from pkcs11 import Attribute, PKCS11Error

    key, _ = _find_key(open_session(place), place)
    try:
        return bool(key[Attribute.LOCAL] and key[Attribute.NEVER_EXTRACTABLE] and key[Attribute.ALWAYS_SENSITIVE])
    except PKCS11Error:
        return False


def open_session(place: TokenKey, *, write: bool = False) -> "Session":
    """A session with the token's user signed in; raises KeyUnavailable, or PinRefused."""
    import pkcs11

    token, pin = _find_token(place), place.read_pin()
    attempt = (place.token, pin)
    with _opening:
        if attempt in _refused:
            raise PinRefused(f"token {place.token!r} refused this PIN before; it is not tried again")
        try:
            try:
                return token.open(rw=write, user_pin=pin)
            except pkcs11.UserAlreadyLoggedIn:
                # A process signs in to a token once, for all its sessions.
                return token.open(rw=write)
        except (pkcs11.PinIncorrect, pkcs11.PinInvalid, pkcs11.PinLenRange) as error:
            _refused.add(attempt)
            raise PinRefused(f"the PIN is wrong for token {place.token!r}; a few wrong ones lock it") from error
        except pkcs11.PinLocked as error:
            raise PinRefused(f"token {place.token!r} is locked after wrong PINs; its officer can unlock it") from error
        except pkcs11.PKCS11Error as error:
            raise KeyUnavailable(f"token {place.token!r} does not open: {reason_of(error)}") from error


def _find_token(place: TokenKey) -> "Token":
    import pkcs11

    if not Path(place.module).is_file():
        raise KeyUnavailable(f"there is no PKCS#11 library {place.module}; install the one of the token's maker")
    try:
        library = pkcs11.lib(place.module)
    except pkcs11.PKCS11Error as error:
        raise KeyUnavailable(f"{place.module} is no PKCS#11 library that works here: {reason_of(error)}") from error
    try:
        return library.get_token(token_label=place.token)
    except pkcs11.NoSuchToken:
        raise KeyUnavailable(f"there is no token {place.token!r}; is it plugged in?") from None
    except pkcs11.MultipleTokensReturned:
        raise KeyUnavailable(f"there are several tokens {place.token!r}; give each a label of its own") from None
    except pkcs11.PKCS11Error as error:
        raise KeyUnavailable(f"{place.module} shows no tokens: {reason_of(error)}") from error


def _find_key(session: "Session", place: TokenKey) -> tuple[Any, bytes]:
    """The private key's handle (pkcs11 mixes its methods in when it runs) and the public key of that label."""
    import pkcs11

    try:
        key = session.get_key(object_class=pkcs11.ObjectClass.PRIVATE_KEY, label=place.label)
        public = session.get_key(object_class=pkcs11.ObjectClass.PUBLIC_KEY, label=place.label)
        point = public[pkcs11.Attribute.EC_POINT]
    except pkcs11.NoSuchKey:
        raise KeyUnavailable(f"there is no {place}; make it with: glasshouse key new") from None
    except pkcs11.MultipleObjectsReturned:
        raise KeyUnavailable(f"there is more than one {place}") from None
    except pkcs11.PKCS11Error as error:
        raise KeyUnavailable(f"{place} cannot be used: {reason_of(error)}") from error
    # PKCS#11 3.0 has the point as an OCTET STRING in DER, some tokens give the 32 bytes alone.
    raw = bytes(point).removeprefix(_OCTETS_OF_32) if len(point) > 32 else bytes(point)
    try:
        return key, check_public(raw, str(place))
    except FormatError as error:
        raise KeyUnavailable(f"{place} is no Ed25519 key: {error.reason}") from error


def reason_of(error: Exception) -> str:
    """What a PKCS#11 library says about a failure, which may be nothing but its code."""
    return f"{type(error).__name__} {error}".rstrip()
