"""Sweeping: makes the vault agree with the database after a crash.

The database is what counts. An object without a row was being taken when a process ended, or was erased; it is removed.
An object that is held and missing from the vault was lost by the disk; it is fetched from a peer, and compared with the
digest in the database before it counts again.
"""

import logging
from collections.abc import Callable, Iterator
from itertools import islice

from glasshouse.regions.errors import Unverifiable
from glasshouse.regions.journal import QUERIES
from glasshouse.regions.mending import fetch_anew, is_resealed
from glasshouse.regions.peers import PeerClient
from glasshouse.regions.placing import Place
from glasshouse.regions.vault import Incoming

_LOG = logging.getLogger(__name__)
_BATCH = 1000


def sweep(place: Place) -> int:
    """Remove every object of the vault that has no row as held; how many there were.

    Only while nothing is being taken here. Objects that a peer has sent ahead of their events go too: it sends them
    again. Raises StorageError.
    """
    removed = 0
    handles = place.vault.handles()
    while some := list(islice(handles, _BATCH)):
        with place.database.transaction() as connection:
            query = {"handles": [bytes.fromhex(handle) for handle in some]}
            rows = connection.execute(QUERIES["held_handles"], query).fetchall()
        held = {bytes(row[0]).hex() for row in rows if isinstance(row[0], bytes)}
        for handle in some:
            if handle not in held:
                place.vault.delete(handle)
                removed += 1
    if removed:
        _LOG.info("%d objects without a row were removed from the vault", removed)
    return removed


def held_objects(place: Place) -> Iterator[tuple[str, str, int]]:
    """Handle, digest and size in bytes of the ciphertext of every object held here, by handle."""
    after = b""
    while True:
        with place.database.transaction() as connection:
            query = {"after": after, "limit": _BATCH}
            rows = connection.execute(QUERIES["held_after"], query).fetchall()
        if not rows:
            return
        for handle, digest, size in rows:
            if isinstance(handle, bytes) and isinstance(digest, bytes) and isinstance(size, int):
                after = handle
                yield handle.hex(), digest.hex(), size


def restore(place: Place, client: PeerClient, *, found: Callable[[str], object] = len) -> int:
    """Fetch from a peer every object that is held here and missing in the vault; how many there were.

    `found` is told the handle of each. Raises ObjectMissing, PeerUnavailable, StorageError, and Unverifiable for an
    object that the peer has with other bytes.
    """
    restored = 0
    for handle, digest, size in held_objects(place):
        if place.vault.size(handle) != size:
            fetch(place, client, handle, digest)
            found(handle)
            restored += 1
    return restored


def fetch(place: Place, client: PeerClient, handle: str, sha256: str) -> None:
    """Put an object into the vault as a peer has it, if that is what it should be. Raises as `restore`.

    One that each site has sealed for itself is sealed anew instead: `mending.fetch_anew`.
    """
    if is_resealed(place, handle):
        fetch_anew(place, client, handle)
        return
    incoming = Incoming(place.vault, handle)
    try:
        for piece in client.get(handle):
            incoming.write(piece)
        if incoming.sha256 != sha256:
            raise Unverifiable(f"{client.site} has {handle[:16]}… with other bytes than were sealed")
        incoming.keep()
    finally:
        incoming.discard()
