"""What tests of the conveyor share: a cache that outlives the run, and the environments of the recipes in it.

Making a lock needs the network once a day; packages and roots are fetched and unpacked once. Where neither the cache
nor the network has what is needed, or the machine has no sandbox, the test that asks for it is skipped and says why.
"""

import functools
import hashlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from glasshouse.conveyor import origin, sandbox
from glasshouse.conveyor.build import BuildResult, build
from glasshouse.conveyor.errors import Unavailable
from glasshouse.conveyor.lock import Lock, parse_lock
from glasshouse.conveyor.recipe import Recipe, parse_recipe
from glasshouse.conveyor.rootfs import RootFs, make_root
from glasshouse.conveyor.store import Store, http_client
from glasshouse.conveyor.tree import SourceTree, scan_tree

REPOSITORY = Path(__file__).resolve().parents[1]
RECIPES = REPOSITORY / "recipes"
EPOCH = 1_732_147_200
_LOCK_SECONDS = 86_400


@dataclass(frozen=True, kw_only=True)
class Environment:
    """A recipe with its lock and unpacked root."""

    recipe: Recipe
    lock: Lock
    root: RootFs


def cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "glasshouse"


@functools.cache
def store() -> Store:
    return Store(cache() / "downloads")


@functools.cache
def origins() -> origin.Origins:
    return origin.default_origins(http_client())


def need_sandbox() -> None:
    try:
        sandbox.probe()
    except Unavailable as error:
        pytest.skip(f"no sandbox on this machine: {error}")


def lock_of(recipe: Recipe) -> Lock:
    """The lock of a recipe, at most a day old, with everything it names in the store."""
    place = cache() / "locks" / f"{hashlib.sha256(recipe.text).hexdigest()}.jsonl"
    try:
        if place.is_file() and place.stat().st_mtime > time.time() - _LOCK_SECONDS:
            lock = parse_lock(place.read_bytes())
        else:
            lock = origin.resolve(recipe, store(), origins())
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(lock.data)
        origin.fetch(lock, store(), origins())
    except Unavailable as error:
        pytest.skip(f"needs the network: {error}")
    return lock


@functools.cache
def environment(name: str = "hello-c") -> Environment:
    """The environment of a recipe in recipes/."""
    need_sandbox()
    recipe = parse_recipe((RECIPES / name / "recipe.toml").read_bytes())
    lock = lock_of(recipe)
    return Environment(recipe=recipe, lock=lock, root=make_root(lock, store(), cache() / "roots"))


def c_recipe(command: list[str], outputs: list[str], **build_fields: int) -> Recipe:
    """A recipe with the environment of hello-c and another build."""
    text = (RECIPES / "hello-c" / "recipe.toml").read_text().partition("[build]")[0]
    text += f"[build]\ncommand = {command!r}\noutputs = {outputs!r}\n"
    text += "".join(f"{key} = {value}\n" for key, value in build_fields.items())
    return parse_recipe(text.encode())


def tree_of(directory: Path, files: dict[str, str | bytes]) -> SourceTree:
    """A source tree with these files, made in the order given."""
    for path, content in files.items():
        place = directory / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content.encode() if isinstance(content, str) else content)
    return scan_tree(directory)


def run_script(directory: Path, script: str, outputs: list[str] | None = None, **build_fields: int) -> BuildResult:
    """Build a tree that holds one shell script, by running it; it finds the C compiler of hello-c."""
    recipe = c_recipe(["sh", "build.sh"], outputs or ["out"], **build_fields)
    tree = tree_of(directory / "tree", {"build.sh": script})
    return build(tree, recipe, environment().root, EPOCH, directory / "out")


def digests(result: BuildResult) -> dict[str, str]:
    return {output.name: output.sha256 for output in result.outputs}
