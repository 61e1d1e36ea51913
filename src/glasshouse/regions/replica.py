"""The replicas: what this site does with the events and objects that its peers hand over.

A batch is taken whole or not at all: objects into the vault, then events, objects and keys in one transaction, then
this site's signatures over the receipts. A batch that was taken before is answered with the same signatures again, so a
peer that did not hear the answer just repeats it. What contradicts the replica is refused.
"""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence

from glasshouse_verify.codec import Digest

from glasshouse.regions import journal
from glasshouse.regions.batch import Answer, Batch, Item, conflict
from glasshouse.regions.errors import InvalidInput
from glasshouse.regions.journal import QUERIES, Head, Kind
from glasshouse.regions.placing import Kept, Place, add_objects
from glasshouse.regions.vault import digest_of
from glasshouse.storage.errors import ObjectMissing

_REMEMBERED = 10_000


class Replicas:
    """This site's replicas of its peers' journals. Threads may share it.

    `grown` is called, without arguments, after events were added.
    """

    def __init__(self, place: Place, *, grown: Callable[[], None] = lambda: None) -> None:
        self._place = place
        self._grown = grown
        self._locks: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()
        # Digests of the objects received lately, so that they need not be read again when their events come.
        self._arrived: OrderedDict[str, str] = OrderedDict()

    def arrived(self, handle: str, sha256: str) -> None:
        """An object was received and is durable in the vault; its event has not come yet."""
        with self._lock:
            self._arrived[handle] = sha256
            while len(self._arrived) > _REMEMBERED:
                self._arrived.popitem(last=False)

    def check_new(self, handle: str) -> None:
        """Raises InvalidInput for an object that this site has a row of: it is never written over."""
        if self._known([handle]):
            raise InvalidInput("handle", f"{handle[:16]}… is known here", "Send an object once, before its event.")

    def take(self, batch: Batch) -> Answer:
        """Take a batch from the peer whose journal it is; the caller has made sure of that.

        Raises JournalConflict; InvalidInput for an object that is not what its event says; StorageUnavailable.
        """
        rules = self._place.rules()
        if batch.region != rules.region or batch.site not in rules.peers:
            fix = "Send to the sites of your region only."
            raise InvalidInput("batch.site", f"{batch.site} of {batch.region} is no peer of this site", fix)
        with self._lock:
            lock = self._locks.setdefault(batch.site, threading.Lock())
        with lock:
            return self._take(batch)

    def _take(self, batch: Batch) -> Answer:
        head = journal.heads(self._place.database)[batch.site]
        if batch.after > head.position:
            return self._answer(head.position, head.chain, {}, ())
        self._compare(batch, head)
        known, new = batch.items[: head.position - batch.after], batch.items[head.position - batch.after :]
        chain = head.chain
        if new:
            missing = self._receive(new)
            if missing:
                return self._answer(head.position, head.chain, {}, missing)
        signatures = {
            str(item.event.position): self._sign(batch.site, item) for item in batch.items if item.facts is not None
        }
        if new:
            chain = self._add(batch, new, signatures)
            self._grown()
        return self._answer(head.position + len(new), chain, self._still_held(known, signatures), ())

    def _answer(self, position: int, chain: bytes, signatures: dict[str, bytes], missing: Sequence[str]) -> Answer:
        return Answer(
            position=position,
            chain=Digest(chain.hex()),
            keyid=Digest(self._place.signer.keyid),
            signatures=signatures,
            missing=tuple(map(Digest, missing)),
        )

    def _compare(self, batch: Batch, head: Head) -> None:
        """What the peer says again must be what it said before."""
        with self._place.database.transaction() as connection:
            limit = min(len(batch.items), head.position - batch.after)
            place = {"site": batch.site, "after": batch.after, "limit": limit}
            rows = connection.execute(QUERIES["digests"], place).fetchall()
            here = {"site": batch.site, "position": batch.after}
            before = connection.execute(QUERIES["chain_at"], here).fetchone() if batch.after else (journal.START,)
        if before is None or before[0] != batch.chain:
            raise conflict(batch.site, f"two histories up to position {batch.after}")
        for (position, digest), item in zip(rows, batch.items, strict=False):
            if digest != item.event.digest:
                raise conflict(batch.site, f"two events at position {position}")

    def _receive(self, items: Sequence[Item]) -> list[str]:
        """Put the objects that ride along into the vault; the handles of those that are not here."""
        riding = {}
        missing = []
        held = [item for item in items if item.facts is not None]
        if self._known([item.event.handle or "" for item in held]):
            raise InvalidInput("handle", "an object of this batch is known here", "Give each object its own handle.")
        for item in held:
            handle = item.event.handle or ""
            if item.sealed is None:
                if not self._is_here(item):
                    missing.append(handle)
            elif item.facts is not None and hashlib.sha256(item.sealed).hexdigest() != item.facts.sealed_sha256:
                raise InvalidInput("batch", f"{handle[:16]}… is not what its event says", "Send it again.")
            else:
                riding[handle] = item.sealed
        if not missing:
            self._place.vault.keep_all(riding)
        return missing

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
        if item.facts is None:
            raise InvalidInput("batch", "an object without facts", "Send its event whole.")
        return self._place.sign_receipt(
            item.facts, site=site, number=item.event.number or 0, handle=item.event.handle or ""
        )

    def _add(self, batch: Batch, items: Sequence[Item], signatures: dict[str, bytes]) -> bytes:
        """Add events, objects and keys in one transaction; the chain after them."""
        wrapper, region = self._place.wrapper(), batch.region
        kept = []
        for item in items:
            if item.facts is not None and item.data_key is not None and item.event.handle is not None:
                own = self._place.signed_entry(signatures[str(item.event.position)])
                kept.append(
                    Kept(
                        event=item.event,
                        facts=item.facts,
                        wrapping=wrapper.wrap(item.data_key, handle=item.event.handle, region=region),
                        signatures=batch.keyid + (item.signature or b"") + own,
                    )
                )
        gone = [item.event for item in items if item.event.kind == Kind.STORED and item.facts is None]
        head = journal.heads(self._place.database)[batch.site]
        with self._place.database.transaction() as connection:
            stored = [item.event for item in items]
            chain = journal.add_rows(connection, batch.site, head.chain, stored)
            add_objects(connection, batch.site, kept)
            if gone:
                rows = {
                    "positions": [event.position for event in gone],
                    "numbers": [event.number for event in gone],
                    "handles": [bytes.fromhex(event.handle or "") for event in gone],
                }
                connection.execute(QUERIES["add_removed"], {"site": batch.site, **rows})
            journal.apply(connection, stored, self._place.appliers, own=False)
        with self._lock:
            for item in items:
                self._arrived.pop(item.event.handle or "", None)
        return chain

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
