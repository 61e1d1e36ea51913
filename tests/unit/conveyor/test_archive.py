"""The tar reader against hostile archives, and the writer against differences that nobody asked for."""

import bz2
import gzip
import io
import lzma
import tarfile
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glasshouse.conveyor.archive import (
    ArchiveError,
    Kind,
    Limits,
    Readable,
    TarWriter,
    decompressed,
    normal_path,
    read_all,
    read_members,
)

LIMITS = Limits(members=100, total_bytes=10 << 20)


def tar(*infos: tarfile.TarInfo, tar_format: int = tarfile.PAX_FORMAT) -> io.BytesIO:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tar_format) as archive:
        for info in infos:
            archive.addfile(info, io.BytesIO(b"x" * info.size))
    out.seek(0)
    return out


def info(name: str, kind: bytes = tarfile.REGTYPE, size: int = 0, target: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.size, made.linkname = kind, size, target
    return made


def listed(stream: Readable, limits: Limits = LIMITS) -> list[tuple[str, Kind, bytes]]:
    found = []
    for member, content in read_members(stream, limits):
        found.append((member.path, member.kind, b"" if content is None else read_all(content, 1 << 30)))
    return found


@given(st.dictionaries(st.from_regex(r"[a-zé]{1,120}(/[a-z]{1,60}){0,3}", fullmatch=True), st.binary(max_size=2000)))
def test_what_is_written_is_read(files: dict[str, bytes]) -> None:
    out = io.BytesIO()
    writer = TarWriter(out, epoch=1_000_000_000)
    for path, data in files.items():
        writer.add(path, data)
    writer.finish()
    out.seek(0)
    assert listed(out) == [(path, Kind.FILE, data) for path, data in files.items()]


def test_the_writer_knows_no_owner_and_no_clock() -> None:
    out = io.BytesIO()
    writer = TarWriter(out, epoch=1_000_000_000)
    writer.directory("d")
    writer.symlink("d/l", "f")
    writer.file("d/f", True, 3, io.BytesIO(b"abc"))
    writer.finish()
    out.seek(0)
    with tarfile.open(fileobj=out) as archive:
        members = archive.getmembers()
    assert [(m.name, m.mode, m.mtime, m.uid, m.gid, m.uname, m.gname) for m in members] == [
        ("d", 0o755, 1_000_000_000, 0, 0, "", ""),
        ("d/l", 0o777, 1_000_000_000, 0, 0, "", ""),
        ("d/f", 0o755, 1_000_000_000, 0, 0, "", ""),
    ]


@pytest.mark.parametrize("content", [b"ab", b"abcd"])
def test_a_file_that_changed_its_size_is_not_archived(content: bytes) -> None:
    with pytest.raises(ArchiveError, match="changed its size"):
        TarWriter(io.BytesIO(), epoch=0).file("f", False, 3, io.BytesIO(content))


@pytest.mark.parametrize(
    "name",
    ["/etc/passwd", "../x", "a/../../x", "a/..", "a\nb", "a\x7f", "x" * 256, "/".join(["d" * 200] * 6), "\udcff"],
)
def test_paths_that_could_escape_or_hide_are_refused(name: str) -> None:
    with pytest.raises(ArchiveError):
        normal_path(name)


def test_harmless_spellings_are_normal() -> None:
    assert [normal_path(name) for name in ("./a//b/", ".", "", "a/./b", "…")] == ["a/b", "", "", "a/b", "…"]


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_devices_are_refused(kind: bytes) -> None:
    with pytest.raises(ArchiveError, match="neither"):
        listed(tar(info("a", kind)))


def test_too_many_members_and_too_many_bytes_are_refused() -> None:
    with pytest.raises(ArchiveError, match="members"):
        listed(tar(*(info(str(n)) for n in range(101))))
    with pytest.raises(ArchiveError, match="larger"):
        listed(tar(info("a", size=11 << 20)))


def test_a_header_that_asks_for_memory_is_refused() -> None:
    long = info("a" * 100)
    long.pax_headers = {"comment": "x" * (5 << 20)}
    with pytest.raises(ArchiveError, match="memory"):
        listed(tar(long))


@given(st.integers(0, 1023), st.integers(0, 255))
def test_a_damaged_header_is_refused_or_read(place: int, value: int) -> None:
    data = bytearray(tar(info("a", size=10), info("b", tarfile.SYMTYPE, target="a")).getvalue())
    data[place] = value
    try:
        listed(io.BytesIO(bytes(data)))
    except ArchiveError:
        return


@pytest.mark.parametrize("cut", [1, 511, 513, 700])
def test_a_truncated_archive_is_refused(cut: int) -> None:
    data = tar(info("a", size=600), info("b", size=600)).getvalue()[:-9216]
    with pytest.raises(ArchiveError):
        listed(io.BytesIO(data[: cut + 512]))


@pytest.mark.parametrize(("suffix", "compress"), [("gz", gzip.compress), ("xz", lzma.compress), ("bz2", bz2.compress)])
def test_compressed_streams(suffix: str, compress: object) -> None:
    plain = bytes(range(256)) * 9000
    packed = compress(plain)  # type: ignore[operator]

    assert read_all(decompressed(io.BytesIO(packed), f"x.{suffix}"), 1 << 30) == plain
    assert read_all(decompressed(io.BytesIO(packed + packed), f"x.{suffix}"), 1 << 30) == plain * 2
    for damaged in (packed[:-5], packed[:100], packed[:100] + b"\xff" * 50 + packed[150:], packed + b"garbage"):
        with pytest.raises(ArchiveError):
            read_all(decompressed(io.BytesIO(damaged), f"x.{suffix}"), 1 << 30)


@pytest.mark.parametrize(("suffix", "compress"), [("gz", gzip.compress), ("xz", lzma.compress), ("bz2", bz2.compress)])
def test_a_bomb_costs_no_memory(suffix: str, compress: object) -> None:
    # A tar whose only member holds 64 MiB of zeros.
    bomb = compress(tar(info("a", size=64 << 20)).getvalue())  # type: ignore[operator]
    tracemalloc.start()
    with pytest.raises(ArchiveError, match="larger"):
        listed(decompressed(io.BytesIO(bomb), f"x.{suffix}"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 32 << 20


def test_an_unknown_compression_is_named() -> None:
    with pytest.raises(ArchiveError, match="zstd"):
        decompressed(io.BytesIO(), "data.tar.zst")
