"""Resealing: an object that comes from a site that is left is opened, and sealed anew under a data key made here.

So the site that was left has no key to what its successors keep, however many copies it made of its own. Content and
metadata, handle, receipt and row stay the same; ciphertext, its digest and the data key do not. The journal that tells
of the object keeps the digest of the old ciphertext: this site notes it beside the object (`regions.resealed`).
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import replace

from glasshouse_verify.codec import Digest

from glasshouse.regions.batch import Item
from glasshouse.regions.errors import InvalidInput, SealSpent, Unverifiable
from glasshouse.regions.placing import Place
from glasshouse.regions.receipts import Facts
from glasshouse.regions.seal import Opener, Sealer
from glasshouse.regions.vault import Incoming


class Resealer:
    """Opens one object under the key that it came with, and seals it under another. Memory holds a segment or two.

    What `pieces` yields counts only once it has ended: by then the content is what the facts say, to the byte.
    """

    def __init__(self, data_key: bytes, facts: Facts, *, handle: str, region: str) -> None:
        """Raises InvalidInput."""
        self._facts, self._handle, self._region = facts, handle, region
        self._opener = Opener(data_key, handle=handle, region=region)
        self._sealer: Sealer | None = None
        self._hash, self._size = hashlib.sha256(), 0

    def pieces(self, sealed: Iterable[bytes]) -> Iterator[bytes]:
        """The object as it is sealed now. Raises SealBroken, Unverifiable."""
        for piece in sealed:
            yield from self._taken(self._opener.update(piece))
        yield from self._taken(self._opener.finish())
        yield self._anew().finish()
        if (self._hash.hexdigest(), self._size) != (self._facts.sha256, self._facts.size):
            raise Unverifiable(f"{self._handle[:16]}… came with other content than its receipt names")

    @property
    def data_key(self) -> bytes:
        """The key that it is sealed under now."""
        return self._anew().key

    @property
    def facts(self) -> Facts:
        """What is known of it, with digest and size of the ciphertext as it is now. Raises SealSpent before the end."""
        if self._sealer is None:
            raise SealSpent("the object has not been sealed anew")
        sealed = self._sealer.sealed
        return replace(self._facts, sealed_sha256=Digest(sealed.sealed_sha256), sealed_size=sealed.sealed_size)

    def _taken(self, content: bytes) -> Iterator[bytes]:
        if content:
            self._hash.update(content)
            self._size += len(content)
            if sealed := self._anew().update(content):
                yield sealed

    def _anew(self) -> Sealer:
        if self._sealer is None:
            self._sealer = Sealer(handle=self._handle, region=self._region, metadata=self._opener.metadata)
        return self._sealer


def resealed(place: Place, item: Item) -> Item:
    """An item of a site that is left as this one is to keep it: with a key, facts and ciphertext of its own.

    An object that was sent ahead of its event is replaced in the vault, where it had the old ciphertext until now.
    Raises InvalidInput for one that is not what its event says; StorageError, ObjectMissing.
    """
    handle, facts = item.event.handle or "", item.facts
    if facts is None or item.data_key is None:
        return item
    if item.sealed is not None and hashlib.sha256(item.sealed).hexdigest() != facts.sealed_sha256:
        raise InvalidInput("batch", f"{handle[:16]}… is not what its event says", "Send it again.")
    resealer = Resealer(item.data_key, facts, handle=handle, region=place.rules().region)
    try:
        if item.sealed is not None:
            sealed = b"".join(resealer.pieces((item.sealed,)))
            return replace(item, facts=resealer.facts, data_key=resealer.data_key, sealed=sealed)
        _replace(place, handle, resealer)
    except Unverifiable as error:
        fix = "Scrub the site that is left; what it has lost cannot be moved."
        raise InvalidInput("batch", str(error), fix) from error
    return replace(item, facts=resealer.facts, data_key=resealer.data_key)


def _replace(place: Place, handle: str, resealer: Resealer) -> None:
    incoming = Incoming(place.vault, handle)
    try:
        for piece in resealer.pieces(place.vault.stream(handle)):
            incoming.write(piece)
        incoming.keep()
    finally:
        incoming.discard()
