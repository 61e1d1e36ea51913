"""The old site's own inventory of a foreign store: everything listed, read to its end and hashed, and made into rows.

    <directory>/described    what the supervisor is handed (descriptions.py)
    <directory>/rows         what the source statement, or the fence statement, commits to
    <directory>/seen         the same with what the store said of each version when it was listed

At the fence the store is listed anew, all of it; a version is read again unless the store says the same of it as
before (the version's id where it has versions; else ETag, time and size, or inode and times). A process that was killed
goes on in the same way, from what it had seen.
"""

import asyncio
import hashlib
import json
import os
import queue
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from glasshouse_verify.codec import Digest
from glasshouse_verify.encoding import decode_base64, encode_base64

from glasshouse.relocation.copying import WHOLE_BYTES, Copying, in_batches, new_loop
from glasshouse.relocation.descriptions import Described, keep_descriptions
from glasshouse.relocation.errors import StoreLied
from glasshouse.relocation.landing import Known
from glasshouse.relocation.lists import RowList, in_order, keep_list
from glasshouse.relocation.pace import Throttle
from glasshouse.relocation.stores.fetching import Fetcher, fetching
from glasshouse.relocation.stores.interface import Source, Store, Version
from glasshouse.relocation.stores.probe import write_refused
from glasshouse.storage import files
from glasshouse.storage.errors import ObjectMissing, from_os_error

_SETTLING = 5
_WAITING_BATCHES = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """One version as it was listed, and as it was read: hex SHA-256 (None for a delete marker) and bytes."""

    listed: Version
    content: str | None
    size: int

    @property
    def place(self) -> tuple[bytes, int]:
        """Where it stands in the order of a listing."""
        return self.listed.key, self.listed.ordinal

    @property
    def described(self) -> Described:
        """What the supervisor is told of it."""
        content = None if self.content is None else Digest(self.content)
        return Described(key=self.listed.key, ordinal=self.listed.ordinal, size=self.size, content=content)


@dataclass(frozen=True, kw_only=True)
class SourceInventory:
    """The old site's rows: versions and delete markers, bytes of content, and the description of them."""

    rows: RowList
    size: int
    described: Path
    seen: Path


def take_inventory(
    source: Source, directory: Path, secret: bytes, *, before: Path | None = None, how: Copying | None = None
) -> SourceInventory:
    """List, read and hash everything; `before` is the `seen` of an earlier inventory. Kept in `directory`.

    Raises Unavailable, Forbidden, StoreLied, StorageUnavailable.
    """
    files.make_directory(directory, mode=0o700)
    seen, partial, broken_off = (directory / name for name in ("seen", "seen.part", "seen.before"))
    # Killed twice, it may have come less far the second time.
    if partial.exists() and not (broken_off.exists() and broken_off.stat().st_size > partial.stat().st_size):
        partial.replace(broken_off)
    with ExitStack() as stack:
        recalls = [_Recall(path, stack) for path in (broken_off, before) if path is not None and path.exists()]
        _write(partial, _read_all(source, recalls, how or Copying()))
    files.adopt(seen, partial)
    broken_off.unlink(missing_ok=True)
    described = directory / "described"
    _, size = keep_descriptions(described, (one.described for one in read_seen(seen)))
    rows = in_order((one.described.row(secret) for one in read_seen(seen)), directory)
    return SourceInventory(rows=keep_list(directory / "rows", rows), size=size, described=described, seen=seen)


def fingerprint(source: Source) -> tuple[str, int]:
    """SHA-256 of everything that a store lists, without reading it, and how many versions that are."""
    digest, count = hashlib.sha256(), 0
    for one in source.list():
        digest.update(repr((one.key, one.ordinal, one.version, one.marker, one.size, one.modified, one.tag)).encode())
        count += 1
    return digest.hexdigest(), count


@dataclass(frozen=True, kw_only=True)
class StoreFence:
    """A store that takes nothing more: what was done, in words, and whether a write was tried and refused."""

    words: str
    refused: bool


def fence(store: Store, writer: Store) -> StoreFence:
    """Have a store refuse writes, try one with the credentials of those who wrote, and wait until its list is still.

    `refused` is False where the store let the write through: it has no means against these credentials, which whoever
    goes on has to take away. Raises StoreLied where the list goes on changing after a write was refused.
    """
    words = store.refuse_writes()
    refused = write_refused(writer)
    last = fingerprint(store)
    for _ in range(_SETTLING):
        now = fingerprint(store)
        if now == last:
            return StoreFence(words=words, refused=refused)
        last = now
    raise StoreLied(f"{store.url} still changes, although it has refused writes")


# --- reading very many at once ------------------------------------------------------------------------------------


class _Recall:
    """What an earlier inventory had seen, in the order of a listing, looked up in that order."""

    def __init__(self, path: Path, stack: ExitStack) -> None:
        self._lines = read_seen(path, broken_off=True)
        stack.callback(self._lines.close)
        self._next = next(self._lines, None)

    def of(self, listed: Version) -> Seen | None:
        """What was seen of this version, if the store says the same of it now."""
        place = listed.key, listed.ordinal
        while self._next is not None and self._next.place < place:
            self._next = next(self._lines, None)
        if self._next is None or self._next.place != place:
            return None
        was = self._next.listed
        known = Known(
            handle="", version=was.version, tag=was.tag, modified=was.modified, size=was.size, marker=was.marker
        )
        return self._next if known.still(listed) else None


