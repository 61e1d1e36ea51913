"""Objects that each site of a region has sealed for itself (resealing.py): how one that has lost its copy gets another.

The site that is asked opens its data key, in dual custody with the custodian, for the job `repair`, which is counted.
The one that asks opens the object, compares its content with the receipt's digest, and seals it under a key of its own:
ciphertexts stay different, and no site learns which key another one uses.
"""

from collections.abc import Iterator
from typing import Protocol

from glasshouse_verify.codec import Digest, Identifier

from glasshouse.regions.custody_request import Item, Reason
from glasshouse.regions.errors import InvalidInput, KeysUnavailable, Unverifiable
from glasshouse.regions.jobs import REPAIR
from glasshouse.regions.journal import FENCES
from glasshouse.regions.keeping.looking import wrapping_of
from glasshouse.regions.placing import Place
from glasshouse.regions.receipts import Facts, facts_of_row, named
from glasshouse.regions.resealing import Resealer
from glasshouse.regions.vault import Incoming
from glasshouse.storage.errors import ObjectMissing

_COLUMNS = (
    *("customer", "country", "customer_key", "sha256", "size", "category", "retention", "epoch", "charter", "party"),
    *("salt", "taken", "sealed_sha256", "sealed_size"),
)


class Gives(Protocol):
    """Another site, as it is asked: `peers.PeerClient`."""

    def opened(self, handle: str) -> tuple[bytes, Iterator[bytes]]:
        """Data key and ciphertext of an object. Raises ObjectMissing, PeerUnavailable."""

    def close(self) -> None:
        """Close the connection; the next call opens it again."""


def is_resealed(place: Place, handle: str) -> bool:
    """Whether each site has sealed this object for itself."""
    with place.database.transaction() as connection:
        return connection.execute(FENCES["is_resealed"], {"handle": bytes.fromhex(handle)}).fetchone() is not None


def data_key(place: Place, handle: str) -> bytes:
    """The data key of such an object, for another site. Raises InvalidInput for any other object.

    Raises CustodyRefused, CustodyUnavailable, KeyDestroyed, KeysUnavailable, WrappingBroken.
    """
    if not is_resealed(place, handle):
        fix = "Ask for the object alone: it is the same at every site."
        raise InvalidInput("handle", f"{handle[:16]}… did not come from a site that was left", fix)
    wrapping, region, opened = wrapping_of(place, handle), place.rules().region, None
    if wrapping.custodian is not None:
        custodian = place.custodian()
        if custodian is None:
            raise KeysUnavailable(f"the data key of {handle[:16]}… opens with the custodian only")
        item = Item(handle=Digest(handle), blob=wrapping.blob)
        (opened,) = custodian.unwrap([item], Reason(job=Identifier(REPAIR)))
    return place.wrapper().unwrap(wrapping, handle=handle, region=region, opened=opened)


def fetch_anew(place: Place, client: Gives, handle: str) -> None:
    """Put such an object into the vault, sealed anew; its row has the new ciphertext's digest and wrapped key.

    Raises ObjectMissing, PeerUnavailable, StorageError, Unverifiable. What a crash leaves in between is found again by
    the next scrub, as altered.
    """
    facts = _facts(place, handle)
    key, pieces = client.opened(handle)
    region, incoming = place.rules().region, Incoming(place.vault, handle)
    resealer = Resealer(key, facts, handle=handle, region=region)
    try:
        for piece in resealer.pieces(pieces):
            incoming.write(piece)
        wrapping = place.wrapper().group()(resealer.data_key, handle, region)
        incoming.keep()
    except BaseException:
        # What is left of the answer must not be taken for the next one.
        client.close()
        raise
    finally:
        incoming.discard()
    now = resealer.facts
    with place.database.transaction() as connection:
        row = {
            "handle": bytes.fromhex(handle),
            "sealed_sha256": bytes.fromhex(now.sealed_sha256),
            "sealed_size": now.sealed_size,
            "wrapped_by": wrapping.key_id,
            "custodian": None if wrapping.custodian is None else bytes.fromhex(wrapping.custodian),
            "wrapped": wrapping.blob,
        }
        if connection.execute(FENCES["seal_again"], row).rowcount != 1:
            raise Unverifiable(f"{handle[:16]}… was removed while it was repaired, or its key given up")


def _facts(place: Place, handle: str) -> Facts:
    with place.database.transaction() as connection:
        row = connection.execute(FENCES["resealed_facts"], {"handle": bytes.fromhex(handle)}).fetchone()
    if row is None:
        raise ObjectMissing(handle)
    return facts_of_row(named(_COLUMNS, row))
