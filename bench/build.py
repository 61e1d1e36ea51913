"""The sandboxed, locked build of yara-python, beside the same build bare.

Bare means: the same compiler, headers and libraries, namely a copy of the unpacked root, entered with chroot; a plain
directory on disk to work in; no namespaces, filter, limits, streaming in and out, or watch. chroot needs root; for
other users the peer is bubblewrap with nothing but that root bound to /, since there is no barer way into another root.
The first run of each side is thrown away (it warms the page cache).
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import Figure, median_seconds
from glasshouse.conveyor.build import build
from glasshouse.conveyor.execution import FIXED_ENVIRONMENT
from glasshouse.conveyor.origin import default_origins, fetch, resolve
from glasshouse.conveyor.recipe import parse_recipe
from glasshouse.conveyor.rootfs import make_root
from glasshouse.conveyor.source import fetch_source
from glasshouse.conveyor.store import Store, http_client

RECIPE = Path(__file__).resolve().parent.parent / "recipes" / "yara-python"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "glasshouse"
ROUNDS = 3


@dataclass(frozen=True, kw_only=True)
class Builds:
    """The same build both ways, each with the directory that its wheel is left in."""

    sandboxed: Callable[[], None]
    bare: Callable[[], None]
    places: tuple[Path, Path]


@contextmanager
def prepared() -> Iterator[Builds]:
    """Fetch and unpack what the builds need."""
    recipe = parse_recipe((RECIPE / "recipe.toml").read_bytes())
    store = Store(CACHE / "downloads")
    with tempfile.TemporaryDirectory(prefix="glasshouse-bench-") as name, http_client() as client:
        scratch = Path(name)
        origins = default_origins(client)
        lock = resolve(recipe, store, origins)
        fetch(lock, store, origins)
        root = make_root(lock, store, CACHE / "roots")
        source = fetch_source(recipe, RECIPE, lock, scratch / "source", store, origins)
        environment = {**FIXED_ENVIRONMENT, "SOURCE_DATE_EPOCH": str(source.epoch)}
        bare_root = _writable_root(root.directory, scratch / "root")

        def sandboxed() -> None:
            shutil.rmtree(scratch / "out", ignore_errors=True)
            build(source.tree, recipe, root, source.epoch, scratch / "out")

        def bare() -> None:
            work = bare_root / "build"
            shutil.rmtree(work)
            shutil.copytree(scratch / "source", work / "source")
            for directory in ("out", "home", "tmp"):
                (work / directory).mkdir()
            _run_bare(bare_root, list(recipe.build.command), environment)

        yield Builds(sandboxed=sandboxed, bare=bare, places=(scratch / "out", bare_root / "build/out"))


def run() -> Figure:
    """Measure whole builds, wall clock; the unit is seconds a build."""
    with prepared() as builds:
        builds.sandboxed()
        builds.bare()
        ours, peer = median_seconds(builds.sandboxed, builds.bare, rounds=ROUNDS)
        wheels = [next(place.glob("*.whl")) for place in builds.places]
        same = wheels[0].read_bytes() == wheels[1].read_bytes()
    return {
        "name": "build",
        "ours": ours,
        "peer": peer,
        "ratio": ours / peer,
        "unit": "s",
        "target": "ratio at most 1.15",
        "notes": f"yara-python 4.5.4, {os.cpu_count()} CPUs, {'chroot' if os.geteuid() == 0 else 'bare bubblewrap'} "
        f"into the same root; the two wheels are {'identical' if same else 'different'}",
    }


def _writable_root(root: Path, place: Path) -> Path:
    """A copy of the root with a few devices, for builds that are not isolated."""
    subprocess.run(["cp", "-a", str(root), str(place)], check=True)
    if os.geteuid() == 0:
        for device, minor in (("null", 3), ("zero", 5), ("urandom", 9)):
            os.mknod(place / "dev" / device, 0o020666, os.makedev(1, minor))
    return place


def _run_bare(root: Path, command: list[str], environment: dict[str, str]) -> None:
    if os.geteuid() == 0:
        enter = ["chroot", str(root), "/bin/sh", "-c", 'cd /build/source && exec "$@"', "sh"]
    else:
        enter = ["bwrap", "--bind", str(root), "/", "--dev-bind", "/dev", "/dev", "--chdir", "/build/source"]
    subprocess.run([*enter, *command], env=environment, check=True, capture_output=True)