def _read_all(source: Source, recalls: Sequence[_Recall], how: Copying) -> Iterator[Seen]:
    """Everything, in the order of the listing; many are read at once, in a thread with an event loop of its own."""
    done: queue.Queue[list[Seen] | BaseException | None] = queue.Queue(_WAITING_BATCHES)
    stopped = threading.Event()

    async def read() -> None:
        async with fetching(source, connections=how.connections) as fetcher:
            reader = _Reader(fetcher, recalls, how)
            async for batch in in_batches(source.list()):
                some = await reader.read(batch)
                while not stopped.is_set():
                    try:
                        done.put(some, timeout=0.5)
                        break
                    except queue.Full:
                        continue
                if stopped.is_set():
                    return

    def run() -> None:
        try:
            with asyncio.Runner(loop_factory=new_loop) as runner:
                runner.run(read())
            done.put(None)
        except BaseException as error:
            # Raised where the results are taken.
            done.put(error)

    thread = threading.Thread(target=run, name="reading", daemon=True)
    thread.start()
    try:
        while (some := done.get()) is not None:
            if isinstance(some, BaseException):
                raise some
            how.meter.add(len(some), sum(one.size for one in some))
            yield from some
    finally:
        stopped.set()
        # Room for the last word of a thread that nobody listens to any more.
        while not done.empty():
            done.get()
        thread.join()


class _Reader:
    def __init__(self, fetcher: Fetcher, recalls: Sequence[_Recall], how: Copying) -> None:
        self._fetcher, self._recalls = fetcher, recalls
        self._throttle = Throttle(how.bytes_per_second)

    async def read(self, versions: Sequence[Version]) -> list[Seen]:
        known = [self._recalled(version) for version in versions]
        small: list[Version] = []
        large: list[Version] = []
        for version, one in zip(versions, known, strict=True):
            if one is None:
                (large if version.size > WHOLE_BYTES else small).append(version)
        found = await asyncio.gather(*map(self._whole, small))
        read = {(one.listed.key, one.listed.ordinal): one for one in found if one is not None}
        for version in large:
            if (seen := await self._pieces(version)) is not None:
                read[seen.place] = seen
        both = (one or read.get((version.key, version.ordinal)) for version, one in zip(versions, known, strict=True))
        return [one for one in both if one is not None]

    def _recalled(self, version: Version) -> Seen | None:
        found = [recall.of(version) for recall in self._recalls]
        return next((one for one in found if one is not None), None)

    async def _whole(self, version: Version) -> Seen | None:
        """None for what is gone since it was listed: a later listing does not have it either."""
        if version.marker:
            return Seen(listed=version, content=None, size=0)
        await self._throttle.take(version.size)
        try:
            content = await self._fetcher.content(version)
        except ObjectMissing:
            return None
        return Seen(listed=version, content=hashlib.sha256(content).hexdigest(), size=len(content))

    async def _pieces(self, version: Version) -> Seen | None:
        digest, size = hashlib.sha256(), 0
        try:
            async with self._fetcher.pieces(version) as pieces:
                async for piece in pieces:
                    await self._throttle.take(len(piece))
                    digest.update(piece)
                    size += len(piece)
        except ObjectMissing:
            return None
        return Seen(listed=version, content=digest.hexdigest(), size=size)


# --- the file of what was seen ------------------------------------------------------------------------------------


def _write(path: Path, seen: Iterable[Seen]) -> None:
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            for one in seen:
                at = one.listed
                told = [
                    encode_base64(at.key),
                    at.ordinal,
                    at.version,
                    at.tag,
                    at.modified,
                    at.size,
                    one.content,
                    one.size,
                ]
                file.write(json.dumps(told).encode() + b"\n")
    except OSError as error:
        raise from_os_error(error, f"writing {path}") from error


def read_seen(path: Path, *, broken_off: bool = False) -> "_Lines":
    """What an inventory has seen, one line in memory at a time; `broken_off`: its last line may be cut."""
    return _Lines(path, broken_off)


class _Lines:
    def __init__(self, path: Path, broken_off: bool) -> None:
        self._file, self._broken_off = path.open("rb"), broken_off

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> Seen:
        line = self._file.readline()
        if not line or (self._broken_off and not line.endswith(b"\n")):
            self.close()
            raise StopIteration
        key, ordinal, version, tag, modified, listed_size, content, size = json.loads(line)
        listed = Version(
            key=decode_base64(key, "key"),
            ordinal=ordinal,
            version=version,
            marker=content is None,
            size=listed_size,
            modified=modified,
            tag=tag,
        )
        return Seen(listed=listed, content=content, size=size)

    def close(self) -> None:
        """Read no more."""
        self._file.close()
