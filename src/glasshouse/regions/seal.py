"""Sealed objects: one file or batch of records, encrypted under a data key of its own that seals nothing else.

    sealed object = segment 0 ‖ segment 1 ‖ … ‖ last segment
    segment       = AES-256-GCM(data key, nonce, AAD, at most 65,536 bytes of the plaintext), with its 16-byte tag
    nonce         = segment number (11 bytes, big-endian) ‖ 1 for the last segment, 0 for any other
    AAD           = handle (32 bytes) ‖ region id (UTF-8)
    plaintext     = length of the metadata (4 bytes, big-endian) ‖ metadata (canonical JSON object) ‖ content

This is the STREAM construction of Hoang, Reyhanitabar, Rogaway and Vizár (CRYPTO 2015, "Online Authenticated-Encryption
and its Nonce-Reuse Misuse-Resistance"): segments altered, left out, added or put in another order do not open, nor does
an object under another handle or region. Every segment but the last is full, and the last holds at least one byte.

A nonce under one key is used once, whatever happens: a sealer makes its own key, numbers its segments by itself, stops
for good at the first error, and exists in one process, once. Specification: docs/spec/sealed-object.md.
"""

import hashlib
import os
import re
import secrets
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NoReturn

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from glasshouse_verify.codec import Digest, Identifier, decode
from glasshouse_verify.encoding import JSON, format_json, parse_json
from glasshouse_verify.errors import FormatError

from glasshouse.regions.errors import InvalidInput, SealBroken, SealSpent

KEY_BYTES = 32
SEGMENT_BYTES = 65_536
TAG_BYTES = 16
SEALED_SEGMENT_BYTES = SEGMENT_BYTES + TAG_BYTES
LENGTH_BYTES = 4
# The metadata ends within the first segment, so that they can be read without the rest.
MAX_METADATA = SEGMENT_BYTES - LENGTH_BYTES
_NOT_LAST, _LAST = b"\x00", b"\x01"
_FINISHED = "it was finished"
_HANDLE, _REGION = re.compile(r"[0-9a-f]{64}"), re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


@dataclass(frozen=True, kw_only=True)
class Sealed:
    """What a finished sealer sealed: SHA-256 and size in bytes of the content alone, and of the sealed object."""

    content_sha256: str
    content_size: int
    sealed_sha256: str
    sealed_size: int


def new_handle() -> str:
    """A random 256-bit handle in hex: the public name of an object, which tells nothing about it."""
    return secrets.token_hex(32)


def object_context(handle: str, region: str) -> bytes:
    """What binds a sealed object and its wrapped key to their place: handle ‖ region. Raises InvalidInput."""
    if _HANDLE.fullmatch(handle) and _REGION.fullmatch(region):
        return bytes.fromhex(handle) + region.encode()
    try:
        name, place = str(decode(Digest, handle, "handle")), str(decode(Identifier, region, "region"))
    except FormatError as error:
        raise InvalidInput(error.field, error.reason, "Give the handle in hex and a region of the charter.") from error
    return bytes.fromhex(name) + place.encode()


def format_preamble(metadata: Mapping[str, JSON]) -> bytes:
    """The plaintext before the content. Raises InvalidInput for metadata without canonical JSON, or too long."""
    try:
        text = format_json(dict(metadata))
    except FormatError as error:
        raise InvalidInput("metadata", error.reason, "Use text, integers, true, false and null.") from error
    if len(text) > MAX_METADATA:
        raise InvalidInput("metadata", f"{len(text)} bytes", f"Use at most {MAX_METADATA} bytes.")
    return len(text).to_bytes(LENGTH_BYTES, "big") + text


def parse_preamble(plaintext: bytes) -> tuple[dict[str, JSON], int]:
    """The metadata at the beginning of the first segment's plaintext, and where the content begins.

    Raises SealBroken where it is not what `format_preamble` writes.
    """
    end = LENGTH_BYTES + int.from_bytes(plaintext[:LENGTH_BYTES], "big")
    if len(plaintext) < LENGTH_BYTES or len(plaintext) < end:
        raise SealBroken("the metadata do not end within the first segment")
    try:
        metadata = parse_json(plaintext[LENGTH_BYTES:end], "metadata", MAX_METADATA)
    except FormatError as error:
        raise SealBroken(str(error)) from error
    if not isinstance(metadata, dict):
        raise SealBroken("metadata: not an object")
    return metadata, end


