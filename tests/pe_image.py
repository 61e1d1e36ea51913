"""Small Windows libraries assembled from named sections, for machines without a cross compiler."""

import struct

FILE_ALIGNMENT, SECTION_ALIGNMENT = 0x200, 0x1000
HEADER_AT = 64
CODE, DATA = 0x60000020, 0x40000040
OPTIONAL_AT = HEADER_AT + 24
CHECKSUM_AT = OPTIONAL_AT + 64
SECURITY_AT = {64: OPTIONAL_AT + 112 + 4 * 8, 32: OPTIONAL_AT + 96 + 4 * 8}


def pe_image(sections: dict[str, bytes], *, bits: int = 64, time: int = 1_700_000_000, appended: bytes = b"") -> bytes:
    """A DLL of the given sections, in order, with no signature and a checksum of 0, as a linker may leave it."""
    optional_size = 240 if bits == 64 else 224
    size = HEADER_AT + 24 + optional_size + 40 * len(sections)
    headers_end = size + -size % FILE_ALIGNMENT
    rows, body, address = b"", b"", SECTION_ALIGNMENT
    for name, content in sections.items():
        padded = content + bytes(-len(content) % FILE_ALIGNMENT)
        rows += struct.pack(
            "<8sIIIIIIHHI",
            *(
                name.encode(),
                len(content),
                address,
                len(padded),
                headers_end + len(body),
                0,
                0,
                0,
                0,
                CODE if name == ".text" else DATA,
            ),
        )
        body += padded
        address += len(content) + -len(content) % SECTION_ALIGNMENT
    coff = struct.pack("<HHIIIHH", 0x8664 if bits == 64 else 0x14C, len(sections), time, 0, 0, optional_size, 0x2022)
    optional = _optional(bits, address, headers_end)
    head = b"MZ".ljust(60, b"\0") + struct.pack("<I", HEADER_AT) + b"PE\0\0" + coff + optional + rows
    return head.ljust(headers_end, b"\0") + body + appended


def _optional(bits: int, image_size: int, headers_end: int) -> bytes:
    magic = 0x20B if bits == 64 else 0x10B
    standard = struct.pack("<HBBIIIII", magic, 2, 40, 0, 0, 0, SECTION_ALIGNMENT, SECTION_ALIGNMENT)
    base = struct.pack("<Q", 0x180000000) if bits == 64 else struct.pack("<II", SECTION_ALIGNMENT, 0x10000000)
    windows = struct.pack(
        "<IIHHHHHHIIIIHH",
        *(SECTION_ALIGNMENT, FILE_ALIGNMENT, 4, 0, 0, 0, 5, 2, 0, image_size, headers_end, 0, 3, 0x160),
    )
    sizes = struct.pack("<4Q" if bits == 64 else "<4I", 0x200000, 0x1000, 0x100000, 0x1000)
    # BaseOfData of the 32-bit form stands before the image base; the 64-bit base takes the place of both.
    return (standard[:24] + base + windows + sizes + struct.pack("<II", 0, 16)).ljust(240 if bits == 64 else 224, b"\0")
