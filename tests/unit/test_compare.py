import bz2
import gzip
import io
import lzma
import random
import struct
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
from elf_image import elf_image

from glasshouse.supervision import compare as compare_module
from glasshouse.supervision.compare import Aspect, Comparison, Difference, Limits, compare
from glasshouse.supervision.errors import Unreadable

BASE = {".text": b"\x55\x48\x89\xe5\xc3", ".rodata": b"hello world\0", ".comment": b"GCC: (Debian) 12.2.0\0"}


def compared(tmp_path: Path, shipped: bytes, rebuilt: bytes, limits: Limits | None = None) -> Comparison:
    (tmp_path / "shipped").write_bytes(shipped)
    (tmp_path / "rebuilt").write_bytes(rebuilt)
    return compare(tmp_path / "shipped", tmp_path / "rebuilt", limits)


def only(comparison: Comparison) -> Difference:
    (difference,) = comparison.differences
    return difference


def names(difference: Difference) -> list[str]:
    return [step.name for step in difference.where]


def zip_of(*members: tuple[str, bytes], **options: Any) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members:
            info = zipfile.ZipInfo(name, options.get("date", (1980, 1, 1, 0, 0, 0)))
            info.external_attr = options.get("mode", 0o100644) << 16
            info.compress_type = options.get("method", zipfile.ZIP_DEFLATED)
            archive.writestr(info, content, compresslevel=options.get("level", 6))
    return buffer.getvalue()


def tar_of(*members: tuple[str, bytes], **fields: Any) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for field, value in fields.items():
                setattr(info, field, value)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def ar_of(*members: tuple[str, bytes], mtime: int = 0) -> bytes:
    body = b"!<arch>\n"
    for name, content in members:
        header = f"{name:<16}{mtime:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n"
        body += header.encode() + content + b"\n" * (len(content) % 2)
    return body


# --- plain files ---------------------------------------------------------------------------------------------------


def test_identical(tmp_path: Path) -> None:
    assert compared(tmp_path, b"same", b"same") == Comparison(identical=True)


@pytest.mark.parametrize(("shipped", "rebuilt", "offset"), [(b"", b"a", 0), (b"ab", b"a", 1), (b"xay", b"xby", 1)])
def test_first_differing_byte(tmp_path: Path, shipped: bytes, rebuilt: bytes, offset: int) -> None:
    assert only(compared(tmp_path, shipped, rebuilt)).offset == offset


def test_first_difference_beyond_a_chunk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare_module, "_CHUNK_BYTES", 7)
    for size in range(1, 24):
        data = bytes(range(100, 100 + size))
        for index in range(size):
            changed = data[:index] + b"\0" + data[index + 1 :]
            assert only(compared(tmp_path, data, changed)).offset == index


def test_line_of_a_text(tmp_path: Path) -> None:
    difference = only(compared(tmp_path, b"one\ntwo\nthree\n", b"one\n2\nthree\n"))
    assert (difference.line, difference.shipped, difference.rebuilt) == (2, "two", "2")
    assert difference.changed == (("two", "2"),)
    assert not difference.beyond_strings


def test_lines_in_another_order(tmp_path: Path) -> None:
    difference = only(compared(tmp_path, b"a\nb\nc\n", b"a\nc\nb\n"))
    assert (difference.aspect, difference.line) == (Aspect.ORDER, 2)


def test_strings_and_words_of_binary_data(tmp_path: Path) -> None:
    difference = only(compared(tmp_path, b"\0\1\2\3name one\0\xff", b"\0\1\2\3name two\0\xff"))
    assert difference.changed == (("name one", "name two"),)
    assert not difference.beyond_strings
    assert [offset for offset, _, _ in difference.words] == [8]
    assert only(compared(tmp_path, b"\0name\0\xff", b"\0name\0\xfe")).beyond_strings


def test_large_parts_are_not_taken_apart(tmp_path: Path) -> None:
    difference = only(compared(tmp_path, b"line\n" * 50 + b"x", b"line\n" * 50 + b"y", Limits(text_bytes=100)))
    assert (difference.offset, difference.line, difference.changed) == (250, None, ())
    assert difference.beyond_strings


def test_missing_file(tmp_path: Path) -> None:
    (tmp_path / "there").write_bytes(b"")
    with pytest.raises(Unreadable, match="gone cannot be read: No such file"):
        compare(tmp_path / "there", tmp_path / "gone")
    with pytest.raises(Unreadable, match="directory"):
        compare(tmp_path, tmp_path / "there")


