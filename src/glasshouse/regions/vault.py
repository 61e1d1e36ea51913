"""The vault: where sealed objects lie, each under its handle.

    <root>/9/9f2c…             a directory, or a bucket with the same keys

What lies here is ciphertext, and nothing here says what counts: an object is held if the database has it as held. So an
object may come before its row, and one without a row is nobody's and is swept away (sweeping.py). A finished write is
durable. A disk is flushed for that; a bucket's acknowledgement is no evidence, so what was written is read back.
"""

import contextlib
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from glasshouse.storage import files
from glasshouse.storage.errors import ObjectMissing, StorageUnavailable, from_os_error
from glasshouse.storage.objects import ObjectStore

_HANDLE = re.compile(r"[0-9a-f]{64}")
INCOMING = "incoming"
# Few, since a group of small objects flushes every one that it touches.
_DIRECTORIES = "0123456789abcdef"
_THREADS = 16


class Vault(Protocol):
    """Sealed objects by handle. Threads may share one.

    Durability: once `keep_all` or `adopt` returns, the objects survive a crash and a power cut. Order: a call that
    starts after another returned sees its effect. Trust: none; who reads compares with the digest in the database.
    Every method raises StorageUnavailable (StorageFull) when the store refuses.
    """

    spool: Path

    def keep_all(self, objects: Mapping[str, bytes]) -> None:
        """Store many small objects. Raises ObjectConflict, and keeps none of them, where a handle is taken."""

    def adopt(self, handle: str, path: Path, sha256: str) -> None:
        """Store the content of a file of the spool, which has this digest; the file is gone afterwards."""

    def stream(self, handle: str) -> Iterator[bytes]:
        """The object in pieces. Raises ObjectMissing at the call."""

    def size(self, handle: str) -> int | None:
        """Its size in bytes, None where there is none."""

    def delete(self, handle: str) -> None:
        """Remove it; nothing happens if there is none."""

    def handles(self) -> Iterator[str]:
        """Every object, in no particular order."""


class DirectoryVault:
    """A vault in a local directory. See Vault. What was unfinished when the process ended is removed at the start.

    A process beside the one that takes objects has a `spool` of its own.
    """

    def __init__(self, root: Path, *, spool: str = INCOMING) -> None:
        self._root = root
        self.spool = root / spool
        files.make_directory(root, mode=0o700)
        shutil.rmtree(self.spool, ignore_errors=True)
        for name in (spool, *_DIRECTORIES):
            files.make_directory(root / name, mode=0o700)
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="vault")

    def keep_all(self, objects: Mapping[str, bytes]) -> None:
        """See Vault."""
        root = str(self._root)
        named = {f"{root}/{check_handle(handle)[0]}/{handle}": data for handle, data in objects.items()}
        files.write_fresh(named, self._threads)

    def adopt(self, handle: str, path: Path, sha256: str) -> None:  # noqa: ARG002  the disk is flushed, not asked
        """See Vault."""
        files.adopt(self._path(handle), path)

    def stream(self, handle: str) -> Iterator[bytes]:
        """See Vault."""
        if self.size(handle) is None:
            raise ObjectMissing(handle)
        return files.chunks(self._path(handle))

    def size(self, handle: str) -> int | None:
        """See Vault."""
        try:
            return self._path(handle).stat().st_size
        except FileNotFoundError:
            return None
        except OSError as error:
            raise from_os_error(error, f"reading {handle}") from error

    def delete(self, handle: str) -> None:
        """See Vault."""
        path = self._path(handle)
        try:
            path.unlink(missing_ok=True)
            files.sync_directory(path.parent)
        except OSError as error:
            raise from_os_error(error, f"deleting {handle}") from error

    def handles(self) -> Iterator[str]:
        """See Vault."""
        for name in _DIRECTORIES:
            with os.scandir(self._root / name) as entries:
                yield from (entry.name for entry in entries if _HANDLE.fullmatch(entry.name))

    def _path(self, handle: str) -> Path:
        return self._root / check_handle(handle)[0] / handle


