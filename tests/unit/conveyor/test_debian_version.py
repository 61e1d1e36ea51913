"""The order of Debian versions is dpkg's own."""

import itertools
import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glasshouse.conveyor.debian_version import version_key

ASCENDING = ["0~~", "0~", "0", "1.0~rc1-1", "1.0-1", "1.0-1+b1", "1.0-10", "1.0a", "1.0+", "1.2-1", "1.10", "1:0"]


@pytest.mark.skipif(shutil.which("dpkg") is None, reason="dpkg is not installed")
@settings(max_examples=150, deadline=None)
@given(*[st.from_regex(r"(?:[0-3]:)?[0-9][0-9a-zA-Z.+~]{0,6}(?:-[0-9a-zA-Z.+~]{1,4})?", fullmatch=True)] * 2)
def test_any_two_versions(one: str, other: str) -> None:
    for relation, ours in (
        ("lt", version_key(one) < version_key(other)),
        ("eq", version_key(one) == version_key(other)),
    ):
        command = ["dpkg", "--compare-versions", one, relation, other]
        run = subprocess.run(command, check=False, capture_output=True)
        assert run.returncode == (0 if ours else 1), (one, relation, other)


@pytest.mark.parametrize("pair", list(itertools.pairwise(ASCENDING)))
def test_known_pairs(pair: tuple[str, str]) -> None:
    assert version_key(pair[0]) < version_key(pair[1])
