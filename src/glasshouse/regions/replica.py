"""The replicas: what this site does with the events and objects that its peers hand over.

A batch is taken whole or not at all: objects into the vault, then events, objects and keys in one transaction, then
this site's signatures over the receipts. A batch that was taken before is answered with the same signatures again, so a
peer that did not hear the answer just repeats it. What contradicts the replica is refused.

What comes from a site that this one takes over from is sealed anew first (resealing.py). Its receipts are signed
already, by those that took the objects; this site adds nothing to them.
"""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import psycopg
from glasshouse_verify.codec import Digest

from glasshouse.regions import journal
from glasshouse.regions.batch import Answer, Batch, Item, conflict
from glasshouse.regions.errors import InvalidInput, PeerUnavailable
from glasshouse.regions.journal import FENCES, QUERIES, Kind
from glasshouse.regions.placing import Kept, Place, add_objects
from glasshouse.regions.resealing import resealed
from glasshouse.regions.vault import digest_of
from glasshouse.storage.errors import ObjectConflict, ObjectMissing

_REMEMBERED = 10_000


class Replicas:
    """This site's replicas of its peers' journals. Threads may share it.

    `grown` is called, without arguments, after events were added.
    """

    def __init__(self, place: Place, *, grown: Callable[[], None] = lambda: None) -> None:
        self._place = place
        self._grown = grown
        self._flusher = ThreadPoolExecutor(4, thread_name_prefix="flusher")
        self._locks: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()
        # Read and written under the site's own lock.
        self._heads: dict[str, tuple[int, bytes]] = {}
        # Digests of the objects received lately, so that they need not be read again when their events come.
        self._arrived: OrderedDict[str, str] = OrderedDict()

    def arrived(self, handle: str, sha256: str) -> None:
        """An object was received and is durable in the vault; its event has not come yet."""
        with self._lock:
            self._arrived[handle] = sha256
            while len(self._arrived) > _REMEMBERED:
                self._arrived.popitem(last=False)

    def _forget_arrived(self, items: Sequence[Item]) -> None:
        """What lies in the vault is about to be another ciphertext, or counts now."""
        with self._lock:
            for item in items:
                self._arrived.pop(item.event.handle or "", None)

    def check_new(self, handle: str) -> None:
        """Raises InvalidInput for an object that this site has a row of: it is never written over."""
        if self._known([handle]):
            raise InvalidInput("handle", f"{handle[:16]}… is known here", "Send an object once, before its event.")

    def take(self, batch: Batch) -> Answer:
        """Take a batch from the peer whose journal it is; the caller has made sure of that.

        Raises JournalConflict; InvalidInput for an object that is not what its event says; StorageUnavailable.
        """
        rules = self._place.rules()
        if batch.region != rules.region or batch.site not in rules.senders:
            fix = "Send to the sites of your region only."
            raise InvalidInput("batch.site", f"{batch.site} of {batch.region} is no peer of this site", fix)
        with self._lock:
            lock = self._locks.setdefault(batch.site, threading.Lock())
        with lock:
            return self._take(batch)

    def _take(self, batch: Batch) -> Answer:
        head = self._head(batch.site)
        if batch.after > head[0]:
            return self._answer(*head, {}, ())
        count = head[0] - batch.after
        known, new = batch.items[:count], batch.items[count:]
        if count or batch.chain != head[1]:
            self._compare(batch, head[0])
        missing = self._missing(new)
        if missing:
            return self._answer(*head, {}, missing)
        moved = batch.site == self._place.rules().left
        old: dict[str, bytes] = {}
        if moved:
            old = {item.event.handle or "": _sealed_digest(item) for item in new if item.facts is not None}
            self._forget_arrived(new)
            new = tuple(resealed(self._place, item) for item in new)
        flushed = self._flusher.submit(self._receive, new)
        signatures = {
            str(item.event.position): self._sign(batch.site, item)
            for item in batch.items
            if item.facts is not None and not moved
        }
        if new:
            head = self._add(batch, head, new, signatures, flushed, old)
            self._grown()
        return self._answer(*head, self._still_held(known, signatures), ())

    def _head(self, site: str) -> tuple[int, bytes]:
        """Position and chain of a replica: from memory, unless the last batch failed."""
        if site not in self._heads:
            heads = journal.heads(self._place.database)
            if site not in heads:
                raise PeerUnavailable(f"this site is about to keep the journal of {site}, and does not do so yet")
            self._heads[site] = (heads[site].position, heads[site].chain)
        return self._heads[site]

    def _answer(self, position: int, chain: bytes, signatures: dict[str, bytes], missing: Sequence[str]) -> Answer:
        return Answer(
            position=position,
            chain=Digest(chain.hex()),
            keyid=Digest(self._place.signer.keyid),
            signatures=signatures,
            missing=tuple(map(Digest, missing)),
        )

    def _compare(self, batch: Batch, position: int) -> None:
        """What the peer says again must be what it said before."""
        with self._place.database.transaction() as connection:
            limit = min(len(batch.items), position - batch.after)
            place = {"site": batch.site, "after": batch.after, "limit": limit}
            rows = connection.execute(QUERIES["digests"], place).fetchall()
            here = {"site": batch.site, "position": batch.after}
            before = connection.execute(QUERIES["chain_at"], here).fetchone() if batch.after else (journal.START,)
        if before is None or before[0] != batch.chain:
            raise conflict(batch.site, f"two histories up to position {batch.after}")
        for (place_of, digest), item in zip(rows, batch.items, strict=False):
            if digest != item.event.digest:
                raise conflict(batch.site, f"two events at position {place_of}")

    def _missing(self, items: Sequence[Item]) -> list[str]:
        """The handles of objects that do not ride along and are not here."""
        return [
            item.event.handle or ""
            for item in items
            if item.facts is not None and item.sealed is None and not self._is_here(item)
        ]

    def _receive(self, items: Sequence[Item]) -> None:
        """Put the objects that ride along into the vault."""
        riding: dict[str, bytes] = {}
        for item in items:
            handle = item.event.handle or ""
            if item.facts is None or item.sealed is None:
                continue
            if hashlib.sha256(item.sealed).hexdigest() != item.facts.sealed_sha256 or handle in riding:
                raise InvalidInput("batch", f"{handle[:16]}… is not what its event says", "Send it again.")
            riding[handle] = item.sealed
        try:
            self._place.vault.keep_all(riding)
        except ObjectConflict:
            # Left by a batch that failed, or an object that counts: that one is never written over.
            if self._known(list(riding)):
                fix = "Give each object its own handle."
                raise InvalidInput("handle", "an object of this batch is known here", fix) from None
            for handle in riding:
                self._place.vault.delete(handle)
            self._place.vault.keep_all(riding)

    def _is_here(self, item: Item) -> bool:
        handle, facts = item.event.handle or "", item.facts
        with self._lock:
            found = self._arrived.get(handle)
        if found is None:
            try:
                found, _ = digest_of(self._place.vault.stream(handle))
            except ObjectMissing:
                return False
        return facts is not None and found == facts.sealed_sha256

    def _known(self, handles: Sequence[str]) -> bool:
        with self._place.database.transaction() as connection:
            query = {"handles": [bytes.fromhex(handle) for handle in handles]}
            return connection.execute(QUERIES["known_handles"], query).fetchone() is not None

    def _sign(self, site: str, item: Item) -> bytes:
        if item.facts is None or item.signature is None:
            raise InvalidInput("batch", "an object without facts or signature", "Send its event whole.")
        number, handle = item.event.number or 0, item.event.handle or ""
        return self._place.sign_receipt(item.facts, site=site, number=number, handle=handle)[1]

    def _add(
        self,
        batch: Batch,
        head: tuple[int, bytes],
        items: Sequence[Item],
        signatures: dict[str, bytes],
        flushed: "Future[None]",
        old: Mapping[str, bytes],
    ) -> tuple[int, bytes]:
        """Add events, objects and keys in one transaction; the head after them.

        `old` are digests that ciphertexts had where they come from, by handle, for those that were sealed anew.
        """
        wrap, kept = self._place.wrapper().group(), []
        for item in items:
            if item.facts is not None and item.data_key is not None and item.event.handle is not None:
                kept.append(
                    Kept(
                        event=item.event,
                        facts=item.facts,
                        wrapping=wrap(item.data_key, item.event.handle, batch.region),
                        signatures=self._signatures(batch, item, signatures),
                    )
                )
        gone = [item.event for item in items if item.event.kind == Kind.STORED and item.facts is None]
        stored = [item.event for item in items]
        # Signing and wrapping went on while the disk was busy; no row without its object.
        flushed.result()
        # If this fails, what is in the database has to be read again.
        self._heads.pop(batch.site, None)
        try:
            with self._place.database.transaction() as connection:
                chain = journal.add_rows(connection, batch.site, head[1], stored)
                add_objects(connection, batch.site, kept)
                if gone:
                    rows = {
                        "positions": [event.position for event in gone],
                        "numbers": [event.number for event in gone],
                        "handles": [bytes.fromhex(event.handle or "") for event in gone],
                    }
                    connection.execute(QUERIES["add_removed"], {"site": batch.site, **rows})
                if old:
                    resealed_rows = {"handles": list(map(bytes.fromhex, old)), "sealed": list(old.values())}
                    connection.execute(FENCES["keep_resealed"], resealed_rows)
                journal.apply(connection, stored, self._place.appliers, own=False)
        except (psycopg.errors.RaiseException, psycopg.IntegrityError) as error:
            raise conflict(batch.site, str(error).partition("\n")[0]) from error
        self._forget_arrived(items)
        self._heads[batch.site] = (stored[-1].position, chain)
        return self._heads[batch.site]

    def _signatures(self, batch: Batch, item: Item, own: Mapping[str, bytes]) -> bytes | None:
        """A row's: those that came along, or the taker's and this site's."""
        if item.signature is None:
            return item.signatures or None
        return batch.keyid + item.signature + self._place.signed_entry(own[str(item.event.position)])

    def _still_held(self, known: Sequence[Item], signatures: dict[str, bytes]) -> dict[str, bytes]:
        """Without those of objects that were erased here meanwhile: nothing is vouched for that is not held."""
        asked = {item.event.handle: str(item.event.position) for item in known if item.facts is not None}
        if not asked:
            return signatures
        with self._place.database.transaction() as connection:
            query = {"handles": [bytes.fromhex(handle or "") for handle in asked]}
            rows = connection.execute(QUERIES["held_handles"], query).fetchall()
        held = {row[0].hex() for row in rows if isinstance(row[0], bytes)}
        gone = {place for handle, place in asked.items() if handle not in held}
        return {place: signature for place, signature in signatures.items() if place not in gone}


def _sealed_digest(item: Item) -> bytes:
    return b"" if item.facts is None else bytes.fromhex(item.facts.sealed_sha256)
