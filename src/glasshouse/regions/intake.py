"""Intake: an upload becomes a sealed object, durable at as many sites as the charter asks for, and yields a receipt.

    async with await intake.begin(declared) as upload:
        async for piece in body:
            await upload.write(piece)
        stored = await upload.finish()
    answer(stored.receipt, status=201 if stored.created else 200)

All coroutines run on the event loop of the server; what blocks (disk, database, peers) runs in threads behind them. A
small upload is sealed in memory and costs no thread of its own: the committer takes all that are ready at once. A large
one goes to the vault's spool while it comes in, and to the peers before it is committed. Specification of what follows:
docs/spec/journal.md and docs/spec/peer-http.md.
"""

import asyncio
import contextlib
import functools
import secrets
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeVar

from glasshouse_verify.codec import Country, Digest, Identifier, PublicKey
from glasshouse_verify.encoding import JSON
from glasshouse_verify.region import Shortage

from glasshouse.regions import journal
from glasshouse.regions.batch import MAX_RIDER_BYTES
from glasshouse.regions.committing import Committer
from glasshouse.regions.errors import AlreadyStored, InvalidInput, Short, Unavailable, UploadRefused
from glasshouse.regions.journal import QUERIES, Event, Note
from glasshouse.regions.peering import Replication
from glasshouse.regions.peers import Credentials, PeerClient
from glasshouse.regions.placing import Place, SiteRules
from glasshouse.regions.preparing import Ready
from glasshouse.regions.receipts import Facts
from glasshouse.regions.renewing import Renewal
from glasshouse.regions.replica import Replicas
from glasshouse.regions.replication import Receipt, Receipts, Tell
from glasshouse.regions.seal import Sealer, new_handle
from glasshouse.regions.sweeping import sweep
from glasshouse.regions.vault import Incoming
from glasshouse.storage.errors import StorageError

__all__ = ["Declared", "Intake", "Place", "SiteRules", "Stored", "Upload"]

MAX_MEMORY_BYTES = 64 << 20
PATIENCE_SECONDS = 30.0
_SPOOL_BYTES = 1 << 20
_POLL_SECONDS = 0.1
_THREADS = 16
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Declared:
    """What is to be uploaded; checked by the caller against the schema, the policy and the region's rules.

    `metadata` are sealed with the content; `customer_key` is the raw Ed25519 key whose signature erases the object.
    """

    customer: str
    country: str
    sha256: str
    size: int
    category: str
    metadata: Mapping[str, JSON]
    customer_key: bytes | None = None


@dataclass(frozen=True, kw_only=True)
class Stored:
    """The receipt, an envelope with the signatures of `replicas` sites; whether this upload is the one it was for."""

    receipt: bytes
    handle: str
    created: bool


