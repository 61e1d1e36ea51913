"""Copying a foreign store into a destination: pull, seal under a fresh data key, keep, read back, and only then count.

    list → read → SHA-256 and seal in one go → create in the archive → read back and hash → row and cursor, one commit

A destination copies by itself, with credentials of its own that can only read. Work is in ranges of keys (landing.py),
for any number of processes on any number of machines. A process may be killed at any moment: what has landed is not
copied again, and what had not landed is. Memory is bounded by the bytes on their way (`BATCH_BYTES`), however large an
object or the store is.

A pass goes through the whole store. The second and later ones copy what is new or has changed, and forget what has
vanished, until one that is begun after the fence finds nothing: then the destination has what the store has. What a
listing says of an object is a hint for which to read again; it is the arrival (listing.py) that is evidence.
"""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby, islice

from glasshouse_verify.encoding import JSON, encode_base64
from glasshouse_verify.foreign import store_handle, store_row

from glasshouse.regions.seal import Sealed, Sealer
from glasshouse.regions.wrapping import Wrapper
from glasshouse.relocation.archive import Archive, ArchivePlace, SealedBytes
from glasshouse.relocation.errors import RelocationError, Unavailable
from glasshouse.relocation.landing import Known, Landed, Landings, LeaseLost, Shard, Totals
from glasshouse.relocation.pace import Meter, Throttle
from glasshouse.relocation.ranges import middle_key
from glasshouse.relocation.stores.fetching import CONNECTIONS, Fetcher, content_or_none, fetching
from glasshouse.relocation.stores.interface import Source, Version
from glasshouse.storage.errors import ObjectMissing, StorageError

BATCH_OBJECTS = 256
BATCH_BYTES = 16 << 20
WHOLE_BYTES = 4 << 20
_ATTEMPTS = 4
_IDLE_SECONDS = 0.5


@dataclass(frozen=True, kw_only=True)
class Destination:
    """What a destination copies with. Processes may share one, each with its own connections.

    `wrapper` wraps data keys for good; `transfer`, in dual custody, for this site alone until the arrival is in the
    ledger, so that it can open what it has copied without the custodian. `secret` is the move's.
    """

    landings: Landings
    archive: ArchivePlace
    wrapper: Wrapper
    transfer: Wrapper | None
    region: str
    secret: bytes

    @property
    def relocation(self) -> str:
        """The move's id."""
        return self.landings.relocation


@dataclass(frozen=True, kw_only=True)
class Copying:
    """How one process copies: requests at once, at most so many bytes a second, and who is told of it."""

    connections: int = CONNECTIONS
    bytes_per_second: float | None = None
    meter: Meter = field(default_factory=Meter)


def copy_pass(source: Source, to: Destination, number: int, how: Copying | None = None) -> Totals:
    """Take part in a pass until it is done, by whoever takes part; what all of them did.

    Raises Unavailable, Forbidden, StoreLied, InvalidInput (a key that cannot be), StorageError: then this process does
    nothing more, and the pass goes on where somebody takes part again.
    """
    to.landings.begin_pass(number)
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(_work(source, to, number, how or Copying()))
    return to.landings.totals(number)


def copy_all(source: Source, to: Destination, how: Copying | None = None) -> Totals:
    """Finish the pass that is under way, if any; then passes until one finds nothing. What this call's passes did.

    After the fence, that is all there is. Raises as `copy_pass`.
    """
    begun = to.landings.passes()
    number = begun if begun and to.landings.left(begun) else begun + 1
    landed = size = vanished = 0
    while True:
        totals = copy_pass(source, to, number, how)
        landed, size, vanished = landed + totals.landed, size + totals.size, vanished + totals.vanished
        # A pass that was begun before this call may have gone by what has changed since.
        if number > begun and not (totals.landed or totals.vanished):
            return Totals(landed=landed, size=size, vanished=vanished)
        number += 1


def new_loop() -> asyncio.AbstractEventLoop:
    """The fastest event loop, without making it everybody's."""
    import uvloop

    return uvloop.new_event_loop()


async def _work(source: Source, to: Destination, number: int, how: Copying) -> None:
    worker = secrets.token_hex(8)
    async with fetching(source, connections=how.connections) as fetcher, to.archive.opened(worker) as archive:
        copier = _Copier(source, to, number, worker, fetcher, archive, how)
        while True:
            shard = await asyncio.to_thread(to.landings.claim, number, worker)
            if shard is not None:
                with contextlib.suppress(LeaseLost):
                    await copier.copy(shard)
            elif await asyncio.to_thread(to.landings.left, number) == 0:
                return
            else:
                await asyncio.sleep(_IDLE_SECONDS)


