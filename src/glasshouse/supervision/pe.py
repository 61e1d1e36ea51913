"""Portable Executable files with an Authenticode signature: where it sits, and how to put one on.

    0            MS-DOS stub, "PE", headers; in the optional header: CheckSum and the directory entry "Security"
    SizeOfHeaders  sections, then whatever a linker appends
    Security.offset  one WIN_CERTIFICATE: length, 0x0200, 0x0002, the PKCS #7 message in DER, zeros up to 8 octets
    end of file

`attach` and `extract` are inverse: a signed file has one form for each unsigned file and signature, and whatever has
another form is refused. Follows Microsoft's PE Format ("The Attribute Certificate Table") and "Windows Authenticode
Portable Executable Signature Format" 1.0; stricter where they leave room.
"""

import struct
import sys
from array import array
from dataclasses import dataclass
from hashlib import sha256

from glasshouse.supervision.der import SEQUENCE, Fields
from glasshouse.supervision.errors import SignatureRefused

MAGIC = b"MZ"
ALIGNMENT = 8
_REVISION_2, _PKCS_SIGNED_DATA = 0x0200, 0x0002
_HEADER_BYTES = 8
_CHECKSUM_AT = 64
_SIZE_OF_HEADERS_AT = 60
# Of the optional header, by its magic: where the number of data directories stands; they follow it.
_DIRECTORIES_AT = {0x10B: 92, 0x20B: 108}
_DIRECTORIES = 16
_SECURITY = 4
_SECTION_BYTES = 40
_MAX_SECTIONS = 96
_EXECUTE = 0x20000000
# Headers are far shorter; what is longer is no file that a linker made.
MAX_HEADER_BYTES = 64 << 10


@dataclass(frozen=True, kw_only=True)
class Section:
    """A section's bytes in the file; `code` is true where the loader maps it executable."""

    name: str
    offset: int
    size: int
    code: bool


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What the headers say.

    `checksum_at` and `security_at` are where the two fields stand that signing changes, `table_offset` and `table_size`
    what the second says. `time` is the linker's in Unix seconds, `linker` its version.
    """

    checksum_at: int
    security_at: int
    table_offset: int
    table_size: int
    sections: tuple[Section, ...]
    time: int
    linker: str


def read_layout(image: bytes) -> Layout:
    """Read the headers of a PE file; raises SignatureRefused where they contradict themselves or the file's size."""
    return read_headers(image, len(image))


def read_headers(image: bytes, file_size: int) -> Layout:
    """As `read_layout`, where `image` need only begin the file of `file_size` bytes, headers included."""
    try:
        return _read_headers(image, file_size)
    except struct.error as error:
        raise SignatureRefused("the file is no PE file: its headers are cut short") from error


def _read_headers(image: bytes, file_size: int) -> Layout:
    (header,) = struct.unpack_from("<I", image, 60)
    if image[:2] != MAGIC or header < 64 or image[header : header + 4] != b"PE\0\0":
        raise SignatureRefused("the file is no PE file")
    count, time, optional_size = struct.unpack_from("<2xHI8xH", image, header + 4)
    optional = header + 24
    magic, major, minor = struct.unpack_from("<HBB", image, optional)
    if magic not in _DIRECTORIES_AT:
        raise SignatureRefused("the PE file is neither PE32 nor PE32+")
    directories = optional + _DIRECTORIES_AT[magic] + 4
    if (
        struct.unpack_from("<I", image, directories - 4) != (_DIRECTORIES,)
        or optional + optional_size != directories + 8 * _DIRECTORIES
    ):
        raise SignatureRefused(f"the PE file has not exactly {_DIRECTORIES} data directories")
    security_at = directories + 8 * _SECURITY
    offset, size = struct.unpack_from("<II", image, security_at)
    (headers_end,) = struct.unpack_from("<I", image, optional + _SIZE_OF_HEADERS_AT)
    table = optional + optional_size
    if not 1 <= count <= _MAX_SECTIONS or not table + count * _SECTION_BYTES <= headers_end <= file_size:
        raise SignatureRefused("the headers of the PE file do not fit into it")
    sections = tuple(_read_section(image, table + n * _SECTION_BYTES) for n in range(count))
    _check_apart(sections, headers_end, offset or file_size)
    return Layout(
        checksum_at=optional + _CHECKSUM_AT,
        security_at=security_at,
        table_offset=offset,
        table_size=size,
        sections=sections,
        time=time,
        linker=f"{major}.{minor}",
    )


