"""Getting the source tree that a recipe names, and making it whole: the product's own files, the recipe, the lock.

    [source] kind = "index"      a source distribution (or wheel) of the package index, by SHA-256
    [source] kind = "debian"     a source archive of Debian's pool, by SHA-256
    [source] kind = "git"        one commit of a repository or bundle, blob by blob, without filters
    [source] kind = "directory"  a directory beside the recipe

What comes out is a tree in the sense of glasshouse.conveyor.tree and the commit time. Everybody but the maintainer
gets the same tree out of the source pack instead.
"""

from __future__ import annotations

import calendar
import os
import subprocess
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, assert_never

from glasshouse.conveyor.archive import ArchiveError, decompressed, normal_path, read_members
from glasshouse.conveyor.errors import InvalidRecipe, InvalidSource, OriginUnavailable, ToolUnavailable
from glasshouse.conveyor.lock import Lock
from glasshouse.conveyor.origin import Origins
from glasshouse.conveyor.package_index import list_files
from glasshouse.conveyor.recipe import DebianSource, DirectorySource, GitSource, IndexSource, Recipe
from glasshouse.conveyor.store import Store, Wanted
from glasshouse.conveyor.tree import (
    LOCK_PATH,
    RECIPE_PATH,
    RESERVED,
    TREE_LIMITS,
    SourceTree,
    below,
    check_target,
    make_place,
    scan_tree,
    unpack_members,
    write_file,
)

_GIT_SECONDS = 600
# Zip files, and so wheels, know no time before 1980; some source distributions say 1970.
_EARLIEST_EPOCH = 315_532_800
# Neither the machine's nor the user's git configuration may change what is checked out, and nothing may ask for a
# password.
_GIT_ENVIRONMENT = {
    "PATH": os.environ.get("PATH", os.defpath),
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ALLOW_PROTOCOL": "file:https:ssh:git",
    "HOME": os.devnull,
    "LC_ALL": "C",
}


@dataclass(frozen=True, kw_only=True)
class FetchedSource:
    """A whole tree; `epoch` is its commit time in Unix seconds, `commit` the git commit it came from, where it did."""

    tree: SourceTree
    epoch: int
    commit: str | None


def fetch_source(
    recipe: Recipe, beside: Path, lock: Lock, destination: Path, store: Store, origins: Origins
) -> FetchedSource:
    """Fetch what `recipe.source` names into the new directory `destination`, and add recipe, lock and included files.

    `beside` is the directory of the recipe file. Raises `InvalidRecipe` when the recipe has no source,
    `InvalidSource` when what came is not a tree, `OriginUnavailable` when it cannot be had with its digest.
    """
    commit: str | None = None
    match recipe.source:
        case IndexSource():
            epoch = _fetch_from_index(recipe.source, destination, store, origins)
        case DebianSource():
            epoch = _fetch_from_debian(recipe.source, destination, store, origins)
        case GitSource():
            commit = recipe.source.commit
            epoch = _fetch_from_git(recipe.source, beside, destination)
        case DirectorySource():
            epoch = recipe.source.epoch
            _copy_directory(beside / recipe.source.path, destination)
        case None:
            raise InvalidRecipe("source", "is missing, so there is nothing to fetch")
        case _:
            assert_never(recipe.source)
    add_build_files(recipe, beside, lock, destination)
    return FetchedSource(tree=scan_tree(destination), epoch=epoch, commit=commit)


def add_build_files(recipe: Recipe, beside: Path, lock: Lock, directory: Path) -> None:
    """Put recipe, lock and the files the recipe includes into `glasshouse/` of a tree that has no such directory."""
    reserved = directory / RESERVED
    if os.path.lexists(reserved):
        raise InvalidSource(RESERVED, "exists in the source, where the recipe and the lock have to go")
    reserved.mkdir()
    (directory / RECIPE_PATH).write_bytes(recipe.text)
    (directory / LOCK_PATH).write_bytes(lock.data)
    for included in recipe.include:
        place = reserved / Path(included).name
        if os.path.lexists(place):
            raise InvalidRecipe("include", f"{place.name!r} is there twice")
        try:
            with (beside / included).open("rb") as content:
                write_file(place, content, executable=False)
        except OSError as error:
            raise InvalidRecipe("include", f"{included!r} cannot be read: {error.strerror}") from error


def _fetch_from_index(source: IndexSource, destination: Path, store: Store, origins: Origins) -> int:
    file = list_files(source.name, origins.client, origins.index_url).get(source.filename)
    if file is None:
        raise OriginUnavailable(f"the package index lists no file {source.filename!r} of {source.name!r}")
    if file.sha256 != source.sha256:
        raise InvalidSource(source.filename, f"the package index lists it with SHA-256 {file.sha256}")
    store.fetch([Wanted(url=file.url, sha256=source.sha256)], origins.client)
    return _unpack(source.sha256, source.filename, destination, store)


def _fetch_from_debian(source: DebianSource, destination: Path, store: Store, origins: Origins) -> int:
    url = f"{origins.mirrors['debian'].rstrip('/')}/{source.path}"
    store.fetch([Wanted(url=url, sha256=source.sha256)], origins.client)
    return _unpack(source.sha256, source.path.rpartition("/")[2], destination, store)