class Intake:
    """Takes uploads for one site: its committer, its replicas, its replication. Use as a context manager.

    Opened once in a process, and by one process for a site. Entering it sweeps away what a crash left in the vault.
    Raises JournalConflict where the database is another site's, or another process has it.
    """

    def __init__(self, place: Place, own: Credentials) -> None:
        rules = place.rules()
        journal.prepare(place.database, region=rules.region, site=rules.site, peers=())
        place.fences.refresh(place.database, rules.site)
        rules = place.rules()
        journal.open_journals(place.database, rules.senders, rules.peers)
        self.place = place
        self.receipts = Receipts(place)
        self.replication = Replication(place, self.receipts, own)
        self.committer = Committer(place, self.receipts, self.replication)
        self._renewal = Renewal(place, self.replication)
        self.replicas = Replicas(place)
        self._own = own
        self._memory = 0
        self._answers: Answers | None = None
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="intake")

    def __enter__(self) -> Self:
        sweep(self.place)
        self.replication.__enter__()
        self.committer.__enter__()
        self._renewal.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._renewal.__exit__()
        self.committer.__exit__()
        self.replication.__exit__()
        self._threads.shutdown()

    async def begin(self, declared: Declared) -> "Upload":
        """Begin an upload.

        Raises AlreadyStored (large uploads only: a small one learns it from `finish`), InvalidInput, and Short where
        fewer than `replicas` sites answer: at once, or after PATIENCE_SECONDS where the charter says to wait. Where the
        region is moving, and another site takes now: Moved, Arriving.
        """
        rules = self.place.rules()
        rules.check_open()
        if declared.category not in rules.rules.categories:
            known = ", ".join(sorted(rules.rules.categories))
            raise InvalidInput("category", f"{declared.category} is none of the charter's", f"Use one of: {known}.")
        if not self.replication.able:
            await self._until_able(rules)
        handle = new_handle()
        sealer = Sealer(handle=handle, region=rules.region, metadata=declared.metadata)
        size = sealer.size_of(declared.size)
        if size <= MAX_RIDER_BYTES and self._memory + size <= MAX_MEMORY_BYTES:
            self._memory += size
            return Upload(self, declared, handle, sealer, None, size)
        known_receipt = await self.run(lambda: self._find(declared))
        if known_receipt is not None:
            raise AlreadyStored(known_receipt)
        try:
            incoming = await self.run(lambda: Incoming(self.place.vault, handle))
            return Upload(self, declared, handle, sealer, incoming, 0)
        except StorageError as error:
            raise Short(f"the site cannot store objects now: {error}", retry_after_seconds=30) from error

    def refused(self) -> None:
        """Count an upload that was refused before `begin` (schema, policy, category). `Upload` counts its own."""
        self.committer.refused()

    def answers(self) -> "Answers":
        """What brings answers to the event loop that is running."""
        loop = asyncio.get_running_loop()
        if self._answers is None or self._answers.loop is not loop:
            self._answers = Answers(loop)
        return self._answers

    async def append(self, note: Note) -> Event:
        """Add an event of another kind than `stored` to this site's journal. See Committer.append."""
        return await asyncio.wrap_future(self.committer.append(note))

    async def run(self, call: Callable[[], T]) -> T:
        """Run what blocks in one of this intake's threads."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    def release(self, size: int) -> None:
        """An upload in memory is over."""
        self._memory -= size

    def send(self, handle: str, size: int, sha256: str) -> None:
        """Hand a large object to as many peers as the receipt needs, one after the other. Raises Short."""
        rules = self.place.rules()
        wanted, reason = rules.rules.replicas - 1, "no peer answers"
        for replicator in self.replication.replicators:
            if wanted == 0:
                return
            if not replicator.up.is_set():
                continue
            client = PeerClient(replicator.peer, rules.rules, self._own)
            with contextlib.closing(client):
                try:
                    client.put(handle, self.place.vault.stream(handle), size, sha256)
                    wanted -= 1
                except Unavailable as error:
                    reason = str(error)
        if wanted:
            raise Short(f"another site of the region cannot store the object now: {reason}")

    async def _until_able(self, rules: SiteRules) -> None:
        text = f"fewer than the {rules.rules.replicas} sites that the charter asks for can store an object now"
        if rules.rules.when_short == Shortage.REFUSE:
            raise Short(text)
        end = asyncio.get_running_loop().time() + PATIENCE_SECONDS
        while not self.replication.able:
            if asyncio.get_running_loop().time() > end:
                raise Short(text)
            await asyncio.sleep(_POLL_SECONDS)

    def _find(self, declared: Declared) -> bytes | None:
        """The receipt of content that is stored already, if it is complete."""
        query = {"customers": [declared.customer], "digests": [bytes.fromhex(declared.sha256)]}
        try:
            with self.place.database.transaction() as connection:
                rows = connection.execute(QUERIES["find_held"], query).fetchall()
            handles = [bytes(row[0]).hex() for row in rows if isinstance(row[0], bytes)]
            if handles:
                # It may have been handed out a moment ago.
                self.replication.settle()
            return self.receipts.complete(handles)
        except StorageError as error:
            raise Short(f"the site cannot store objects now: {error}") from error


class Answers:
    """Brings answers from threads to one event loop: all that come at about the same time wake it once."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._lock = threading.Lock()
        self._come: list[tuple[asyncio.Future[Receipt], Receipt | Exception]] = []

    def expect(self) -> "tuple[asyncio.Future[Receipt], Tell]":
        """A future of the loop, and what to call with its outcome from any thread; the first call counts."""
        future: asyncio.Future[Receipt] = self.loop.create_future()
        return future, functools.partial(self._bring, future)

    def _bring(self, future: "asyncio.Future[Receipt]", outcome: Receipt | Exception) -> None:
        with self._lock:
            first = not self._come
            self._come.append((future, outcome))
        if first:
            try:
                self.loop.call_soon_threadsafe(self._deliver)
            except RuntimeError:
                # The loop has ended, and with it everybody who waited.
                if not self.loop.is_closed():
                    raise

    def _deliver(self) -> None:
        with self._lock:
            come, self._come = self._come, []
        for future, outcome in come:
            if future.done():
                continue
            if isinstance(outcome, Exception):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)


