"""Getting the source tree that a recipe names, and making it whole: the product's own files, the recipe, the lock.

    [source] kind = "index"      a source distribution (or wheel) of the package index, by SHA-256
    [source] kind = "debian"     a source archive of Debian's pool, by SHA-256
    [source] kind = "git"        one commit of a repository or bundle, blob by blob, without filters; with its lineage
    [source] kind = "directory"  a directory beside the recipe

What comes out is a tree in the sense of glasshouse.conveyor.tree and the commit time. Everybody but the maintainer
gets the same tree out of the source pack instead.
"""

from __future__ import annotations

import calendar
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, assert_never

from glasshouse.conveyor.ancestry import read_lineage
from glasshouse.conveyor.archive import ArchiveError, decompressed, normal_path, read_members
from glasshouse.conveyor.errors import InvalidRecipe, InvalidSource, OriginUnavailable
from glasshouse.conveyor.git import check_out, commit_time, fetched, is_ancestor, resolve
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
    make_place,
    scan_tree,
    unpack_members,
    write_file,
)

# Zip files, and so wheels, know no time before 1980; some source distributions say 1970.
_EARLIEST_EPOCH = 315_532_800


@dataclass(frozen=True, kw_only=True)
class FetchedSource:
    """A whole tree; `epoch` is its commit time in Unix seconds, `commit` the git commit it came from, where it did.

    `lineage` is that commit's, where the recipe names a branch, back to the released commit `before`, if there is one.
    """

    tree: SourceTree
    epoch: int
    commit: str | None
    before: str | None
    lineage: bytes | None


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What of a git repository is wanted: the version whose tag names the commit, and released commits before it.

    The first of `before` that is an ancestor is where the lineage begins; where none is, the first.
    """

    version: str | None = None
    before: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Picked:
    """What a git repository gave."""

    epoch: int
    commit: str
    before: str | None = None
    lineage: bytes | None = None


def fetch_source(
    recipe: Recipe,
    beside: Path,
    lock: Lock,
    destination: Path,
    store: Store,
    origins: Origins,
    wish: Wish | None = None,
) -> FetchedSource:
    """Fetch what `recipe.source` names into the new directory `destination`, and add recipe, lock and included files.

    `beside` is the directory of the recipe file. Raises `InvalidRecipe` when the recipe has no source,
    `InvalidSource` when what came is not a tree, `OriginUnavailable` when it cannot be had with its digest.
    """
    picked: _Picked | None = None
    match recipe.source:
        case IndexSource():
            epoch = _fetch_from_index(recipe.source, destination, store, origins)
        case DebianSource():
            epoch = _fetch_from_debian(recipe.source, destination, store, origins)
        case GitSource():
            picked = _fetch_from_git(recipe.source, beside, destination, wish or Wish())
            epoch = picked.epoch
        case DirectorySource():
            epoch = recipe.source.epoch
            _copy_directory(beside / recipe.source.path, destination)
        case None:
            raise InvalidRecipe("source", "is missing, so there is nothing to fetch")
        case _:
            assert_never(recipe.source)
    add_build_files(recipe, beside, lock, destination)
    return FetchedSource(
        tree=scan_tree(destination),
        epoch=epoch,
        commit=picked.commit if picked else None,
        before=picked.before if picked else None,
        lineage=picked.lineage if picked else None,
    )


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


def _fetch_from_git(source: GitSource, beside: Path, destination: Path, wish: Wish) -> _Picked:
    with fetched(source.location, beside) as repository:
        commit = source.commit or _tagged(repository, wish.version)
        check_out(repository, commit, destination)
        epoch = commit_time(repository, commit)
        if source.branch is None:
            return _Picked(epoch=epoch, commit=commit)
        _check_branch(repository, commit, source.branch)
        older = (name for name in wish.before if is_ancestor(repository, name, commit))
        before = next(older, next(iter(wish.before), None))
        lineage = read_lineage(repository, commit, before)
        return _Picked(epoch=epoch, commit=commit, before=before, lineage=lineage)


def _tagged(repository: Path, version: str | None) -> str:
    names = () if version is None else (f"tags/v{version}", f"tags/{version}")
    commit = next(filter(None, (resolve(repository, name) for name in names)), None)
    if commit is None:
        reason = "is missing, and no tag of the repository names the version"
        raise InvalidRecipe("source.commit", reason, f"name the commit, or tag it v{version or 'VERSION'}")
    return commit


def _check_branch(repository: Path, commit: str, branch: str) -> None:
    # A clone that a build server has made knows the branch as its origin's only.
    head = resolve(repository, f"heads/{branch}") or resolve(repository, f"remotes/origin/{branch}")
    if head is None:
        raise InvalidRecipe("source.branch", f"the repository has no branch {branch}")
    if not is_ancestor(repository, commit, head):
        raise InvalidSource(commit, f"is not on the branch {branch}")
