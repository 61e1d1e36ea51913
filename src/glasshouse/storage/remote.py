"""Objects in S3, Google Cloud Storage or Azure. Imported by the nodes that are set up so, and by no others."""

import contextlib
import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import obstore
import obstore.exceptions
import obstore.store
from obstore.store import ObjectStore as RemoteStore

from glasshouse.storage import files
from glasshouse.storage.errors import ObjectConflict, ObjectMissing, StorageUnavailable
from glasshouse.storage.objects import MAX_GET_BYTES, bounded, check_key, check_prefix

if TYPE_CHECKING:
    from obstore import GetResult


class RemoteObjects:
    """Objects in S3, Google Cloud Storage or Azure, through obstore. See ObjectStore.

    ``create`` relies on the store honouring a conditional write (If-None-Match: *), so the constructor of the node
    probes it with ``honours_create``. ``root`` is a prefix inside the bucket, empty or ending in a slash.
    """

    def __init__(self, store: RemoteStore, *, root: str = "") -> None:
        self._store = store
        self._root = check_prefix(root)

    def put(self, key: str, data: bytes | Path) -> None:
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
                return bounded(key, b"\0" * (MAX_GET_BYTES + 1))
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
        check_prefix(prefix)
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

    def _pieces(self, key: str, found: "GetResult") -> Iterator[bytes]:
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


def open_remote(url: str) -> RemoteObjects:
    """The store at a URL such as s3://bucket/prefix/; credentials and endpoint come from the environment.

    Raises StorageUnavailable where the store does not honour conditional writes, which write-once files rely on.
    """
    bucket, _, prefix = url.partition("://")[2].partition("/")
    scheme = url.partition("://")[0]
    try:
        store = RemoteObjects(obstore.store.from_url(f"{scheme}://{bucket}"), root=prefix)
    except (ValueError, obstore.exceptions.BaseError) as error:
        raise StorageUnavailable(f"{url} cannot be opened: {error}") from error
    if not store.honours_create():
        raise StorageUnavailable(f"{url} does not honour If-None-Match: write-once files cannot be kept there")
    return store
