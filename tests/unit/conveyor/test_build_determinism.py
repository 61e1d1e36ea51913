"""Host name, user, paths, locale, environment and file order of the host do not reach the output of a build."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from workshop import EPOCH, RECIPES, c_recipe, digests, environment, store, tree_of

from glasshouse.conveyor.build import build
from glasshouse.conveyor.execution import FIXED_ENVIRONMENT
from glasshouse.conveyor.recipe import Recipe
from glasshouse.conveyor.rootfs import make_root

FILES = {f"dir{n % 3}/file{n}.c": f"int f{n}(void) {{ return {n}; }}\n" for n in range(40)}
# Files in the order in which the file system lists them.
UNSORTED = "for d in dir0 dir1 dir2; do ls -U $d | while read f; do echo $d/$f; done; done"
# Everything a curious build could write down, except what cannot be hidden (clock, kernel, CPU).
CURIOUS = """
exec > /build/out/out
env; set; id; uname -n; pwd; umask; ulimit -a
ls -laRU --time-style=full-iso /build/source; ls -laRU --time-style=+ /build/home /build/tmp
ls -la /dev /proc/self/fd/ | cut -c1-10; cat /proc/self/cgroup /proc/self/uid_map
cat dir*/*.c | sha256sum; ls -U . dir*
stat -c '%n %a %s' /etc/* /usr/bin/* | sha256sum
"""


@contextmanager
def host(tmp_path: Path, mask: int, variables: dict[str, str], directory: str) -> Iterator[Path]:
    """Be another machine, as far as a test can: place, umask, environment, time zone, locale, working directory."""
    place = tmp_path / directory
    place.mkdir(parents=True)
    before, here, old_mask = dict(os.environ), Path.cwd(), os.umask(mask)
    os.environ.update(variables)
    os.chdir(place)
    time.tzset()
    try:
        yield place
    finally:
        os.environ.clear()
        os.environ.update(before)
        os.chdir(here)
        os.umask(old_mask)
        time.tzset()


def build_on(place: Path, files: dict[str, str], recipe: Recipe) -> dict[str, str]:
    found = environment()
    root = make_root(found.lock, store(), found.root.directory.parent)
    return digests(build(tree_of(place / "tree", files), recipe, root, EPOCH, place / "out"))


@pytest.mark.parametrize("program", ["compiled", "curious"])
def test_two_hosts_make_one_output(program: str, tmp_path: Path) -> None:
    if program == "compiled":
        command = ["sh", "-c", f"cc -g -shared -fPIC -o /build/out/out $({UNSORTED})"]
        files = FILES
    else:
        command = ["sh", "build.sh"]
        files = {**FILES, "build.sh": CURIOUS}
    recipe = c_recipe(command, ["out"])
    with host(tmp_path, 0o022, {"TZ": "UTC", "LANG": "C", "USER": "alice"}, "a") as place:
        first = build_on(place, files, recipe)
    other = {"TZ": "Asia/Tokyo", "LC_ALL": "tr_TR.UTF-8", "USER": "bob", "CFLAGS": "-O3", "SOURCE_DATE_EPOCH": "1"}
    with host(tmp_path, 0o077, other, "b/" + "long " * 20) as place:
        second = build_on(place, dict(reversed(files.items())), recipe)
    if program == "curious":
        texts = [path.read_text() for path in tmp_path.rglob("out/out")]
        assert texts[0].splitlines() == texts[1].splitlines()
        assert FIXED_ENVIRONMENT["LANG"] in texts[0]
    assert first == second


def test_a_directory_tree_is_listed_in_the_order_of_the_manifest(tmp_path: Path) -> None:
    """The source lies on a fresh tmpfs and is made in sorted order, so even an unsorted listing is the same."""
    recipe = c_recipe(["sh", "-c", "ls -U . > /build/out/out"], ["out"])
    names = {f"{n:x}": "" for n in (7, 3, 11, 1, 15, 2)}
    listings = set()
    for directory, files in (("a", names), ("b", dict(reversed(names.items())))):
        build_on(tmp_path / directory, files, recipe)
        listings.add((tmp_path / directory / "out/out").read_text())
    assert len(listings) == 1


def test_the_time_of_the_commit_reaches_the_output_and_nothing_else_does(tmp_path: Path) -> None:
    recipe = c_recipe(["sh", "-c", "echo $SOURCE_DATE_EPOCH $(stat -c %Y hello.c) > /build/out/out"], ["out"])
    tree = tree_of(tmp_path / "tree", {"hello.c": (RECIPES / "hello-c/source/hello.c").read_text()})
    os.utime(tmp_path / "tree/hello.c", (5, 5))
    build(tree, recipe, environment().root, 1_600_000_000, tmp_path / "out")
    assert (tmp_path / "out/out").read_text() == "1600000000 1600000000\n"
