"""Each usual cause shown by real differences, and as often the absence of a false one."""

import gzip
import io
import shutil
import subprocess
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
from elf_image import elf_image
from pe_image import pe_image

from glasshouse.supervision.compare import Limits, compare
from glasshouse.supervision.explain import MAX_CHARACTERS, explain, find_causes
from glasshouse.supervision.pe import attach
from glasshouse.supervision.traces import Cause, traces_of

SECTIONS = {
    ".note.gnu.build-id": b"\x04\0\0\0\x14\0\0\0\x03\0\0\0GNU\0" + bytes(20),
    ".text": b"\x55\x48\x89\xe5\xb8\x01\0\0\0\x5d\xc3",
    ".rodata": b"engine started\0/etc/engine/rules\0",
    ".data": b"\x2a\0\0\0\x07\0\0\0",
    ".symtab": bytes(range(48)),
    ".strtab": b"\0main\0helper\0",
    ".comment": b"GCC: (Debian 12.2.0-14) 12.2.0\0",
}
needs_compiler = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")


def causes(tmp_path: Path, shipped: bytes, rebuilt: bytes) -> list[Cause]:
    (tmp_path / "shipped").write_bytes(shipped)
    (tmp_path / "rebuilt").write_bytes(rebuilt)
    return [finding.cause for finding in find_causes(compare(tmp_path / "shipped", tmp_path / "rebuilt"))]


def told(tmp_path: Path, shipped: bytes, rebuilt: bytes, limits: Limits | None = None) -> str:
    (tmp_path / "shipped").write_bytes(shipped)
    (tmp_path / "rebuilt").write_bytes(rebuilt)
    return explain(tmp_path / "shipped", tmp_path / "rebuilt", limits)


def changed(**sections: bytes) -> bytes:
    """The image with some sections replaced; `text` stands for .text."""
    return elf_image({**SECTIONS, **{f".{name}": content for name, content in sections.items()}})


def tar_of(members: dict[str, bytes], **fields: Any) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for field, value in fields.items():
                setattr(info, field, value)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def wheel_of(members: dict[str, bytes], level: int = 6) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, content, compresslevel=level)
    return buffer.getvalue()


# --- texts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shipped", "rebuilt", "cause"),
    [
        ("Nov 21 2026", "Nov 22 2026", Cause.TIMESTAMP),
        ("built Sat Nov 21 17:07:01 UTC 2026.", "built Sun Nov 22 09:10:11 UTC 2026.", Cause.TIMESTAMP),
        ("2026-11-21T17:07:01Z", "2026-11-22T00:00:00Z", Cause.TIMESTAMP),
        ("stamp=20261121", "stamp=20261122", Cause.TIMESTAMP),
        ("17:07:01", "17:08:59", Cause.TIMESTAMP),
        ("created 1700000000", "created 1763744821", Cause.TIMESTAMP),
        ("Sat, 21 Nov 2026 17:07:01 +0100", "Sun, 22 Nov 2026 17:07:01 +0100", Cause.TIMESTAMP),
        ("/home/ann/engine/scan.c", "/build/source/scan.c", Cause.BUILD_PATH),
        ("in /tmp/tmpq8x1/engine/a.py line 3", "in /tmp/tmp77ab/engine/a.py line 3", Cause.BUILD_PATH),
        (r"C:\agent\engine\scan.c", r"D:\a\engine\scan.c", Cause.BUILD_PATH),
        ("../engine/src/scan.c", "src/scan.c", Cause.BUILD_PATH),
        ("root@ws1", "root@ws2", Cause.HOST_OR_USER),
        ("hostname: alpha", "hostname: beta", Cause.HOST_OR_USER),
        ("Built by: ann", "Built by: bob", Cause.HOST_OR_USER),
        ("GCC: (Debian 12.2.0-14) 12.2.0", "GCC: (Ubuntu 13.2.0-4) 13.2.0", Cause.TOOLCHAIN),
        ("GNU C17 12.2.0 -mtune=generic -O2", "GNU C17 12.2.0 -mtune=generic -O3", Cause.TOOLCHAIN),
        ("Generator: setuptools (75.1.0)", "Generator: setuptools (80.9.0)", Cause.TOOLCHAIN),
    ],
)
def test_a_text_betrays_its_cause(shipped: str, rebuilt: str, cause: Cause) -> None:
    assert traces_of(shipped, rebuilt) == (frozenset({cause}), True)
    assert traces_of(rebuilt, shipped) == (frozenset({cause}), True)


