"""Scrubbing: every object that is held is read again and compared with the digest that the journal has of it.

One that is altered or missing is fetched from a peer, and takes the bad copy's place only once it has the right digest:
so the last good copy is never touched. What was found, and what came of it, enters the site's journal as `damaged`, and
with it the journal's replica at every peer: a site cannot hide from the others what its disks lose.
"""

import contextlib
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from glasshouse_verify.encoding import JSON

from glasshouse.regions.errors import PeerUnavailable, Unverifiable
from glasshouse.regions.journal import Kind, Note, parse_body
from glasshouse.regions.keeping.wishes import QUERIES, wish
from glasshouse.regions.peers import PeerClient
from glasshouse.regions.placing import Place
from glasshouse.regions.sweeping import fetch, held_objects
from glasshouse.regions.vault import digest_of
from glasshouse.storage.errors import ObjectMissing

_LOG = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Scrubbed:
    """What a scrub has read, and the handles of what it found: repaired, and lost at every site that answered."""

    read: int = 0
    bytes: int = 0
    repaired: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)


def scrub(
    place: Place, peers: Iterable[PeerClient], *, now: Callable[[], float], progress: Callable[[int], object] = abs
) -> Scrubbed:
    """Read every object held here; repair from `peers`, asked in turn. `progress` is told the bytes of each object.

    `now` gives Unix seconds. Raises StorageError where this site's own store refuses.
    """
    clients, result = list(peers), Scrubbed()
    for handle, sha256, size in held_objects(place):
        found = _examine(place, handle, sha256)
        result.read += 1
        result.bytes += size
        progress(size)
        # What was removed while it was read is no damage.
        if found and _is_held(place, handle):
            source = _repair(place, clients, handle, sha256)
            (result.repaired if source else result.lost).append(handle)
            _record(place, handle, found, source, int(now()))
    return result


def _examine(place: Place, handle: str, sha256: str) -> str:
    try:
        return "" if digest_of(place.vault.stream(handle))[0] == sha256 else "altered"
    except ObjectMissing:
        return "missing"


def _is_held(place: Place, handle: str) -> bool:
    with place.database.transaction() as connection:
        return connection.execute(QUERIES["held"], {"handle": bytes.fromhex(handle)}).fetchone() is not None


def _repair(place: Place, clients: list[PeerClient], handle: str, sha256: str) -> str | None:
    """The peer whose copy has taken the place of the bad one; None where no peer has a good one."""
    for client in clients:
        with contextlib.suppress(ObjectMissing, PeerUnavailable, Unverifiable):
            fetch(place, client, handle, sha256)
            return client.site
    return None


def _record(place: Place, handle: str, found: str, source: str | None, now: int) -> None:
    """Say it in the journal; of what is lost only once."""
    body: dict[str, JSON] = {"found": found, "outcome": "repaired" if source else "lost", "time": now}
    if source is not None:
        body["from"] = source
    _LOG.error("%s… was %s: %s", handle[:16], found, f"repaired from {source}" if source else "no site has it whole")
    with place.database.transaction() as connection:
        query = {"handle": bytes.fromhex(handle), "kinds": [Kind.DAMAGED.value]}
        row = connection.execute(QUERIES["last_of"], query).fetchone()
        said = parse_body(row[1]) if row is not None and isinstance(row[1], bytes) else {}
        if source is not None or said.get("outcome") != "lost":
            wish(connection, Note(kind=Kind.DAMAGED, handle=handle, body=body))
