"""Small ELF files assembled from named sections, for machines without a compiler."""

import struct

PROGBITS, NOBITS, STRTAB = 1, 8, 3
ALLOC, EXECINSTR = 2, 4


def elf_image(
    sections: dict[str, bytes], *, bits: int = 64, order: str = "<", code: tuple[str, ...] = (".text",)
) -> bytes:
    """An ELF file of the given sections, in order, followed by its section names and its section table."""
    names = b"\0" + b"".join(name.encode() + b"\0" for name in (*sections, ".shstrtab"))
    starts = {name: names.index(b"\0" + name.encode() + b"\0") + 1 for name in (*sections, ".shstrtab")}
    header_size, row_size = (64, 64) if bits == 64 else (52, 40)
    body, rows = b"", [(0, 0, 0, 0, 0)]
    for name, content in {**sections, ".shstrtab": names}.items():
        flags = ALLOC | EXECINSTR if name in code else ALLOC
        kind = STRTAB if name == ".shstrtab" else PROGBITS
        rows.append((starts[name], kind, flags, header_size + len(body), len(content)))
        body += content + b"\0" * (-len(content) % 16)
    layout = "IIQQQQIIQQ" if bits == 64 else "IIIIIIIIII"
    table = b"".join(
        struct.pack(order + layout, n, kind, flags, 0, at, size, 0, 0, 1, 0) for n, kind, flags, at, size in rows
    )
    ident = b"\x7fELF" + bytes([2 if bits == 64 else 1, 1 if order == "<" else 2, 1]) + b"\0" * 9
    header = struct.pack(
        order + ("HHIQQQIHHHHHH" if bits == 64 else "HHIIIIIHHHHHH"),
        *(1, 62, 1, 0, 0, header_size + len(body), 0, header_size, 0, 0, row_size, len(rows), len(rows) - 1),
    )
    return ident + header + body + table
