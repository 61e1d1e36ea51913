"""The root file system of a build, unpacked from the packages and wheels of a lock and from nothing else.

No maintainer script runs and no root right is needed: files are what the packages hold, with modes 0644 or 0755. What
scripts would have made and a build needs is made here: the merged /usr, a password file with one user, and the links
that the recipe names; and what a container engine would otherwise add, so that every executor finds the same root and
none has to change it. A finished root is kept as `<cache>/<root of the lock>` and shared read-only; it is listed and
compared before each use.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import secrets
import shutil
import stat
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from glasshouse.conveyor.archive import (
    ArchiveError,
    Kind,
    Limits,
    Member,
    Readable,
    decompressed,
    normal_path,
    read_members,
)
from glasshouse.conveyor.errors import InvalidLock
from glasshouse.conveyor.lock import DebRow, Lock, WheelRow
from glasshouse.conveyor.store import Progress, Store
from glasshouse.conveyor.tree import write_file

DEB_LIMITS = Limits(members=200_000, total_bytes=4 << 30)
WHEEL_LIMITS = Limits(members=50_000, total_bytes=2 << 30)
WHEEL_DIRECTORY = "usr/lib/python3/dist-packages"
UID = 1000
USER = "builder"
HOST_NAME = "builder"
_MERGED = ("bin", "lib", "lib32", "lib64", "libx32", "sbin")
_MOUNT_POINTS = ("build", "dev", "proc", "run", "sys")
_PASSWD = f"root:x:0:0:root:/:/bin/false\n{USER}:x:{UID}:{UID}:{USER}:/build/home:/bin/sh\n"
_GROUP = f"root:x:0:\n{USER}:x:{UID}:\n"
_FILES = {
    "etc/passwd": _PASSWD,
    "etc/group": _GROUP,
    "etc/hostname": f"{HOST_NAME}\n",
    "etc/hosts": "",
    "etc/resolv.conf": "",
    "run/.containerenv": "",
}
_MAX_LINKS_FOLLOWED = 40
_DIRECTORY_TIME = 315_532_800
# Part of the name of the mark of a finished root: one that an older version made is unpacked anew.
_LAYOUT = 2


@dataclass(frozen=True, kw_only=True)
class RootFs:
    """A complete root directory; `digest` covers the path, mode, size, time and link target of every entry."""

    directory: Path
    digest: str


def make_root(lock: Lock, store: Store, cache: Path, progress: Progress | None = None) -> RootFs:
    """Return the root of a lock, unpacking it if it is not in the cache; its packages must be in the store.

    Safe for several processes at once. Raises `InvalidLock` on packages that cannot be unpacked together,
    `OriginUnavailable` when a package is not in the store.
    """
    cache.mkdir(parents=True, exist_ok=True)
    place = cache / lock.root.root.hex()
    marker = place.with_suffix(f".layout{_LAYOUT}")
    with (cache / ".lock").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        if marker.is_file() and place.is_dir():
            digest = listing_digest(place)
            if marker.read_text() == digest:
                return RootFs(directory=place, digest=digest)
        marker.unlink(missing_ok=True)
        _remove(place)
        fresh = cache / f".{place.name}.{secrets.token_hex(4)}"
        try:
            _unpack(lock, store, fresh, progress)
            fresh.rename(place)
        finally:
            _remove(fresh)
        digest = listing_digest(place)
        marker.write_text(digest)
        return RootFs(directory=place, digest=digest)


def _remove(place: Path) -> None:
    if place.exists():
        shutil.rmtree(place)


def listing_digest(root: Path) -> str:
    """SHA-256 over the sorted listing of a tree. It tells an unfinished or altered root from a whole one."""
    digest = hashlib.sha256()
    for line in _listing(root, ""):
        digest.update(line.encode() + b"\n")
    return digest.hexdigest()


def _listing(directory: Path, prefix: str) -> Iterator[str]:
    with os.scandir(directory) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            status = entry.stat(follow_symlinks=False)
            target = str(Path(entry.path).readlink()) if stat.S_ISLNK(status.st_mode) else ""
            size = status.st_size if stat.S_ISREG(status.st_mode) else 0
            yield f"{status.st_mode:o} {size} {status.st_mtime_ns // 10**9} {prefix}{entry.name} {target}"
            if stat.S_ISDIR(status.st_mode):
                yield from _listing(directory / entry.name, f"{prefix}{entry.name}/")


def _unpack(lock: Lock, store: Store, directory: Path, progress: Progress | None) -> None:
    root = _Root(directory)
    rows: list[DebRow | WheelRow] = [*lock.debs, *lock.wheels]
    for done, row in enumerate(rows, start=1):
        root.package = row.key
        try:
            with store.open_verified(row.sha256) as stream:
                if isinstance(row, DebRow):
                    _unpack_deb(stream, root)
                else:
                    _unpack_wheel(row, stream, root)
        except ArchiveError as error:
            raise InvalidLock(row.key, str(error)) from error
        if progress:
            progress(row.key, done, len(rows))
    root.package = "environment"
    for link, target in lock.environment.links:
        root.symlink(link, target, _DIRECTORY_TIME)
    root.finish()


class _Root:
    """A root under construction. Every link in it is known by name, so that nothing is written through one."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.package = ""
        self._links: dict[str, str] = {}
        self._directories: set[str] = {""}
        directory.mkdir(mode=0o755)
        for name in _MERGED:
            self.directory_at(f"usr/{name}")
            self.symlink(name, f"usr/{name}", _DIRECTORY_TIME)
        for name in _MOUNT_POINTS:
            self.directory_at(name)
        for name, text in _FILES.items():
            self.file(name, io.BytesIO(text.encode()), False, _DIRECTORY_TIME)
        self.symlink("etc/mtab", "/proc/mounts", _DIRECTORY_TIME)
        self.symlink("tmp", "build/tmp", _DIRECTORY_TIME)

    def _resolve(self, path: str, follow_last: bool) -> str:
        """The path with every link in it followed inside the root."""
        done: list[str] = []
        todo = path.split("/")[::-1]
        followed = 0
        while todo:
            part = todo.pop()
            if part in ("", "."):
                continue
            if part == "..":
                done = done[:-1]
                continue
            target = self._links.get("/".join([*done, part]))
            if target is None or (not todo and not follow_last):
                done.append(part)
                continue
            followed += 1
            if followed > _MAX_LINKS_FOLLOWED:
                raise InvalidLock(self.package, f"{path!r} leads through a loop of links")
            if target.startswith("/"):
                done = []
            todo.extend(target.split("/")[::-1])
        return "/".join(done)

    def directory_at(self, path: str) -> None:
        """Have a directory at the place the path leads to."""
        real = self._resolve(path, follow_last=True)
        parts = real.split("/") if real else []
        for index in range(len(parts)):
            here = "/".join(parts[: index + 1])
            if here not in self._directories:
                place = self.directory / here
                if os.path.lexists(place):
                    raise InvalidLock(self.package, f"{path!r} is a directory here and a file in another package")
                place.mkdir(mode=0o755)
                self._directories.add(here)

    def _place(self, path: str) -> tuple[str, Path]:
        parent, _, name = path.rpartition("/")
        self.directory_at(parent)
        real = self._resolve(f"{parent}/{name}", follow_last=False)
        return real, self.directory / real

    def symlink(self, path: str, target: str, mtime: int) -> None:
        """Make a link; the same link twice is one."""
        real, place = self._place(path)
        if self._links.get(real) == target:
            return
        if os.path.lexists(place):
            raise InvalidLock(self.package, f"{path!r} is in another package too")
        place.symlink_to(target)
        os.utime(place, (mtime, mtime), follow_symlinks=False)
        self._links[real] = target

    def hardlink(self, path: str, target: str) -> None:
        """Link a path to a file that is there already."""
        _, place = self._place(path)
        source = self.directory / self._resolve(normal_path(target), follow_last=False)
        try:
            os.link(source, place, follow_symlinks=False)
        except OSError as error:
            raise InvalidLock(self.package, f"{path!r} cannot be linked to {target!r}: {error.strerror}") from error

    def file(self, path: str, content: Readable, executable: bool, mtime: int) -> None:
        """Write a file; a path that another package holds already is refused."""
        _, place = self._place(path)
        try:
            write_file(place, content, executable)
        except FileExistsError as error:
            raise InvalidLock(self.package, f"{path!r} is in another package too") from error
        os.utime(place, (mtime, mtime))

    def finish(self) -> None:
        """Give every directory its mode and time; both would otherwise be this machine's."""
        for name in sorted(self._directories, reverse=True):
            place = self.directory / name
            place.chmod(0o755)
            os.utime(place, (_DIRECTORY_TIME, _DIRECTORY_TIME))


