"""Every recipe of the repository, from its origin to its product: twice, on other CPUs, with the same bytes."""

import hashlib
import os
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from workshop import RECIPES, digests, environment, origins, store

from glasshouse.conveyor.build import BuildResult, build
from glasshouse.conveyor.errors import OriginUnavailable
from glasshouse.conveyor.opaque import copied_from_source
from glasshouse.conveyor.rules import check_compiled, read_rules
from glasshouse.conveyor.source import FetchedSource, fetch_source
from glasshouse.conveyor.tree import scan_tree
from glasshouse.regions.reputation import load_list


def fetched(name: str, tmp_path: Path) -> FetchedSource:
    found = environment(name)
    try:
        return fetch_source(found.recipe, RECIPES / name, found.lock, tmp_path / "tree", store(), origins())
    except OriginUnavailable as error:
        pytest.skip(f"the source cannot be had here: {error}")


def built_twice(name: str, tmp_path: Path) -> BuildResult:
    """Side by side on different CPUs where there are two; the outputs must be equal and not copied."""
    found, source = environment(name), fetched(name, tmp_path)
    cpus = sorted(os.sched_getaffinity(0))

    def once(cpu: int, place: str) -> BuildResult:
        return build(source.tree, found.recipe, found.root, source.epoch, tmp_path / place, cpus=[cpu])

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(once, (cpus[0], cpus[-1]), ("first", "second"))
    assert digests(first) == digests(second)
    assert copied_from_source(first.outputs, source.tree) == ()
    return first


def test_hello_c(tmp_path: Path) -> None:
    result = built_twice("hello-c", tmp_path)
    run = subprocess.run([result.outputs[0].path], capture_output=True, check=True)
    assert run.stdout == b"hello from a build that anybody can repeat\n"


def test_yara_python(tmp_path: Path) -> None:
    """The wheel is a scanning engine that works, hash module included."""
    wheel = built_twice("yara-python", tmp_path).outputs[0].path
    if sys.version_info[:2] != (3, 11):
        pytest.skip("the wheel is for Python 3.11")
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); import yara; "
        'r = yara.compile(source=\'import "hash" rule r { strings: $a = "virus" condition: $a and '
        "hash.md5(0, filesize) == \"%s\" }'); print(r.match(data='a virus'), yara.__version__)"
    )
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    code = script % hashlib.md5(b"a virus", usedforsecurity=False).hexdigest()
    run = subprocess.run(
        [sys.executable, "-I", "-c", code, str(tmp_path / "site")], capture_output=True, text=True, check=True
    )
    assert run.stdout == "[r] 4.5.4\n"


def test_zlib_dll(tmp_path: Path) -> None:
    """A Windows library without a signature. Its time stamp is that of the commit; without one, every build differs."""
    built = built_twice("zlib-dll", tmp_path).outputs[0].path.read_bytes()
    place = int.from_bytes(built[60:64], "little")
    found, source = environment("zlib-dll"), scan_tree(tmp_path / "tree")
    epoch = fetched("zlib-dll", tmp_path / "again").epoch
    assert built[place : place + 4] == b"PE\0\0"
    assert int.from_bytes(built[place + 8 : place + 12], "little") == epoch
    clock = replace(found.recipe.build, command=("env", "-u", "SOURCE_DATE_EPOCH", *found.recipe.build.command))
    recipe = replace(found.recipe, build=clock)
    other = build(source, recipe, found.root, epoch, tmp_path / "third").outputs[0].path.read_bytes()
    assert len(other) == len(built)
    assert other != built


@pytest.mark.parametrize(("name", "files"), [("guarddog-rules", 54), ("signature-base", 741)])
def test_rule_databases(name: str, files: int, tmp_path: Path) -> None:
    """What the sandbox compiled is what this machine compiles from the same sources."""
    outputs = {output.name: output.path for output in built_twice(name, tmp_path).outputs}
    rules, _ = read_rules(outputs[f"{name}.rules.tar"])
    assert len(rules.sources) == files
    assert list(rules.sources) == sorted(rules.sources, key=lambda path: path.encode())
    check_compiled(outputs[f"{name}.rules.tar"], outputs[f"{name}.yarc"])
    lists = [file for file in outputs if file.endswith(".hash-iocs.txt")]
    assert len(lists) == (name == "signature-base")
    for file in lists:
        assert len(load_list(outputs[file], name, "1")) > 1000
