"""Tar archives: a deterministic writer and a reader for archives that somebody else made.

The reader yields members in archive order and holds at most one read of one member in memory. It refuses absolute
paths, `..`, names that are not UTF-8, devices, sparse files, more members or bytes than its limits, and headers that
would need much memory.
"""

from __future__ import annotations

import bz2
import io
import lzma
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import IO, Protocol

CHUNK_BYTES = 1 << 20
# Names, link targets and extended headers are small; a header that asks for more is an attack on memory.
_MAX_READ_BYTES = 2 << 20
_MAX_PATH_BYTES = 1024
_MAX_COMPONENT_BYTES = 255
_MAX_TIME = 2**33
_CONTROL = frozenset(map(chr, [*range(32), 127]))


class ArchiveError(Exception):
    """An archive that breaks a rule of this module; callers turn it into their own error."""


class Readable(Protocol):
    """A source of bytes; read(n) gives at most n, and b"" at the end."""

    def read(self, size: int, /) -> bytes: ...  # noqa: D102


class Writable(Protocol):
    """A sink that takes all bytes it is given."""

    def write(self, data: bytes, /) -> int: ...  # noqa: D102


class Kind(Enum):
    """What a member is."""

    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"
    HARDLINK = "hardlink"


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds on an unpacked archive: number of members, and bytes including headers and padding."""

    members: int
    total_bytes: int


@dataclass(frozen=True, kw_only=True)
class Member:
    """One member. `path` is relative and normal ("" is the root); `target` is the link target of a link, as written."""

    path: str
    kind: Kind
    executable: bool
    size: int
    mtime: int
    target: str = ""


class ForwardReader:
    """The file interface tarfile needs over a stream that cannot seek, with a limit on each read and on the sum."""

    def __init__(self, stream: Readable, total_bytes: int) -> None:
        self._stream = stream
        self._left = total_bytes
        self._position = 0

    def read(self, size: int = -1) -> bytes:
        """Read exactly `size` bytes unless the stream ends before."""
        if not 0 <= size <= _MAX_READ_BYTES:
            raise ArchiveError("a header asks for more memory than any name needs")
        parts = []
        while size and (part := self._stream.read(size)):
            parts.append(part)
            size -= len(part)
            self._left -= len(part)
            self._position += len(part)
            if self._left < 0:
                raise ArchiveError("the unpacked archive is larger than allowed")
        return b"".join(parts)

    def tell(self) -> int:
        """How many bytes were read."""
        return self._position

    def seek(self, position: int, whence: int = io.SEEK_SET) -> int:
        """Skip forward to `position`."""
        if whence != io.SEEK_SET or position < self._position:
            raise ArchiveError("the archive is not sequential")
        while self._position < position:
            if not self.read(min(CHUNK_BYTES, position - self._position)):
                break
        return self._position


class _Decompressed:
    """A decompressing reader whose output per call is bounded, whatever the ratio."""

    def __init__(self, stream: Readable, make: Callable[[], _Decompressor]) -> None:
        self._stream = stream
        self._make = make
        self._machine = make()
        self._pending = b""

    def read(self, size: int, /) -> bytes:
        while True:
            if self._machine.eof:
                rest = self._machine.unused_data or self._stream.read(CHUNK_BYTES)
                if not rest.strip(b"\0"):
                    return b""
                self._machine = self._make()
                self._pending = rest
            if not self._pending and self._machine.needs_input:
                self._pending = self._stream.read(CHUNK_BYTES)
                if not self._pending:
                    raise ArchiveError("the compressed stream ends early")
            try:
                part = self._machine.decompress(self._pending, size)
            except (lzma.LZMAError, OSError, ValueError, zlib.error) as error:
                raise ArchiveError(f"the compressed stream is damaged: {error}") from error
            self._pending = b""
            if part:
                return part


class _Decompressor(Protocol):
    """The interface that bz2 and lzma share."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _Gzip:
    """zlib's decompressor in the shape of bz2's and lzma's."""

    def __init__(self) -> None:
        self._machine = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return self._machine.eof

    @property
    def needs_input(self) -> bool:
        return not self._machine.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._machine.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._machine.decompress(self._machine.unconsumed_tail + data, max_length)


def decompressed(stream: Readable, name: str) -> Readable:
    """The stream, decompressed as the suffix of `name` says (.gz, .xz, .bz2, or none of them for none)."""
    suffix = name.rpartition(".")[2]
    if suffix in ("gz", "tgz"):
        return _Decompressed(stream, _Gzip)
    if suffix in ("xz", "txz", "lzma"):
        return _Decompressed(stream, lambda: lzma.LZMADecompressor(memlimit=256 << 20))
    if suffix == "bz2":
        return _Decompressed(stream, bz2.BZ2Decompressor)
    if suffix == "zst":
        raise ArchiveError("is compressed with zstd, which this version does not unpack")
    return stream


