"""Source trees and their manifests: what a tree may hold, how it is fetched, and that its root says all of it."""

import io
import os
import tarfile
import tempfile
from pathlib import Path

import pytest
from glasshouse_verify.manifest import ManifestTree
from glasshouse_verify.row import RowProof, verify_row
from hypothesis import given
from hypothesis import strategies as st
from workshop import tree_of

from glasshouse.conveyor.archive import Limits, TarWriter, read_members
from glasshouse.conveyor.errors import InvalidSource
from glasshouse.conveyor.manifest import check_source, content_digest, content_salt, source_root, source_rows
from glasshouse.conveyor.tree import below, check_target, scan_tree, unpack_members, write_tree

SECRET = bytes(range(32))
LIMITS = Limits(members=1000, total_bytes=1 << 20)


def test_a_tree_lists_files_modes_and_links(tmp_path: Path) -> None:
    tree_of(tmp_path, {"b/x": "1", "a": "22", "B": "", "é": "3"})
    (tmp_path / "a").chmod(0o700)
    (tmp_path / "b/link").symlink_to("../a")
    (tmp_path / "empty").mkdir()
    tree = scan_tree(tmp_path)
    assert [(f.path, f.mode, f.size, f.target) for f in tree.files] == [
        ("B", "100644", 0, ""),
        ("a", "100755", 2, ""),
        ("b/link", "120000", 4, "../a"),
        ("b/x", "100644", 1, ""),
        ("é", "100644", 1, ""),
    ]


def test_what_is_no_source_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidSource, match="neither"):
        scan_tree(tmp_path)
    (tmp_path / "pipe").unlink()
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff")).touch()
    with pytest.raises(InvalidSource, match="UTF-8"):
        scan_tree(tmp_path)


def test_a_tree_is_bounded(tmp_path: Path) -> None:
    tree_of(tmp_path, {"a": "1", "b": "2"})
    with pytest.raises(InvalidSource, match="exceeds"):
        scan_tree(tmp_path, Limits(members=1, total_bytes=100))
    with pytest.raises(InvalidSource, match="exceeds"):
        scan_tree(tmp_path, Limits(members=100, total_bytes=1))


@pytest.mark.parametrize(
    ("path", "target"), [("l", "a"), ("l", "a/b"), ("d/l", ".."), ("d/e/l", "../../x"), ("l", "...")]
)
def test_links_inside_the_tree(path: str, target: str) -> None:
    check_target(path, target)


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("l", "/etc"),
        ("l", ".."),
        ("d/l", "../.."),
        ("l", "a/../b"),
        ("l", ""),
        ("l", "./a"),
        ("l", "a//b"),
        ("l", "a/"),
    ],
)
def test_links_that_may_leave_the_tree(path: str, target: str) -> None:
    with pytest.raises(InvalidSource, match="may leave"):
        check_target(path, target)


@given(
    st.dictionaries(
        st.from_regex(r"[a-cé]{1,3}(/[a-c]{1,3}){0,2}", fullmatch=True), st.binary(max_size=50), max_size=6
    ).filter(lambda files: not any(a != b and b.startswith(a + "/") for a in files for b in files))
)
def test_a_tree_survives_packing(files: dict[str, bytes]) -> None:

    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "a").mkdir()
        tree = tree_of(Path(name) / "a", dict(files))
        out = io.BytesIO()
        writer = TarWriter(out, epoch=0)
        write_tree(tree, writer, "top/")
        writer.finish()
        out.seek(0)
        unpack_members(below(read_members(out, LIMITS), "top"), Path(name) / "b")
        again = scan_tree(Path(name) / "b")
        assert again.files == tree.files
        assert source_root(again, SECRET) == source_root(tree, SECRET)


def archive_of(*members: tuple[str, bytes, str]) -> io.BytesIO:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, kind, target in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            archive.addfile(info)
    out.seek(0)
    return out


FILE, LINK, HARD = tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ([("t/a", FILE, ""), ("t/a", FILE, "")], "twice"),
        ([("t/a", LINK, "b"), ("t/a/x", FILE, "")], "link as its parent"),
        ([("t/a", FILE, ""), ("t/a/x", FILE, "")], "link as its parent"),
        ([("t/a", LINK, "/etc/passwd")], "may leave"),
        ([("t/a", LINK, "../../x")], "may leave"),
        ([("t/a", HARD, "t/b")], "hard link"),
        ([("t/a", FILE, ""), ("u/a", FILE, "")], "outside"),
        ([("t/../../a", FILE, "")], "leaves"),
        ([("t/d", tarfile.CHRTYPE, "")], "neither"),
    ],
)
def test_a_hostile_archive_is_refused(members: list[tuple[str, bytes, str]], reason: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidSource, match=reason):
        unpack_members(below(read_members(archive_of(*members), LIMITS)), tmp_path / "t")
    assert {path.name for path in tmp_path.iterdir()} <= {"t"}


def test_one_file_is_shown_without_the_others(tmp_path: Path) -> None:
    tree = tree_of(tmp_path, {"a": "one", "b": "two", "c": "three"})
    rows = list(source_rows(tree, SECRET))
    manifest = ManifestTree(rows)
    proof = manifest.prove("b")
    assert isinstance(proof, RowProof)
    row = verify_row(source_root(tree, SECRET), proof)
    salt = content_salt(SECRET, "b")
    assert row["content"] == content_digest(salt, io.BytesIO(b"two"))
    assert row["content"] != content_digest(content_salt(SECRET, "a"), io.BytesIO(b"two"))


@pytest.mark.parametrize("change", ["content", "name", "mode", "more", "less", "secret"])
def test_every_change_changes_the_root(change: str, tmp_path: Path) -> None:
    tree = tree_of(tmp_path, {"a": "one", "b": "two"})
    expected = source_root(tree, SECRET)
    check_source(tree, SECRET, expected)
    secret = SECRET
    match change:
        case "content":
            (tmp_path / "a").write_text("One")
        case "name":
            (tmp_path / "a").rename(tmp_path / "A")
        case "mode":
            (tmp_path / "a").chmod(0o755)
        case "more":
            (tmp_path / "c").touch()
        case "less":
            (tmp_path / "a").unlink()
        case _:
            secret = bytes(32)
    with pytest.raises(InvalidSource, match="has root"):
        check_source(scan_tree(tmp_path), secret, expected)


def test_order_mask_and_place_do_not_change_the_root(tmp_path: Path) -> None:
    files = {"b/x": "1", "a": "2", "c": "3"}
    roots = set()
    for mask, order in ((0o022, list(files)), (0o077, list(reversed(files)))):
        before = os.umask(mask)
        try:
            roots.add(source_root(tree_of(tmp_path / str(mask), {name: files[name] for name in order}), SECRET))
        finally:
            os.umask(before)
    assert len(roots) == 1


def test_a_secret_has_one_length(tmp_path: Path) -> None:
    tree = tree_of(tmp_path, {"a": "x"})
    with pytest.raises(InvalidSource, match="32 bytes"):
        source_root(tree, b"short")


def test_the_tree_that_was_scanned_is_the_tree_that_is_read(tmp_path: Path) -> None:
    tree = tree_of(tmp_path, {"a": "x", "b": "y"})
    (tmp_path / "a").unlink()
    (tmp_path / "a").symlink_to("/etc/hostname")
    with pytest.raises(InvalidSource, match="cannot be read"):
        source_root(tree, SECRET)
    assert tree.read("b", 10) == b"y"
    with pytest.raises(InvalidSource, match="larger"):
        tree.read("b", 0)
    with pytest.raises(InvalidSource, match="not a plain file"):
        tree.read("missing", 10)
