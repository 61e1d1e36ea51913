"""The archive: where a destination keeps the sealed objects of a move from a foreign store, beside its vault.

    <vault>/archive/<relocation>/9/9f2c…        in a directory, or under the same keys in a bucket

A vault's own sweeping and scrubbing know nothing of it: what counts here is what has landed (landing.py). What a bucket
acknowledges is no evidence, so everything that was written is read back, and compared, before it counts.
"""

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from glasshouse.regions.vault import BucketVault, DirectoryVault, check_handle, digest_of
from glasshouse.relocation.errors import StoreLied
from glasshouse.relocation.stores.addresses import Bucket, Credentials
from glasshouse.relocation.stores.wire import Wire
from glasshouse.storage import files
from glasshouse.storage.errors import ObjectConflict, ObjectMissing

if TYPE_CHECKING:
    from obstore.store import S3Config

    from glasshouse.storage.remote import RemoteObjects

CONNECTIONS = 24
_T = TypeVar("_T")
_FOLDER = "archive"
Mine = Callable[[], Awaitable[None]]


@dataclass(frozen=True, kw_only=True)
class SealedBytes:
    """A small sealed object and its hex SHA-256. `replaces`: something is there already that it takes the place of."""

    data: bytes
    sha256: str
    replaces: bool


class Archive(Protocol):
    """Sealed objects by handle, within one event loop. What is kept is durable, and was read back and compared.

    An object under a new handle is created only where there is none. What is there then was left by a worker that was
    killed before it landed: it is replaced once `mine` has confirmed that nobody else works on it. Raises StoreLied for
    a store that has other bytes than it acknowledged, or none, and Unavailable.
    """

    spool: Path

    async def keep_all(self, objects: Mapping[str, SealedBytes], mine: Mine) -> None:
        """Keep small objects."""

    async def adopt(self, handle: str, path: Path, sha256: str) -> None:
        """Keep the content of a file of the spool, replacing what is there; the file is gone afterwards."""

    async def delete(self, handle: str) -> None:
        """Remove one; nothing happens where there is none."""


@dataclass(frozen=True, kw_only=True)
class ArchiveDirectory:
    """An archive in the directory of a vault: `root`."""

    root: Path
    relocation: str

    @property
    def path(self) -> Path:
        """Where its objects are."""
        return self.root / _FOLDER / self.relocation

    @contextlib.asynccontextmanager
    async def opened(self, worker: str) -> AsyncIterator[Archive]:
        """For one worker."""
        files.make_directory(self.path.parent, mode=0o700)
        vault = DirectoryVault(self.path, spool=f"incoming-{worker}")
        with ThreadPoolExecutor(8, thread_name_prefix="read-back") as threads:
            yield _InDirectory(self.path, vault, threads)
        shutil.rmtree(vault.spool, ignore_errors=True)


@dataclass(frozen=True, kw_only=True)
class ArchiveBucket:
    """An archive in a bucket, below `prefix` (empty, or ending in a slash); `spool` is a local directory."""

    bucket: Bucket
    credentials: Credentials
    relocation: str
    spool: Path
    prefix: str = ""

    @property
    def root(self) -> str:
        """What its keys begin with."""
        return f"{self.prefix}{_FOLDER}/{self.relocation}/"

    @contextlib.asynccontextmanager
    async def opened(self, worker: str) -> AsyncIterator[Archive]:
        """For one worker."""
        spool = self.spool / f"incoming-{worker}"
        async with Wire(self.bucket, self.credentials, connections=CONNECTIONS) as wire:
            yield _InBucket(self, wire, BucketVault(self.objects(), spool=spool))
        shutil.rmtree(spool, ignore_errors=True)

    def objects(self) -> "RemoteObjects":
        """The same objects through obstore: another client, which lists them, and sends large ones in parts."""
        from obstore.store import S3Store

        from glasshouse.storage.remote import RemoteObjects

        settings: S3Config = {
            "region": self.bucket.region,
            "access_key_id": self.credentials.access_key,
            "secret_access_key": self.credentials.secret_key,
        }
        if self.bucket.endpoint is not None:
            settings["endpoint"] = self.bucket.endpoint
        if self.credentials.session_token is not None:
            settings["session_token"] = self.credentials.session_token
        store = S3Store(self.bucket.name, config=settings, client_options={"allow_http": True})
        return RemoteObjects(store, root=self.root)


ArchivePlace = ArchiveDirectory | ArchiveBucket


class _InDirectory:
    """See Archive."""

    def __init__(self, root: Path, vault: DirectoryVault, threads: ThreadPoolExecutor) -> None:
        self.spool = vault.spool
        self._root, self._vault, self._threads = root, vault, threads

    async def keep_all(self, objects: Mapping[str, SealedBytes], mine: Mine) -> None:
        """See Archive."""
        for handle, one in objects.items():
            if one.replaces:
                await self.delete(handle)
        plain = {handle: one.data for handle, one in objects.items()}
        try:
            await self._run(lambda: self._vault.keep_all(plain))
        except ObjectConflict:
            await mine()
            for handle in objects:
                await self.delete(handle)
            await self._run(lambda: self._vault.keep_all(plain))
        await self._run(lambda: self._check(objects))

    def _check(self, objects: Mapping[str, SealedBytes]) -> None:
        for handle, one in objects.items():
            _expect(handle, one.data, (self._root / check_handle(handle)[0] / handle).read_bytes())

    async def adopt(self, handle: str, path: Path, sha256: str) -> None:
        """See Archive."""
        await self._run(lambda: self._vault.adopt(handle, path, sha256))
        found, _ = await self._run(lambda: digest_of(self._vault.stream(handle)))
        if found != sha256:
            raise StoreLied(f"the archive has other bytes for {handle[:16]}… than were written")

    async def delete(self, handle: str) -> None:
        """See Archive."""
        await self._run(lambda: self._vault.delete(handle))

    async def _run(self, call: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)


class _InBucket:
    """See Archive."""

    def __init__(self, place: ArchiveBucket, wire: Wire, vault: BucketVault) -> None:
        self.spool = vault.spool
        self._root = place.root.encode()
        self._wire, self._vault = wire, vault

    async def keep_all(self, objects: Mapping[str, SealedBytes], mine: Mine) -> None:
        """See Archive."""
        await asyncio.gather(*(self._keep(handle, one, mine) for handle, one in objects.items()))

    async def _keep(self, handle: str, one: SealedBytes, mine: Mine) -> None:
        key = self._key(handle)
        try:
            await self._wire.put(key, one.data, sha256=one.sha256, once=not one.replaces)
        except ObjectConflict:
            # Perhaps this very object, of a request whose answer was lost.
            await mine()
            await self._wire.put(key, one.data, sha256=one.sha256)
        try:
            _expect(handle, one.data, await self._wire.get(key))
        except ObjectMissing:
            raise StoreLied(f"the store acknowledged {handle[:16]}… and does not have it") from None

    async def adopt(self, handle: str, path: Path, sha256: str) -> None:
        """See Archive."""
        await asyncio.to_thread(self._vault.adopt, handle, path, sha256)

    async def delete(self, handle: str) -> None:
        """See Archive."""
        await self._wire.delete(self._key(handle))

    def _key(self, handle: str) -> bytes:
        return self._root + f"{check_handle(handle)[0]}/{handle}".encode()


def _expect(handle: str, written: bytes, found: bytes) -> None:
    # Every byte against what was sealed, whose digest lands: no hash could say more.
    if found != written:
        raise StoreLied(f"the store acknowledged {handle[:16]}… and has other bytes")
