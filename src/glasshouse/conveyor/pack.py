"""The source pack: a whole source tree and its release secret, encrypted to the parties that may see it.

    age(gzip(tar:
        pack.json           {"manifest":{"root":"…","size":178},"schema":"glasshouse.source-pack/v1","secret":"…"}
        source/…            the files of the tree in the order of the manifest
    ))

`age` is the age-encryption.org/v1 format with X25519 recipients. The archive below it is deterministic, the encryption
is not. A pack is opened into a new directory, and the tree in it must have the root that the pack names; whether that
is the root that a release's source statement names is for the caller to check. See docs/spec/source-pack.md.
"""

from __future__ import annotations

import hashlib
import tempfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pyrage
from glasshouse_verify.codec import Digest, decode, encode
from glasshouse_verify.encoding import format_json, parse_json
from glasshouse_verify.errors import FormatError
from glasshouse_verify.row import ManifestRoot
from glasshouse_verify.statement import Tree

from glasshouse.conveyor.archive import ArchiveError, TarWriter, decompressed, read_all, read_members
from glasshouse.conveyor.errors import InvalidInput, InvalidPack
from glasshouse.conveyor.manifest import check_source, source_root
from glasshouse.conveyor.tree import TREE_LIMITS, SourceTree, below, scan_tree, unpack_members, write_tree

SCHEMA = "glasshouse.source-pack/v1"
MAX_PACK_BYTES = 2 << 30
_HEADER = "pack.json"
_SOURCE = "source"
_MAX_HEADER_BYTES = 4096
_MAX_IDENTITY_BYTES = 65_536


@dataclass(frozen=True, kw_only=True)
class _Header:
    """What pack.json says."""

    schema: str
    manifest: Tree
    secret: Digest


@dataclass(frozen=True, kw_only=True)
class PackFile:
    """A finished pack: SHA-256 and size of the encrypted file."""

    path: Path
    sha256: str
    size: int


def new_identity() -> tuple[str, str]:
    """A fresh age identity (secret) and its recipient (public), as text."""
    identity = pyrage.x25519.Identity.generate()
    return str(identity), str(identity.to_public())


def seal_pack(tree: SourceTree, secret: bytes, recipients: Sequence[str], path: Path) -> PackFile:
    """Write the pack of a tree for these age recipients. Raises `InvalidPack` when a recipient is not an X25519 one."""
    if not recipients:
        raise InvalidPack("recipients", "must not be empty")
    try:
        keys = [pyrage.x25519.Recipient.from_str(recipient) for recipient in recipients]
    except pyrage.RecipientError as error:
        raise InvalidPack("recipients", "must be X25519 recipients, age1…") from error
    root = source_root(tree, secret)
    header = _Header(
        schema=SCHEMA, manifest=Tree(root=Digest(root.root.hex()), size=root.size), secret=Digest(secret.hex())
    )
    # The archive passes through an unnamed file because age reads from where we would write.
    with tempfile.TemporaryFile(dir=path.parent) as plain, path.open("xb") as out:
        compressed = _GzipWriter(plain)
        writer = TarWriter(compressed, epoch=0)
        writer.add(_HEADER, format_json(encode(header)))
        write_tree(tree, writer, f"{_SOURCE}/")
        writer.finish()
        compressed.finish()
        plain.seek(0)
        pyrage.encrypt_io(plain, out, keys)
    with path.open("rb") as packed:
        digest = hashlib.file_digest(packed, "sha256").hexdigest()
    return PackFile(path=path, sha256=digest, size=path.stat().st_size)


class _GzipWriter:
    """Compresses what is written to it; without the name and time that gzip.GzipFile would add."""

    def __init__(self, out: IO[bytes]) -> None:
        self._out = out
        self._machine = zlib.compressobj(level=6, wbits=31)

    def write(self, data: bytes, /) -> int:
        self._out.write(self._machine.compress(data))
        return len(data)

    def finish(self) -> None:
        """Write the end of the compressed stream."""
        self._out.write(self._machine.flush())


def open_pack(path: Path, identity: Path, destination: Path) -> tuple[SourceTree, bytes]:
    """Decrypt a pack with an age identity file and unpack its tree into the new directory `destination`.

    Returns the tree and the release secret. Raises `InvalidPack` when it is not encrypted to this identity, damaged,
    too large when unpacked, holds what a source tree cannot hold, or a tree with another root than its header says.
    """
    if path.stat().st_size > MAX_PACK_BYTES:
        raise InvalidPack("pack", f"is larger than {MAX_PACK_BYTES} bytes")
    destination.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=destination.parent) as plain:
        _decrypt(path, identity, plain)
        plain.seek(0)
        try:
            header = _unpack(plain, destination)
            tree = scan_tree(destination)
            secret = bytes.fromhex(header.secret)
            expected = ManifestRoot(root=bytes.fromhex(header.manifest.root), size=header.manifest.size)
            check_source(tree, secret, expected)
        except FormatError as error:
            raise InvalidPack(error.field, error.reason) from error
        except InvalidInput as error:
            raise InvalidPack(error.field, error.reason) from error
    return tree, secret


def _decrypt(path: Path, identity: Path, plain: IO[bytes]) -> None:
    text = identity.read_text()[:_MAX_IDENTITY_BYTES]
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    try:
        keys = [pyrage.x25519.Identity.from_str(line) for line in lines]
        with path.open("rb") as packed:
            pyrage.decrypt_io(packed, plain, keys)
    except pyrage.IdentityError as error:
        raise InvalidPack("identity", "is not an age X25519 identity file") from error
    except (pyrage.DecryptError, OSError) as error:
        raise InvalidPack("pack", f"cannot be decrypted with this identity: {error}") from error


def _unpack(plain: IO[bytes], destination: Path) -> _Header:
    """Unpack the tree and return the header, which must be the first member and is not part of the tree."""
    members = read_members(decompressed(plain, "pack.gz"), TREE_LIMITS)
    try:
        member, content = next(members)
        data = b"" if content is None else read_all(content, _MAX_HEADER_BYTES)
    except (ArchiveError, StopIteration) as error:
        raise InvalidPack("pack", f"does not begin with {_HEADER}: {error}") from error
    if member.path != _HEADER:
        raise InvalidPack("pack", f"does not begin with {_HEADER}")
    header: _Header = decode(_Header, parse_json(data, _HEADER, _MAX_HEADER_BYTES), _HEADER)
    if header.schema != SCHEMA:
        raise FormatError("schema", f"must be {SCHEMA}")
    unpack_members(below(members, _SOURCE), destination)
    return header
