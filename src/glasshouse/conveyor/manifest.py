"""The source manifest: one salted row for each file of a tree; showing one file does not let the others be guessed.

    {"content":"9f2c…","key":"src/main.c","mode":"100644"}

`content` = hex SHA-256(salt ‖ content), salt = HMAC-SHA-256(release secret, path); a symbolic link's content is its
target. The release secret travels in the source pack. See docs/spec/source-manifest.md.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterator
from typing import IO

from glasshouse_verify.manifest import manifest_root
from glasshouse_verify.row import ManifestRoot, Row

from glasshouse.conveyor.errors import InvalidSource
from glasshouse.conveyor.tree import SourceTree, TreeFile

SECRET_BYTES = 32
MODES = frozenset({"100644", "100755", "120000"})


def new_secret() -> bytes:
    """A fresh release secret."""
    return secrets.token_bytes(SECRET_BYTES)


def content_salt(secret: bytes, path: str) -> bytes:
    """The salt of one path; it can be given away to let somebody check that one file."""
    return hmac.digest(secret, path.encode(), "sha256")


def content_digest(salt: bytes, content: IO[bytes]) -> str:
    """What the row of a file holds as `content`."""
    digest = hashlib.sha256(salt)
    while chunk := content.read(1 << 20):
        digest.update(chunk)
    return digest.hexdigest()


def file_row(tree: SourceTree, file: TreeFile, secret: bytes) -> Row:
    """The manifest row of one file of a tree."""
    with tree.open(file) as content:
        return {
            "key": file.path,
            "mode": file.mode,
            "content": content_digest(content_salt(secret, file.path), content),
        }


def source_rows(tree: SourceTree, secret: bytes) -> Iterator[Row]:
    """The rows of a tree, in order, one file in memory at a time."""
    if len(secret) != SECRET_BYTES:
        raise InvalidSource("secret", f"must have {SECRET_BYTES} bytes")
    for file in tree.files:
        yield file_row(tree, file, secret)


def source_root(tree: SourceTree, secret: bytes) -> ManifestRoot:
    """Root and size of the source manifest of a tree."""
    return manifest_root(source_rows(tree, secret))


def check_source(tree: SourceTree, secret: bytes, expected: ManifestRoot) -> None:
    """Raise `InvalidSource` unless the tree is exactly the one that `expected` commits to."""
    found = source_root(tree, secret)
    if found != expected:
        have = f"{found.root.hex()} over {found.size} files"
        want = f"{expected.root.hex()} over {expected.size}"
        raise InvalidSource("manifest", f"the tree has root {have}, not {want}")