def _read_section(image: bytes, at: int) -> Section:
    name, size, offset, flags = struct.unpack_from("<8s8xII12xI", image, at)
    text = name.rstrip(b"\0").decode(errors="backslashreplace")
    return Section(name=text, offset=offset, size=size, code=bool(flags & _EXECUTE))


def _check_apart(sections: tuple[Section, ...], headers_end: int, end: int) -> None:
    """The loader, the linker and the hash must mean the same bytes: sections lie apart, between headers and `end`."""
    at = headers_end
    for section in sorted((section for section in sections if section.size), key=lambda section: section.offset):
        if section.offset < at or section.offset + section.size > end:
            raise SignatureRefused("a section of the PE file overlaps another one, the headers or the signature")
        at = section.offset + section.size


def attach(unsigned: bytes, signature: bytes) -> bytes:
    """The file with a signature embedded: padded to 8 octets, the certificate table appended, the checksum corrected.

    Raises SignatureRefused where `unsigned` is no PE file, or has a certificate table already.
    """
    layout = read_layout(unsigned)
    if layout.table_offset or layout.table_size:
        raise SignatureRefused("the file has a signature already")
    image = bytearray(unsigned + bytes(-len(unsigned) % ALIGNMENT))
    offset, padding = len(image), bytes(-len(signature) % ALIGNMENT)
    length = _HEADER_BYTES + len(signature) + len(padding)
    image += struct.pack("<IHH", length, _REVISION_2, _PKCS_SIGNED_DATA) + signature + padding
    struct.pack_into("<II", image, layout.security_at, offset, length)
    struct.pack_into("<I", image, layout.checksum_at, checksum(image, layout.checksum_at))
    return bytes(image)


def extract(signed: bytes) -> bytes:
    """The PKCS #7 message of the one certificate entry, exactly as long as its DER says; raises SignatureRefused."""
    layout = read_layout(signed)
    offset, size = layout.table_offset, layout.table_size
    if not offset and not size:
        raise SignatureRefused("the file has no signature")
    if offset % ALIGNMENT or size < _HEADER_BYTES or offset + size != len(signed):
        raise SignatureRefused("the certificate table does not end the file, or does not start at a multiple of 8")
    length, revision, kind = struct.unpack_from("<IHH", signed, offset)
    if length != size:
        raise SignatureRefused("the certificate table does not hold exactly one entry")
    if (revision, kind) != (_REVISION_2, _PKCS_SIGNED_DATA):
        raise SignatureRefused("the certificate entry is of another revision or type than a PKCS #7 signature")
    content = signed[offset + _HEADER_BYTES :]
    signature = Fields(content, "signature").take(SEQUENCE).encoded
    padding = content[len(signature) :]
    if padding != bytes(-len(signature) % ALIGNMENT):
        raise SignatureRefused("what follows the signature is not the least number of zeros that fills 8 octets")
    return signature


def authenticode_digest(image: bytes) -> bytes:
    """SHA-256 of an image up to its certificate table, without the two fields that signing changes.

    `image` is padded as `attach` pads it. With the layout that `read_layout` demands, the order of the file is the
    order that the specification hashes in.
    """
    layout = read_layout(image)
    content = image[: layout.table_offset or len(image)]
    digest = sha256(content[: layout.checksum_at])
    digest.update(content[layout.checksum_at + 4 : layout.security_at])
    digest.update(content[layout.security_at + 8 :])
    digest.update(bytes(-len(content) % ALIGNMENT))
    return digest.digest()


def checksum(image: bytes | bytearray, checksum_at: int) -> int:
    """The CheckSum of a PE file: its 16-bit words added with end-around carry, the field itself as 0, and its size."""
    words = array("H", bytes(image[:checksum_at]) + bytes(4) + bytes(image[checksum_at + 4 :]) + bytes(len(image) % 2))
    if sys.byteorder == "big":
        words.byteswap()
    total = sum(words)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total + len(image)
