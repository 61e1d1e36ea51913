"""What a store honours, asked by doing: under one random key that is erased again.

A store's acknowledgement or documentation is no evidence. Read-only credentials are asked to write too: that they
cannot is one of the answers.
"""

import contextlib
import hashlib
import secrets
from collections.abc import Callable
from itertools import islice

from glasshouse.relocation.errors import Forbidden, RelocationError
from glasshouse.relocation.stores.interface import Answer, Capabilities, Store, Version
from glasshouse.storage.errors import ObjectConflict, ObjectMissing, StorageError

_PREFIX = b"glasshouse-probe-"
_FIRST, _SECOND = b"first", b"second"


def new_key() -> bytes:
    """A key that nobody else has."""
    return _PREFIX + secrets.token_hex(16).encode()


def probe(store: Store, *, versions: bool | None, locks: bool | None) -> Capabilities:
    """Ask a store. `versions` and `locks`: what it says of them itself, None where it does not say.

    Raises Unavailable where it does not answer at all.
    """
    key = new_key()
    notes: list[str] = []
    readable = _answer(lambda: _readable(store))
    try:
        store.write(key, _FIRST, once=False)
    except Forbidden:
        return Capabilities(
            store=store.url,
            readable=readable,
            writable=Answer.NO,
            versions=_said(versions),
            conditional_create=Answer.UNKNOWN,
            read_after_write=Answer.UNKNOWN,
            list_after_write=Answer.UNKNOWN,
            checksums=Answer.UNKNOWN,
            locks=_said(locks),
            notes=("these credentials cannot write, as those of a destination or a supervisor should not",),
        )
    try:
        listed = _versions(store, key)
        conditional = _answer(lambda: _holds_back(store, key))
        checksums = _answer(lambda: _refuses_wrong(store, key))
        read = _answer(lambda: _content(store, key) == _FIRST)
    finally:
        left = [version for version in _versions(store, key) if store.erase([version])]
    if left:
        notes.append(f"{len(left)} versions under the probe's own key {key.decode()} could not be erased")
    if _versions(store, key):
        notes.append("what was erased is still listed")
    if conditional == Answer.NO:
        notes.append("a second writer replaces what the first has written: If-None-Match is ignored")
    return Capabilities(
        store=store.url,
        readable=readable,
        writable=Answer.YES,
        versions=_said(versions),
        conditional_create=conditional,
        read_after_write=read,
        list_after_write=_said(len(listed) == 1),
        checksums=checksums,
        locks=_said(locks),
        notes=tuple(notes),
    )


def write_refused(store: Store) -> bool:
    """Whether a write really fails, by trying one; what got through is erased again.

    Raises Unavailable where the store does not answer: that is no refusal.
    """
    key = new_key()
    try:
        store.write(key, _FIRST)
    except Forbidden:
        return True
    store.erase(list(_versions(store, key)))
    return False


def _readable(store: Store) -> bool:
    found = next((version for version in islice(store.list(), 1_000) if not version.marker), None)
    if found is not None:
        next(iter(store.read(found)), b"")
    return True


def _versions(store: Store, key: bytes) -> list[Version]:
    return [version for version in store.list(key[:-1], key) if version.key == key]


def _content(store: Store, key: bytes) -> bytes:
    return b"".join(store.read(_versions(store, key)[-1]))


def _holds_back(store: Store, key: bytes) -> bool:
    try:
        store.write(key, _SECOND, once=True)
    except ObjectConflict:
        return _content(store, key) == _FIRST
    return False


def _refuses_wrong(store: Store, key: bytes) -> bool:
    wrong = hashlib.sha256(_SECOND).digest()
    with contextlib.suppress(RelocationError, StorageError):
        store.write(key, _FIRST, checksum=wrong)
        return False
    return True


def _said(said: bool | None) -> Answer:
    return Answer.UNKNOWN if said is None else Answer.YES if said else Answer.NO


def _answer(ask: Callable[[], bool]) -> Answer:
    try:
        return _said(ask())
    except (Forbidden, ObjectMissing):
        return Answer.NO
