"""Wrapping keys in a PKCS#11 token: enforced by it, which makes them and never gives them away.

AES-256 keys labelled wrap-1, wrap-2, …, for CKM_AES_GCM with a random nonce before each ciphertext. A key of which the
token does not say that it was made in it and could never be extracted is not used. Before the last one is destroyed,
a data object `wrap-3.destroyed` is put into the token: from then on nothing is numbered anew.
"""

import os
import secrets
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from glasshouse.parties.errors import KeyUnavailable
from glasshouse.parties.hardware import TokenKey, open_session, reason_of
from glasshouse.regions.errors import KeysUnavailable, WrappingBroken
from glasshouse.regions.keys.closing import Closed
from glasshouse.regions.keys.interface import (
    Wrapped,
    epoch_id,
    epoch_number,
    number_to_destroy,
    number_to_unwrap,
    refuse_after,
)

if TYPE_CHECKING:
    from pkcs11 import Session

KEY_BITS = 256
NONCE_BYTES = 12
TAG_BITS = 128
_MARK_SUFFIX = ".destroyed"
_T = TypeVar("_T")


class Pkcs11Keys:
    """A `KeyService` over one token; `place.label` is what its keys are called before the number.

    Opening it raises KeysUnavailable.
    """

    def __init__(self, place: TokenKey) -> None:
        self._place, self._name = place, place.label
        self._lock = threading.Lock()
        self._session = self._open()
        self._keys: dict[int, Any] = {}

    def describe(self) -> str:
        """Enforced by the token."""
        return f"keys {self._name!r} in token {self._place.token!r}: enforced, the token never gives them away"

    @property
    def epoch(self) -> str:
        """The newest key in the token."""
        return epoch_id(self._name, self._with_token(lambda: self._current(fresh=True)))

    def epochs(self) -> tuple[str, ...]:
        """By their labels."""
        return tuple(epoch_id(self._name, number) for number in self._with_token(self._find))

    def wrap(self, data_key: bytes, aad: bytes) -> Wrapped:
        """Under the newest key that this process has seen."""
        nonce = secrets.token_bytes(NONCE_BYTES)

        def encrypt() -> Wrapped:
            number = self._current()
            blob = nonce + self._crypt("encrypt", number, nonce, data_key, aad)
            return Wrapped(key_id=epoch_id(self._name, number), blob=blob)

        return self._with_token(encrypt)

    def unwrap(self, wrapped: Wrapped, aad: bytes) -> bytes:
        """By the token. It may say nothing but that it failed; then a probe tells whether the wrapping is at fault."""
        from pkcs11 import PKCS11Error

        nonce, ciphertext = wrapped.blob[:NONCE_BYTES], wrapped.blob[NONCE_BYTES:]

        def decrypt() -> bytes:
            number = epoch_number(self._name, wrapped.key_id)
            if number not in self._keys:
                number = number_to_unwrap(self._name, wrapped, self._find(), self._ended())
            try:
                return self._crypt("decrypt", number, nonce, ciphertext, aad)
            except PKCS11Error:
                # Raises the error of a key or token that does not work any more.
                probe = self._crypt("encrypt", number, nonce, b"probe", aad)
                self._crypt("decrypt", number, nonce, probe, aad)
            raise WrappingBroken(f"what {wrapped.key_id} wrapped was altered, or belongs to another object")

        return self._with_token(decrypt)

    def next_epoch(self) -> str:
        """Made inside the token, not extractable."""
        from pkcs11 import Attribute, KeyType

        def make() -> str:
            number = max(self._find(), default=0) + 1
            refuse_after(self._name, self._ended())
            key = self._session.generate_key(
                KeyType.AES,
                KEY_BITS,
                label=epoch_id(self._name, number),
                id=os.urandom(8),
                store=True,
                template={
                    Attribute.SENSITIVE: True,
                    Attribute.EXTRACTABLE: False,
                    Attribute.ENCRYPT: True,
                    Attribute.DECRYPT: True,
                    Attribute.WRAP: False,
                    Attribute.UNWRAP: False,
                },
            )
            self._keys[number] = _vouched(key, epoch_id(self._name, number))
            return epoch_id(self._name, number)

        return self._with_token(make)

    def destroy(self, key_id: str, *, closed: Closed | None = None) -> None:
        """The token's object is destroyed; a copy that the token's maker lets people back up is not."""

        def remove() -> None:
            living = self._find()
            number = number_to_destroy(self._name, key_id, living, closed=closed, ended=self._ended())
            if number is not None:
                if len(living) == 1:
                    self._mark(number)
                self._keys.pop(number).destroy()
                if number in self._find():
                    raise KeysUnavailable(f"the token still holds {key_id} after it was destroyed")

        self._with_token(remove)

    def _crypt(self, verb: str, number: int, nonce: bytes, data: bytes, aad: bytes) -> bytes:
        from pkcs11 import GCMParams, Mechanism

        parameter = GCMParams(nonce, aad, TAG_BITS)
        call: Callable[..., bytes] = getattr(self._keys[number], verb)
        return bytes(call(data, mechanism=Mechanism.AES_GCM, mechanism_param=parameter))

    def _current(self, *, fresh: bool = False) -> int:
        numbers = self._find() if fresh or not self._keys else sorted(self._keys)
        if not numbers:
            refuse_after(self._name, self._ended())
            raise KeysUnavailable(f"the token holds no key {self._name!r}; begin the first key epoch")
        return numbers[-1]

    def _find(self) -> list[int]:
        """The numbers of the keys that the token holds, whose handles are kept."""
        from pkcs11 import Attribute, KeyType, ObjectClass

        found: dict[int, Any] = {}
        template = {Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.KEY_TYPE: KeyType.AES}
        for key in list(self._session.get_objects(template)):
            label = str(key[Attribute.LABEL])
            number = epoch_number(self._name, label)
            if number is None:
                continue
            if number in found:
                raise KeysUnavailable(f"the token holds more than one key {label!r}; destroy the one that was added")
            found[number] = self._keys.get(number) or _vouched(key, label)
        self._keys = found
        return sorted(found)

    def _mark(self, number: int) -> None:
        """Say in the token that this is its last epoch, before it goes."""
        from pkcs11 import Attribute, ObjectClass

        label = f"{epoch_id(self._name, number)}{_MARK_SUFFIX}"
        if not self._marks():
            says = {Attribute.CLASS: ObjectClass.DATA, Attribute.TOKEN: True, Attribute.LABEL: label}
            self._session.create_object({**says, Attribute.VALUE: b"destroyed"})

    def _ended(self) -> int:
        """The number of the last epoch, where it was destroyed; 0 where it was not."""
        return 0 if self._keys else max(self._marks(), default=0)

    def _marks(self) -> list[int]:
        from pkcs11 import Attribute, ObjectClass

        labels = [str(mark[Attribute.LABEL]) for mark in self._session.get_objects({Attribute.CLASS: ObjectClass.DATA})]
        ended = [label.removesuffix(_MARK_SUFFIX) for label in labels if label.endswith(_MARK_SUFFIX)]
        return [number for name in ended if (number := epoch_number(self._name, name)) is not None]

    def _with_token(self, work: Callable[[], _T]) -> _T:
        """One caller at a time, as sessions ask for; a session that was lost is opened once more."""
        from pkcs11 import PKCS11Error

        with self._lock:
            try:
                return work()
            except PKCS11Error:
                self._session, self._keys = self._open(), {}
            try:
                return work()
            except PKCS11Error as error:
                raise KeysUnavailable(f"token {self._place.token!r} does not work: {reason_of(error)}") from error

    def _open(self) -> "Session":
        try:
            return open_session(self._place, write=True)
        except KeyUnavailable as error:
            raise KeysUnavailable(str(error)) from error


def _vouched(key: Any, label: str) -> Any:
    from pkcs11 import Attribute

    if not (key[Attribute.LOCAL] and key[Attribute.NEVER_EXTRACTABLE] and key[Attribute.ALWAYS_SENSITIVE]):
        raise KeysUnavailable(f"the token does not vouch that its key {label!r} could never be read out")
    return key
