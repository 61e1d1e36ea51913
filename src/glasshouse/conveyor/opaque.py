"""Binaries in a source tree that nobody can read as source, and whether an output is merely a copy of one.

    opaque_files(tree)                  every such file, and every such member of an archive in the tree
    copied_from_source(outputs, tree)   outputs, or members of outputs, that equal one of them byte for byte

A build that copies a prebuilt program out of its source reproduces perfectly and proves nothing. Equality is all that
is tested: a program that was patched or stripped on the way is not found, which is why the whole list is published
with a verdict.
"""

from __future__ import annotations

import hashlib
import struct
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import IO

from glasshouse.conveyor.archive import CHUNK_BYTES, ArchiveError, Limits, Readable, decompressed, read_members
from glasshouse.conveyor.build import Output
from glasshouse.conveyor.tree import SourceTree

MAX_NESTING = 3
NESTED_LIMITS = Limits(members=100_000, total_bytes=2 << 30)
_HEAD_BYTES = 8192
_SPOOL_BYTES = 4 << 20


class Content(Enum):
    """What a file holds, as far as its first bytes tell."""

    PROGRAM = "program"
    ARCHIVE = "archive"
    DATA = "data"
    TEXT = "text"


@dataclass(frozen=True, kw_only=True)
class OpaqueBinary:
    """One opaque file; a member of an archive has the path `archive!member`. SHA-256 is hex, size is in bytes."""

    path: str
    sha256: str
    size: int
    content: Content


# ELF, PE, Mach-O (both byte orders and sizes, universal or a Java class), Python and Dalvik byte code, WebAssembly,
# LLVM.
_PROGRAMS = (
    *(b"\x7fELF", b"MZ", b"\xfe\xed\xfa\xce", b"\xfe\xed\xfa\xcf", b"\xce\xfa\xed\xfe", b"\xcf\xfa\xed\xfe"),
    *(b"\xca\xfe\xba\xbe", b"dex\n", b"\0asm", b"BC\xc0\xde", b"\xde\xc0\x17\x0b"),
)
# zip, gzip, xz, bzip2, zstd, 7z, rar, ar, cab, lz4.
_ARCHIVES = (
    *(b"PK\x03\x04", b"PK\x05\x06", b"\x1f\x8b", b"\xfd7zXZ\0", b"BZh", b"\x28\xb5\x2f\xfd", b"7z\xbc\xaf\x27\x1c"),
    *(b"Rar!\x1a\x07", b"!<arch>\n", b"MSCF", b"\x04\x22\x4d\x18"),
)
_SUFFIX_OF_STREAM = {b"\x1f\x8b": "gz", b"\xfd7zXZ\0": "xz", b"BZh": "bz2"}


def classify(head: bytes) -> Content:
    """Tell what a file is from its first bytes, 8 KiB are enough; what holds a NUL and is no known format is data."""
    if head.startswith(_PROGRAMS) and not (head.startswith(b"MZ") and _is_text(head)):
        return Content.PROGRAM
    # CPython writes its magic number, then CR LF.
    if len(head) >= 16 and head[2:4] == b"\r\n" and struct.unpack("<H", head[:2])[0] >= 3000 and not _is_text(head):
        return Content.PROGRAM
    if head.startswith(_ARCHIVES) or head[257:262] == b"ustar":
        return Content.ARCHIVE
    return Content.TEXT if _is_text(head) else Content.DATA


def _is_text(head: bytes) -> bool:
    return b"\0" not in head


def opaque_files(tree: SourceTree) -> tuple[OpaqueBinary, ...]:
    """Every opaque file of a tree, and of the archives in it down to `MAX_NESTING` levels, sorted by path."""
    found = []
    for file in tree.files:
        if file.mode != "120000":
            with tree.open(file) as content:
                found += [
                    item for item in _examine(file.path, content, MAX_NESTING) if item.content is not Content.TEXT
                ]
    return tuple(sorted(found, key=lambda item: item.path.encode()))


def copied_from_source(outputs: Sequence[Output], tree: SourceTree) -> tuple[tuple[str, str], ...]:
    """Programs among the outputs, or in archives among them, that are in the source already.

    Returns pairs of output path and source path. Data is left out: an icon or a test sample may be shipped as it is.
    """
    programs: dict[str, str] = {}
    for item in opaque_files(tree):
        if item.content is Content.PROGRAM:
            programs.setdefault(item.sha256, item.path)
    if not programs:
        return ()
    copied = []
    for output in outputs:
        with output.path.open("rb") as content:
            for item in _examine(output.name, content, MAX_NESTING):
                if item.content is Content.PROGRAM and item.sha256 in programs:
                    copied.append((item.path, programs[item.sha256]))
    return tuple(copied)


def _examine(path: str, content: IO[bytes], depth: int) -> Iterator[OpaqueBinary]:
    """The file itself, then what is inside it if it is an archive this version can look into."""
    head = content.read(_HEAD_BYTES)
    kind = classify(head)
    content.seek(0)
    if kind is Content.TEXT:
        return
    digest, size = _sha256(content)
    yield OpaqueBinary(path=path, sha256=digest, size=size, content=kind)
    if kind is Content.ARCHIVE and depth:
        content.seek(0)
        try:
            yield from _members(path, head, content, depth - 1)
        except (ArchiveError, zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError):
            # Damaged, encrypted or unknown inside: it stays on the list as a whole, and it is opaque.
            return


def _sha256(content: IO[bytes]) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    while chunk := content.read(CHUNK_BYTES):
        digest.update(chunk)
        size += len(chunk)
    return digest.hexdigest(), size


def _members(path: str, head: bytes, content: IO[bytes], depth: int) -> Iterator[OpaqueBinary]:
    suffix = next((suffix for magic, suffix in _SUFFIX_OF_STREAM.items() if head.startswith(magic)), None)
    if head.startswith(b"PK"):
        yield from _zip_members(path, content, depth)
    elif suffix is not None:
        with _spooled(decompressed(content, f".{suffix}")) as plain:
            yield from _examine(f"{path}!", plain, depth)
    elif head[257:262] == b"ustar":
        for member, data in read_members(content, NESTED_LIMITS):
            if data is not None:
                with _spooled(data) as plain:
                    yield from _examine(f"{path}!{member.path}", plain, depth)


def _zip_members(path: str, content: IO[bytes], depth: int) -> Iterator[OpaqueBinary]:
    with zipfile.ZipFile(content) as archive:
        infos = archive.infolist()
        if len(infos) > NESTED_LIMITS.members or sum(info.file_size for info in infos) > NESTED_LIMITS.total_bytes:
            raise ArchiveError("is larger than this version looks into")
        for info in infos:
            with archive.open(info) as member, _spooled(member) as plain:
                yield from _examine(f"{path}!{info.filename}", plain, depth)


def _spooled(stream: Readable) -> IO[bytes]:
    """The stream as a seekable file: in memory while small, else in an unnamed file."""
    plain: IO[bytes] = tempfile.SpooledTemporaryFile(_SPOOL_BYTES)  # noqa: SIM115
    left = NESTED_LIMITS.total_bytes
    while chunk := stream.read(CHUNK_BYTES):
        left -= len(chunk)
        if left < 0:
            plain.close()
            raise ArchiveError("unpacks to more than this version looks into")
        plain.write(chunk)
    plain.seek(0)
    return plain