# --- containers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pack", [zip_of, tar_of, ar_of])
def test_member_content(tmp_path: Path, pack: Any) -> None:
    difference = only(
        compared(tmp_path, pack(("a", b"same"), ("b.txt", b"1\n2\n")), pack(("a", b"same"), ("b.txt", b"1\n3\n")))
    )
    assert names(difference) == ["b.txt"]
    assert difference.line == 2


@pytest.mark.parametrize("pack", [zip_of, tar_of, ar_of])
def test_member_order_and_absence(tmp_path: Path, pack: Any) -> None:
    one, two, three = ("one", b"1"), ("two", b"2"), ("three", b"3")
    order = only(compared(tmp_path, pack(one, two, three), pack(one, three, two)))
    assert (order.aspect, order.shipped, order.rebuilt) == (Aspect.ORDER, "two", "three")
    missing = only(compared(tmp_path, pack(one, two), pack(one)))
    assert (missing.aspect, names(missing)) == (Aspect.ONLY_SHIPPED, ["two"])
    added = only(compared(tmp_path, pack(one), pack(one, two)))
    assert (added.aspect, names(added)) == (Aspect.ONLY_REBUILT, ["two"])


@pytest.mark.parametrize(
    ("shipped", "rebuilt", "field"),
    [
        (zip_of(("a", b"1")), zip_of(("a", b"1"), date=(2026, 11, 21, 1, 2, 4)), "modified"),
        (zip_of(("a", b"1")), zip_of(("a", b"1"), mode=0o100755), "mode"),
        (zip_of(("a", b"1")), zip_of(("a", b"1"), method=zipfile.ZIP_STORED), "compression"),
        (tar_of(("a", b"1")), tar_of(("a", b"1"), mtime=1_700_000_000), "modified"),
        (tar_of(("a", b"1")), tar_of(("a", b"1"), uname="ann"), "owner"),
        (tar_of(("a", b"1")), tar_of(("a", b"1"), mode=0o600), "mode"),
        (ar_of(("a", b"1")), ar_of(("a", b"1"), mtime=1_700_000_000), "modified"),
        (gzip.compress(b"1", mtime=1), gzip.compress(b"1", mtime=1_700_000_000), "modified"),
    ],
)
def test_field(tmp_path: Path, shipped: bytes, rebuilt: bytes, field: str) -> None:
    difference = only(compared(tmp_path, shipped, rebuilt))
    assert (difference.aspect, difference.field) == (Aspect.FIELD, field)


def test_same_content_packed_otherwise(tmp_path: Path) -> None:
    text = bytes(random.Random(1).choices(b"abcdef", k=5_000))
    assert only(compared(tmp_path, zip_of(("a", text)), zip_of(("a", text), level=1))).aspect is Aspect.ENCODING
    difference = only(compared(tmp_path, lzma.compress(text, preset=0), lzma.compress(text, preset=6)))
    assert difference.aspect is Aspect.ENCODING


def test_nested_containers(tmp_path: Path) -> None:
    def build(text: bytes) -> bytes:
        return gzip.compress(tar_of(("deep.zip", zip_of(("x.so", elf_image({**BASE, ".rodata": text}))))), mtime=0)

    difference = only(compared(tmp_path, build(b"first version\0"), build(b"other version\0")))
    assert names(difference) == ["", "deep.zip", "x.so", ".rodata"]
    assert difference.changed == (("first version", "other version"),)
    shallow = only(compared(tmp_path, build(b"1"), build(b"2"), Limits(depth=2)))
    assert names(shallow) == ["", "deep.zip"]


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_compressed_text(tmp_path: Path, compress: Any) -> None:
    found = compared(tmp_path, compress(b"one\ntwo\n"), compress(b"one\n2\n")).differences
    assert found[-1].line == 2


def test_repeated_names_stay_apart(tmp_path: Path) -> None:
    difference = only(compared(tmp_path, tar_of(("a", b"1"), ("a", b"2")), tar_of(("a", b"1"), ("a", b"3"))))
    assert names(difference) == ["a (2)"]