def _unpack_deb(stream: IO[bytes], root: _Root) -> None:
    for name, content in _ar_members(stream):
        if name.startswith("data.tar"):
            for member, data in read_members(decompressed(content, name), DEB_LIMITS):
                _add(root, member, data)
            return
    raise ArchiveError("is not a Debian package: it has no data.tar")


def _add(root: _Root, member: Member, data: Readable | None) -> None:
    if not member.path or member.kind is Kind.DIRECTORY:
        root.directory_at(member.path)
    elif member.kind is Kind.SYMLINK:
        root.symlink(member.path, member.target, member.mtime)
    elif member.kind is Kind.HARDLINK:
        root.hardlink(member.path, member.target)
    elif data is not None:
        root.file(member.path, data, member.executable, member.mtime)


class _ArMember:
    """The content of the current ar member, as a bounded reader."""

    def __init__(self, stream: IO[bytes], size: int) -> None:
        self._stream = stream
        self.left = size

    def read(self, size: int, /) -> bytes:
        data = self._stream.read(min(size, self.left))
        self.left -= len(data)
        return data


def _ar_members(stream: IO[bytes]) -> Iterator[tuple[str, _ArMember]]:
    """The members of an ar archive (deb(5)), each to be read before the next is asked for."""
    if stream.read(8) != b"!<arch>\n":
        raise ArchiveError("is not a Debian package")
    while header := stream.read(60):
        size = header[48:58].rstrip(b" ")
        if len(header) != 60 or header[58:] != b"`\n" or not size.isdigit():
            raise ArchiveError("is a damaged Debian package")
        member = _ArMember(stream, int(size))
        end = stream.tell() + member.left + member.left % 2
        yield header[:16].decode("ascii", errors="replace").rstrip(" /"), member
        stream.seek(end)


def _unpack_wheel(row: WheelRow, stream: IO[bytes], root: _Root) -> None:
    total = 0
    try:
        with zipfile.ZipFile(stream) as archive:
            infos = sorted(archive.infolist(), key=lambda info: info.filename)
            if len(infos) > WHEEL_LIMITS.members:
                raise ArchiveError(f"has more than {WHEEL_LIMITS.members} members")
            for info in infos:
                total += info.file_size
                if total > WHEEL_LIMITS.total_bytes:
                    raise ArchiveError(f"unpacks to more than {WHEEL_LIMITS.total_bytes} bytes")
                path = normal_path(info.filename)
                if path.partition("/")[0].endswith(".data"):
                    raise ArchiveError(f"{row.filename} installs outside the package directory, which is not supported")
                if not info.is_dir():
                    with archive.open(info) as content:
                        root.file(f"{WHEEL_DIRECTORY}/{path}", content, False, _DIRECTORY_TIME)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise ArchiveError(f"is not a usable wheel: {error}") from error