@pytest.mark.parametrize(
    ("shipped", "rebuilt"),
    [
        ("Version: 4.5.4", "Version: 4.5.5"),
        ("/etc/engine/allow", "/home/ann/evil"),
        ("/etc/engine/rules", "/etc/engine/other"),
        ("read/write", "read/only"),
        ("https://updates.example.org/feed", "https://mirror.example.net/feed"),
        ("limit 10:20", "limit 10:30"),
        ("port 8080", "port 8081"),
        ("Author-email: ann@example.org", "Author-email: bob@example.org"),
        ("if (user == admin)", "if (user != admin)"),
        ("session 1234567", "session 1234568"),
        ("deadbeef" * 8, "deadbeee" * 8),
        ("", "new"),
        ("x" * 5_000, "y" * 5_000),
    ],
)
def test_a_text_that_betrays_nothing(shipped: str, rebuilt: str) -> None:
    assert traces_of(shipped, rebuilt) == (frozenset(), False)
    assert traces_of(rebuilt, shipped) == (frozenset(), False)


def test_several_causes_in_one_text() -> None:
    found = traces_of("built Nov 21 2026 by ann@ws1 in /home/ann/x.c", "built Nov 22 2026 by bob@ws2 in /build/x.c")
    assert found == (frozenset({Cause.TIMESTAMP, Cause.HOST_OR_USER, Cause.BUILD_PATH}), True)


def test_a_usual_cause_does_not_cover_for_another_change() -> None:
    found = traces_of("built Nov 21 2026, checks on", "built Nov 22 2026, checks off")
    assert found == (frozenset({Cause.TIMESTAMP}), False)


# --- assembled ELF files -------------------------------------------------------------------------------------------

ELF_CASES: dict[str, tuple[dict[str, bytes], list[Cause]]] = {
    "toolchain": ({"comment": b"GCC: (Debian 12.2.0-15) 12.2.1\0"}, [Cause.TOOLCHAIN]),
    "another constant": ({"data": b"\x2b\0\0\0\x07\0\0\0"}, [Cause.CONTENT]),
    "another path of its own": ({"rodata": b"engine started\0/etc/engine/other\0"}, [Cause.CONTENT]),
    "longer code": ({"text": SECTIONS[".text"] + b"\x90"}, [Cause.CODE]),
    "code of the same length": ({"text": SECTIONS[".text"].replace(b"\xb8\x01", b"\xb8\x02")}, [Cause.CODE]),
    "code that moved": (
        {
            "text": SECTIONS[".text"].replace(b"\xb8\x01", b"\xb8\x02"),
            "rodata": b"engine started in /home/a/engine.c\0/etc/engine/rules\0",
        },
        [Cause.CONTENT, Cause.MOVED_ADDRESSES],
    ),
    "symbols follow": (
        {"symtab": bytes(range(1, 49)), "comment": b"GCC: (Debian 12.2.0-15) 12.2.1\0"},
        [Cause.TOOLCHAIN],
    ),
    "symbols alone": ({"symtab": bytes(range(1, 49))}, [Cause.CONTENT]),
    "symbol order": ({"strtab": b"\0helper\0main\0"}, [Cause.ORDERING]),
}


@pytest.mark.parametrize("case", list(ELF_CASES))
def test_sections(tmp_path: Path, case: str) -> None:
    sections, expected = ELF_CASES[case]
    assert causes(tmp_path, elf_image(SECTIONS), changed(**sections)) == expected


