"""A directory as a store: each regular file is an object, its path below the root, in raw bytes, is its key.

No key is decoded: a name that is no UTF-8 is as good as any. An empty directory is an empty object whose key ends in a
slash, as S3's own tools have it. What is no object is never passed over: a symbolic link, a device, a socket or a path
too long stops the listing with a sentence, since a move that left it out could not say that nothing stayed behind.
Files are opened through the descriptors of their directories, none of them by a symbolic link, so that nothing outside
the root is ever reached, whoever rearranges the tree meanwhile.

A directory has no versions, no locks and no unfinished uploads, and nobody whom it could refuse but by permissions,
which do not hold back its owner or root.
"""

import contextlib
import hashlib
import os
import secrets
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from glasshouse.relocation.errors import Forbidden, InvalidInput, Unavailable
from glasshouse.relocation.stores import probe
from glasshouse.relocation.stores.interface import MAX_KEY_BYTES, Capabilities, Locked, Upload, Version
from glasshouse.storage.errors import ObjectConflict, ObjectMissing

_CHUNK_BYTES = 1 << 20
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_WRITE_BITS = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH


class DirectoryTree:
    """See Store. Memory is bounded by the names of one directory at each depth."""

    def __init__(self, root: Path) -> None:
        self.url = root.as_uri()
        self._root = os.fsencode(root)

    def list(self, after: bytes | None = None, upto: bytes | None = None) -> Iterator[Version]:
        """See Store."""
        with self._calling("listing", b""):
            yield from self._walk(self._root, b"", after or b"", upto)

    def _walk(self, directory: bytes, prefix: bytes, after: bytes, upto: bytes | None) -> Iterator[Version]:
        with os.scandir(directory) as entries:
            # A directory stands in the order of keys where its name and a slash would.
            names = sorted(entry.name + b"/" * entry.is_dir(follow_symlinks=False) for entry in entries)
        if not names and prefix > after:
            yield self._version(prefix, directory)
        for name in names:
            key = prefix + name
            if upto is not None and key > upto:
                return
            if name.endswith(b"/"):
                if key > after or after.startswith(key):
                    yield from self._walk(directory + b"/" + name[:-1], key, after, upto)
            elif key > after:
                yield self._version(key, directory + b"/" + name)

    def _version(self, key: bytes, path: bytes) -> Version:
        found = os.lstat(path)
        if not (stat.S_ISREG(found.st_mode) or key.endswith(b"/")):
            reason, fix = "is no regular file", "Remove it, or put the file that it stands for in its place."
            raise InvalidInput(f"{self.url} {key!r}", reason, fix)
        return Version(
            key=_check_length(key),
            ordinal=0,
            version=None,
            marker=False,
            size=0 if key.endswith(b"/") else found.st_size,
            modified=found.st_mtime_ns // 1_000_000,
            tag="" if key.endswith(b"/") else f"{found.st_ino}-{found.st_mtime_ns}-{found.st_ctime_ns}",
        )

    def read(self, version: Version) -> Iterator[bytes]:
        """See Store."""
        if version.key.endswith(b"/"):
            with self._calling("reading", version.key), self._parent(version.key):
                return iter(())
        with self._calling("reading", version.key), self._parent(version.key) as parent:
            descriptor = os.open(_name(version.key), _FILE, dir_fd=parent)
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                os.close(descriptor)
                raise ObjectMissing(repr(version.key))
        return self._pieces(version.key, descriptor)

    def _pieces(self, key: bytes, descriptor: int) -> Iterator[bytes]:
        with os.fdopen(descriptor, "rb", buffering=0) as file, self._calling("reading", key):
            while piece := file.read(_CHUNK_BYTES):
                yield piece

    def write(self, key: bytes, data: bytes, *, once: bool = False, checksum: bytes | None = None) -> None:
        """See Store. Raises InvalidInput for a key that cannot be a path."""
        if checksum is not None and hashlib.sha256(data).digest() != checksum:
            raise InvalidInput("content", "has another SHA-256 than was said", "Send what was hashed.")
        parts = _check_path(key).split(b"/")[:-1]
        with self._calling("writing", key):
            for depth in range(1, len(parts) + 1):
                with contextlib.suppress(FileExistsError):
                    os.mkdir(b"/".join((self._root, *parts[:depth])))  # noqa: PTH102  raw names
            with self._parent(key) as parent:
                temporary = f".{secrets.token_hex(8)}.tmp".encode()
                try:
                    with os.fdopen(os.open(temporary, _NEW, 0o644, dir_fd=parent), "wb") as file:
                        file.write(data)
                        file.flush()
                        os.fsync(file.fileno())
                    place = os.link if once else os.rename
                    place(temporary, _name(key), src_dir_fd=parent, dst_dir_fd=parent)
                    os.fsync(parent)
                finally:
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(temporary, dir_fd=parent)

    def erase(self, versions: Sequence[Version]) -> Sequence[Locked]:
        """See Store. Directories that are empty then go too, as they would have become objects."""
        locked = []
        for version in versions:
            key = version.key
            try:
                with self._calling("erasing", key), self._parent(key) as parent:
                    if key.endswith(b"/"):
                        os.rmdir(b"/".join((self._root, key)))  # noqa: PTH106  raw names
                    else:
                        os.unlink(_name(key), dir_fd=parent)
                        os.fsync(parent)
            except ObjectMissing:
                continue
            except Forbidden as error:
                locked.append(Locked(version=version, until=None, reason=str(error)))
                continue
            self._prune(key.rstrip(b"/").split(b"/")[:-1])
        return locked

    def _prune(self, parts: Sequence[bytes]) -> None:
        for depth in range(len(parts), 0, -1):
            try:
                os.rmdir(b"/".join((self._root, *parts[:depth])))  # noqa: PTH106  raw names
            except OSError:
                return

    def uploads(self) -> Iterator[Upload]:
        """See Store."""
        return iter(())

    def abort(self, upload: Upload) -> None:
        """See Store."""

    def refuse_writes(self, *, deletes: bool = True) -> str:
        """See Store. Permissions to make and to remove names are one: without `deletes`, only files are fenced."""
        with self._calling("taking write permissions away", b""):
            for path, mode, is_file in self._everything():
                os.chmod(path, mode & ~_WRITE_BITS if deletes or is_file else mode | stat.S_IWUSR)  # noqa: PTH101
        return (
            "write permission was taken from every file and directory; that does not hold back root, the owner, who "
            "can give it back, or a process that has a file open for writing"
        )

    def accept_writes(self) -> None:
        """See Store. Its owner may write again; what group and others may is not restored."""
        with self._calling("giving write permissions back", b""):
            for path, mode, _ in self._everything():
                os.chmod(path, mode | stat.S_IWUSR)  # noqa: PTH101

    def _everything(self) -> Iterator[tuple[bytes, int, bool]]:
        """Path, permissions, and whether it is a file."""
        for directory, _, names in os.walk(self._root):
            yield directory, stat.S_IMODE(os.lstat(directory).st_mode), False
            for name in names:
                path = directory + b"/" + name
                found = os.lstat(path).st_mode
                if stat.S_ISREG(found):
                    yield path, stat.S_IMODE(found), True

    def probe(self) -> Capabilities:
        """See Store."""
        return probe.probe(self, versions=False, locks=False)

    @contextlib.contextmanager
    def _parent(self, key: bytes) -> Iterator[int]:
        """A descriptor of the directory that the key's last part stands in; no symbolic link on the way to it."""
        descriptor = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for part in _check_path(key).split(b"/")[:-1]:
                below = os.open(part, _DIRECTORY, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = below
            yield descriptor
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def _calling(self, doing: str, key: bytes) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, NotADirectoryError):
            raise ObjectMissing(repr(key)) from None
        except FileExistsError:
            raise ObjectConflict(repr(key)) from None
        except PermissionError:
            raise Forbidden(self.url, f"{doing} {key!r}") from None
        except OSError as error:
            raise Unavailable(f"{self.url}: {doing} {key!r}: {error.strerror}") from error


def _name(key: bytes) -> bytes:
    return key.rpartition(b"/")[2]


def _check_length(key: bytes) -> bytes:
    if len(key) > MAX_KEY_BYTES:
        raise InvalidInput(
            f"key {key[:40]!r}…", f"has {len(key)} bytes, more than {MAX_KEY_BYTES}", "Shorten the path."
        )
    return key


def _check_path(key: bytes) -> bytes:
    """The key itself, where it is the path of a file below a root, or of a directory."""
    parts = key.removesuffix(b"/").split(b"/")
    if b"\0" in key or any(part in (b"", b".", b"..") for part in parts) or max(map(len, parts)) > 255:
        reason = (
            "is no path below a directory: it has empty parts, dots for a part, a zero byte or a name over 255 bytes"
        )
        raise InvalidInput(f"key {key[:40]!r}", reason, "Use a bucket for it.")
    return _check_length(key)
