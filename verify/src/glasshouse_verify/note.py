"""Signed notes: text with the signatures of the keys that vouch for it (c2sp.org/signed-note).

    This is an example message.

    — example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=

The text ends in a newline; an empty line and one or more signature lines follow, each an em dash, a space, the key's
name, a space and base64(key id ‖ signature). The last empty line of the note divides. Notes are UTF-8 without ASCII
control characters other than newline. Names are not empty and hold neither Unicode spaces nor "+". A verifier key is

    example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k

name + hex(key id) + base64(algorithm ‖ public key), where key id = SHA-256(name ‖ "\\n" ‖ algorithm ‖ public key)[:4].
Algorithm 0x01 signs the text itself. Algorithm 0x04 (c2sp.org/tlog-cosignature) signs the lines "cosignature/v1" and
"time " ‖ decimal seconds since 1970, followed by the text; the big-endian 64-bit time precedes its signature.

Signatures of unknown keys are ignored. A known key's signature that fails rejects the whole note.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from glasshouse_verify import ed25519
from glasshouse_verify.encoding import decode_base64, encode_base64
from glasshouse_verify.errors import FormatError, SignatureError

ED25519 = 0x01
COSIGNATURE_V1 = 0x04

MAX_NOTE = 1_000_000
MAX_SIGNATURES = 100

_ALL_BUT_CONTROLS = bytes(byte for byte in range(256) if byte >= 0x20 or byte == 0x0A)


@dataclass(frozen=True, kw_only=True)
class VerifierKey:
    """A public key under a name; constructing one checks name, algorithm and key, and raises `FormatError`."""

    name: str
    algorithm: int
    public: bytes

    def __post_init__(self) -> None:
        _check_name(self.name, "vkey name")
        if self.algorithm not in (ED25519, COSIGNATURE_V1):
            raise FormatError("vkey algorithm", f"0x{self.algorithm:02x} is neither 0x01 nor 0x04")
        ed25519.check_public(self.public, "vkey public key")

    @property
    def key_id(self) -> bytes:
        """The 4 bytes that, together with the name, select this key in a note; not a cryptographic identity."""
        return hashlib.sha256(b"%s\n%c%s" % (self.name.encode(), self.algorithm, self.public)).digest()[:4]


@dataclass(frozen=True, kw_only=True)
class NoteSignature:
    """One signature line: `value` is what follows the 4 bytes of the key id."""

    name: str
    key_id: bytes
    value: bytes


@dataclass(frozen=True, kw_only=True)
class Note:
    """A parsed note; nothing about it is verified. `text` includes its final newline."""

    text: str
    signatures: tuple[NoteSignature, ...]


def parse_vkey(text: str) -> VerifierKey:
    """Read a verifier key; `FormatError` unless `format_vkey` would write this text."""
    parts = text.split("+", 2)
    if len(parts) != 3:
        raise FormatError("vkey", "not name+id+key")
    data = decode_base64(parts[2], "vkey key")
    key = VerifierKey(name=parts[0], algorithm=data[0] if data else 0, public=data[1:])
    if key.key_id.hex() != parts[1]:
        raise FormatError("vkey id", "does not belong to this name and key")
    return key


def format_vkey(key: VerifierKey) -> str:
    """Write a verifier key."""
    return f"{key.name}+{key.key_id.hex()}+{encode_base64(bytes([key.algorithm]) + key.public)}"


def parse_note(data: bytes) -> Note:
    """Read a note of at most `MAX_NOTE` bytes; `FormatError` unless `format_note` would write these bytes."""
    if len(data) > MAX_NOTE:
        raise FormatError("note", f"{len(data)} bytes, more than {MAX_NOTE}")
    if data.translate(None, delete=_ALL_BUT_CONTROLS):
        raise FormatError("note", "ASCII control character")
    try:
        text, divider, tail = data.decode().rpartition("\n\n")
    except UnicodeDecodeError:
        raise FormatError("note", "not UTF-8") from None
    if not divider:
        raise FormatError("note", "no empty line before the signatures")
    if not tail.endswith("\n"):
        raise FormatError("note signature", "missing, or without its newline")
    lines = tail[:-1].split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise FormatError("note signatures", f"more than {MAX_SIGNATURES}")
    return Note(text=text + "\n", signatures=tuple(_parse_signature(line) for line in lines))


def _parse_signature(line: str) -> NoteSignature:
    if not line.startswith("— "):
        raise FormatError("note signature", "does not start with an em dash and a space")
    name, _, value = line[2:].partition(" ")
    _check_name(name, "note signature name")
    data = decode_base64(value, "note signature")
    if len(data) < 5:
        raise FormatError("note signature", "shorter than a key id and a signature")
    return NoteSignature(name=name, key_id=data[:4], value=data[4:])


def format_note(note: Note) -> bytes:
    """Write a note; `FormatError` if `parse_note` would not read the same note back."""
    lines = (f"— {s.name} {encode_base64(s.key_id + s.value)}\n" for s in note.signatures)
    data = f"{note.text}\n{''.join(lines)}".encode(errors="replace")
    if parse_note(data) != note:
        raise FormatError("note", "its text has no last newline or a lone surrogate, or a key id is not 4 bytes")
    return data


def verify_note(note: Note, keys: Iterable[VerifierKey]) -> tuple[tuple[VerifierKey, int], ...]:
    """Return which of `keys` signed the note, each once, with the newest time it states (0 for plain Ed25519).

    Raises `SignatureError` if any signature of a known key fails or if no known key signed.
    """
    known: dict[tuple[str, bytes], VerifierKey] = {}
    for key in keys:
        if known.setdefault((key.name, key.key_id), key) != key:
            raise SignatureError(f"two keys share the name {key.name} and one id")
    signed: dict[VerifierKey, int] = {}
    for signature in note.signatures:
        if signer := known.get((signature.name, signature.key_id)):
            signed[signer] = max(_verify_signature(signer, note.text, signature.value), signed.get(signer, 0))
    if not signed:
        raise SignatureError("no known key signed the note")
    return tuple(signed.items())


def _verify_signature(key: VerifierKey, text: str, value: bytes) -> int:
    timestamp = 0
    if key.algorithm == COSIGNATURE_V1:
        timestamp, value = int.from_bytes(value[:8], "big"), value[8:]
        if timestamp >= 2**63:
            raise SignatureError(f"signature of {key.name} states a time beyond 2**63")
    ed25519.verify(key.public, signed_bytes(key.algorithm, text, timestamp), value, key.name)
    return timestamp


def signed_bytes(algorithm: int, text: str, timestamp: int) -> bytes:
    """Return the message that a key of `algorithm` signs for a note's text at `timestamp` (seconds since 1970)."""
    return (f"cosignature/v1\ntime {timestamp}\n{text}" if algorithm == COSIGNATURE_V1 else text).encode()


def signature_value(algorithm: int, signature: bytes, timestamp: int) -> bytes:
    """Return the bytes that follow the key id in the signature line: for 0x04 the time precedes the signature."""
    return timestamp.to_bytes(8, "big") + signature if algorithm == COSIGNATURE_V1 else signature


def _check_name(name: str, field: str) -> None:
    if not name or "+" in name or any(c.isspace() or c < " " or "\ud800" <= c <= "\udfff" for c in name):
        raise FormatError(field, "empty, or holds a space, a control character, a lone surrogate or '+'")
