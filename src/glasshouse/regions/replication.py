"""Replication: hands this site's journal over to every peer, and the receipts to whoever waits for them.

One thread for each peer pushes what follows on the position that the peer says it has: what the committer has just
written from memory, anything older from the database (outgoing.py). So catching up after an outage is the same as
everyday work. Once enough sites have signed a receipt, everybody who waits gets it: the object and its event are
durable at all of them by then. The signatures are written down after that, those of several batches at once; what a
crash loses of them the peers sign again.
"""

import concurrent.futures
import contextlib
import logging
import secrets
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from glasshouse_verify import ed25519
from glasshouse_verify.codec import Identifier
from glasshouse_verify.dsse import pae
from glasshouse_verify.errors import SignatureError, VerifyError

from glasshouse.parties.errors import PartyError
from glasshouse.regions.batch import Answer, Batch, Item, conflict, split
from glasshouse.regions.errors import JournalConflict, PeerUnavailable, RegionError, Short, SiteRefused
from glasshouse.regions.journal import FENCES, QUERIES, extended
from glasshouse.regions.outgoing import chain_at, read_items
from glasshouse.regions.peers import Credentials, PeerClient
from glasshouse.regions.placing import Place
from glasshouse.regions.receipts import envelope, facts_of_row, named, signers, statement
from glasshouse.regions.unwrapping import Unwrapping
from glasshouse.storage.errors import StorageError

_LOG = logging.getLogger(__name__)
HEARTBEAT_SECONDS = 2.0
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 2.0
MAX_QUEUED_BYTES = 64 << 20
MAX_QUEUED_EVENTS = 16_384
MAX_UNWRITTEN_BATCHES = 64
_RECEIPT_COLUMNS = (
    "handle",
    "site",
    "number",
    "customer",
    "country",
    "customer_key",
    "sha256",
    "size",
    "category",
    "retention",
    "epoch",
    "charter",
    "party",
    "salt",
    "taken",
    "sealed_sha256",
    "sealed_size",
    "position",
    "signatures",
)


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """An envelope with the signatures of `replicas` sites, and whose it is."""

    handle: str
    envelope: bytes


Tell = Callable[[Receipt | Exception], None]
"""Whom a receipt is given to, or the reason why there is none; called from any thread."""


@dataclass(frozen=True, kw_only=True)
class Countersigned:
    """Receipts that have become complete: payload and signatures by handle. They follow on position `after`."""

    after: int
    position: int
    complete: Mapping[str, tuple[bytes, bytes]]


