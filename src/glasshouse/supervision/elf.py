"""The sections of an ELF file (System V gABI, chapter 4), enough to tell where two files differ.

Both classes and byte orders are read. Nothing is trusted: offsets and sizes are checked against the file, names and
section counts are bounded.
"""

import struct
from dataclasses import dataclass
from typing import BinaryIO

MAGIC = b"\x7fELF"
_NOBITS = 8
_EXECUTABLE = 4
_COMPRESSED = 0x800
_MAX_SECTIONS = 100_000
_MAX_NAMES_BYTES = 16 << 20


class ElfError(Exception):
    """The file is no ELF file, or its section table leads outside the file."""


@dataclass(frozen=True, kw_only=True)
class Section:
    """One section that occupies bytes of the file; `code` is true where the loader maps it executable."""

    name: str
    offset: int
    size: int
    type: int
    code: bool
    compressed: bool


@dataclass(frozen=True, kw_only=True)
class _Layout:
    """How this class and byte order write the file header (from byte 16) and a section header."""

    header: str
    section: str


_LAYOUTS = {
    (1, 1): _Layout(header="<HHIIIIIHHHHHH", section="<IIIIIIIIII"),
    (1, 2): _Layout(header=">HHIIIIIHHHHHH", section=">IIIIIIIIII"),
    (2, 1): _Layout(header="<HHIQQQIHHHHHH", section="<IIQQQQIIQQ"),
    (2, 2): _Layout(header=">HHIQQQIHHHHHH", section=">IIQQQQIIQQ"),
}


def read_sections(file: BinaryIO, size: int) -> tuple[Section, ...]:
    """The sections of a file of `size` bytes in table order; `ElfError` if it has none that can be read."""
    ident = _read(file, 0, 16, size)
    layout = _LAYOUTS.get((ident[4], ident[5]))
    if not ident.startswith(MAGIC) or layout is None:
        raise ElfError("is no ELF file")
    header = struct.unpack(layout.header, _read(file, 16, struct.calcsize(layout.header), size))
    table, entry_size, count, names_index = header[5], header[10], header[11], header[12]
    if table == 0 or entry_size != struct.calcsize(layout.section):
        raise ElfError("has no section table")
    first = struct.unpack(layout.section, _read(file, table, entry_size, size))
    # Too many for 16 bits: the numbers then stand in the first, otherwise empty, section header.
    count, names_index = count or first[5], first[6] if names_index == 0xFFFF else names_index
    if not names_index < count <= _MAX_SECTIONS:
        raise ElfError("has no usable section table")
    rows = list(struct.iter_unpack(layout.section, _read(file, table, entry_size * count, size)))
    if rows[names_index][5] > _MAX_NAMES_BYTES:
        raise ElfError("has too large a table of section names")
    names = _read(file, rows[names_index][4], rows[names_index][5], size)
    return tuple(
        Section(
            name=names[row[0] :].partition(b"\0")[0].decode(errors="backslashreplace"),
            offset=row[4],
            size=row[5],
            type=row[1],
            code=bool(row[2] & _EXECUTABLE),
            compressed=bool(row[2] & _COMPRESSED),
        )
        for row in rows[1:]
        if row[1] != _NOBITS and row[4] + row[5] <= size
    )


def _read(file: BinaryIO, offset: int, count: int, size: int) -> bytes:
    if offset + count > size:
        raise ElfError("is cut short")
    file.seek(offset)
    return file.read(count)
