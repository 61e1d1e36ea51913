"""Private keys in files: Ed25519 and X25519 in PKCS #8 PEM and age identities, readable by their owner alone."""

import stat
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from glasshouse.parties.errors import KeyUnavailable
from glasshouse.storage import files

KEY_SUFFIX = ".key"
AGE_FILE = "recipient.age"
# A custodian's keys, which data keys are sealed to: custody.x25519, custody-2.x25519, …
CUSTODY_SUFFIX = ".x25519"


def generate_key(path: Path) -> bytes:
    """Make an Ed25519 key at `path` (mode 0600) and return its raw public key.

    Raises ObjectConflict where the path is taken: a key is never overwritten.
    """
    key = Ed25519PrivateKey.generate()
    _create(path, key)
    return raw_public(key)


def load_key(path: Path) -> Ed25519PrivateKey:
    """Load the key at `path`; raises KeyUnavailable where it is missing, foreign or readable by others."""
    key = _load(path)
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyUnavailable(f"{path} holds no Ed25519 key")
    return key


def generate_custody_key(path: Path) -> bytes:
    """Make an X25519 key at `path` (mode 0600) and return its raw public key. Raises ObjectConflict."""
    key = X25519PrivateKey.generate()
    _create(path, key)
    return key.public_key().public_bytes_raw()


def load_custody_key(path: Path) -> X25519PrivateKey:
    """Load the X25519 key at `path`; raises KeyUnavailable."""
    key = _load(path)
    if not isinstance(key, X25519PrivateKey):
        raise KeyUnavailable(f"{path} holds no X25519 key")
    return key


def _create(path: Path, key: PrivateKeyTypes) -> None:
    files.create(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), mode=0o600)


def _load(path: Path) -> PrivateKeyTypes:
    data = read_private(path)
    try:
        return load_pem_private_key(data, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyUnavailable(f"{path} holds no private key without a password") from error


def raw_public(key: Ed25519PrivateKey) -> bytes:
    """The 32 bytes of the public key."""
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def read_private(path: Path) -> bytes:
    """The bytes of a private file; raises KeyUnavailable unless it is a regular file that its owner alone can read."""
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            raise KeyUnavailable(f"{path} is no regular file")
        if mode & 0o077:
            raise KeyUnavailable(f"{path} can be read by others; run: chmod 600 {path}")
        return path.read_bytes()
    except OSError as error:
        raise KeyUnavailable(f"{path}: {error.strerror}") from error


def generate_identity(path: Path) -> str:
    """Make an age identity at `path` (mode 0600) and return its recipient."""
    from pyrage import x25519

    identity = x25519.Identity.generate()
    files.create(path, f"{identity}\n".encode(), mode=0o600)
    return str(identity.to_public())
