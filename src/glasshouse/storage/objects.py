"""Object stores: where tiles, entry bundles and blobs lie.

Keys are paths like ``tile/0/x001/234.p/7``: segments of letters, digits, dot, dash and underscore, none starting with
a dot. What users name their objects never becomes a key of these stores.
"""

import contextlib
import datetime
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import obstore
import obstore.exceptions
from obstore.store import ObjectStore as RemoteStore

from glasshouse.storage import files
from glasshouse.storage.errors import ObjectConflict, ObjectMissing, StorageError, StorageUnavailable, from_os_error

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

    def put(self, key: str, data: bytes) -> None:
        """Store an object, replacing what is there."""

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


class DirectoryStore:
    """Objects as files of a local directory, which can be served as they are. See ObjectStore and files.py."""

    def __init__(self, root: Path) -> None:
        self._root = root
        files.make_directory(root)

    def put(self, key: str, data: bytes) -> None:
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
        return _bounded(key, data)

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
        if _PREFIX.fullmatch(prefix) is None:
            raise StorageError(f"{prefix!r} is no prefix of object keys")
        for path in (self._root / prefix).rglob("*"):
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


class RemoteObjects:
    """Objects in S3, Google Cloud Storage or Azure, through obstore. See ObjectStore.

    ``create`` relies on the store honouring a conditional write (If-None-Match: *), so the constructor of the node
    probes it with ``honours_create``. ``root`` is a prefix inside the bucket, empty or ending in a slash.
    """

    def __init__(self, store: RemoteStore, *, root: str = "") -> None:
        if _PREFIX.fullmatch(root) is None:
            raise StorageError(f"{root!r} is no prefix of object keys")
        self._store = store
        self._root = root

    def put(self, key: str, data: bytes) -> None:
        """See ObjectStore."""
        with self._calling(key):
            obstore.put(self._store, self._root + check_key(key), data)

    def create(self, key: str, data: bytes | Path) -> bool:
        """See ObjectStore."""
        # Multipart uploads cannot be conditional everywhere, so the upload is one request.
        try:
            with self._calling(key):
                obstore.put(self._store, self._root + check_key(key), data, mode="create", use_multipart=False)
        except ObjectConflict:
            expected = files.chunks(data) if isinstance(data, Path) else iter((data,))
            if not _same_stream(expected, self.stream(key)):
                raise
            return False
        return True

    def get(self, key: str) -> bytes:
        """See ObjectStore."""
        with self._calling(key):
            found = obstore.get(self._store, self._root + check_key(key))
            if found.meta["size"] > MAX_GET_BYTES:
                return _bounded(key, b"\0" * (MAX_GET_BYTES + 1))
            return bytes(found.bytes())

    def stream(self, key: str) -> Iterator[bytes]:
        """See ObjectStore."""
        with self._calling(key):
            found = obstore.get(self._store, self._root + check_key(key))
        return self._pieces(key, found)

    def size(self, key: str) -> int | None:
        """See ObjectStore."""
        try:
            with self._calling(key):
                return obstore.head(self._store, self._root + check_key(key))["size"]
        except ObjectMissing:
            return None

    def list(self, prefix: str) -> Iterator[str]:
        """See ObjectStore."""
        if _PREFIX.fullmatch(prefix) is None:
            raise StorageError(f"{prefix!r} is no prefix of object keys")
        with self._calling(prefix):
            for batch in obstore.list(self._store, self._root + prefix):
                for found in batch:
                    yield found["path"].removeprefix(self._root)

    def delete(self, key: str) -> None:
        """See ObjectStore."""
        with contextlib.suppress(ObjectMissing), self._calling(key):
            obstore.delete(self._store, self._root + check_key(key))

    def honours_create(self) -> bool:
        """Whether the store keeps its first content when an object is created twice. Writes under ``probe/``."""
        moment = datetime.datetime.now(datetime.UTC).strftime("%Y%m%d%H%M%S%f")
        key = f"probe/{moment}"
        self.create(key, b"first")
        try:
            self.create(key, b"second")
        except ObjectConflict:
            return self.get(key) == b"first"
        finally:
            self.delete(key)
        return False

    def _pieces(self, key: str, found: obstore.GetResult) -> Iterator[bytes]:
        with self._calling(key):
            for piece in found:
                yield bytes(piece)

    @contextlib.contextmanager
    def _calling(self, key: str) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, obstore.exceptions.NotFoundError):
            raise ObjectMissing(key) from None
        except (obstore.exceptions.AlreadyExistsError, obstore.exceptions.PreconditionError):
            raise ObjectConflict(key) from None
        except obstore.exceptions.BaseError as error:
            raise StorageUnavailable(f"the object store refuses {key}: {str(error).splitlines()[0]}") from error


def _bounded(key: str, data: bytes) -> bytes:
    if len(data) > MAX_GET_BYTES:
        raise StorageError(f"{key} is longer than {MAX_GET_BYTES} bytes and must be streamed")
    return data


def _same_stream(one: Iterator[bytes], other: Iterator[bytes]) -> bool:
    """Whether two streams hold the same bytes, however they are cut."""
    left = right = b""
    while True:
        if not left:
            left = next(one, b"")
        if not right:
            right = next(other, b"")
        if not left or not right:
            return not left and not right
        length = min(len(left), len(right))
        if left[:length] != right[:length]:
            return False
        left, right = left[length:], right[length:]
