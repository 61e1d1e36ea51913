"""Unpacking packages into a root: what a build needs, nothing written outside, nothing of this machine inside."""

import io
import os
import random
import zipfile
from hashlib import sha256
from pathlib import Path

import pytest
from debian_archive import Deb, make_ar, make_deb

from glasshouse.conveyor.errors import InvalidLock, OriginUnavailable
from glasshouse.conveyor.lock import DebRow, Lock, WheelRow, make_lock
from glasshouse.conveyor.recipe import Environment
from glasshouse.conveyor.rootfs import RootFs, make_root
from glasshouse.conveyor.store import Store

ENVIRONMENT = Environment(
    suite="bookworm", architecture="amd64", packages=(), links=(("/usr/bin/cc", "gcc-12"), ("/bin/awk", "mawk"))
)


def lock_for(store: Store, debs: dict[str, bytes], wheels: dict[str, bytes] | None = None) -> Lock:
    rows = [
        DebRow(
            key=f"deb/{name}",
            name=name,  # type: ignore[arg-type]
            version="1",  # type: ignore[arg-type]
            architecture="amd64",  # type: ignore[arg-type]
            sha256=store.add(data),  # type: ignore[arg-type]
            size=len(data),
            path="pool/x",  # type: ignore[arg-type]
            origin="x",  # type: ignore[arg-type]
        )
        for name, data in debs.items()
    ]
    wheel_rows = [
        WheelRow(
            key=f"wheel/{name}",
            name="x",  # type: ignore[arg-type]
            version="1",  # type: ignore[arg-type]
            filename=name,  # type: ignore[arg-type]
            sha256=store.add(data),  # type: ignore[arg-type]
            size=len(data),
        )
        for name, data in (wheels or {}).items()
    ]
    return make_lock(ENVIRONMENT, rows, [], wheel_rows)


def unpack(tmp_path: Path, debs: dict[str, bytes], wheels: dict[str, bytes] | None = None) -> RootFs:
    store = Store(tmp_path / "store")
    return make_root(lock_for(store, debs, wheels), store, tmp_path / "roots")


def deb(files: dict[str, bytes], links: dict[str, str] | None = None, compression: str = "xz") -> bytes:
    return make_deb(Deb(name="x", files=files), compression, links)


def wheel(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def test_both_halves_of_usr_are_one(tmp_path: Path) -> None:
    root = unpack(tmp_path, {"a": deb({"bin/sh": b"sh", "usr/bin/gcc-12": b"gcc", "lib64/ld.so": b"ld"})}).directory
    assert (root / "usr/bin/sh").read_bytes() == (root / "bin/sh").read_bytes() == b"sh"
    assert (root / "usr/lib64/ld.so").read_bytes() == b"ld"
    assert (root / "usr/bin/cc").read_bytes() == b"gcc"
    assert (root / "usr/bin/awk").readlink() == Path("mawk")
    assert (root / "tmp").readlink() == Path("build/tmp")
    assert "builder:x:1000" in (root / "etc/passwd").read_text()


def test_wheels_are_importable_by_the_packaged_python(tmp_path: Path) -> None:
    root = unpack(tmp_path, {}, {"x-1-py3-none-any.whl": wheel({"x/__init__.py": b"1", "x-1.dist-info/RECORD": b""})})
    assert (root.directory / "usr/lib/python3/dist-packages/x/__init__.py").read_bytes() == b"1"


def test_a_link_into_the_host_leads_into_the_root(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    links = {"opt/abs": str(outside), "opt/up": "../../../../.." + str(outside), "usr/share/x": "/opt/real"}
    debs = {
        "a": deb({}, links),
        "b": deb({"opt/abs/f": b"1", "opt/up/g": b"2", "usr/share/x/h": b"3"}),
    }
    root = unpack(tmp_path, debs).directory
    assert list(outside.iterdir()) == []
    assert (root / str(outside)[1:] / "f").read_bytes() == b"1"
    assert (root / str(outside)[1:] / "g").read_bytes() == b"2"
    assert (root / "opt/real/h").read_bytes() == b"3"


@pytest.mark.parametrize(
    ("debs", "reason"),
    [
        ({"a": deb({"../../x": b""})}, "leaves the archive"),
        ({"a": deb({"usr/x": b"1"}), "b": deb({"usr/x": b"2"})}, "in another package too"),
        ({"a": deb({"usr/x": b"1"}), "b": deb({}, {"usr/x": "y"})}, "in another package too"),
        ({"a": deb({"usr/x": b"1"}), "b": deb({"usr/x/y": b"2"})}, "a file in another package"),
        ({"a": deb({}, {"usr/x": "y", "usr/y": "x"}), "b": deb({"usr/x/z": b""})}, "loop"),
        ({"a": b"no archive"}, "not a Debian package"),
        ({"a": make_ar({"debian-binary": b"2.0\n"})}, "no data.tar"),
        ({"a": deb({"x": random.Random(1).randbytes(5000)})[:-2000]}, "ends early"),
        ({"a": deb({"x": b""}).replace(b"data.tar.xz", b"data.tar.zst"[:11])}, "damaged|valid tar"),
        ({"a": make_ar({"data.tar.zst": b"\x28\xb5\x2f\xfd"})}, "zstd"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_unpacked_is_named(debs: dict[str, bytes], reason: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidLock, match=reason) as caught:
        unpack(tmp_path, debs)
    assert caught.value.field in {f"deb/{name}" for name in debs}
    assert not any((tmp_path / "roots").glob("[0-9a-f]*"))


@pytest.mark.parametrize(
    "content",
    [wheel({"../x": b""}), wheel({"x-1.data/scripts/x": b""}), b"no zip", wheel({"x": b"1"})[:-30]],
    ids=["traversal", "scripts", "no zip", "truncated"],
)
def test_a_wheel_that_cannot_be_unpacked_is_named(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(InvalidLock) as caught:
        unpack(tmp_path, {}, {"x-1-py3-none-any.whl": content})
    assert caught.value.field == "wheel/x-1-py3-none-any.whl"


def test_the_umask_and_the_directory_do_not_reach_the_root(tmp_path: Path) -> None:
    debs = {"a": deb({"usr/bin/x": b"1"}), "b": deb({"etc/y": b"2"}, {"usr/z": "bin"})}
    digests = set()
    for name, mask in (("first", 0o022), ("a second, longer name", 0o077), ("third", 0)):
        before = os.umask(mask)
        try:
            (tmp_path / name).mkdir()
            digests.add(unpack(tmp_path / name, debs).digest)
        finally:
            os.umask(before)
    assert len(digests) == 1


def test_a_root_is_made_once_and_made_again_when_it_was_altered(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    lock = lock_for(store, {"a": deb({"usr/bin/x": b"1"})})
    first = make_root(lock, store, tmp_path / "roots")
    before = (first.directory / "usr/bin/x").stat().st_ino
    assert make_root(lock, store, tmp_path / "roots") == first
    assert (first.directory / "usr/bin/x").stat().st_ino == before
    (first.directory / "usr/bin/evil").write_bytes(b"")
    assert make_root(lock, store, tmp_path / "roots") == first
    assert not (first.directory / "usr/bin/evil").exists()


def test_a_package_must_be_in_the_store_with_its_digest(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    data = deb({"usr/bin/x": b"1"})
    lock = lock_for(store, {"a": data})
    store.path(sha256(data).hexdigest()).write_bytes(data + b" ")
    with pytest.raises(OriginUnavailable, match="damaged"):
        make_root(lock, store, tmp_path / "roots")