class _Copier:
    """One worker in one event loop: one range at a time, and two batches of it, of which one lands after the other."""

    def __init__(
        self,
        source: Source,
        to: Destination,
        number: int,
        worker: str,
        fetcher: Fetcher,
        archive: Archive,
        how: Copying,
    ) -> None:
        self._source, self._to, self._number, self._worker = source, to, number, worker
        self._fetcher, self._archive, self._how = fetcher, archive, how
        self._throttle = Throttle(how.bytes_per_second)

    async def copy(self, shard: Shard) -> None:
        """Copy a range. Raises LeaseLost where another worker has it by now."""
        alive = asyncio.create_task(self._say_alive(shard))
        under_way: set[asyncio.Task[_Batch]] = set()
        try:
            await self._copy(shard, under_way)
        except (RelocationError, StorageError):
            # Others need not wait until the lease has run out.
            with contextlib.suppress(StorageError):
                await asyncio.to_thread(self._to.landings.release, self._number, self._worker, shard.id)
            raise
        finally:
            for task in (alive, *under_way):
                task.cancel()
            await asyncio.gather(alive, *under_way, return_exceptions=True)

    async def _copy(self, shard: Shard, under_way: "set[asyncio.Task[_Batch]]") -> None:
        after, ahead = shard.cursor, None
        async for listed in in_batches(self._source.list(shard.cursor, shard.upto)):
            # What is beyond the range was given away since the listing began.
            versions = [one for one in listed if shard.upto is None or one.key <= shard.upto]
            if not versions:
                break
            batch = asyncio.create_task(self._keep(shard, after, versions))
            under_way.add(batch)
            after = versions[-1].key
            if ahead is not None:
                await self._land(shard, await ahead)
                under_way.discard(ahead)
                shard = await self._share(shard, after)
            ahead = batch
        if ahead is not None:
            await self._land(shard, await ahead)
        # The store has nothing of what is known beyond the last key.
        beyond = iter(self._to.landings.known(after, shard.upto))
        while some := await asyncio.to_thread(lambda: list(islice(beyond, BATCH_OBJECTS))):
            gone = [known.handle for _, _, known in some]
            await self._land(shard, _Batch(cursor=after, gone=gone, vanished=gone))
        await self._land(shard, _Batch(cursor=after if shard.upto is None else shard.upto), done=True)

    async def _land(self, shard: Shard, batch: "_Batch", *, done: bool = False) -> None:
        """Commit; and only then remove what has vanished: what stands in the database is always in the archive."""
        await asyncio.to_thread(
            self._to.landings.land,
            self._number,
            self._worker,
            shard,
            cursor=batch.cursor,
            landed=batch.landed,
            gone=batch.gone,
            vanished=len(batch.vanished),
            done=done,
        )
        for handle in batch.vanished:
            await self._archive.delete(handle)
        self._how.meter.add(len(batch.landed), sum(one.size for one in batch.landed))

    async def _share(self, shard: Shard, after: bytes) -> Shard:
        """Give half of what is left to a worker that has nothing to do, where there is one."""
        landings = self._to.landings
        if not await asyncio.to_thread(landings.wanted, self._number):
            return shard
        at = await asyncio.to_thread(middle_key, self._source, after, shard.upto)
        if at is None or not await asyncio.to_thread(landings.cut, self._number, self._worker, shard, at):
            return shard
        return replace(shard, upto=at)

    async def _say_alive(self, shard: Shard) -> None:
        landings = self._to.landings
        while True:
            await asyncio.sleep(landings.lease_seconds / 3)
            # Who has lost a range finds out where it counts: when it commits.
            with contextlib.suppress(LeaseLost, StorageError):
                await asyncio.to_thread(landings.renew, self._number, self._worker, shard.id)

    async def _keep(self, shard: Shard, after: bytes, versions: Sequence[Version]) -> "_Batch":
        """Copy what is new or has changed of these versions, which are all that the store has after `after`."""
        landings, cursor = self._to.landings, versions[-1].key
        found = await asyncio.to_thread(lambda: list(landings.known(after, cursor)))
        known = {(key, ordinal): one for key, ordinal, one in found}
        listed = {(one.key, one.ordinal) for one in versions}
        fresh = [one for one in versions if not _still(known.get((one.key, one.ordinal)), one)]

        async def mine() -> None:
            await asyncio.to_thread(landings.renew, self._number, self._worker, shard.id)

        small = [one for one in fresh if one.marker or one.size <= WHOLE_BYTES]
        drafts = [draft for draft in await asyncio.gather(*map(self._seal, small)) if draft is not None]
        objects = {
            draft.handle: SealedBytes(
                data=draft.data, sha256=draft.sealed.sealed_sha256, replaces=_place(draft) in known
            )
            for draft in drafts
            if draft.sealed is not None
        }
        await self._archive.keep_all(objects, mine)
        for version in fresh:
            if not version.marker and version.size > WHOLE_BYTES:
                drafts += filter(None, [await self._stream(version)])
        vanished = [one.handle for place, one in known.items() if place not in listed]
        replaced = [draft.handle for draft in drafts if _place(draft) in known]
        landed = await asyncio.to_thread(self._landed, drafts)
        return _Batch(cursor=cursor, landed=landed, gone=[*vanished, *replaced], vanished=vanished)

    async def _seal(self, version: Version) -> "_Draft | None":
        """Read and seal a small object. None where the store has it no more: the next pass sees that."""
        handle = store_handle(self._to.secret, version.key, version.ordinal)
        if version.marker:
            return _Draft(version=version, handle=handle)
        await self._throttle.take(version.size)
        content = await content_or_none(self._fetcher, version)
        if content is None:
            return None
        sealer = self._sealer(version, handle)
        data = sealer.update(content) + sealer.finish()
        return _Draft(version=version, handle=handle, data=data, sealed=sealer.sealed, key=sealer.key)

    async def _stream(self, version: Version) -> "_Draft | None":
        """Read, seal and keep a large object by way of a file, in constant memory."""
        handle = store_handle(self._to.secret, version.key, version.ordinal)
        path = self._archive.spool / handle
        for attempt in range(_ATTEMPTS):
            sealer = self._sealer(version, handle)
            try:
                with path.open("wb", buffering=0) as file:
                    async with self._fetcher.pieces(version) as pieces:
                        async for piece in pieces:
                            await self._throttle.take(len(piece))
                            file.write(sealer.update(piece))
                    file.write(sealer.finish())
                break
            except ObjectMissing:
                return None
            except Unavailable:
                if attempt == _ATTEMPTS - 1:
                    raise
        await self._archive.adopt(handle, path, sealer.sealed.sealed_sha256)
        return _Draft(version=version, handle=handle, sealed=sealer.sealed, key=sealer.key)

    def _sealer(self, version: Version, handle: str) -> Sealer:
        metadata = metadata_of(self._to.relocation, version.key, version.ordinal)
        return Sealer(handle=handle, region=self._to.region, metadata=metadata)

    def _landed(self, drafts: Sequence["_Draft"]) -> list[Landed]:
        """Rows, with data keys wrapped together."""
        wrap = self._to.wrapper.group()
        transfer = None if self._to.transfer is None else self._to.transfer.group()
        rows = []
        for draft in drafts:
            version, sealed, handle = draft.version, draft.sealed, draft.handle
            content, size = (None, 0) if sealed is None else (sealed.content_sha256, sealed.content_size)
            row = store_row(self._to.secret, version.key, version.ordinal, content, size)
            rows.append(
                Landed(
                    handle=handle,
                    key=version.key,
                    ordinal=version.ordinal,
                    commitment=str(row["commitment"]),
                    size=size,
                    listed=version,
                    content=content,
                    sealed=None if sealed is None else sealed.sealed_sha256,
                    sealed_size=None if sealed is None else sealed.sealed_size,
                    wrapping=wrap(draft.key, handle, self._to.region) if draft.key else None,
                    transfer=transfer(draft.key, handle, self._to.region) if draft.key and transfer else None,
                )
            )
        return rows


