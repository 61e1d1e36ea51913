"""Journals: what happened at each site, in order, without a gap, and a replica of that at every other site.

An event is canonical JSON; its digest is the SHA-256 of that, and each event extends its journal's chain:

    {"category":"suspicious",…,"handle":"9f2c…","kind":"stored","number":1042,"position":2077,"site":"zurich-1"}
    chain = SHA-256(chain before ‖ digest)          32 zero bytes before the first

So two sites that agree on position and chain agree on everything before. `stored` carries what the receipt says and the
sealed object's digest and size; the other kinds carry what their owners put into them:

    stored     an object was taken; the only kind with a receipt number
    removed    {"reason","time",…}: the object is gone, at every site; a tombstone takes its place
    held       a legal hold begins      released   it ends
    epoch      {"epoch":n,"cut":{site: position}}: inventory n is closed; receipts name n + 1 from here on
    counters   {"received":…,"refused":…}: uploads at this site since it began
    rekeyed    {"covers":{site: position},"destroyed":[…],"time":…}: key epochs of this site are gone (erasing.py)
    damaged    {"found":"altered","from":"zurich-2","outcome":"repaired",…}: a scrub found an object wanting (scrub.py)
    fenced     {"relocation":"au-2026","time_ms":…}: the region has moved, and this site takes nothing more (fences.py)

What an event does to the tables happens in the transaction that adds it, by the appliers of its kind, at the site
itself and at its peers alike. Specification: docs/spec/journal.md.
"""

import hashlib
import itertools
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

import psycopg
from glasshouse_verify.codec import Digest, Identifier, decode
from glasshouse_verify.encoding import JSON, format_json, parse_json
from glasshouse_verify.errors import FormatError

from glasshouse.regions.errors import JournalConflict
from glasshouse.storage.db import Database, Row, load_migrations, load_queries, migrate

QUERIES = load_queries(__package__)
FENCES = load_queries(__package__, "fences.sql")
START = bytes(32)
MAX_BODY_BYTES = 1 << 20

Kind = StrEnum("Kind", "STORED REMOVED HELD RELEASED EPOCH COUNTERS REKEYED DAMAGED FENCED")


@dataclass(frozen=True, kw_only=True)
class Head:
    """How far a journal is: last position, last receipt number, chain; uploads received and refused since it began."""

    position: int
    number: int
    chain: bytes
    received: int
    refused: int


@dataclass(frozen=True, kw_only=True)
class Note:
    """What is to become an event of this site's journal: any kind but `stored`, which only uploads lead to.

    `handle` names the object of `removed`, `held` and `released`. `body` must not use the names of an event's own
    members: handle, kind, number, position, site.
    """

    kind: Kind
    handle: str | None = None
    body: Mapping[str, JSON] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Event:
    """One event. `body` holds its kind's members; it is None for `stored` once the object was erased.

    `text` is the canonical JSON that the digest is of, where it is at hand.
    """

    site: str
    position: int
    kind: Kind
    handle: str | None = None
    number: int | None = None
    body: Mapping[str, JSON] | None
    digest: bytes
    text: bytes | None = field(default=None, compare=False, repr=False)

    @classmethod
    def make(
        cls, site: str, position: int, kind: Kind, handle: str | None, number: int | None, body: Mapping[str, JSON]
    ) -> "Event":
        """An event with its digest. Raises FormatError for a body without canonical JSON."""
        own: dict[str, JSON] = {"kind": kind.value, "position": position, "site": site}
        if handle is not None:
            own["handle"] = handle
        if number is not None:
            own["number"] = number
        text = format_json({**body, **own})
        return cls(
            site=site,
            position=position,
            kind=kind,
            handle=handle,
            number=number,
            body=body,
            digest=hashlib.sha256(text).digest(),
            text=text,
        )

    @classmethod
    def parse(cls, text: bytes) -> "Event":
        """An event from its canonical JSON. Raises FormatError."""
        value = parse_json(text, "event", MAX_BODY_BYTES)
        if not isinstance(value, dict):
            raise FormatError("event", "is not an object")
        body = dict(value)
        own: _Own = decode(_Own, {name: body.pop(name) for name in _OWN if name in body}, "event")
        digest = hashlib.sha256(text).digest()
        return cls(**own.__dict__, body=body, digest=digest, text=text)


@dataclass(frozen=True, kw_only=True)
class _Own:
    """The members that every event has."""

    site: Identifier
    position: int
    kind: Kind
    handle: Digest | None = None
    number: int | None = None


_OWN = ("site", "position", "kind", "handle", "number")
Applier = Callable[["psycopg.Connection[Row]", Sequence[Event], bool], None]
"""Applies events of one kind, in order, inside the transaction that adds them; the flag: in this site's own journal."""


def extended(chain: bytes, event: Event) -> bytes:
    """The chain after an event."""
    return hashlib.sha256(chain + event.digest).digest()


def update_schema(database: Database) -> None:
    """Bring the schema up to date."""
    migrate(database, "regions", load_migrations(__package__))


def prepare(database: Database, *, region: str, site: str, peers: Iterable[str]) -> None:
    """Bring the schema up to date and make the database this site's. Raises JournalConflict if it is another's."""
    update_schema(database)
    peers = sorted(peers)
    with database.transaction() as connection:
        connection.execute(QUERIES["claim_site"], {"region": region, "site": site})
        row = connection.execute(QUERIES["site"]).fetchone()
        if row is None or row[:2] != (region, site):
            found = "nobody" if row is None else f"the site {row[1]} of the region {row[0]}"
            raise JournalConflict(f"the database belongs to {found}, not to the site {site} of the region {region}")
        _open(connection, [site, *peers], peers)