class Upload:
    """One upload under way. One caller at a time; an async context manager: leaving it unfinished discards it."""

    def __init__(
        self, intake: Intake, declared: Declared, handle: str, sealer: Sealer, incoming: Incoming | None, memory: int
    ) -> None:
        self._intake = intake
        self._declared = declared
        self._incoming = incoming
        self._memory = memory
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._over = False
        self._handle = handle
        self._sealer = sealer

    @property
    def position(self) -> int:
        """Content bytes taken so far: where a broken upload goes on."""
        return self._sealer.position + (0 if self._incoming is None else self._held_bytes)

    async def write(self, piece: bytes) -> None:
        """Take a piece of content. Raises UploadRefused beyond the declared size, Short where the disk is full."""
        if self.position + len(piece) > self._declared.size:
            await self._refuse("size", f"more than the {self._declared.size} bytes declared", "Declare the whole size.")
        if self._incoming is None:
            self._held.append(self._sealer.update(piece))
            return
        self._held.append(piece)
        self._held_bytes += len(piece)
        if self._held_bytes >= _SPOOL_BYTES:
            await self._flush()

    async def resume(self, position: int) -> None:
        """Before a broken upload goes on: what is on disk is read back and authenticated.

        Raises InvalidInput for another position than ours; SealBroken, after which it must begin anew.
        """
        await self._flush()
        kept = self._held if self._incoming is None else self._incoming.pieces()
        await self._intake.run(lambda: self._sealer.check_kept(kept, position=position))

    async def finish(self) -> Stored:
        """Returns once the object is durable at `replicas` sites.

        Where the customer stored this content before, the receipt is the one given then, and `created` is False.
        Raises UploadRefused where digest or size are not as declared; Short where a peer or the disk fails: the same
        upload again, then or later, is answered with the receipt.
        """
        try:
            await self._flush()
            last = self._sealer.finish()
            await self._check()
            sealed = self._sealer.sealed
            facts = self._facts(sealed.sealed_sha256, sealed.sealed_size)
            rider = None
            if self._incoming is None:
                self._held.append(last)
                rider = b"".join(self._held)
                self._held.clear()
            else:
                await self._keep(self._incoming, last)
            future, answer = self._intake.answers().expect()
            key = self._sealer.key
            self._intake.committer.submit(
                Ready(handle=self._handle, facts=facts, data_key=key, sealed=rider, answer=answer)
            )
            receipt = await _in_time(future)
            return Stored(receipt=receipt.envelope, handle=receipt.handle, created=receipt.handle == self._handle)
        except StorageError as error:
            raise Short(f"the site cannot store objects now: {error}", retry_after_seconds=30) from error
        finally:
            await self._end()

    async def abort(self) -> None:
        """Discard what was taken; it counts neither as received nor as refused."""
        await self._end()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.abort()

    async def _check(self) -> None:
        sealed, declared = self._sealer.sealed, self._declared
        if sealed.content_size != declared.size:
            reason = f"{sealed.content_size} bytes came, {declared.size} were declared"
            await self._refuse("size", reason, "Send the whole content.")
        if not secrets.compare_digest(sealed.content_sha256, declared.sha256):
            reason = f"the content has {sealed.content_sha256}"
            await self._refuse("sha256", reason, "Declare the SHA-256 of what you send.")

    async def _refuse(self, field: str, reason: str, fix: str) -> None:
        self._intake.refused()
        await self._end()
        raise UploadRefused(field, reason, fix)

    async def _flush(self) -> None:
        incoming = self._incoming
        if incoming is None or not self._held:
            return
        pieces, self._held, self._held_bytes = self._held, [], 0
        try:
            await self._intake.run(lambda: incoming.write(self._sealer.update(b"".join(pieces))))
        except StorageError as error:
            await self._end()
            raise Short(f"the site cannot store objects now: {error}", retry_after_seconds=30) from error

    async def _keep(self, incoming: Incoming, last: bytes) -> None:
        def keep() -> None:
            incoming.write(last)
            incoming.keep()
            sealed = self._sealer.sealed
            try:
                self._intake.send(self._handle, sealed.sealed_size, sealed.sealed_sha256)
            except BaseException:
                self._intake.place.vault.delete(self._handle)
                raise

        await self._intake.run(keep)

    async def _end(self) -> None:
        if self._over:
            return
        self._over = True
        self._held.clear()
        self._intake.release(self._memory)
        if self._incoming is not None:
            await self._intake.run(self._incoming.discard)

    def _facts(self, sealed_sha256: str, sealed_bytes: int) -> Facts:
        declared, rules = self._declared, self._intake.place.rules()
        return Facts(
            customer=Identifier(declared.customer),
            country=Country(declared.country),
            customer_key=None if declared.customer_key is None else PublicKey(declared.customer_key),
            sha256=Digest(declared.sha256),
            size=declared.size,
            category=Identifier(declared.category),
            retention=rules.rules.categories[Identifier(declared.category)].retention,
            # Time, epoch and charter are the committer's to say: they are those of the commit.
            epoch=1,
            charter=Digest(rules.charter),
            party=Identifier(rules.party),
            salt=Digest(secrets.token_hex(32)),
            time=0,
            sealed_sha256=Digest(sealed_sha256),
            sealed_size=sealed_bytes,
        )


async def _in_time(future: "asyncio.Future[Receipt]") -> Receipt:
    """The receipt; raises Short if it does not come in time."""
    late = Short("another site of the region has not answered in time")
    timer = future.get_loop().call_later(PATIENCE_SECONDS, _fail, future, late)
    try:
        return await future
    finally:
        timer.cancel()


def _fail(future: "asyncio.Future[Receipt]", error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