class Receipts:
    """Who waits for which receipt. Threads may share it."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._lock = threading.Lock()
        self._waiting: dict[str, list[Tell]] = {}
        self._entries: dict[str, dict[str, bytes]] = {}

    def wait(self, handle: str, answer: Tell) -> None:
        """Have somebody told the receipt of an object; or Short, while too few sites can be reached."""
        with self._lock:
            self._waiting.setdefault(handle, []).append(answer)

    def forget(self, handles: Sequence[str]) -> None:
        """Nobody waits for these any more."""
        with self._lock:
            for handle in handles:
                self._waiting.pop(handle, None)

    def look_up(self, handles: Sequence[str]) -> None:
        """Answer those who wait for receipts that are complete already."""
        self._deliver([row for row in self._rows(handles) if self._complete(row)])

    def complete(self, handles: Sequence[str]) -> bytes | None:
        """The receipt of the first of these objects whose receipt is complete."""
        for row in self._rows(handles):
            if self._complete(row):
                return envelope(self._statement(row), _optional(row["signatures"]) or b"")
        return None

    def fail(self, error: RegionError) -> None:
        """Nobody is kept waiting: the peers do not answer."""
        with self._lock:
            waiting, self._waiting = self._waiting, {}
        for answer in (answer for answers in waiting.values() for answer in answers):
            answer(error)

    def countersigned(
        self, peer: str, after: int, items: Sequence[Item], entries: Mapping[str, bytes]
    ) -> Countersigned:
        """A peer has these items, which follow on position `after`, and signed receipts. Whoever waits is answered.

        `entries` are key id ‖ signature by handle. What has become complete is to be written down.
        """
        complete: dict[str, tuple[bytes, bytes]] = {}
        with self._lock:
            for item in items:
                handle = item.event.handle or ""
                if handle not in entries or item.receipt is None or item.signature is None:
                    continue
                others = self._entries.setdefault(handle, {})
                others[peer] = entries[handle]
                if len(others) >= self._others():
                    del self._entries[handle]
                    own = self._place.signed_entry(item.signature)
                    complete[handle] = item.receipt, own + b"".join(list(others.values())[: self._others()])
        self._answer(complete)
        return Countersigned(after=after, position=items[-1].event.position, complete=complete)

    def write_down(self, peer: str, batches: Sequence[Countersigned], *, drop: bool) -> None:
        """Keep complete receipts of batches that follow on each other.

        With `drop` the data keys kept for the peers are wiped.
        """
        complete = {handle: receipt for batch in batches for handle, receipt in batch.complete.items()}
        rules = self._place.rules()
        with self._place.database.transaction() as connection, connection.pipeline():
            if not drop:
                # Of two peers' last words on an object, the later one has to see the earlier.
                connection.execute(FENCES["lock_peers"])
            if complete:
                query = {
                    "handles": [bytes.fromhex(handle) for handle in complete],
                    "signatures": [signatures for _, signatures in complete.values()],
                    "drop": drop,
                }
                connection.execute(QUERIES["sign_receipts"], query)
            connection.execute(QUERIES["acknowledge"], {"peer": peer, "position": batches[-1].position})
            if not drop:
                query = {"site": rules.site, "peers": list(rules.peers), "after": batches[0].after}
                connection.execute(QUERIES["drop_transfers"], query)
        # Who began to wait after the others were answered, and found nothing written down yet.
        self._answer(complete)

    def _others(self) -> int:
        return self._place.rules().rules.replicas - 1

    def _complete(self, row: Mapping[str, object]) -> bool:
        """Whether a receipt has signatures enough; one of a site that the region has left was given long ago."""
        rules, signatures = self._place.rules().rules, _optional(row["signatures"])
        wanted = rules.replicas if str(row["site"]) in rules.sites else 1
        return signers(signatures) >= wanted

    def _statement(self, row: dict[str, object]) -> bytes:
        return statement(
            facts_of_row(row),
            region=self._place.rules().region,
            site=str(row["site"]),
            number=int(str(row["number"])),
            handle=_hex(row["handle"]),
        )

    def _rows(self, handles: Sequence[str]) -> list[dict[str, object]]:
        if not handles:
            return []
        query = {"handles": [bytes.fromhex(handle) for handle in handles]}
        with self._place.database.transaction() as connection:
            return [named(_RECEIPT_COLUMNS, row) for row in connection.execute(QUERIES["receipts"], query).fetchall()]

    def _deliver(self, rows: Sequence[dict[str, object]]) -> None:
        self._answer({_hex(row["handle"]): (self._statement(row), _optional(row["signatures"]) or b"") for row in rows})

    def _answer(self, complete: Mapping[str, tuple[bytes, bytes]]) -> None:
        with self._lock:
            waiting = [(handle, self._waiting.pop(handle, ())) for handle in complete]
        for handle, answers in waiting:
            if answers:
                done = Receipt(handle=handle, envelope=envelope(*complete[handle]))
                for answer in answers:
                    answer(done)


class Replicator:
    """Pushes the journal to one peer, in a thread of its own. Use as a context manager.

    `able` says whether other peers, as many as a receipt needs, answer where this one does not.
    """

    def __init__(
        self,
        place: Place,
        receipts: Receipts,
        peer: str,
        own: Credentials,
        unwrapping: Unwrapping | None = None,
        able: Callable[[], bool] = lambda: False,
    ) -> None:
        self._place = place
        self._able = able
        self._receipts = receipts
        self._own = own
        self._unwrapping = unwrapping
        self.peer = peer
        self._condition = threading.Condition()
        self._queue: deque[Item] = deque()
        self._queued_bytes = 0
        self._head = 0
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=f"replicator-{peer}", daemon=True)
        self._writer = ThreadPoolExecutor(1, thread_name_prefix=f"receipts-{peer}")
        self._writing: Future[None] | None = None
        self._unwritten: list[Countersigned] = []
        self.up = threading.Event()
        # Events in the peer's own journal when it was met last.
        self.met: int | None = None
        self.alarm: str | None = None

    def offer(self, items: Sequence[Item]) -> None:
        """Events were committed: positions that follow on those offered before."""
        with self._condition:
            size = sum(len(item.sealed or b"") for item in items)
            if self._queued_bytes + size > MAX_QUEUED_BYTES or len(self._queue) + len(items) > MAX_QUEUED_EVENTS:
                # They are in the database; memory is bounded.
                self._queue.clear()
                self._queued_bytes = 0
            else:
                self._queue.extend(items)
                self._queued_bytes += size
            self._head = max(self._head, items[-1].event.position)
            self._condition.notify()

    def wake(self, head: int) -> None:
        """The journal has at least this many events, wherever they came from."""
        with self._condition:
            self._head = max(self._head, head)
            self._condition.notify()

    def __enter__(self) -> "Replicator":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._condition:
            self._stopping = True
            self._condition.notify()
        self._thread.join()
        self._writer.shutdown()

    def _run(self) -> None:
        pause = _FIRST_PAUSE_SECONDS
        while not self._stopping and self.alarm is None:
            try:
                client = PeerClient(self.peer, self._place.rules().region_rules, self._own)
                try:
                    self._serve(client)
                finally:
                    client.close()
                self._written_down()
                return
            except JournalConflict as error:
                _LOG.error("%s is not replicated to any more: %s", self.peer, error)
                self.alarm = str(error)
                self._fell_out(error)
            except (RegionError, StorageError, PartyError, VerifyError) as error:
                if self.up.is_set():
                    _LOG.warning("%s is away: %s", self.peer, error)
                    pause = _FIRST_PAUSE_SECONDS
                self._fell_out(error)
            with self._condition:
                self._condition.wait_for(lambda: self._stopping, pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    def _fell_out(self, error: Exception) -> None:
        self.up.clear()
        with contextlib.suppress(SiteRefused):
            if self._able() or self._place.rules().rules.replicas == 1:
                # Nobody waits for this peer: others sign what is under way, or none has to.
                return
        self._receipts.fail(Short(f"another site of the region cannot store the object now: {error}"))

    def _serve(self, client: PeerClient) -> None:
        self._begin_anew()
        position, chain = self._meet(client)
        self.up.set()
        while True:
            with self._condition:
                if not self._stopping and self._head <= position:
                    self._condition.wait(HEARTBEAT_SECONDS)
                if self._stopping:
                    return
                items = self._next(position)
            if self._head <= position:
                self._written_down()
                client.state()
                continue
            if not items:
                items = read_items(self._place, position, self._first_queued(), self._unwrapping)
            position, chain = self._push(client, position, chain, items)

    def _meet(self, client: PeerClient) -> tuple[int, bytes]:
        """Where to begin: after what the peer has, or after the last receipt that it signed and we know of."""
        rules = self._place.rules()
        state = client.state()
        if (state.region, state.site) != (rules.region, self.peer):
            raise PeerUnavailable(f"{self.peer} says that it is {state.site} of {state.region}")
        with self._place.database.transaction() as connection:
            heads = {row[0]: (row[1], row[3]) for row in connection.execute(QUERIES["journals"]).fetchall()}
            unsigned = connection.execute(QUERIES["first_unsigned"], {"site": rules.site}).fetchone()
        (own, _), here = heads[rules.site], state.journals.get(Identifier(rules.site))
        theirs = state.journals.get(Identifier(self.peer))
        known = heads.get(self.peer, (0, bytes(32)))[0]
        if theirs is None or (isinstance(known, int) and theirs.position < known):
            raise conflict(self.peer, f"it is shorter there than its replica here, which has {known} events")
        if here is None:
            raise PeerUnavailable(f"{self.peer} does not keep the journal of {rules.site} yet")
        position = here.position
        chain = chain_at(self._place, position)
        if chain is None or chain.hex() != here.chain:
            raise conflict(rules.site, f"{self.peer} has another history up to position {position}")
        if unsigned is not None and isinstance(unsigned[0], int) and unsigned[0] <= position:
            position = unsigned[0] - 1
            chain = chain_at(self._place, position) or bytes(32)
        if isinstance(own, int):
            self.wake(own)
        self.met = theirs.position
        return position, chain

    def _next(self, position: int) -> list[Item]:
        """What follows on a position in memory; nothing if that begins later."""
        while self._queue and self._queue[0].event.position <= position:
            self._queued_bytes -= len(self._queue.popleft().sealed or b"")
        if not self._queue or self._queue[0].event.position != position + 1:
            return []
        items = list(self._queue)
        return items[: split(items)]

    def _first_queued(self) -> int:
        with self._condition:
            return self._queue[0].event.position if self._queue else self._head + 1

    def _push(self, client: PeerClient, position: int, chain: bytes, items: Sequence[Item]) -> tuple[int, bytes]:
        rules = self._place.rules()
        keyid = bytes.fromhex(self._place.signer.keyid)
        batch = Batch(
            region=rules.region, site=rules.site, after=position, chain=chain, keyid=keyid, items=tuple(items)
        )
        answer = client.push(batch)
        if answer.missing:
            self._send(client, items, answer)
            return position, chain
        last = items[-1].event.position
        if answer.position < last:
            raise PeerUnavailable(f"{self.peer} took {answer.position} of {last} events")
        entries = {}
        for item in items:
            signature = answer.signatures.get(str(item.event.position))
            if signature is not None and item.event.handle is not None:
                entries[item.event.handle] = bytes.fromhex(answer.keyid) + signature
            chain = extended(chain, item.event)
        self._check_one(answer, items)
        self._write_down(self._receipts.countersigned(self.peer, position, items, entries))
        return last, chain

    def _write_down(self, batch: Countersigned) -> None:
        """Have receipts written down, together with those that come before that is begun.

        Raises StorageError where an earlier batch could not be: then nothing that follows on it is written down either,
        since all of it is handed over again from there, with the data keys that are wiped once it is written down.
        """
        if len(self._unwritten) >= MAX_UNWRITTEN_BATCHES:
            self._written_down()
        with self._condition:
            failed = self._writing is not None and self._writing.done()
            if not failed:
                self._unwritten.append(batch)
                if self._writing is None:
                    self._writing = self._writer.submit(self._write)
        if failed:
            self._written_down()

    def _write(self) -> None:
        while True:
            with self._condition:
                batches, self._unwritten = self._unwritten, []
                if not batches:
                    self._writing = None
                    return
            self._receipts.write_down(self.peer, batches, drop=self._drops)

    @property
    def _drops(self) -> bool:
        """Whether a complete receipt says that every peer has the object."""
        rules = self._place.rules()
        return len(rules.peers) == 1 and rules.rules.replicas > 1

    def _written_down(self) -> None:
        """Wait until the receipts that were handed out are written down. Raises StorageError."""
        with self._condition:
            writing = self._writing
        if writing is not None:
            writing.result()

    def _begin_anew(self) -> None:
        """Before asking where to begin: nothing is being written down, and what could not be is forgotten."""
        self.settle()
        with self._condition:
            self._writing = None
            self._unwritten.clear()

    def settle(self) -> None:
        """Wait for what is being written down, for somebody who is about to read it."""
        with self._condition:
            writing = self._writing
        if writing is not None:
            concurrent.futures.wait([writing])

    def _send(self, client: PeerClient, items: Sequence[Item], answer: Answer) -> None:
        """Send the objects that the peer lacks, before the events are pushed again."""
        wanted = {item.event.handle: item.facts for item in items}
        for handle in answer.missing:
            facts = wanted.get(handle)
            if facts is None:
                raise PeerUnavailable(f"{self.peer} asks for {handle[:16]}…, which is not in the batch")
            _LOG.info("sending %s… to %s again", handle[:16], self.peer)
            client.put(handle, self._place.vault.stream(handle), facts.sealed_size, facts.sealed_sha256)

    def _check_one(self, answer: Answer, items: Sequence[Item]) -> None:
        """Check one of the signatures, drawn at random: each costs more than all the rest of a small object's way.

        The keys must be the charter's. Raises PeerUnavailable, so that nobody is given a receipt of this batch.
        """
        rules = self._place.rules()
        signed = [item for item in items if str(item.event.position) in answer.signatures and item.receipt is not None]
        if not signed:
            return
        keys = {ed25519.keyid(public): public for public in rules.signers.get(self.peer, frozenset())}
        item = secrets.choice(signed)
        if answer.keyid not in keys or item.receipt is None:
            raise PeerUnavailable(f"{self.peer} signs with a key that the charter does not name for it")
        signature = answer.signatures[str(item.event.position)]
        try:
            ed25519.verify(keys[answer.keyid], pae(item.receipt), signature, self.peer)
        except SignatureError as error:
            raise PeerUnavailable(f"{self.peer} does not sign receipts as it should: {error}") from error


def _hex(value: object) -> str:
    if not isinstance(value, bytes):
        raise JournalConflict("an object in the database has no handle")
    return value.hex()


def _optional(value: object) -> bytes | None:
    return value if isinstance(value, bytes) else None
