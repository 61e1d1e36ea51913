"""A recipe: one TOML file that says how a product is built, and the only place that says it.

    schema = "glasshouse.recipe/v1"
    product = "hello-c"
    platform = "linux-x86_64"

    [environment]
    suite = "bookworm"
    architecture = "amd64"
    packages = ["gcc", "libc6-dev"]

    [build]
    command = ["gcc", "-O2", "-o", "/build/out/hello", "hello.c"]
    outputs = ["hello"]

An unknown field is refused by name: what a recipe does not know cannot steer a build. Beside the recipe only the time
of the commit reaches the build, as SOURCE_DATE_EPOCH. See docs/spec/recipe.md.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeGuard

from glasshouse_verify.lineage import BRANCH

from glasshouse.conveyor.errors import InvalidRecipe

SCHEMA = "glasshouse.recipe/v1"
MAX_RECIPE_BYTES = 65_536
MAX_PACKAGES = 500
MAX_WHEELS = 200
MAX_COMMAND_WORDS = 200
MAX_OUTPUT_PATTERNS = 64
MAX_ENV = 32

_NAME = re.compile(r"[a-z0-9][a-z0-9._+-]{0,63}")
_DEBIAN_PACKAGE = re.compile(r"[a-z0-9][a-z0-9.+-]{1,99}")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!-]{0,99}")
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+@~-]{0,199}")
_PATTERN = re.compile(r"[A-Za-z0-9_*?][A-Za-z0-9._+@~*?-]{0,199}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_BRANCH = re.compile(BRANCH)
_ENV_NAME = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
# What the sandbox sets itself; a recipe that could override it could undo the isolation of the output from the host.
RESERVED_ENV = frozenset({"PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "USER", "LOGNAME", "SOURCE_DATE_EPOCH"})


@dataclass(frozen=True, kw_only=True)
class WheelPin:
    """One Python wheel by name, version, file name and SHA-256 (lowercase hex)."""

    name: str
    version: str
    filename: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class IndexSource:
    """The tree is a source distribution or wheel of a Python package index."""

    name: str
    version: str
    filename: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class DebianSource:
    """The tree is a source archive of Debian's pool: its path below any mirror, and SHA-256 (lowercase hex)."""

    path: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class GitSource:
    """The tree is a commit of a git repository or git bundle; `location` is a URL, or a path relative to the recipe.

    Without `commit` it is the one that the version's tag names. With `branch` the release shows its history.
    """

    location: str
    commit: str | None = None
    branch: str | None = None


@dataclass(frozen=True, kw_only=True)
class DirectorySource:
    """The tree is a directory, relative to the recipe; `epoch` is the commit time in seconds since 1970."""

    path: str
    epoch: int


SourceOrigin = IndexSource | DebianSource | GitSource | DirectorySource


@dataclass(frozen=True, kw_only=True)
class Environment:
    """The Debian packages and Python wheels a build sees; dependencies are added by the lock."""

    suite: str
    architecture: str
    packages: tuple[str, ...]
    wheels: tuple[WheelPin, ...] = ()
    links: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class BuildStep:
    """The one command of a build, run in /build/source; what it leaves in /build/out is the output.

    `outputs` are file names or shell patterns: each must match a file, and each file must match one.
    """

    command: tuple[str, ...]
    outputs: tuple[str, ...]
    env: tuple[tuple[str, str], ...] = ()
    timeout_seconds: int = 1800
    memory_mib: int = 4096
    work_mib: int = 4096
    output_mib: int = 256
    processes: int = 512


@dataclass(frozen=True, kw_only=True)
class SignStep:
    """What is signed after the build, as file names or shell patterns; each must match an output.

    `authenticode` files are shipped with a signature embedded, `detached` ones with a signature file beside them.
    """

    authenticode: tuple[str, ...] = ()
    detached: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A parsed recipe. `platform` names what the output runs on; the customer's gate compares it."""

    product: str
    platform: str
    source: SourceOrigin | None
    include: tuple[str, ...]
    environment: Environment
    build: BuildStep
    sign: SignStep
    text: bytes = field(repr=False)


