"""R18 A lock row without a public origin, or a prebuilt binary copied out of the source.

Cheat: the vendor smuggles a program past the source: as a package or wheel of its own in the environment, or as a
    prebuilt binary in the source tree (in an archive there, perhaps) that the build only copies into its output.
Noticed by: every rebuilder: it asks the public origin for each row, and looks for each program of the output among the
    opaque binaries of the source, which it lists in any case. Equal bytes alone would say *identical*.
Seen: the verdict *build-failed* with the row of the lock, or with the path in the source that was copied.
"""

import gzip
import io
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from debian_archive import Deb, make_deb
from workshop import EPOCH, RECIPES, c_recipe, digests, environment, origins, store, tree_of

from glasshouse.conveyor import origin
from glasshouse.conveyor.build import BuildResult, Output, build
from glasshouse.conveyor.errors import LockMismatch, OriginUnavailable
from glasshouse.conveyor.lock import DebRow, Lock, WheelRow, parse_lock
from glasshouse.conveyor.opaque import Content, copied_from_source, opaque_files
from glasshouse.conveyor.package_index import list_files
from glasshouse.conveyor.tree import SourceTree

HELLO = (RECIPES / "hello-c/source/hello.c").read_text()


def with_rows(lock: Lock, *rows: DebRow | WheelRow) -> Lock:
    debs = (*lock.debs, *(row for row in rows if isinstance(row, DebRow)))
    wheels = (*lock.wheels, *(row for row in rows if isinstance(row, WheelRow)))
    return parse_lock(replace(lock, debs=debs, wheels=wheels).data)


def test_control_every_row_has_its_public_origin() -> None:
    """Every row of an honest lock is found at its origin."""
    assert origin.check(environment().lock, store(), origins()).packages > 50


def test_attack_a_package_that_debian_does_not_have() -> None:
    """A package of the vendor's own, well-formed and at hand, is no part of an environment."""
    data = make_deb(Deb(name="build-helper", files={"usr/bin/helper": b"x"}))
    genuine = environment().lock.debs[0]
    row = replace(
        genuine,
        key="deb/build-helper",
        name="build-helper",  # type: ignore[arg-type]
        sha256=store().add(data),  # type: ignore[arg-type]
        size=len(data),
    )
    with pytest.raises(LockMismatch) as caught:
        origin.check(with_rows(environment().lock, row), store(), origins())
    assert caught.value.row == "deb/build-helper"


def test_attack_a_wheel_that_the_package_index_does_not_have() -> None:
    """A wheel of the vendor's own under the name of a public project."""
    filename = "yara_x-1.23.0+vendor-cp39-abi3-manylinux_2_28_x86_64.whl"
    data = b"not public"
    row = WheelRow(
        key=f"wheel/{filename}",
        name="yara-x",  # type: ignore[arg-type]
        version="1.23.0+vendor",  # type: ignore[arg-type]
        filename=filename,  # type: ignore[arg-type]
        sha256=store().add(data),  # type: ignore[arg-type]
        size=len(data),
    )
    try:
        list_files("yara-x", origins().client, origins().index_url)
    except OriginUnavailable as error:
        pytest.skip(f"needs the network: {error}")
    with pytest.raises(LockMismatch) as caught:
        origin.check(with_rows(environment().lock, row), store(), origins())
    assert caught.value.row == f"wheel/{filename}"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A real program, built honestly, for the cheat to put into its source tree."""
    directory = tmp_path_factory.mktemp("program")
    tree = tree_of(directory / "tree", {"hello.c": HELLO.replace("hello", "backdoor")})
    recipe = c_recipe(["cc", "-o", "/build/out/out", "hello.c"], ["out"])
    build(tree, recipe, environment().root, EPOCH, directory / "out")
    return (directory / "out/out").read_bytes()


def zipped(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return out.getvalue()


def build_twice(tmp_path: Path, files: dict[str, str | bytes], command: str) -> tuple[SourceTree, BuildResult]:
    """Build as the vendor and as the rebuilder; the outputs are identical, so equality alone proves nothing."""
    tree = tree_of(tmp_path / "tree", files)
    recipe = c_recipe(["sh", "-c", command], ["out"])
    results = [build(tree, recipe, environment().root, EPOCH, tmp_path / name) for name in ("vendor", "rebuilder")]
    assert digests(results[0]) == digests(results[1])
    return tree, results[1]


def test_control_a_program_built_from_its_source(program: bytes, tmp_path: Path) -> None:
    """An opaque binary lies in the tree, say as test data, and the output does not come from it."""
    files: dict[str, str | bytes] = {"hello.c": HELLO, "tests/sample.bin": program}
    tree, result = build_twice(tmp_path, files, "cc -o /build/out/out hello.c")
    assert copied_from_source(result.outputs, tree) == ()
    assert [(item.path, item.content) for item in opaque_files(tree)] == [("tests/sample.bin", Content.PROGRAM)]


@pytest.mark.parametrize(
    ("hide", "source_path"),
    [
        (lambda program: program, "vendor/tool"),
        (gzip.compress, "vendor/tool!"),
        (lambda program: zipped({"a/b": program}), "vendor/tool!a/b"),
    ],
    ids=["plain", "gzip", "zip"],
)
def test_attack_a_prebuilt_program_shipped_as_built(
    hide: Callable[[bytes], bytes], source_path: str, program: bytes, tmp_path: Path
) -> None:
    """The build only copies a program that lies in the source, perhaps in an archive there."""
    files: dict[str, str | bytes] = {"vendor/tool": hide(program), "program": program}
    tree, result = build_twice(tmp_path, files, "cp program /build/out/out")
    assert copied_from_source(result.outputs, tree) == (("out", "program"),)
    without = replace(tree, files=tuple(file for file in tree.files if file.path != "program"))
    assert copied_from_source(result.outputs, without) == (("out", source_path),)


def test_attack_a_prebuilt_program_inside_of_a_shipped_archive(program: bytes, tmp_path: Path) -> None:
    """The output is a wheel, or any archive, that holds a copy."""
    tree = tree_of(tmp_path / "tree", {"lib/x.so": program})
    wheel = tmp_path / "x-1-py3-none-any.whl"
    wheel.write_bytes(zipped({"x/__init__.py": b"", "x/x.so": program}))
    shipped = Output(name=wheel.name, path=wheel, sha256="", size=0)
    assert copied_from_source([shipped], tree) == ((f"{wheel.name}!x/x.so", "lib/x.so"),)
