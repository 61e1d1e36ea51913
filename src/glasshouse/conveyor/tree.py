"""A source tree on disk: what a source manifest lists, a source pack carries and a build sees.

A tree holds plain files, executable files and symbolic links that stay inside it, under UTF-8 paths. Empty
directories do not count, as in git. Its reserved directory `glasshouse/` carries what the build needs beside the
product's own files:

    glasshouse/recipe.toml      how to build, and on what
    glasshouse/lock.jsonl       the exact environment
"""

from __future__ import annotations

import io
import os
import re
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from glasshouse.conveyor.archive import (
    CHUNK_BYTES,
    ArchiveError,
    Content,
    Kind,
    Limits,
    Member,
    Readable,
    TarWriter,
    normal_path,
)
from glasshouse.conveyor.errors import InvalidSource

RESERVED = "glasshouse"
RECIPE_PATH = f"{RESERVED}/recipe.toml"
LOCK_PATH = f"{RESERVED}/lock.jsonl"
TREE_LIMITS = Limits(members=400_000, total_bytes=8 << 30)

# Any number of "../" first, then names: a target in another form could climb out through another link.
_TARGET = re.compile(r"(?:\.\./)*(?:\.\.|(?!\.\.?(?:/|\Z))[^/\0]+(?:/(?!\.\.?(?:/|\Z))[^/\0]+)*)", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class TreeFile:
    """One path of a tree. `mode` is "100644", "100755" or "120000"; `target` is the target of a symbolic link."""

    path: str
    mode: str
    size: int
    target: str = ""


@dataclass(frozen=True, kw_only=True)
class SourceTree:
    """A scanned tree: its files sorted by the UTF-8 bytes of their paths."""

    directory: Path
    files: tuple[TreeFile, ...]

    @contextmanager
    def open(self, file: TreeFile) -> Iterator[IO[bytes]]:
        """The content of a file, or the target of a link. Raises `InvalidSource` if it is gone."""
        if file.mode == "120000":
            yield io.BytesIO(file.target.encode())
            return
        try:
            descriptor = os.open(self.directory / file.path, os.O_RDONLY | os.O_NOFOLLOW)
        except OSError as error:
            raise InvalidSource(file.path, f"cannot be read: {error.strerror}") from error
        with os.fdopen(descriptor, "rb") as content:
            yield content

    def read(self, path: str, limit: int) -> bytes:
        """The content of a plain file of at most `limit` bytes. Raises `InvalidSource` if it is missing or larger."""
        for file in self.files:
            if file.path == path and file.mode != "120000":
                with self.open(file) as content:
                    data = content.read(limit + 1)
                if len(data) > limit:
                    raise InvalidSource(path, f"is larger than {limit} bytes")
                return data
        raise InvalidSource(path, "is not a plain file of the tree")


def check_target(path: str, target: str) -> None:
    """Refuse a symbolic link that does not stay inside the tree, whatever the other links are."""
    climbs = target.split("/").count("..")
    if not _TARGET.fullmatch(target) or climbs > path.count("/"):
        raise InvalidSource(path, f"is a symbolic link to {target[:200]!r}, which may leave the tree")


def scan_tree(directory: Path, limits: Limits = TREE_LIMITS) -> SourceTree:
    """List a directory as a tree. Raises `InvalidSource` naming the first path that cannot be part of one."""
    files: list[TreeFile] = []
    total = 0
    for entry in _walk(directory, ""):
        total += entry.size
        files.append(entry)
        if len(files) > limits.members or total > limits.total_bytes:
            raise InvalidSource(entry.path, f"exceeds {limits.members} files or {limits.total_bytes} bytes")
    files.sort(key=lambda file: file.path.encode())
    return SourceTree(directory=directory, files=tuple(files))


def _walk(directory: Path, prefix: str) -> Iterator[TreeFile]:
    with os.scandir(directory) as entries:
        for entry in entries:
            path = prefix + entry.name
            try:
                normal = normal_path(path)
            except ArchiveError as error:
                raise InvalidSource(path.encode(errors="backslashreplace").decode(), str(error)) from error
            status = entry.stat(follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                yield from _walk(directory / entry.name, normal + "/")
            elif stat.S_ISREG(status.st_mode):
                mode = "100755" if status.st_mode & stat.S_IXUSR else "100644"
                yield TreeFile(path=normal, mode=mode, size=status.st_size)
            elif stat.S_ISLNK(status.st_mode):
                target = str((directory / entry.name).readlink())
                check_target(normal, target)
                yield TreeFile(path=normal, mode="120000", size=len(target.encode()), target=target)
            else:
                raise InvalidSource(normal, "is neither a plain file, a directory nor a symbolic link")


def write_tree(tree: SourceTree, writer: TarWriter, prefix: str = "") -> None:
    """Write the files of a tree in order, each directory before what it holds."""
    seen: set[str] = set()
    for file in tree.files:
        for parent in _parents(file.path):
            if parent not in seen:
                seen.add(parent)
                writer.directory(prefix + parent)
        if file.mode == "120000":
            writer.symlink(prefix + file.path, file.target)
        else:
            with tree.open(file) as content:
                writer.file(prefix + file.path, file.mode == "100755", file.size, content)


def _parents(path: str) -> list[str]:
    parts = path.split("/")[:-1]
    return ["/".join(parts[: index + 1]) for index in range(len(parts))]


Members = Iterable[tuple[Member, Content | None]]


def below(members: Members, top: str | None = None) -> Members:
    """The members below the directory `top` (the first member's, by default), named from there; others are refused."""
    for member, content in members:
        here, _, rest = member.path.partition("/")
        top = here if top is None else top
        if here != top:
            raise ArchiveError(f"{member.path!r} lies outside of {top!r}")
        yield replace(member, path=rest), content


def unpack_members(members: Members, destination: Path) -> int:
    """Write members into the new directory `destination` and return the newest time of one, in Unix seconds.

    Raises `InvalidSource` on members that cannot be part of a tree, on duplicates, and on anything that would be
    written through a link.
    """
    newest = 0
    destination.mkdir(mode=0o755, parents=True)
    try:
        for member, content in members:
            newest = max(newest, member.mtime)
            if member.kind is Kind.DIRECTORY or not member.path:
                continue
            place = make_place(destination, member.path)
            if member.kind is Kind.SYMLINK:
                check_target(member.path, member.target)
                place.symlink_to(member.target)
            elif content is not None:
                write_file(place, content, member.executable)
            else:
                raise InvalidSource(member.path, "is a hard link, which a source tree cannot hold")
    except ArchiveError as error:
        raise InvalidSource("archive", str(error)) from error
    return newest


def make_place(root: Path, path: str) -> Path:
    """Make the directories above `path` and return its place; nothing may stand there, and no parent may be a link."""
    here = root
    for part in path.split("/")[:-1]:
        here = here / part
        if not here.is_dir() or here.is_symlink():
            try:
                here.mkdir(mode=0o755)
            except FileExistsError as error:
                raise InvalidSource(path, "has a file or link as its parent") from error
    place = root / path
    if os.path.lexists(place):
        raise InvalidSource(path, "occurs twice")
    return place


def write_file(place: Path, content: Readable, executable: bool) -> None:
    """Create one file, refusing to replace or follow anything. Raises `FileExistsError`."""
    descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o755 if executable else 0o644)
    with os.fdopen(descriptor, "wb") as out:
        # The mode of open() passes through the umask of this process; the mode of a tree must not.
        os.fchmod(descriptor, 0o755 if executable else 0o644)
        while chunk := content.read(CHUNK_BYTES):
            out.write(chunk)