def _unpack(sha256: str, filename: str, destination: Path, store: Store) -> int:
    with store.open_verified(sha256) as stream:
        if filename.endswith((".whl", ".zip")):
            return _unpack_zip(stream, destination)
        try:
            members = read_members(decompressed(stream, filename), TREE_LIMITS)
            return max(_EARLIEST_EPOCH, unpack_members(below(members), destination))
        except ArchiveError as error:
            raise InvalidSource(filename, str(error)) from error


def _unpack_zip(stream: IO[bytes], destination: Path) -> int:
    destination.mkdir(parents=True)
    newest = (1980, 1, 1, 0, 0, 0)
    left = TREE_LIMITS.total_bytes
    try:
        with zipfile.ZipFile(stream) as archive:
            if len(archive.infolist()) > TREE_LIMITS.members:
                raise InvalidSource("archive", f"has more than {TREE_LIMITS.members} members")
            for info in archive.infolist():
                left -= info.file_size
                if left < 0:
                    raise InvalidSource("archive", f"unpacks to more than {TREE_LIMITS.total_bytes} bytes")
                newest = max(newest, info.date_time)
                if not info.is_dir():
                    with archive.open(info) as content:
                        write_file(make_place(destination, normal_path(info.filename)), content, executable=False)
    except (ArchiveError, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise InvalidSource("archive", str(error)) from error
    return calendar.timegm((*newest, 0, 0, 0))


def _copy_directory(origin: Path, destination: Path) -> None:
    tree = scan_tree(origin)
    destination.mkdir(parents=True)
    for file in tree.files:
        place = make_place(destination, file.path)
        if file.mode == "120000":
            place.symlink_to(file.target)
        else:
            with tree.open(file) as content:
                write_file(place, content, file.mode == "100755")


def _fetch_from_git(source: GitSource, beside: Path, destination: Path) -> int:
    location = source.location if "://" in source.location else str((beside / source.location).resolve())
    if "://" not in location and not Path(location).exists():
        raise OriginUnavailable(f"there is no repository or bundle at {source.location!r}")
    with tempfile.TemporaryDirectory(prefix="glasshouse-git-") as name:
        repository = Path(name)
        _git(repository, "init", "-q", "--bare", ".")
        _git(repository, "fetch", "-q", "--no-tags", "--", location, "+refs/*:refs/fetched/*")
        _check_out(repository, source.commit, destination)
        return int(_git(repository, "show", "-s", "--format=%ct", source.commit))


def _check_out(repository: Path, commit: str, destination: Path) -> None:
    destination.mkdir(parents=True)
    entries = list(_tree_entries(_git(repository, "ls-tree", "-r", "-z", "--full-tree", f"{commit}^{{tree}}")))
    command = ["git", "-C", str(repository), "cat-file", "--batch"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=_GIT_ENVIRONMENT
    ) as process:
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("git has no pipes")
        for mode, blob, path in entries:
            process.stdin.write(f"{blob}\n".encode())
            process.stdin.flush()
            size = int(process.stdout.readline().split()[2])
            _write_blob(mode, path, _Blob(process.stdout, size), destination)
            process.stdout.read(1)
        process.stdin.close()


class _Blob:
    """The content of one object in the output of git cat-file --batch."""

    def __init__(self, stream: IO[bytes], size: int) -> None:
        self._stream = stream
        self._left = size

    def read(self, size: int = -1, /) -> bytes:
        data = self._stream.read(self._left if size < 0 else min(size, self._left))
        self._left -= len(data)
        return data


def _tree_entries(listing: bytes) -> Iterator[tuple[str, str, str]]:
    for entry in listing.split(b"\0")[:-1]:
        head, _, name = entry.partition(b"\t")
        mode, kind, blob = head.decode("ascii").split()
        try:
            path = normal_path(name.decode("utf-8"))
        except (UnicodeDecodeError, ArchiveError) as error:
            raise InvalidSource(name.decode(errors="backslashreplace"), str(error)) from error
        if kind != "blob":
            raise InvalidSource(path, "is a submodule; its files have to be part of the repository")
        yield mode, blob, path


def _write_blob(mode: str, path: str, content: _Blob, destination: Path) -> None:
    place = make_place(destination, path)
    if mode == "120000":
        target = content.read().decode("utf-8", errors="surrogateescape")
        check_target(path, target)
        place.symlink_to(target)
    else:
        write_file(place, content, mode == "100755")


def _git(repository: Path, *arguments: str) -> bytes:
    command = ["git", "-C", str(repository), *arguments]
    try:
        return subprocess.run(
            command,
            capture_output=True,
            check=True,
            timeout=_GIT_SECONDS,
            env=_GIT_ENVIRONMENT,
            stdin=subprocess.DEVNULL,
        ).stdout
    except FileNotFoundError as error:
        raise ToolUnavailable("git is not installed", "install the package git") from error
    except subprocess.TimeoutExpired as error:
        raise OriginUnavailable(f"git {arguments[0]} did not finish within {_GIT_SECONDS} seconds") from error
    except subprocess.CalledProcessError as error:
        reason = error.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise OriginUnavailable(f"git {arguments[0]} failed: {' '.join(reason)}") from error