def _is_int(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


class _Table:
    """One TOML table, read field by field; `finish` refuses what nobody asked for."""

    def __init__(self, value: object, path: str) -> None:
        if not isinstance(value, dict):
            raise InvalidRecipe(path, "must be a table")
        self._rest: dict[str, object] = dict(value)
        self._path = path

    def _name(self, key: str) -> str:
        return f"{self._path}.{key}" if self._path else key

    def has(self, key: str) -> bool:
        return key in self._rest

    def take(self, key: str) -> object:
        if key not in self._rest:
            raise InvalidRecipe(self._name(key), "is missing")
        return self._rest.pop(key)

    def text(self, key: str, pattern: re.Pattern[str]) -> str:
        return _text(self.take(key), self._name(key), pattern)

    def integer(self, key: str, default: int | None, low: int, high: int) -> int:
        value = default if default is not None and not self.has(key) else self.take(key)
        if not _is_int(value):
            raise InvalidRecipe(self._name(key), "must be an integer")
        if not low <= value <= high:
            raise InvalidRecipe(self._name(key), f"must lie between {low} and {high}")
        return value

    def texts(self, key: str, pattern: re.Pattern[str], low: int, high: int) -> tuple[str, ...]:
        values = self.take(key) if low or self.has(key) else []
        name = self._name(key)
        if not isinstance(values, list):
            raise InvalidRecipe(name, "must be a list of strings")
        if not low <= len(values) <= high:
            raise InvalidRecipe(name, f"must have {low} to {high} items")
        return tuple(_text(value, f"{name}[{index}]", pattern) for index, value in enumerate(values))

    def table(self, key: str) -> _Table:
        return _Table(self.take(key), self._name(key))

    def finish(self) -> None:
        for key in self._rest:
            raise InvalidRecipe(self._name(key), "is not a field of a recipe", "see docs/spec/recipe.md for the fields")


def _text(value: object, name: str, pattern: re.Pattern[str]) -> str:
    if not isinstance(value, str):
        raise InvalidRecipe(name, "must be a string")
    if not pattern.fullmatch(value):
        raise InvalidRecipe(name, f"{value[:80]!r} does not match {pattern.pattern}")
    return value


_ANY_TEXT = re.compile(r"[^\x00]{1,4000}", re.DOTALL)
_PATH_TEXT = re.compile(r"[^\x00-\x1f\x7f]{1,1000}")
_POOL_PATH = re.compile(r"pool(/[A-Za-z0-9][A-Za-z0-9._+~-]*){3,6}")
_ABSOLUTE = re.compile(r"(/[A-Za-z0-9][A-Za-z0-9._+-]*){1,12}")
_SUITE = re.compile(r"[a-z]{3,20}")
_ARCHITECTURE = re.compile(r"[a-z0-9]{2,12}")


def read_recipe(directory: Path) -> Recipe:
    """The recipe of a recipe directory. Raises `InvalidRecipe`, also where there is none."""
    place = directory / "recipe.toml"
    try:
        return parse_recipe(place.read_bytes())
    except OSError as error:
        raise InvalidRecipe(
            str(place), f"cannot be read: {error.strerror}", "see docs/howto/add-a-product.md"
        ) from error


def parse_recipe(data: bytes) -> Recipe:
    """Parse the bytes of a recipe.toml; any deviation raises `InvalidRecipe` with the name of the field."""
    if len(data) > MAX_RECIPE_BYTES:
        raise InvalidRecipe("recipe", f"is larger than {MAX_RECIPE_BYTES} bytes")
    try:
        document = tomllib.loads(data.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise InvalidRecipe("recipe", f"is not TOML in UTF-8: {error}") from error
    top = _Table(document, "")
    schema = top.take("schema")
    if schema != SCHEMA:
        raise InvalidRecipe("schema", f"must be {SCHEMA!r}")
    recipe = Recipe(
        product=top.text("product", _NAME),
        platform=top.text("platform", _NAME),
        source=_parse_source(top.table("source")) if top.has("source") else None,
        include=top.texts("include", _PATH_TEXT, 0, 32),
        environment=_parse_environment(top.table("environment")),
        build=_parse_build(top.table("build")),
        sign=_parse_sign(top.table("sign")) if top.has("sign") else SignStep(),
        text=data,
    )
    top.finish()
    return recipe


def _parse_source(table: _Table) -> SourceOrigin:
    kind = table.take("kind")
    origin: SourceOrigin
    if kind == "index":
        origin = IndexSource(
            name=table.text("name", _WORD),
            version=table.text("version", _WORD),
            filename=table.text("filename", _FILE_NAME),
            sha256=table.text("sha256", _SHA256),
        )
    elif kind == "debian":
        origin = DebianSource(path=table.text("path", _POOL_PATH), sha256=table.text("sha256", _SHA256))
    elif kind == "git":
        origin = GitSource(
            location=table.text("location", _PATH_TEXT),
            commit=table.text("commit", _COMMIT) if table.has("commit") else None,
            branch=table.text("branch", _BRANCH) if table.has("branch") else None,
        )
    elif kind == "directory":
        origin = DirectorySource(
            path=table.text("path", _PATH_TEXT), epoch=table.integer("epoch", None, 315_532_800, 2**33)
        )
    else:
        raise InvalidRecipe("source.kind", "must be 'index', 'debian', 'git' or 'directory'")
    table.finish()
    return origin


def _parse_environment(table: _Table) -> Environment:
    packages = table.texts("packages", _DEBIAN_PACKAGE, 0, MAX_PACKAGES)
    if len(set(packages)) != len(packages):
        raise InvalidRecipe("environment.packages", "names a package twice")
    environment = Environment(
        suite=table.text("suite", _SUITE),
        architecture=table.text("architecture", _ARCHITECTURE),
        packages=packages,
        wheels=_parse_wheels(table.take("wheels")) if table.has("wheels") else (),
        links=_parse_links(table.take("links")) if table.has("links") else (),
    )
    table.finish()
    return environment


def _parse_wheels(value: object) -> tuple[WheelPin, ...]:
    if not isinstance(value, list) or len(value) > MAX_WHEELS:
        raise InvalidRecipe("environment.wheels", f"must be a list of at most {MAX_WHEELS} tables")
    wheels = []
    for index, item in enumerate(value):
        table = _Table(item, f"environment.wheels[{index}]")
        wheel = WheelPin(
            name=table.text("name", _WORD),
            version=table.text("version", _WORD),
            filename=table.text("filename", _FILE_NAME),
            sha256=table.text("sha256", _SHA256),
        )
        table.finish()
        if not wheel.filename.endswith(".whl"):
            raise InvalidRecipe(f"environment.wheels[{index}].filename", "must end in .whl")
        wheels.append(wheel)
    if len({wheel.filename for wheel in wheels}) != len(wheels):
        raise InvalidRecipe("environment.wheels", "names a file twice")
    return tuple(wheels)


def _parse_links(value: object) -> tuple[tuple[str, str], ...]:
    """`{"/usr/bin/awk" = "mawk"}`: symbolic links that a package's maintainer script would have made."""
    if not isinstance(value, Mapping) or len(value) > MAX_ENV:
        raise InvalidRecipe("environment.links", f"must be a table of at most {MAX_ENV} entries")
    links = []
    for path, target in sorted(value.items()):
        name = f"environment.links[{str(path)[:80]!r}]"
        links.append((_text(path, name, _ABSOLUTE), _text(target, name, _FILE_NAME)))
    return tuple(links)


def _parse_build(table: _Table) -> BuildStep:
    command = table.texts("command", _ANY_TEXT, 1, MAX_COMMAND_WORDS)
    build = BuildStep(
        command=command,
        outputs=table.texts("outputs", _PATTERN, 1, MAX_OUTPUT_PATTERNS),
        env=_parse_env(table.take("env")) if table.has("env") else (),
        timeout_seconds=table.integer("timeout_seconds", BuildStep.timeout_seconds, 1, 86_400),
        memory_mib=table.integer("memory_mib", BuildStep.memory_mib, 16, 1_048_576),
        work_mib=table.integer("work_mib", BuildStep.work_mib, 1, 1_048_576),
        output_mib=table.integer("output_mib", BuildStep.output_mib, 1, 65_536),
        processes=table.integer("processes", BuildStep.processes, 4, 32_768),
    )
    table.finish()
    return build


def _parse_sign(table: _Table) -> SignStep:
    sign = SignStep(
        authenticode=table.texts("authenticode", _PATTERN, 0, MAX_OUTPUT_PATTERNS),
        detached=table.texts("detached", _PATTERN, 0, MAX_OUTPUT_PATTERNS),
    )
    table.finish()
    return sign


def _parse_env(value: object) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, Mapping) or len(value) > MAX_ENV:
        raise InvalidRecipe("build.env", f"must be a table of at most {MAX_ENV} entries")
    variables = []
    for key, text in sorted(value.items()):
        name = f"build.env.{str(key)[:80]}"
        if key in RESERVED_ENV:
            raise InvalidRecipe(name, "is set by the sandbox", "remove it")
        variables.append((_text(key, name, _ENV_NAME), _text(text, name, _ANY_TEXT)))
    return tuple(variables)