def open_journals(database: Database, sites: Iterable[str], peers: Iterable[str]) -> None:
    """Keep replicas of these sites' journals too, and how far each peer has this site's own."""
    with database.transaction() as connection:
        _open(connection, sorted(sites), sorted(peers))


def _open(connection: "psycopg.Connection[Row]", sites: Sequence[str], peers: Sequence[str]) -> None:
    connection.execute(QUERIES["open_journals"], {"sites": list(sites)})
    connection.execute(QUERIES["open_peers"], {"peers": list(peers)})


def heads(database: Database) -> dict[str, Head]:
    """Every journal kept here, by its site: the cut of this moment."""
    with database.transaction() as connection:
        return read_heads(connection)


def read_heads(connection: "psycopg.Connection[Row]") -> dict[str, Head]:
    """As `heads`, in the caller's transaction."""
    found = {}
    for site, position, number, chain, received, refused in connection.execute(QUERIES["journals"]).fetchall():
        found[str(site)] = Head(
            position=_int(position),
            number=_int(number),
            chain=_bytes(chain),
            received=_int(received),
            refused=_int(refused),
        )
    return found


def add_rows(connection: "psycopg.Connection[Row]", site: str, chain: bytes, events: Sequence[Event]) -> bytes:
    """Add events to a journal, in the caller's transaction; the chain after them. The database refuses a gap.

    What they do to the tables is done by `apply`, after the caller has added the objects of `stored`.
    """
    chains = []
    for event in events:
        chain = extended(chain, event)
        chains.append(chain)
    connection.execute(
        QUERIES["add_events"],
        {
            "site": site,
            "positions": [event.position for event in events],
            "kinds": [event.kind.value for event in events],
            "numbers": [event.number for event in events],
            "handles": [None if event.handle is None else bytes.fromhex(event.handle) for event in events],
            "bodies": [
                None if event.kind == Kind.STORED or event.body is None else format_json(dict(event.body))
                for event in events
            ],
            "digests": [event.digest for event in events],
            "chains": chains,
        },
    )
    return chain


def apply(
    connection: "psycopg.Connection[Row]", events: Sequence[Event], appliers: Mapping[Kind, Applier], *, own: bool
) -> None:
    """Have the appliers of their kinds apply events in the transaction that added them, in order."""
    for kind, run in itertools.groupby(events, key=lambda event: event.kind):
        if kind in appliers:
            appliers[kind](connection, list(run), own)


def parse_body(data: bytes) -> dict[str, JSON]:
    """The body of an event as it is kept. Raises FormatError."""
    value = parse_json(data, "event", MAX_BODY_BYTES)
    if not isinstance(value, dict):
        raise JournalConflict("an event in the database has no object for its body")
    return value


# --- what the kinds do ------------------------------------------------------------------------------------------------


def _handles(events: Sequence[Event]) -> list[bytes]:
    return [bytes.fromhex(event.handle) for event in events if event.handle is not None]


def apply_removed(connection: "psycopg.Connection[Row]", events: Sequence[Event], _own: bool) -> None:
    """The objects are gone: their keys, digests and signatures are wiped; the vault follows (see sweeping)."""
    connection.execute(QUERIES["remove_objects"], {"handles": _handles(events)})


def apply_holds(connection: "psycopg.Connection[Row]", events: Sequence[Event], _own: bool) -> None:
    """A legal hold begins or ends."""
    on_hold = events[0].kind == Kind.HELD
    connection.execute(QUERIES["hold_objects"], {"handles": _handles(events), "on_hold": on_hold})


def apply_epoch(connection: "psycopg.Connection[Row]", events: Sequence[Event], own: bool) -> None:
    """Receipts of this site name the next inventory."""
    if own:
        connection.execute(QUERIES["set_epoch"], {"epoch": _int((events[-1].body or {}).get("epoch")) + 1})


def apply_counters(connection: "psycopg.Connection[Row]", events: Sequence[Event], own: bool) -> None:
    """A peer's counts; this site's own are counted as they happen."""
    if not own:
        body = events[-1].body or {}
        counts = {"received": _int(body.get("received")), "refused": _int(body.get("refused"))}
        connection.execute(QUERIES["set_counts"], {"site": events[-1].site, **counts})


def apply_fenced(connection: "psycopg.Connection[Row]", events: Sequence[Event], own: bool) -> None:
    """The move is fenced. Receipts of those that take over name the inventory after the old site's last."""
    for event in events:
        body = event.body or {}
        connection.execute(
            FENCES["add_fence"],
            {
                "relocation": str(body.get("relocation")),
                "site": event.site,
                "position": event.position,
                "fenced_ms": _int(body.get("time_ms")),
                "opened_ms": None if own else int(time.time() * 1000),
            },
        )
        if not own:
            connection.execute(FENCES["skip_epoch"], {"site": event.site, "position": event.position})


APPLIERS: Mapping[Kind, Applier] = MappingProxyType(
    {
        Kind.REMOVED: apply_removed,
        Kind.HELD: apply_holds,
        Kind.RELEASED: apply_holds,
        Kind.EPOCH: apply_epoch,
        Kind.COUNTERS: apply_counters,
        Kind.FENCED: apply_fenced,
    }
)
"""What the kinds do of themselves; whoever opens a site may add to it."""


def _int(value: object) -> int:
    if not isinstance(value, int):
        raise JournalConflict(f"{type(value).__name__} stands where a number was expected")
    return value


def _bytes(value: object) -> bytes:
    if not isinstance(value, bytes):
        raise JournalConflict(f"{type(value).__name__} stands where bytes were expected")
    return value
