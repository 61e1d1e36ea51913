"""Opaque binaries: what counts as one, what is inside of archives, and what a build may still ship."""

import bz2
import gzip
import io
import lzma
import marshal
import py_compile
import tarfile
import zipfile
from hashlib import sha256
from pathlib import Path

import pytest
from workshop import tree_of

from glasshouse.conveyor.build import Output
from glasshouse.conveyor.opaque import MAX_NESTING, Content, classify, copied_from_source, opaque_files

ELF = b"\x7fELF\2\1\1" + bytes(60)
DATA = b"\x89PNG\r\n\x1a\n\0\0"


def zipped(**files: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def tarred(**files: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


@pytest.mark.parametrize(
    ("head", "content"),
    [
        (ELF, Content.PROGRAM),
        (b"MZ\x90\0\3\0", Content.PROGRAM),
        (b"\xcf\xfa\xed\xfe\7\0\0\1", Content.PROGRAM),
        (b"\xca\xfe\xba\xbe\0\0\0\x34", Content.PROGRAM),
        (b"\0asm\1\0\0\0", Content.PROGRAM),
        (b"BC\xc0\xde", Content.PROGRAM),
        (zipped(a=b"1"), Content.ARCHIVE),
        (tarred(a=b"1"), Content.ARCHIVE),
        (b"!<arch>\n", Content.ARCHIVE),
        (b"Rar!\x1a\x07\1\0", Content.ARCHIVE),
        (DATA, Content.DATA),
        (b"text\0", Content.DATA),
        (b"", Content.TEXT),
        (b"MZ is how this sentence begins", Content.TEXT),
        ("Grüße\r\n".encode(), Content.TEXT),
    ],
)
def test_first_bytes_tell(head: bytes, content: Content) -> None:
    assert classify(head) is content


def test_byte_code_is_a_program(tmp_path: Path) -> None:
    (tmp_path / "x.py").write_text("print('hello')\n")
    code = Path(py_compile.compile(str(tmp_path / "x.py"), cfile=str(tmp_path / "x.pyc"), doraise=True) or "")
    assert classify(code.read_bytes()) is Content.PROGRAM
    assert marshal.loads(code.read_bytes()[16:])  # noqa: S302


def test_the_list_names_what_nobody_can_read(tmp_path: Path) -> None:
    inner = gzip.compress(tarred(**{"bin/tool": ELF, "readme": b"text"}))
    tree = tree_of(
        tmp_path,
        {
            "a.c": "int a;",
            "logo.png": DATA,
            "lib.so": ELF,
            "bundle.zip": zipped(inner=inner, x=b"text"),
            "broken.zip": b"PK\3\4",
        },
    )
    found = {item.path: item.content for item in opaque_files(tree)}
    assert found == {
        "broken.zip": Content.ARCHIVE,
        "bundle.zip": Content.ARCHIVE,
        "bundle.zip!inner": Content.ARCHIVE,
        "bundle.zip!inner!": Content.ARCHIVE,
        "bundle.zip!inner!!bin/tool": Content.PROGRAM,
        "lib.so": Content.PROGRAM,
        "logo.png": Content.DATA,
    }
    assert next(item for item in opaque_files(tree) if item.path == "lib.so").sha256 == sha256(ELF).hexdigest()


def output(tmp_path: Path, content: bytes) -> Output:
    place = tmp_path / "output"
    place.write_bytes(content)
    return Output(name="output", path=place, sha256=sha256(content).hexdigest(), size=len(content))


@pytest.mark.parametrize(
    ("shipped", "path"),
    [
        (ELF, "output"),
        (zipped(m=ELF), "output!m"),
        (gzip.compress(ELF), "output!"),
        (lzma.compress(tarred(m=ELF)), "output!!m"),
        (bz2.compress(ELF), "output!"),
    ],
    ids=["plain", "zip", "gzip", "tar.xz", "bzip2"],
)
def test_a_copy_is_found_wherever_it_lies(shipped: bytes, path: str, tmp_path: Path) -> None:
    for place, content in {"t/plain": ELF, "t/x.gz": gzip.compress(ELF)}.items():
        tree = tree_of(tmp_path / place.replace("/", "_"), {place: content})
        source = place if content == ELF else f"{place}!"
        assert copied_from_source([output(tmp_path, shipped)], tree) == ((path, source),)


def test_data_and_other_programs_may_be_shipped(tmp_path: Path) -> None:
    tree = tree_of(tmp_path / "tree", {"logo.png": DATA, "lib.so": ELF, "sample.zip": zipped(a=b"text")})
    for shipped in (DATA, ELF + b"\1", zipped(logo=DATA, text=b"text"), zipped(a=b"text")):
        assert copied_from_source([output(tmp_path, shipped)], tree) == ()


def test_nesting_is_bounded(tmp_path: Path) -> None:
    content = ELF
    for _ in range(MAX_NESTING + 5):
        content = gzip.compress(content)
    tree = tree_of(tmp_path, {"deep": content})
    assert [item.path for item in opaque_files(tree)] == ["deep" + "!" * n for n in range(MAX_NESTING + 1)]