class Sealer:
    """Seals one object, whose content comes in pieces of any size; memory is bounded by a segment and a piece.

    It makes the data key itself (`key`), and seals nothing more once the stream has ended: SealSpent, also for the
    second of two callers at once and in a forked process. An upload that broke goes on with the sealer that began it,
    after `check_kept`; without that sealer it begins anew, with another key.
    """

    def __init__(self, *, handle: str, region: str, metadata: Mapping[str, JSON]) -> None:
        """Raises InvalidInput."""
        self._handle, self._region = handle, region
        self._context = object_context(handle, region)
        self._held = bytearray(format_preamble(metadata))
        self._preamble_size = len(self._held)
        self.key = secrets.token_bytes(KEY_BYTES)
        self._cipher = AESGCM(self.key)
        self._number = 0
        self._content_size = 0
        self._content_hash, self._sealed_hash = hashlib.sha256(), hashlib.sha256()
        self._sealed_size = 0
        self._ended = ""
        self._busy = threading.Lock()
        self._process = os.getpid()

    @property
    def position(self) -> int:
        """How many bytes of content it has taken: where a broken upload goes on."""
        return self._content_size

    @property
    def emitted(self) -> int:
        """How many bytes of the sealed object it has given out: what is to be on disk before an upload goes on."""
        return self._sealed_size

    def size_of(self, content_size: int) -> int:
        """How many bytes the sealed object will have with so much content."""
        plain = self._preamble_size + content_size
        return plain + -(-plain // SEGMENT_BYTES) * TAG_BYTES

    def update(self, content: bytes | bytearray | memoryview) -> bytes:
        """Take a piece of content; the segments that it completed, perhaps none. Raises SealSpent."""
        with self._stream(), memoryview(content).cast("B") as view:
            self._content_hash.update(view)
            self._content_size += len(view)
            sealed, at = [], 0
            if self._held:
                at = min(SEGMENT_BYTES - len(self._held), len(view))
                self._held += view[:at]
                if at < len(view):
                    sealed.append(self._seal(self._held, _NOT_LAST))
                    self._held.clear()
            # A full segment is held back: only what follows it tells that it is not the last.
            while len(view) - at > SEGMENT_BYTES:
                sealed.append(self._seal(view[at : at + SEGMENT_BYTES], _NOT_LAST))
                at += SEGMENT_BYTES
            self._held += view[at:]
            return b"".join(sealed)

    def finish(self) -> bytes:
        """The last segment; the stream has ended. Raises SealSpent."""
        with self._stream():
            last = self._seal(self._held, _LAST)
            self._held.clear()
            self._ended = _FINISHED
            return last

    @property
    def sealed(self) -> Sealed:
        """Digests and sizes of a finished object. Raises SealSpent before that."""
        if self._ended != _FINISHED:
            raise SealSpent(f"this object is not sealed: {self._ended or 'its sealer has not been finished'}")
        return Sealed(
            content_sha256=self._content_hash.hexdigest(),
            content_size=self._content_size,
            sealed_sha256=self._sealed_hash.hexdigest(),
            sealed_size=self._sealed_size,
        )

    def check_kept(self, kept: Iterable[bytes], *, position: int) -> None:
        """Before a broken upload goes on at `position`: read back what is on disk, and authenticate all of it.

        Raises InvalidInput for another position than the sealer's, after which it can still go on; and SealBroken, for
        good, where `kept` is not to the byte what this sealer gave out. Content that was lost with a part of the disk
        is never sealed again under this key: the client might send other content for the same nonces.
        """
        with self._stream():
            if position != self._content_size:
                fix = "Go on where the upload broke."
                raise InvalidInput("offset", f"{position}, expected {self._content_size}", fix)
            digest, size, opener = hashlib.sha256(), 0, Opener(self.key, handle=self._handle, region=self._region)
            for piece in kept:
                digest.update(piece)
                size += len(piece)
                if size > self._sealed_size:
                    break
                opener.update(piece)
            if size != self._sealed_size or digest.digest() != self._sealed_hash.digest():
                reason = f"what is on disk is not the {self._sealed_size} bytes that were sealed"
                raise SealBroken(f"{reason}; begin anew with another key")
            opener.check_unfinished()

    def _seal(self, plaintext: bytearray | memoryview, flag: bytes) -> bytes:
        # Counted before it is used: whatever fails now, this nonce is spent.
        number, self._number = self._number, self._number + 1
        sealed = self._cipher.encrypt(_nonce(number, flag), plaintext, self._context)
        self._sealed_hash.update(sealed)
        self._sealed_size += len(sealed)
        return sealed

    @contextmanager
    def _stream(self) -> Iterator[None]:
        """One caller at a time, none after the end; an error of any kind but a refused offset is the end."""
        if not self._busy.acquire(blocking=False):
            raise SealSpent("another caller is using this sealer")
        try:
            if self._ended:
                raise SealSpent(f"this sealer seals nothing more: {self._ended}")
            if os.getpid() != self._process:
                raise SealSpent("this sealer belongs to another process; begin anew with another key")
            yield
        except InvalidInput:
            raise
        except BaseException as error:
            self._ended = self._ended or f"it failed ({type(error).__name__})"
            raise
        finally:
            self._busy.release()

    def _refuse_copy(self, *_: object) -> NoReturn:
        raise SealSpent("a sealer is never copied or stored: two of them would use the same nonces")

    __copy__ = __deepcopy__ = __reduce_ex__ = _refuse_copy


class Opener:
    """Opens one sealed object, which comes in pieces of any size; memory is bounded by a segment and a piece.

    What `update` returns is authentic as far as it goes, but the object may have been cut short after it: only
    `finish` says that it is whole. Both raise SealBroken, and from then on nothing else.
    """

    def __init__(self, key: bytes, *, handle: str, region: str) -> None:
        """Raises InvalidInput."""
        if len(key) != KEY_BYTES:
            raise InvalidInput("data key", f"{len(key)} bytes", f"A data key has {KEY_BYTES}.")
        self._context = object_context(handle, region)
        self._cipher = AESGCM(key)
        self._held = bytearray()
        self._number = 0
        self._metadata: dict[str, JSON] | None = None
        self._ended = False
        self._broken: SealBroken | None = None

    @property
    def metadata(self) -> dict[str, JSON]:
        """The object's metadata, once its first segment has been opened. Raises InvalidInput before that."""
        if self._metadata is None:
            raise InvalidInput("sealed object", "its first segment has not been opened", "Feed or finish it first.")
        return self._metadata

    def update(self, sealed: bytes | bytearray | memoryview) -> bytes:
        """Take a piece of the sealed object; the content of the segments that it completed, perhaps none."""
        with self._stream(), memoryview(sealed).cast("B") as view:
            opened, at = [], 0
            if self._held:
                at = min(SEALED_SEGMENT_BYTES - len(self._held), len(view))
                self._held += view[:at]
                if at < len(view):
                    opened.append(self._open(self._held, _NOT_LAST))
                    self._held.clear()
            while len(view) - at > SEALED_SEGMENT_BYTES:
                opened.append(self._open(view[at : at + SEALED_SEGMENT_BYTES], _NOT_LAST))
                at += SEALED_SEGMENT_BYTES
            self._held += view[at:]
            return b"".join(opened)

    def finish(self) -> bytes:
        """The content of the last segment: the object is whole. Raises SealBroken."""
        with self._stream():
            if len(self._held) <= TAG_BYTES:
                raise SealBroken(f"the sealed object is cut short: {len(self._held)} bytes are no segment")
            content = self._open(self._held, _LAST)
            self._held.clear()
            self._ended = True
            return content

    def check_unfinished(self) -> None:
        """Authenticate what is held back as a segment that is not the last. Raises SealBroken."""
        with self._stream():
            if self._held:
                self._open(self._held, _NOT_LAST)
                self._held.clear()

    def open(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """The content of a whole object, in pieces; it is whole only once the iterator has ended without SealBroken."""
        for piece in pieces:
            if content := self.update(piece):
                yield content
        if content := self.finish():
            yield content

    def _open(self, sealed: bytearray | memoryview, flag: bytes) -> bytes:
        plaintext = _open_segment(self._cipher, self._number, flag, sealed, self._context)
        self._number += 1
        if self._metadata is not None:
            return plaintext
        self._metadata, start = parse_preamble(plaintext)
        return plaintext[start:]

    @contextmanager
    def _stream(self) -> Iterator[None]:
        if self._broken is not None:
            raise SealBroken(f"this object was found broken before: {self._broken}")
        if self._ended:
            raise SealSpent("this object has been opened to its end; open it again with another opener")
        try:
            yield
        except SealBroken as error:
            self._broken = error
            raise


def _nonce(number: int, flag: bytes) -> bytes:
    return number.to_bytes(11, "big") + flag


def _open_segment(
    cipher: AESGCM, number: int, flag: bytes, sealed: bytes | bytearray | memoryview, context: bytes
) -> bytes:
    try:
        return cipher.decrypt(_nonce(number, flag), sealed, context)
    except InvalidTag:
        reason = f"segment {number} does not open: it was altered, or belongs to another place, object or region"
    other = _LAST if flag == _NOT_LAST else _NOT_LAST
    try:
        cipher.decrypt(_nonce(number, other), sealed, context)
    except InvalidTag:
        raise SealBroken(reason) from None
    ends = "bytes follow its last segment" if flag == _NOT_LAST else "it is cut short"
    raise SealBroken(f"the sealed object does not end as it should: {ends} (segment {number})")