def test_bytes_behind_equal_parts(tmp_path: Path) -> None:
    image = elf_image(BASE)
    assert only(compared(tmp_path, image, image + b"payload")).aspect is Aspect.LAYOUT
    assert only(compared(tmp_path, zip_of(("a", b"1")), b"".join([zip_of(("a", b"1"))[:-2], b"\1\0!"]))).aspect in (
        Aspect.FIELD,
        Aspect.LAYOUT,
    )


def test_another_kind_of_file(tmp_path: Path) -> None:
    difference = only(compared(tmp_path, zip_of(("a", b"1")), b"text"))
    assert (difference.aspect, difference.shipped, difference.rebuilt) == (Aspect.KIND, "zip archive", "plain file")


# --- ELF -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("section", list(BASE))
def test_every_section_of_every_class(tmp_path: Path, bits: int, order: str, section: str) -> None:
    changed = {**BASE, section: BASE[section][:-1] + b"\x01"}
    difference = only(
        compared(tmp_path, elf_image(BASE, bits=bits, order=order), elf_image(changed, bits=bits, order=order))
    )
    assert names(difference) == [section]
    assert difference.where[0].code == (section == ".text")
    assert difference.offset == len(BASE[section]) - 1


def test_every_byte_of_an_elf_file_flipped(tmp_path: Path) -> None:
    image = elf_image(BASE)
    for index in range(len(image)):
        broken = bytearray(image)
        broken[index] ^= 0xFF
        assert not compared(tmp_path, image, bytes(broken)).identical
        assert compared(tmp_path, image, bytes(broken)).differences


def test_truncated_elf_is_compared_as_bytes(tmp_path: Path) -> None:
    image = elf_image(BASE)
    for end in range(0, len(image), 7):
        assert only(compared(tmp_path, image, image[:end])).offset == end


# --- hostile -------------------------------------------------------------------------------------------------------


def test_bomb_stops_at_the_budget(tmp_path: Path) -> None:
    bombs = [zip_of(("bomb", b"\0" * 10_000_000 + tail)) for tail in (b"1", b"2")]
    difference = only(compared(tmp_path, bombs[0], bombs[1], Limits(unpacked_bytes=1_000_000)))
    assert difference.aspect is Aspect.UNEXAMINED


def test_damaged_member_is_compared_as_it_lies(tmp_path: Path) -> None:
    good = zip_of(("a", b"text " * 100), ("b", b"other"))
    start = good.index(b"PK\x03\x04") + 31
    bad = good[:start] + b"\xff\xff\xff" + good[start + 3 :]
    assert names(only(compared(tmp_path, good, bad))) == ["a"]


@pytest.mark.parametrize("pack", [zip_of, tar_of, ar_of])
def test_no_damage_escapes(tmp_path: Path, pack: Any) -> None:
    """Whatever is broken, the answer is a comparison that says: not identical."""
    good = pack(("name", b"content " * 4), ("other", b"more"))
    for index in range(0, len(good), 3 if len(good) < 1_000 else 61):
        for bad in (good[:index] + bytes([good[index] ^ 0x55]) + good[index + 1 :], good[:index]):
            comparison = compared(tmp_path, good, bad)
            assert not comparison.identical
            assert comparison.differences


def test_ar_with_lying_sizes(tmp_path: Path) -> None:
    good = ar_of(("a", b"1234"))
    for size in (b"9999999999", b"-1        ", b"0x4       ", b"          "):
        assert compared(tmp_path, good, good[:56] + size + good[66:]).differences


def test_tar_with_an_endless_name(tmp_path: Path) -> None:
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 7 << 30
    bomb = info.tobuf(tarfile.GNU_FORMAT) + b"\0" * 1024
    assert only(compared(tmp_path, tar_of(("a", b"1")), bomb)).aspect is Aspect.CONTENT


def test_many_differences_are_cut(tmp_path: Path) -> None:
    left, right = ([(f"m{i}", f"{side}{i}".encode()) for i in range(30)] for side in "lr")
    comparison = compared(tmp_path, zip_of(*left), zip_of(*right), Limits(differences=5))
    assert (len(comparison.differences), comparison.complete) == (5, False)


def test_section_names_beyond_their_table(tmp_path: Path) -> None:
    image = bytearray(elf_image(BASE))
    table = struct.unpack_from("<Q", image, 40)[0]
    struct.pack_into("<I", image, table + 64, 0xFFFFFFFF)
    assert compared(tmp_path, elf_image(BASE), bytes(image)).differences
