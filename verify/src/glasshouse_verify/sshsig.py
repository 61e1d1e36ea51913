"""SSH signatures by Ed25519 keys, as `git commit -S` and `git tag -s` make them where gpg.format is ssh.

    -----BEGIN SSH SIGNATURE-----
    U1NIU0lHAAAAAQAAADMAAAALc3NoLWVkMjU1MTkAAAAgJKxoLBJBivUPNTUJUSslQTt2hD
    …
    -----END SSH SIGNATURE-----

The armour holds base64 of: "SSHSIG", version 1, public key, namespace, an empty string, hash algorithm, signature. What
is signed is "SSHSIG" followed by the namespace, the empty string, the hash algorithm and the hash of the message; every
string is preceded by its length in four bytes. Other keys than ssh-ed25519 are refused. Follows OpenSSH's
PROTOCOL.sshsig.
"""

import hashlib
import re
import struct
from dataclasses import dataclass

from glasshouse_verify.ed25519 import check_public, verify
from glasshouse_verify.encoding import decode_base64, encode_base64
from glasshouse_verify.errors import FormatError

GIT_NAMESPACE = "git"
_MAGIC = b"SSHSIG"
_KEY_TYPE = b"ssh-ed25519"
_HASHES = ("sha256", "sha512")
_ARMOUR = re.compile(
    rb"-----BEGIN SSH SIGNATURE-----\n((?:[A-Za-z0-9+/=]{1,76}\n){1,16})-----END SSH SIGNATURE-----\n?"
)
_PUBLIC_LINE = re.compile(r"ssh-ed25519 ([A-Za-z0-9+/=]{1,200})(?: [^\n]*)?\n?")


@dataclass(frozen=True, kw_only=True)
class SshSignature:
    """A parsed signature: 32-byte public key, namespace, hash algorithm, 64-byte Ed25519 signature."""

    public: bytes
    namespace: str
    hash: str
    signature: bytes

    def __post_init__(self) -> None:
        if self.hash not in _HASHES:
            raise FormatError("sshsig.hash", "must be sha256 or sha512")

    def signed_bytes(self, message: bytes) -> bytes:
        """What the key signs for `message`."""
        digest = hashlib.new(self.hash, message).digest()
        return _MAGIC + b"".join(map(_string, (self.namespace.encode(), b"", self.hash.encode(), digest)))


def parse_sshsig(text: bytes) -> SshSignature:
    """Parse the armoured form; raises FormatError, also for another key type."""
    armour = _ARMOUR.fullmatch(text)
    if armour is None:
        raise FormatError("sshsig", "is not an armoured SSH signature")
    blob = decode_base64(armour[1].replace(b"\n", b"").decode(), "sshsig", None)
    head = _MAGIC + struct.pack(">I", 1)
    if not blob.startswith(head):
        raise FormatError("sshsig", "is not of version 1")
    key, namespace, reserved, algorithm, value = _strings(blob[len(head) :], 5, "sshsig")
    if reserved:
        raise FormatError("sshsig.reserved", "must be empty")
    return SshSignature(
        public=_ed25519(key, 32, "sshsig.publickey"),
        namespace=_ascii(namespace, "sshsig.namespace"),
        hash=_ascii(algorithm, "sshsig.hash"),
        signature=_ed25519(value, 64, "sshsig.signature"),
    )


def format_sshsig(made: SshSignature) -> bytes:
    """The armoured form, wrapped as ssh-keygen does."""
    key, value = (_string(_KEY_TYPE) + _string(part) for part in (made.public, made.signature))
    fields = (key, made.namespace.encode(), b"", made.hash.encode(), value)
    text = encode_base64(_MAGIC + struct.pack(">I", 1) + b"".join(map(_string, fields)))
    lines = "".join(f"{text[start : start + 70]}\n" for start in range(0, len(text), 70))
    return f"-----BEGIN SSH SIGNATURE-----\n{lines}-----END SSH SIGNATURE-----\n".encode()


def verify_sshsig(text: bytes, message: bytes, namespace: str) -> bytes:
    """The raw public key that signed `message` in this namespace; raises FormatError, SignatureError."""
    made = parse_sshsig(text)
    if made.namespace != namespace:
        raise FormatError("sshsig.namespace", f"must be {namespace}")
    verify(check_public(made.public, "sshsig.publickey"), made.signed_bytes(message), made.signature, "an SSH key")
    return made.public


def parse_public_line(line: str) -> bytes:
    """The raw key of a line such as `ssh-ed25519 AAAA… ann@example.org`; raises FormatError."""
    found = _PUBLIC_LINE.fullmatch(line)
    if found is None:
        raise FormatError("public key", "must be one line that begins with ssh-ed25519")
    return check_public(_ed25519(decode_base64(found[1], "public key", None), 32, "public key"), "public key")


def _ed25519(data: bytes, size: int, field: str) -> bytes:
    kind, value = _strings(data, 2, field)
    if kind != _KEY_TYPE or len(value) != size:
        raise FormatError(field, "must be of an ssh-ed25519 key")
    return value


def _string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def _strings(data: bytes, count: int, field: str) -> list[bytes]:
    """Exactly `count` strings, each after its length in four bytes."""
    found: list[bytes] = []
    place = 0
    while place < len(data) and len(found) < count:
        size = int.from_bytes(data[place : place + 4], "big")
        found.append(data[place + 4 : place + 4 + size])
        place += 4 + size
    if len(found) != count or place != len(data):
        raise FormatError(field, f"must be {count} strings, each after its length")
    return found


def _ascii(data: bytes, field: str) -> str:
    if not data.isascii():
        raise FormatError(field, "must be ASCII")
    return data.decode("ascii")