@dataclass(frozen=True, kw_only=True, slots=True)
class _Draft:
    """A version that is sealed, before its data key is wrapped; a delete marker has neither. `data`: a small one's."""

    version: Version
    handle: str
    data: bytes = field(default=b"", repr=False)
    sealed: Sealed | None = None
    key: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, kw_only=True)
class _Batch:
    """What one commit lands: everything up to `cursor`. `gone` are handles to forget, `vanished` those for good."""

    cursor: bytes
    landed: Sequence[Landed] = ()
    gone: Sequence[str] = ()
    vanished: Sequence[str] = ()


def metadata_of(relocation: str, key: bytes, ordinal: int) -> dict[str, JSON]:
    """What a sealed object says of itself, so that its row can be made of it alone."""
    return {"key": encode_base64(key), "ordinal": ordinal, "relocation": relocation}


async def in_batches(versions: Iterator[Version]) -> AsyncIterator[list[Version]]:
    """The same as `batches_of`; the listing goes on in a thread."""
    batches = batches_of(versions)
    while batch := await asyncio.to_thread(next, batches, None):
        yield batch


def batches_of(versions: Iterator[Version]) -> Iterator[list[Version]]:
    """Versions in batches that never part those of one key: at most BATCH_OBJECTS and BATCH_BYTES, or one key's."""
    batch: list[Version] = []
    size = 0
    for _, members in groupby(versions, key=lambda version: version.key):
        some = list(members)
        more = sum(version.size for version in some)
        if batch and (len(batch) + len(some) > BATCH_OBJECTS or size + more > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch += some
        size += more
    if batch:
        yield batch


def _place(draft: _Draft) -> tuple[bytes, int]:
    return draft.version.key, draft.version.ordinal


def _still(known: Known | None, listed: Version) -> bool:
    return known is not None and known.still(listed)