def test_build_id_alone(tmp_path: Path) -> None:
    rebuilt = elf_image({**SECTIONS, ".note.gnu.build-id": SECTIONS[".note.gnu.build-id"][:-1] + b"\x01"})
    assert causes(tmp_path, elf_image(SECTIONS), rebuilt) == [Cause.BUILD_ID]
    assert "section .note.gnu.build-id" in told(tmp_path, elf_image(SECTIONS), rebuilt)


def test_time_as_a_number(tmp_path: Path) -> None:
    first, second = (1_700_000_000).to_bytes(4, "little"), (1_763_744_821).to_bytes(4, "little")
    assert causes(tmp_path, b"\xff\0\1\2" + first + b"\0", b"\xff\0\1\2" + second + b"\0") == [Cause.TIMESTAMP]
    far = (1_200_000_000).to_bytes(4, "little")
    assert causes(tmp_path, b"\xff\0\1\2" + far + b"\0", b"\xff\0\1\2" + second + b"\0") == [Cause.CONTENT]


# --- archives ------------------------------------------------------------------------------------------------------


def test_archive_times_modes_and_owners(tmp_path: Path) -> None:
    plain = tar_of({"a": b"1", "b": b"2"})
    assert causes(tmp_path, plain, tar_of({"a": b"1", "b": b"2"}, mtime=1_763_744_821)) == [Cause.TIMESTAMP]
    assert causes(tmp_path, plain, tar_of({"a": b"1", "b": b"2"}, uname="ann", uid=1000)) == [Cause.HOST_OR_USER]
    assert causes(tmp_path, plain, tar_of({"a": b"1", "b": b"2"}, mode=0o600)) == [Cause.PERMISSIONS]
    assert causes(tmp_path, plain, tar_of({"b": b"2", "a": b"1"})) == [Cause.ORDERING]
    assert causes(tmp_path, plain, tar_of({"a": b"1"})) == [Cause.FILE_LIST]
    assert causes(tmp_path, gzip.compress(plain, mtime=1), gzip.compress(plain, mtime=1_763_744_821)) == [
        Cause.TIMESTAMP
    ]


def test_compression_level(tmp_path: Path) -> None:
    text = b"".join(str(number * number).encode() for number in range(2_000))
    assert causes(tmp_path, wheel_of({"a": text}), wheel_of({"a": text}, level=1)) == [Cause.COMPRESSION]


def test_wheel_record_follows_its_members(tmp_path: Path) -> None:
    def wheel(text: bytes, record: bytes) -> bytes:
        return wheel_of({"engine.py": text, "engine-1.dist-info/RECORD": record})

    shipped = wheel(b"BUILT = 'Nov 21 2026'\n", b"engine.py,sha256=aaaa,22\nRECORD,,\n")
    honest = wheel(b"BUILT = 'Nov 22 2026'\n", b"engine.py,sha256=bbbb,22\nRECORD,,\n")
    hiding = wheel(b"BUILT = 'Nov 22 2026'\n", b"engine.py,sha256=bbbb,22\nRECORD,,\nother.py,sha256=cccc,1\n")
    assert causes(tmp_path, shipped, honest) == [Cause.TIMESTAMP]
    assert causes(tmp_path, shipped, hiding) == [Cause.CONTENT, Cause.TIMESTAMP]


def test_payload_behind_the_parts(tmp_path: Path) -> None:
    assert causes(tmp_path, elf_image(SECTIONS), elf_image(SECTIONS) + b"payload") == [Cause.LAYOUT]


# --- compiled ------------------------------------------------------------------------------------------------------

PROGRAM = """
#include <stdio.h>
static const char *where = __FILE__;
int answer(int x) { return x * FACTOR; }
int main(void) { printf("%s %s %d\\n", where, STAMP, answer(2)); return 0; }
"""


