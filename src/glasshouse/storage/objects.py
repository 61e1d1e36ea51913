"""Object stores: where tiles, entry bundles and blobs lie.

Keys are paths like ``tile/0/x001/234.p/7``: segments of letters, digits, dot, dash and underscore, none starting with
a dot. What users name their objects never becomes a key of these stores.
"""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from glasshouse.storage import files
from glasshouse.storage.errors import ObjectConflict, ObjectMissing, StorageError, from_os_error

MAX_GET_BYTES = 64 << 20
_SEGMENT = r"[A-Za-z0-9_][A-Za-z0-9._-]*"
_KEY = re.compile(rf"{_SEGMENT}(?:/{_SEGMENT})*", re.ASCII)
_PREFIX = re.compile(rf"(?:{_SEGMENT}/)*", re.ASCII)


class ObjectStore(Protocol):
    """Bytes under keys.

    Durability: once ``put`` or ``create`` returns, the object survives a crash of this process and a power cut, as
    far as the disk or the remote store keeps its word.
    Order: a call that starts after another returned sees its effect; ``create`` is atomic against other writers.
    Trust: none. Whoever operates the store can alter or roll back what is in it, so readers check what they get
    against a signed root or a digest. All methods raise StorageUnavailable (StorageFull) when the store refuses; then
    nothing was changed, or the change is complete.
    """

    def put(self, key: str, data: bytes | Path) -> None:
        """Store an object (bytes, or the content of a file of any size), replacing what is there."""

    def create(self, key: str, data: bytes | Path) -> bool:
        """Store an object (bytes, or the content of a file) once.

        True if this call created it, False if it was there with the same content. Raises ObjectConflict if it is there
        with other content.
        """

    def get(self, key: str) -> bytes:
        """The object, at most MAX_GET_BYTES long. Raises ObjectMissing."""

    def stream(self, key: str) -> Iterator[bytes]:
        """The object in pieces. Raises ObjectMissing at the call, not at the first piece."""

    def size(self, key: str) -> int | None:
        """The object's size in bytes, None if there is no such object."""

    def list(self, prefix: str) -> Iterator[str]:
        """The keys that start with ``prefix`` (empty, or ending in a slash), in no particular order."""

    def delete(self, key: str) -> None:
        """Remove an object; nothing happens if there is none."""


def check_key(key: str) -> str:
    """The key itself. Raises StorageError if it is none: keys are made by this program, never taken from a user."""
    if _KEY.fullmatch(key) is None:
        raise StorageError(f"{key!r} is no object key")
    return key


def check_prefix(prefix: str) -> str:
    """The prefix itself, empty or ending in a slash. Raises StorageError if it is none."""
    if _PREFIX.fullmatch(prefix) is None:
        raise StorageError(f"{prefix!r} is no prefix of object keys")
    return prefix


class DirectoryStore:
    """Objects as files of a local directory, which can be served as they are. See ObjectStore and files.py."""

    def __init__(self, root: Path) -> None:
        self._root = root
        files.make_directory(root)

    def put(self, key: str, data: bytes | Path) -> None:
        """See ObjectStore."""
        path = self._path(key)
        files.make_directory(path.parent)
        files.write(path, data)

    def create(self, key: str, data: bytes | Path) -> bool:
        """See ObjectStore."""
        path = self._path(key)
        files.make_directory(path.parent)
        try:
            return files.create(path, data)
        except ObjectConflict:
            raise ObjectConflict(key) from None

    def get(self, key: str) -> bytes:
        """See ObjectStore."""
        with self._reading(key), self._path(key).open("rb") as file:
            data = file.read(MAX_GET_BYTES + 1)
        return bounded(key, data)

    def stream(self, key: str) -> Iterator[bytes]:
        """See ObjectStore."""
        if self.size(key) is None:
            raise ObjectMissing(key)
        return files.chunks(self._path(key))

    def size(self, key: str) -> int | None:
        """See ObjectStore."""
        try:
            with self._reading(key):
                path = self._path(key)
                return path.stat().st_size if path.is_file() else None
        except ObjectMissing:
            return None

    def list(self, prefix: str) -> Iterator[str]:
        """See ObjectStore."""
        for path in (self._root / check_prefix(prefix)).rglob("*"):
            if not files.is_temporary(path) and path.is_file():
                yield path.relative_to(self._root).as_posix()

    def delete(self, key: str) -> None:
        """See ObjectStore."""
        path = self._path(key)
        try:
            path.unlink(missing_ok=True)
            if path.parent.is_dir():
                files.sync_directory(path.parent)
        except OSError as error:
            raise from_os_error(error, f"deleting {key}") from error

    def _path(self, key: str) -> Path:
        return self._root / check_key(key)

    @contextlib.contextmanager
    def _reading(self, key: str) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise ObjectMissing(key) from None
        except OSError as error:
            raise from_os_error(error, f"reading {key}") from error


def bounded(key: str, data: bytes) -> bytes:
    """The content itself. Raises StorageError if it is longer than MAX_GET_BYTES."""
    if len(data) > MAX_GET_BYTES:
        raise StorageError(f"{key} is longer than {MAX_GET_BYTES} bytes and must be streamed")
    return data
