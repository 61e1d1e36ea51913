"""The conveyor's parsers against any bytes: they read them, or refuse them with their own error, and nothing else."""

import contextlib
import io
import lzma
import tempfile
from pathlib import Path

import pytest
from glasshouse_verify.encoding import format_json
from hypothesis import given
from hypothesis import strategies as st

from glasshouse.conveyor.archive import ArchiveError, Limits, decompressed, read_all, read_members
from glasshouse.conveyor.debian import read_packages
from glasshouse.conveyor.errors import InvalidInput, InvalidLock, OriginUnavailable
from glasshouse.conveyor.lock import parse_lock
from glasshouse.conveyor.opaque import classify
from glasshouse.conveyor.rules import read_rules
from glasshouse.conveyor.tree import check_target

LIMITS = Limits(members=100, total_bytes=1 << 20)
SMALL = {"architecture": "amd64", "links": [], "packages": ["tar"], "schema": "glasshouse.lock/v1", "suite": "bookworm"}
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(st.binary(max_size=300))
def test_locks_of_any_bytes(data: bytes) -> None:
    with pytest.raises(InvalidLock):
        parse_lock(data)


@given(
    st.sampled_from(["deb/x", "index/x", "wheel/x", "environment", "other/x"]),
    st.dictionaries(st.sampled_from(["name", "version", "sha256", "size", "path", "schema", "x"]), values, max_size=5),
)
def test_locks_of_any_rows(key: str, members: dict[str, object]) -> None:
    rows = {"environment": SMALL, key: members}
    data = b"".join(format_json({**row, "key": key}) + b"\n" for key, row in sorted(rows.items()))
    with contextlib.suppress(InvalidLock):
        assert parse_lock(data).data == data


@given(st.sampled_from(sorted(SMALL)), values)
def test_locks_of_any_environment(member: str, value: object) -> None:
    data = format_json({**SMALL, "key": "environment", member: value}) + b"\n"
    with contextlib.suppress(InvalidLock):
        assert parse_lock(data).data == data


@given(st.binary(max_size=2000), st.sampled_from(["x.tar", "x.gz", "x.xz", "x.bz2", "x.zst"]))
def test_archives_of_any_bytes(data: bytes, name: str) -> None:
    with contextlib.suppress(ArchiveError):
        for _, content in read_members(decompressed(io.BytesIO(data), name), LIMITS):
            if content is not None:
                read_all(content, LIMITS.total_bytes)


@given(st.binary(max_size=500) | st.text(max_size=300).map(str.encode), st.booleans())
def test_package_lists_of_any_bytes(data: bytes, compressed: bool) -> None:
    stanza = b"Package: tar\n" + data
    stream = io.BytesIO(lzma.compress(stanza) if compressed else stanza)
    with contextlib.suppress(OriginUnavailable):
        assert all(package.name for package in read_packages(stream, {"tar"}))


@given(st.binary(max_size=2000))
def test_rule_archives_of_any_bytes(data: bytes) -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        with pytest.raises(InvalidInput):
            read_rules(Path(file.name))


@given(st.binary(max_size=600))
def test_any_head_is_something(head: bytes) -> None:
    assert classify(head)


@given(st.text(max_size=40), st.text(alphabet="./ab", max_size=20))
def test_no_accepted_link_leaves_the_tree(path: str, target: str) -> None:
    """Accepted targets climb first and name afterwards, so following them one by one never passes the top."""
    with contextlib.suppress(InvalidInput):
        check_target(path, target)
        depth = path.count("/")
        for part in target.split("/"):
            depth += -1 if part == ".." else 1
            assert depth >= 0
        assert not target.startswith("/")