def compile_program(folder: Path, *options: str, program: str = PROGRAM, names: tuple[str, ...] = ("main.c",)) -> bytes:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_text(
            program if name == "main.c" else f"int f_{name[0]}(void) {{ return {ord(name[0])}; }}\n"
        )
    defaults = ["-DFACTOR=3", '-DSTAMP="v1"', "-Wl,--build-id=sha1", "-O1"]
    sources = [str(folder / name) for name in names]
    subprocess.run(["gcc", *defaults, *options, *sources, "-o", folder / "program"], check=True, capture_output=True)
    return (folder / "program").read_bytes()


@needs_compiler
def test_compiled_twice_is_identical(tmp_path: Path) -> None:
    assert told(tmp_path, compile_program(tmp_path / "a"), compile_program(tmp_path / "a")) == (
        "The two files are identical."
    )


@needs_compiler
def test_compiled_at_another_time(tmp_path: Path) -> None:
    program = PROGRAM.replace("STAMP", "__DATE__")
    one, two = (subprocess_environment(tmp_path / "x", str(epoch), program) for epoch in (1_700_000_000, 1_763_744_821))
    assert causes(tmp_path, one, two) == [Cause.TIMESTAMP, Cause.BUILD_ID]


def subprocess_environment(folder: Path, epoch: str, program: str) -> bytes:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOURCE_DATE_EPOCH", epoch)
        return compile_program(folder, program=program)


@needs_compiler
@pytest.mark.parametrize("options", [(), ("-g",)])
def test_compiled_elsewhere(tmp_path: Path, options: tuple[str, ...]) -> None:
    one, two = compile_program(tmp_path / "ann", *options), compile_program(tmp_path / "somewhere" / "else", *options)
    found = causes(tmp_path, one, two)
    assert Cause.BUILD_PATH in found
    assert set(found) <= {Cause.BUILD_PATH, Cause.MOVED_ADDRESSES, Cause.BUILD_ID}


@needs_compiler
def test_compiled_from_other_source(tmp_path: Path) -> None:
    honest = compile_program(tmp_path / "a")
    backdoor = compile_program(
        tmp_path / "a", program=PROGRAM.replace("x * FACTOR", "x == 77 ? 0 : x * FACTOR").replace("v1", "v2")
    )
    assert causes(tmp_path, honest, backdoor)[0] is Cause.CODE
    assert Cause.TIMESTAMP not in causes(tmp_path, honest, backdoor)
    constant = compile_program(tmp_path / "a", "-UFACTOR", "-DFACTOR=5")
    assert causes(tmp_path, honest, constant)[0] is Cause.CODE


@needs_compiler
def test_linked_in_another_order(tmp_path: Path) -> None:
    one = compile_program(tmp_path / "a", names=("main.c", "x.c", "y.c"))
    two = compile_program(tmp_path / "a", names=("main.c", "y.c", "x.c"))
    found = causes(tmp_path, one, two)
    assert found[0] is Cause.ORDERING
    assert set(found) <= {Cause.ORDERING, Cause.MOVED_ADDRESSES, Cause.BUILD_ID}


