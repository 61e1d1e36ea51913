"""Files made of parts: zip archives and wheels, tar, ar, ELF, PE and compressed streams, opened for comparing two.

Everything opened here came from a vendor or out of a build, so it may be made to harm: contents are unpacked to
temporary files under one budget of bytes, names and headers are bounded, and whatever breaks its format raises
`ContainerError`, after which the caller compares plain bytes.
"""

import io
import lzma
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import IO, BinaryIO, cast

from glasshouse.conveyor.archive import ArchiveError, ForwardReader, decompressed
from glasshouse.supervision import elf, pe
from glasshouse.supervision.errors import SignatureRefused

MAX_ENTRIES = 200_000
_CHUNK_BYTES = 1 << 20
_SPOOL_BYTES = 8 << 20
_AR_HEADER_BYTES = 60
_AR_MAX_NAMES_BYTES = 16 << 20
_COMPRESSIONS = {b"\x1f\x8b": "gz", b"\xfd7zXZ\x00": "xz", b"BZh": "bz2"}
_ZIP_COMPRESSIONS = {0: "stored", 8: "deflate", 12: "bzip2", 14: "lzma"}
_PAX_SHOWN_ELSEWHERE = {"path", "linkpath", "size", "uid", "gid", "uname", "gname", "mtime"}

Fields = tuple[tuple[str, str], ...]


class ContainerError(Exception):
    """The file breaks its own format, or uses a part of it that is not read here."""


class OverBudget(Exception):
    """Unpacking would take more bytes than allowed."""


class Budget:
    """How many bytes may still be unpacked."""

    def __init__(self, total_bytes: int) -> None:
        self._left = total_bytes

    def take(self, count: int) -> None:
        """Spend `count` bytes; `OverBudget` when they are not there."""
        self._left -= count
        if self._left < 0:
            raise OverBudget

    def unpack(self, stream: IO[bytes]) -> BinaryIO:
        """Copy a stream to a temporary file that can seek; the caller closes it."""
        with ExitStack() as opened:
            file = opened.enter_context(tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES))
            while chunk := stream.read(_CHUNK_BYTES):
                self.take(len(chunk))
                file.write(chunk)
            file.seek(0)
            opened.pop_all()
        return cast(BinaryIO, file)


