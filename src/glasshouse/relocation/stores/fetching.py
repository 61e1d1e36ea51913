"""The content of very many versions at once, for whoever copies or hashes a whole store."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Protocol

from glasshouse.relocation.errors import Unavailable
from glasshouse.relocation.stores.interface import Source, Version
from glasshouse.relocation.stores.wire import MAX_WHOLE_BYTES, Wire
from glasshouse.storage.errors import ObjectMissing

CONNECTIONS = 24


class Fetcher(Protocol):
    """Reads content within one event loop. Raises as `Source.read`."""

    async def content(self, version: Version) -> bytes:
        """All of a small object."""

    def pieces(self, version: Version) -> contextlib.AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """A large one, in pieces."""


class WireFetcher:
    """Of an S3 bucket. See Fetcher."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def content(self, version: Version) -> bytes:
        """See Fetcher."""
        return await self._wire.get(version.key, version.version)

    def pieces(self, version: Version) -> contextlib.AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """See Fetcher."""
        return self._wire.stream(version.key, version.version)


class ThreadFetcher:
    """Of any store, in threads. See Fetcher."""

    def __init__(self, source: Source) -> None:
        self._source = source

    async def content(self, version: Version) -> bytes:
        """See Fetcher."""
        return await asyncio.to_thread(self._whole, version)

    def _whole(self, version: Version) -> bytes:
        held = bytearray()
        for piece in self._source.read(version):
            held += piece
            if len(held) > MAX_WHOLE_BYTES:
                raise Unavailable("the store gives more than it has listed; list it anew")
        return bytes(held)

    @contextlib.asynccontextmanager
    async def pieces(self, version: Version) -> AsyncIterator[AsyncIterator[bytes]]:
        """See Fetcher."""
        source = await asyncio.to_thread(self._source.read, version)

        async def pieces() -> AsyncIterator[bytes]:
            while piece := await asyncio.to_thread(next, source, b""):
                yield piece

        yield pieces()


@contextlib.asynccontextmanager
async def fetching(source: Source, *, connections: int = CONNECTIONS) -> AsyncIterator[Fetcher]:
    """What reads a source fastest, in the event loop that is running."""
    from glasshouse.relocation.stores.directory import DirectoryTree

    if isinstance(source, DirectoryTree):
        yield ThreadFetcher(source)
        return
    from glasshouse.relocation.stores.s3 import S3Bucket

    if not isinstance(source, S3Bucket):
        yield ThreadFetcher(source)
        return
    async with Wire(source.bucket, source.credentials, connections=connections) as wire:
        yield WireFetcher(wire)


async def content_or_none(fetcher: Fetcher, version: Version) -> bytes | None:
    """All of a small object; None where it has gone since it was listed."""
    try:
        return await fetcher.content(version)
    except ObjectMissing:
        return None