@needs_compiler
def test_static_library_with_times(tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text("int a(void) { return 1; }\n")
    subprocess.run(["gcc", "-c", "a.c"], cwd=tmp_path, check=True)
    subprocess.run(["ar", "qDs", "fixed.a", "a.o"], cwd=tmp_path, check=True, capture_output=True)
    subprocess.run(["ar", "qUs", "timed.a", "a.o"], cwd=tmp_path, check=True, capture_output=True)
    found = causes(tmp_path, (tmp_path / "fixed.a").read_bytes(), (tmp_path / "timed.a").read_bytes())
    assert Cause.TIMESTAMP in found
    assert set(found) <= {Cause.TIMESTAMP, Cause.HOST_OR_USER, Cause.PERMISSIONS}


# --- words ---------------------------------------------------------------------------------------------------------


def test_first_difference_and_causes_in_words(tmp_path: Path) -> None:
    shipped = wheel_of({"engine.so": elf_image({**SECTIONS, ".rodata": b"built Nov 21 2026\0"})})
    rebuilt = wheel_of({"engine.so": elf_image({**SECTIONS, ".rodata": b"built Nov 22 2026\0"})})
    text = told(tmp_path, shipped, rebuilt)
    assert text.startswith(
        'First difference: engine.so, section .rodata, at byte 11: shipped "built Nov 21 2026", '
        'rebuilt "built Nov 22 2026".\nWhat usually causes this:\n- time stamp (1 place): '
    )


def test_hostile_names_and_texts_are_printed_safely(tmp_path: Path) -> None:
    name = "evil\x1b[2J\n\u202e" + "x" * 500
    text = told(tmp_path, tar_of({name: b"\x1b]0;owned\x07 one"}), tar_of({name: b"\x1b]0;owned\x07 two"}))
    assert all(char.isprintable() or char == "\n" for char in text)
    assert "\\u001b" in text
    many = {f"{number} {name}": str(number).encode() for number in range(300)}
    text = told(tmp_path, tar_of(many), tar_of(dict.fromkeys(many, b"?")))
    assert len(text) <= MAX_CHARACTERS
    assert "Only the first 200 differences were looked at." in text


def test_every_aspect_is_told(tmp_path: Path) -> None:
    pairs = [
        (tar_of({"a": b"1"}), tar_of({"a": b"1"}, mode=0o600)),
        (tar_of({"a": b"1", "b": b"2"}), tar_of({"b": b"2", "a": b"1"})),
        (tar_of({"a": b"1"}), tar_of({"a": b"1", "b": b"2"})),
        (tar_of({"a": b"1", "b": b"2"}), tar_of({"a": b"1"})),
        (elf_image(SECTIONS), elf_image(SECTIONS) + b"x"),
        (elf_image(SECTIONS), b"text"),
        (b"one\n", b"two\n"),
        (b"\0\1", b"\0\2\3"),
    ]
    for shipped, rebuilt in pairs:
        assert "What usually causes this:\n- " in told(tmp_path, shipped, rebuilt)
    compressed = gzip.compress(b"\0" * 100_000 + b"1", mtime=0), gzip.compress(b"\0" * 100_000 + b"2", mtime=0)
    assert "not looked into" in told(tmp_path, *compressed, Limits(unpacked_bytes=10))


# --- Windows files -------------------------------------------------------------------------------------------------

LIBRARY = {".text": b"\x55\x48\x89\xe5\xc3", ".rdata": b"engine started\0", ".edata": bytes(4) + b"\x80\xf1\x53\x65"}


def test_a_windows_file_is_compared_section_by_section(tmp_path: Path) -> None:
    other = pe_image({**LIBRARY, ".text": b"\x55\x48\x89\xe5\x90"})
    assert causes(tmp_path, pe_image(LIBRARY), other) == [Cause.CODE]
    assert told(tmp_path, pe_image(LIBRARY), other).startswith("First difference: section .text, at byte 4.")


def test_a_windows_file_that_was_linked_at_another_time(tmp_path: Path) -> None:
    """The time stands in the header and in the table of exported names."""
    other = pe_image({**LIBRARY, ".edata": bytes(4) + b"\x81\xf1\x53\x65"}, time=1_700_000_001)
    assert causes(tmp_path, pe_image(LIBRARY), other) == [Cause.TIMESTAMP]
    assert "link time, shipped" in told(tmp_path, pe_image(LIBRARY), other)


def test_a_signature_is_no_section(tmp_path: Path) -> None:
    """What a signature adds is judged apart; the explanation is about what was built."""
    unsigned = pe_image(LIBRARY)
    signed = attach(unsigned, b"\x30\x03\x02\x01\x05")
    assert causes(tmp_path, signed, unsigned) == [Cause.LAYOUT]
    other = pe_image({**LIBRARY, ".rdata": b"engine stopped\0"})
    assert told(tmp_path, signed, other).startswith('First difference: section .rdata, at byte 9: shipped "engine st')


def test_a_damaged_windows_file_is_compared_as_bytes(tmp_path: Path) -> None:
    assert causes(tmp_path, pe_image(LIBRARY), b"MZ" + bytes(100)) == [Cause.CONTENT]