def normal_path(name: str) -> str:
    """A member name as a relative path without `.` and final `/`; raises `ArchiveError` on what could escape."""
    if name.startswith("/"):
        raise ArchiveError(f"{name[:200]!r} is an absolute path")
    try:
        length = len(name.encode("utf-8"))
    except UnicodeEncodeError as error:
        raise ArchiveError(f"{name[:200]!r} is not UTF-8") from error
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise ArchiveError(f"{name[:200]!r} leaves the archive")
    if not _CONTROL.isdisjoint(name):
        raise ArchiveError(f"{name[:200]!r} holds a control character")
    if length > _MAX_PATH_BYTES or any(len(part.encode()) > _MAX_COMPONENT_BYTES for part in parts):
        raise ArchiveError(f"{name[:60]!r}… is too long a path")
    return "/".join(parts)


class Content:
    """The content of the current member. Whatever is wrong with the archive there is an `ArchiveError`."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes, and at most `CHUNK_BYTES`; b"" at the end."""
        try:
            return self._stream.read(min(size, CHUNK_BYTES))
        except tarfile.TarError as error:
            raise ArchiveError(f"is not a valid tar archive: {error}") from error


def read_all(stream: Readable, limit: int) -> bytes:
    """Everything that is left of a stream, which may be at most `limit` bytes. Raises `ArchiveError` beyond."""
    data = bytearray()
    while chunk := stream.read(min(CHUNK_BYTES, limit + 1 - len(data))):
        data += chunk
        if len(data) > limit:
            raise ArchiveError(f"is larger than {limit} bytes")
    return bytes(data)


def read_members(stream: Readable, limits: Limits) -> Iterator[tuple[Member, Content | None]]:
    """Yield each member with its content (files only; read it before asking for the next). Raises `ArchiveError`."""
    reader = ForwardReader(stream, limits.total_bytes)
    try:
        archive = tarfile.open(fileobj=reader, mode="r:", errors="strict")  # type: ignore[call-overload]  # noqa: SIM115
        for count, info in enumerate(_infos(archive)):
            if count >= limits.members:
                raise ArchiveError(f"has more than {limits.members} members")
            member = _member(info)
            data = archive.extractfile(info) if member.kind is Kind.FILE else None
            yield member, None if data is None else Content(data)
    except (tarfile.TarError, UnicodeDecodeError, ValueError) as error:
        raise ArchiveError(f"is not a valid tar archive: {error}") from error


def _infos(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    while (info := archive.next()) is not None:
        yield info
        # tarfile keeps every header it has read; a long archive must not grow in memory.
        archive.members = []  # type: ignore[attr-defined]


def _member(info: tarfile.TarInfo) -> Member:
    if info.isreg() and not info.issparse():
        kind = Kind.FILE
    elif info.isdir():
        kind = Kind.DIRECTORY
    elif info.issym():
        kind = Kind.SYMLINK
    elif info.islnk():
        kind = Kind.HARDLINK
    else:
        raise ArchiveError(f"{info.name[:200]!r} is neither a plain file, a directory nor a link")
    return Member(
        path=normal_path(info.name),
        kind=kind,
        executable=bool(info.mode & 0o100),
        size=info.size if kind is Kind.FILE else 0,
        mtime=min(max(int(info.mtime), 0), _MAX_TIME),
        target=info.linkname if kind in (Kind.SYMLINK, Kind.HARDLINK) else "",
    )


class TarWriter:
    """Writes a tar whose bytes depend on nothing but what is added: fixed owner, modes and times."""

    def __init__(self, out: Writable, epoch: int) -> None:
        self._out = out
        self._epoch = epoch

    def _header(self, path: str, kind: bytes, mode: int, size: int, target: str = "") -> None:
        info = tarfile.TarInfo(path)
        info.type = kind
        info.mode = mode
        info.size = size
        info.linkname = target
        info.mtime = self._epoch
        self._out.write(info.tobuf(tarfile.PAX_FORMAT, "utf-8", "strict"))

    def directory(self, path: str) -> None:
        """Add a directory with mode 0755."""
        self._header(path, tarfile.DIRTYPE, 0o755, 0)

    def symlink(self, path: str, target: str) -> None:
        """Add a symbolic link."""
        self._header(path, tarfile.SYMTYPE, 0o777, 0, target)

    def add(self, path: str, data: bytes) -> None:
        """Add a plain file held in memory."""
        self.file(path, False, len(data), io.BytesIO(data))

    def file(self, path: str, executable: bool, size: int, content: Readable) -> None:
        """Add a file of exactly `size` bytes; raises `ArchiveError` when the content is shorter or longer."""
        self._header(path, tarfile.REGTYPE, 0o755 if executable else 0o644, size)
        left = size
        while chunk := content.read(CHUNK_BYTES):
            left -= len(chunk)
            if left < 0:
                break
            self._out.write(chunk)
        if left:
            raise ArchiveError(f"{path!r} changed its size while it was read")
        self._out.write(b"\0" * (-size % tarfile.BLOCKSIZE))

    def finish(self) -> None:
        """Write the end of the archive; the underlying stream stays open."""
        self._out.write(b"\0" * (2 * tarfile.BLOCKSIZE))
