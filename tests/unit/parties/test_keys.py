"""Private keys in files: made once, readable by their owner alone, and refused otherwise."""

import os
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from glasshouse.parties.errors import KeyUnavailable
from glasshouse.parties.keys import generate_identity, generate_key, load_key, raw_public, read_private
from glasshouse.storage.errors import ObjectConflict

OTHERS = [mode for mode in range(0o1000) if mode & 0o400 and mode & 0o077]


def test_a_new_key_can_be_loaded(tmp_path: Path) -> None:
    path = tmp_path / "release.key"
    public = generate_key(path)
    assert raw_public(load_key(path)) == public
    assert len(public) == 32
    Ed25519PublicKey.from_public_bytes(public).verify(load_key(path).sign(b"message"), b"message")


def test_two_keys_are_two(tmp_path: Path) -> None:
    assert generate_key(tmp_path / "a.key") != generate_key(tmp_path / "b.key")


@pytest.mark.parametrize("umask", [0, 0o022, 0o777])
def test_only_the_owner_can_read_a_new_key(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        generate_key(tmp_path / "release.key")
        generate_identity(tmp_path / "recipient.age")
    finally:
        os.umask(before)
    for path in tmp_path.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "release.key"
    public = generate_key(path)
    with pytest.raises(ObjectConflict):
        generate_key(path)
    assert raw_public(load_key(path)) == public
    identity = tmp_path / "recipient.age"
    generate_identity(identity)
    with pytest.raises(ObjectConflict):
        generate_identity(identity)


@pytest.mark.parametrize("mode", OTHERS[:: len(OTHERS) // 16])
def test_a_key_that_others_can_reach_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "release.key"
    generate_key(path)
    path.chmod(mode)
    with pytest.raises(KeyUnavailable, match=f"chmod 600 {path}"):
        load_key(path)


def test_every_bit_for_others_counts(tmp_path: Path) -> None:
    path = tmp_path / "release.key"
    generate_key(path)
    for bit in (0o001, 0o002, 0o004, 0o010, 0o020, 0o040):
        path.chmod(0o600 | bit)
        with pytest.raises(KeyUnavailable, match="can be read by others"):
            read_private(path)
    for mode in (0o600, 0o400, 0o700):
        path.chmod(mode)
        assert read_private(path)


def test_files_that_are_no_keys(tmp_path: Path) -> None:
    missing = tmp_path / "missing.key"
    with pytest.raises(KeyUnavailable, match="No such file"):
        load_key(missing)
    with pytest.raises(KeyUnavailable):
        load_key(tmp_path)
    fifo = tmp_path / "fifo.key"
    os.mkfifo(fifo, 0o600)
    with pytest.raises(KeyUnavailable):
        load_key(fifo)


def private(key: Ed25519PrivateKey | rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, password: bytes = b"") -> bytes:
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


CONTENTS: dict[str, bytes] = {
    "empty": b"",
    "text": b"not a key\n",
    "binary": b"\x00\xff",
    "another algorithm": private(ec.generate_private_key(ec.SECP256R1())),
    "encrypted": private(Ed25519PrivateKey.generate(), b"secret"),
    "public": Ed25519PrivateKey.generate().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    "cut off": private(Ed25519PrivateKey.generate())[:60],
}


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS.keys())
def test_content_that_is_no_ed25519_key(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "release.key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(KeyUnavailable, match=str(path)):
        load_key(path)


def test_identities_open_what_is_encrypted_to_them(tmp_path: Path) -> None:
    import pyrage

    path = tmp_path / "recipient.age"
    recipient = generate_identity(path)
    assert recipient.startswith("age1")
    sealed = pyrage.encrypt(b"pack", [pyrage.x25519.Recipient.from_str(recipient)])
    identity = pyrage.x25519.Identity.from_str(read_private(path).decode().strip())
    assert pyrage.decrypt(sealed, [identity]) == b"pack"
