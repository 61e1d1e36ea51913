"""Erasure as the journals have it: what is gone, and from when on nothing can bring it back.

    removed    {"commitment":"9239…","reason":"retention","residue_until":1834128000,"time":1831536000}
               "request" beside customer; the commitment, because nobody can compute it once the salt is gone
    rekeyed    {"covers":{"zurich-1":2077,"zurich-2":1803},"destroyed":["wrap-1"],"time":1833000000}
               {"covers":{},"destroyed":[],"ended":"moscow","statement":"5f1c…","time":1833000000}, of a site left

`removed` wipes the object's wrapped data key, at every site, in the transaction that adds the event; the ciphertext
goes once every site has the event. Copies of the wrapped key may remain in backups and logs until the key epochs that
wrapped it are destroyed: a site says so by `rekeyed`, for every object whose removal stands at or below the positions
in `covers`. An object is irrecoverable once all sites of the region have said so. A site that the region has left
says nothing any more: those that took over say it once, when its erasure is in the ledger; then it has no key at all.

Whoever reads the journals up to the same cut comes to the same tombstones. Specification: docs/spec/journal.md.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from glasshouse_verify.codec import Digest, decode
from glasshouse_verify.encoding import JSON, encode_base64
from glasshouse_verify.receipt import Reason, Tombstone

from glasshouse.regions.errors import JournalConflict
from glasshouse.regions.journal import Event, Kind, Note
from glasshouse.regions.placing import SiteRules

# So long copies may be readable in backups and logs; within that time a site begins a new key epoch.
RESIDUE_SECONDS = 30 * 86_400


@dataclass(frozen=True, kw_only=True)
class _Removed:
    commitment: Digest
    reason: Reason
    time: int
    residue_until: int | None = None
    request: bytes | None = None


def residue_seconds(rules: SiteRules, now: int) -> int:
    """So long copies may be readable of what is removed now: a site that is left learns of no removal any more."""
    moving = rules.moving
    if moving is None or rules.left is None:
        return RESIDUE_SECONDS
    return RESIDUE_SECONDS + max(0, moving.due - now) + moving.quarantine


def removal(
    handle: str,
    reason: Reason,
    *,
    commitment: str,
    now: int,
    request: bytes | None = None,
    residue: int = RESIDUE_SECONDS,
) -> Note:
    """The event that removes an object at Unix time `now`; `request` is the customer's signature, where it asked.

    `residue` are the seconds for which a backup or a log may still hold what could decrypt it.
    `commitment` is the one of the object's receipt (`inventory_tables.commitments`): inventories of before the removal
    may still have to show it.
    """
    body: dict[str, JSON] = {
        "commitment": commitment,
        "reason": reason.value,
        "time": now,
        "residue_until": now + residue,
    }
    if request is not None:
        body["request"] = encode_base64(request)
    return Note(kind=Kind.REMOVED, handle=handle, body=body)


def rekeying(destroyed: Sequence[str], covers: Mapping[str, int], *, now: int) -> Note:
    """The event that says which key epochs of this site are gone, and which removals they covered."""
    body: dict[str, JSON] = {"destroyed": list(destroyed), "covers": dict(covers), "time": now}
    return Note(kind=Kind.REKEYED, body=body)


def ending(site: str, statement: str, *, now: int) -> Note:
    """The event that says that a site which the region has left has erased everything, as a statement of its says."""
    body: dict[str, JSON] = {"destroyed": [], "covers": {}, "ended": site, "statement": statement, "time": now}
    return Note(kind=Kind.REKEYED, body=body)


class Coverage:
    """Up to where each site has destroyed the keys of what was removed. Fed every `rekeyed` event up to a cut.

    `left` are those of the sites that the region has left: of these alone others may say that they have ended.
    """

    def __init__(self, sites: Iterable[str], events: Iterable[Event] = (), *, left: Iterable[str] = ()) -> None:
        self._covered: dict[str, dict[str, int]] = {site: {} for site in sites}
        self._left, self._ended = frozenset(left), set[str]()
        for event in events:
            self.add(event)

    def add(self, event: Event) -> None:
        """Take in another `rekeyed` event of any of the sites."""
        covers = (event.body or {}).get("covers")
        if event.kind != Kind.REKEYED or not isinstance(covers, dict):
            raise JournalConflict(f"the event {event.position} of {event.site} does not say what it covers")
        ended = (event.body or {}).get("ended")
        if isinstance(ended, str) and ended in self._left:
            self._ended.add(ended)
        mine = self._covered.setdefault(event.site, {})
        for site, position in covers.items():
            if isinstance(position, int):
                mine[site] = max(mine.get(site, 0), position)

    def includes(self, site: str, position: int) -> bool:
        """Whether what was removed by this event of this site is irrecoverable at every site."""
        return all(
            covered.get(site, 0) >= position for name, covered in self._covered.items() if name not in self._ended
        )


def tombstone(event: Event, coverage: Coverage) -> Tombstone:
    """The row that a `removed` event leads to. Raises JournalConflict, FormatError for what is no such event."""
    if event.kind != Kind.REMOVED or event.handle is None or event.body is None:
        raise JournalConflict(f"the event {event.position} of {event.site} removes nothing")
    said: _Removed = decode(_Removed, dict(event.body), "removed")
    return Tombstone(
        key=Digest(event.handle),
        reason=said.reason,
        removed=said.time,
        residue_until=None if coverage.includes(event.site, event.position) else said.residue_until,
        request=said.request,
    )