class Window(io.RawIOBase):
    """A part of a seekable file as a file of its own; windows of one file may be used in turn."""

    def __init__(self, base: BinaryIO, start: int, size: int) -> None:
        super().__init__()
        self._base, self._start, self._size, self._position = base, start, size, 0

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move within the window."""
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, origin + offset)
        return self._position

    def read(self, size: int = -1) -> bytes:
        """Read up to `size` bytes, to the window's end if negative."""
        left = max(0, self._size - self._position)
        self._base.seek(self._start + self._position)
        data = self._base.read(left if size < 0 else min(size, left))
        self._position += len(data)
        return data


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One part: what the container says of it, and how to open its content. `stored` opens the bytes as they lie."""

    name: str
    fields: Fields
    open: Callable[[], BinaryIO]
    stored: Callable[[], BinaryIO]
    code: bool = False


@dataclass(frozen=True, kw_only=True)
class Container:
    """A file made of parts. `part` names what its entries are: member, section or stream."""

    kind: str
    part: str
    fields: Fields
    entries: tuple[Entry, ...]


def open_container(file: BinaryIO, budget: Budget) -> Container | None:
    """Open a seekable file as the container its first bytes announce; None if they announce none."""
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    start = file.read(512)
    try:
        if start.startswith(elf.MAGIC):
            return _elf(file, size)
        if start.startswith(pe.MAGIC):
            return _pe(file, size)
        if start.startswith((b"PK\x03\x04", b"PK\x05\x06")):
            return _zip(file, budget)
        if start.startswith(b"!<arch>\n"):
            return _ar(file, size)
        if start[257:262] == b"ustar":
            return _tar(file, size)
        for magic, suffix in _COMPRESSIONS.items():
            if start.startswith(magic):
                return _compressed(file, size, suffix, start, budget)
    except (elf.ElfError, SignatureRefused, ArchiveError, zipfile.BadZipFile, tarfile.TarError) as error:
        raise ContainerError(str(error)) from error
    except (struct.error, ValueError, UnicodeError, NotImplementedError) as error:
        raise ContainerError(f"is damaged: {error}") from error
    return None


def distinct(names: Iterable[str]) -> list[str]:
    """The names, later ones of a repeated name numbered, so that each stands for one part."""
    seen: dict[str, int] = {}
    result = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        result.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    if len(result) > MAX_ENTRIES:
        raise ContainerError("has too many parts")
    return result


def _time(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return str(seconds)


def _elf(file: BinaryIO, size: int) -> Container:
    sections = elf.read_sections(file, size)

    def opener(section: elf.Section) -> Callable[[], BinaryIO]:
        return lambda: cast(BinaryIO, Window(file, section.offset, section.size))

    entries = [
        Entry(
            name=name,
            fields=(("type", str(section.type)), ("compression", "zlib" if section.compressed else "none")),
            open=opener(section),
            stored=opener(section),
            code=section.code,
        )
        for name, section in zip(distinct(section.name for section in sections), sections, strict=True)
    ]
    return Container(kind="ELF file", part="section", fields=(), entries=tuple(entries))


def _pe(file: BinaryIO, size: int) -> Container:
    """The sections; a signature behind them is no part of what was built, see `authenticode`."""
    file.seek(0)
    layout = pe.read_headers(file.read(pe.MAX_HEADER_BYTES), size)

    def opener(section: pe.Section) -> Callable[[], BinaryIO]:
        return lambda: cast(BinaryIO, Window(file, section.offset, section.size))

    sections = [section for section in layout.sections if section.size]
    entries = [
        Entry(name=name, fields=(), open=opener(section), stored=opener(section), code=section.code)
        for name, section in zip(distinct(section.name for section in sections), sections, strict=True)
    ]
    fields = (("link time", _time(layout.time)), ("linker", layout.linker))
    return Container(kind="PE file", part="section", fields=fields, entries=tuple(entries))


def _zip(file: BinaryIO, budget: Budget) -> Container:
    archive = zipfile.ZipFile(file)

    def opener(info: zipfile.ZipInfo) -> Callable[[], BinaryIO]:
        def unpack() -> BinaryIO:
            try:
                with archive.open(info) as stream:
                    return budget.unpack(stream)
            except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, ValueError) as error:
                raise ContainerError(f"{info.filename!r} is damaged: {error}") from error
            except OSError as error:
                # bz2 reports damaged data so, without a number; with one it is the machine's own trouble.
                if error.errno is not None:
                    raise
                raise ContainerError(f"{info.filename!r} is damaged: {error}") from error
            except (NotImplementedError, RuntimeError) as error:
                raise ContainerError(f"{info.filename!r} is encrypted or packed in an unknown way") from error

        return unpack

    infos = archive.infolist()
    if any(info.header_offset < 0 for info in infos):
        raise ContainerError("has members before its start")
    entries = [
        Entry(name=name, fields=_zip_fields(info), open=opener(info), stored=_zip_stored(file, info))
        for name, info in zip(distinct(info.filename for info in infos), infos, strict=True)
    ]
    comment = (("comment", repr(archive.comment[:64])),)
    return Container(kind="zip archive", part="member", fields=comment, entries=tuple(entries))


def _zip_fields(info: zipfile.ZipInfo) -> Fields:
    year, month, day, hour, minute, second = info.date_time
    return (
        ("modified", f"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}"),
        ("mode", f"{info.external_attr >> 16:o}"),
        ("compression", _ZIP_COMPRESSIONS.get(info.compress_type, f"method {info.compress_type}")),
        ("packer", f"system {info.create_system}, version {info.create_version}"),
        ("extra field", info.extra[:64].hex()),
        ("comment", repr(info.comment[:64])),
    )


def _zip_stored(file: BinaryIO, info: zipfile.ZipInfo) -> Callable[[], BinaryIO]:
    def stored() -> BinaryIO:
        file.seek(info.header_offset)
        header = file.read(30)
        if len(header) < 30:
            raise ContainerError(f"{info.filename!r} lies outside the archive")
        name_length, extra_length = struct.unpack("<HH", header[26:])
        start = info.header_offset + 30 + name_length + extra_length
        return cast(BinaryIO, Window(file, start, info.compress_size))

    return stored


def _tar(file: BinaryIO, size: int) -> Container:
    file.seek(0)
    reader = ForwardReader(file, size)
    infos: list[tarfile.TarInfo] = []
    with tarfile.open(fileobj=reader, mode="r:") as archive:  # type: ignore[call-overload]
        for info in archive:
            infos.append(info)
            if len(infos) > MAX_ENTRIES:
                raise ContainerError("has too many members")

    def opener(info: tarfile.TarInfo) -> Callable[[], BinaryIO]:
        return lambda: cast(BinaryIO, Window(file, info.offset_data, info.size if info.isreg() else 0))

    entries = [
        Entry(name=name, fields=_tar_fields(info), open=opener(info), stored=opener(info))
        for name, info in zip(distinct(info.name for info in infos), infos, strict=True)
    ]
    return Container(kind="tar archive", part="member", fields=(), entries=tuple(entries))


def _tar_fields(info: tarfile.TarInfo) -> Fields:
    extended = sorted((key, value) for key, value in info.pax_headers.items() if key not in _PAX_SHOWN_ELSEWHERE)
    return (
        ("modified", _time(info.mtime)),
        ("mode", f"{info.mode:o}"),
        ("owner", f"{info.uid} {info.uname}".strip()),
        ("group", f"{info.gid} {info.gname}".strip()),
        ("type", repr(info.type)),
        ("link target", info.linkname),
        *((f"extended header {key}", value[:200]) for key, value in extended),
    )


def _compressed(file: BinaryIO, size: int, suffix: str, start: bytes, budget: Budget) -> Container:
    def unpack() -> BinaryIO:
        file.seek(0)
        try:
            return budget.unpack(cast(IO[bytes], decompressed(file, f".{suffix}")))
        except ArchiveError as error:
            raise ContainerError(str(error)) from error

    def stored() -> BinaryIO:
        return cast(BinaryIO, Window(file, header, size - header))

    header, fields = _gzip_header(start) if suffix == "gz" else (0, ())
    entry = Entry(name="", fields=(), open=unpack, stored=stored)
    return Container(kind=f"{suffix} stream", part="stream", fields=fields, entries=(entry,))


def _gzip_header(start: bytes) -> tuple[int, Fields]:
    """Length of the header and what it says (RFC 1952, section 2.3)."""
    flags, mtime, level, system = struct.unpack("<xxxBIBB", start[:10])
    end, name = 10, b""
    if flags & 0x04:
        end += 2 + int.from_bytes(start[10:12], "little")
    if flags & 0x08:
        name = start[end:].partition(b"\0")[0]
        end += len(name) + 1
    if flags & 0x10:
        end += len(start[end:].partition(b"\0")[0]) + 1
    return end + (flags & 0x02), (
        ("modified", _time(mtime) if mtime else "none"),
        ("compression", f"level hint {level}"),
        ("packer", f"system {system}"),
        ("original name", name.decode(errors="backslashreplace")),
    )


def _ar(file: BinaryIO, size: int) -> Container:
    """The System V and BSD variants, as written by GNU ar, LLVM's and dpkg-deb."""
    rows: list[tuple[str, Fields, int, int]] = []
    long_names = b""
    position = 8
    while position + _AR_HEADER_BYTES <= size and len(rows) <= MAX_ENTRIES:
        file.seek(position)
        header = file.read(_AR_HEADER_BYTES)
        name = header[:16].decode("ascii").rstrip()
        length = int(header[48:58].decode("ascii"))
        start = position + _AR_HEADER_BYTES
        if header[58:] != b"`\n" or length < 0 or start + length > size:
            raise ContainerError("is damaged")
        position = start + length + length % 2
        if name == "//":
            long_names = file.read(min(length, _AR_MAX_NAMES_BYTES))
        elif name.startswith("#1/"):
            skipped = min(int(name[3:]), length)
            name = file.read(skipped).rstrip(b"\0").decode(errors="backslashreplace")
            start, length = start + skipped, length - skipped
        elif name[:1] == "/" and name[1:].isdigit():
            name = long_names[int(name[1:]) :].partition(b"\n")[0].decode(errors="backslashreplace")
        rows.append((name if name in ("/", "//", "/SYM64/") else name.rstrip("/"), _ar_fields(header), start, length))

    def opener(start: int, length: int) -> Callable[[], BinaryIO]:
        return lambda: cast(BinaryIO, Window(file, start, length))

    entries = [
        Entry(name=name, fields=fields, open=opener(start, length), stored=opener(start, length))
        for name, (_, fields, start, length) in zip(distinct(row[0] for row in rows), rows, strict=True)
    ]
    return Container(kind="ar archive", part="member", fields=(), entries=tuple(entries))


def _ar_fields(header: bytes) -> Fields:
    text = header.decode("ascii")
    mtime = text[16:28].strip()
    return (
        ("modified", _time(int(mtime)) if mtime else "none"),
        ("owner", text[28:34].strip()),
        ("group", text[34:40].strip()),
        ("mode", text[40:48].strip()),
    )