class BucketVault:
    """A vault in an object store, whose acknowledgements are no evidence. See Vault. `spool` is a local directory."""

    def __init__(self, store: ObjectStore, *, spool: Path) -> None:
        self._store = store
        self.spool = spool
        shutil.rmtree(spool, ignore_errors=True)
        files.make_directory(spool, mode=0o700)
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="vault")

    def keep_all(self, objects: Mapping[str, bytes]) -> None:
        """See Vault."""

        def keep(item: tuple[str, bytes]) -> None:
            handle, data = item
            self._store.create(_key(handle), data)
            self._check(handle, hashlib.sha256(data).hexdigest())

        for _ in self._threads.map(keep, objects.items()):
            continue

    def adopt(self, handle: str, path: Path, sha256: str) -> None:
        """See Vault."""
        self._store.put(_key(handle), path)
        self._check(handle, sha256)
        path.unlink()

    def stream(self, handle: str) -> Iterator[bytes]:
        """See Vault."""
        return self._store.stream(_key(handle))

    def size(self, handle: str) -> int | None:
        """See Vault."""
        return self._store.size(_key(handle))

    def delete(self, handle: str) -> None:
        """See Vault. It is gone only when the store says that it has none."""
        self._store.delete(_key(handle))
        if self._store.size(_key(handle)) is not None:
            raise StorageUnavailable(f"the object store still has {handle} after it was deleted")

    def handles(self) -> Iterator[str]:
        """See Vault."""
        for key in self._store.list(""):
            name = key.rpartition("/")[2]
            # Archives of foreign stores lie below keys of their own.
            if _HANDLE.fullmatch(name) and key == _key(name):
                yield name

    def _check(self, handle: str, sha256: str) -> None:
        try:
            found = digest_of(self.stream(handle))[0]
        except ObjectMissing:
            raise StorageUnavailable(f"the object store acknowledged {handle} and does not have it") from None
        if found != sha256:
            raise StorageUnavailable(f"the object store acknowledged {handle} and has other bytes")


class Incoming:
    """A sealed object while it is being received: a file of the vault's spool. One caller at a time.

    Every method raises StorageUnavailable (StorageFull).
    """

    def __init__(self, vault: Vault, handle: str) -> None:
        self.handle = check_handle(handle)
        self._vault = vault
        self._path = vault.spool / handle
        self._hash = hashlib.sha256()
        self.size = 0
        try:
            self._file = self._path.open("wb", buffering=0)
        except OSError as error:
            raise from_os_error(error, "receiving an object") from error

    def write(self, piece: bytes) -> None:
        """Append."""
        self._hash.update(piece)
        self.size += len(piece)
        view = memoryview(piece)
        try:
            while view:
                view = view[self._file.write(view) :]
        except OSError as error:
            raise from_os_error(error, "receiving an object") from error

    @property
    def sha256(self) -> str:
        """Of what was written so far."""
        return self._hash.hexdigest()

    def pieces(self) -> Iterator[bytes]:
        """What is on disk so far."""
        return files.chunks(self._path)

    def keep(self) -> None:
        """Store it in the vault, durably."""
        self._file.close()
        self._vault.adopt(self.handle, self._path, self.sha256)

    def discard(self) -> None:
        """Remove what was received; nothing happens where it was kept."""
        self._file.close()
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)


def check_handle(handle: str) -> str:
    """The handle itself. Raises ObjectMissing if it is none, before it can become a path."""
    if _HANDLE.fullmatch(handle) is None:
        raise ObjectMissing(handle)
    return handle


def digest_of(pieces: Iterator[bytes], each: Callable[[bytes], object] = len) -> tuple[str, int]:
    """Hex SHA-256 and size in bytes of a stream; `each` is called with every piece."""
    digest, size = hashlib.sha256(), 0
    for piece in pieces:
        digest.update(piece)
        size += len(piece)
        each(piece)
    return digest.hexdigest(), size


def _key(handle: str) -> str:
    return f"{check_handle(handle)[0]}/{handle}"
