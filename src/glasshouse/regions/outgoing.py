"""What this site's own journal has for its peers: read back from the database and the vault, as it was taken.

In good order the committer hands every event over in memory. This is for what was not acknowledged when the process
ended, or while a peer was away: the same events, keys and objects, and the same signatures, since Ed25519 has one.
"""

from glasshouse_verify.codec import Text

from glasshouse.regions.batch import MAX_EVENTS, MAX_RIDER_BYTES, MAX_RIDING_BYTES, Item
from glasshouse.regions.errors import KeysUnavailable
from glasshouse.regions.journal import QUERIES, Event, Kind, parse_body
from glasshouse.regions.placing import Place
from glasshouse.regions.receipts import Facts, facts_of_row, named
from glasshouse.regions.wrapping import Wrapping

_COLUMNS = (
    "position",
    "kind",
    "number",
    "handle",
    "body",
    "digest",
    "chain",
    "state",
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
    "wrapped_by",
    "custodian",
    "wrapped",
    "transfer_by",
    "transfer",
    "signatures",
)


def read_events(place: Place, site: str, after: int, limit: int) -> list[tuple[Event, Facts | None, dict[str, object]]]:
    """Events of a journal with what is known of their objects, and the row they were read from."""
    with place.database.transaction() as connection:
        query = {"site": site, "after": after, "limit": limit}
        rows = [named(_COLUMNS, row) for row in connection.execute(QUERIES["events"], query).fetchall()]
    return [(*_event(site, row), row) for row in rows]


def read_items(place: Place, after: int, before: int) -> list[Item]:
    """What follows in this site's own journal on position `after`, below `before`, as much as one batch holds.

    Raises KeysUnavailable for an object whose data key this site cannot open by itself any more, ObjectMissing for one
    that the vault has lost.
    """
    site = place.rules().site
    items, riding = [], 0
    for event, facts, row in read_events(place, site, after, min(MAX_EVENTS, before - after - 1)):
        sealed = None
        if facts is not None:
            if facts.sealed_size <= MAX_RIDER_BYTES:
                if riding and riding + facts.sealed_size > MAX_RIDING_BYTES:
                    break
                sealed = b"".join(place.vault.stream(event.handle or ""))
                riding += len(sealed)
            items.append(_held_item(place, event, facts, row, sealed))
        else:
            items.append(Item(event=event))
    return items


def chain_at(place: Place, position: int) -> bytes | None:
    """The chain of this site's own journal at a position; None beyond its end."""
    if position == 0:
        return bytes(32)
    with place.database.transaction() as connection:
        query = {"site": place.rules().site, "position": position}
        row = connection.execute(QUERIES["chain_at"], query).fetchone()
    return row[0] if row is not None and isinstance(row[0], bytes) else None


def _event(site: str, row: dict[str, object]) -> tuple[Event, Facts | None]:
    kind = Kind(str(row["kind"]))
    position, digest, handle = row["position"], row["digest"], row["handle"]
    if not isinstance(position, int) or not isinstance(digest, bytes):
        raise TypeError("the database holds something else than an event")
    number = row["number"] if isinstance(row["number"], int) else None
    name = handle.hex() if isinstance(handle, bytes) else None
    facts = facts_of_row(row) if kind == Kind.STORED and row["state"] == "held" else None
    body = facts.body() if facts else parse_body(row["body"]) if isinstance(row["body"], bytes) else None
    event = Event(site=site, position=position, kind=kind, handle=name, number=number, body=body, digest=digest)
    return event, facts


def _held_item(place: Place, event: Event, facts: Facts, row: dict[str, object], sealed: bytes | None) -> Item:
    site, handle = place.rules().site, event.handle or ""
    receipt, signature = place.sign_receipt(facts, site=site, number=event.number or 0, handle=handle)
    return Item(
        event=event,
        facts=facts,
        data_key=_data_key(place, handle, row),
        signature=signature,
        receipt=receipt,
        sealed=sealed,
    )


def _data_key(place: Place, handle: str, row: dict[str, object]) -> bytes:
    by, blob = row["transfer_by"], row["transfer"]
    if blob is None and row["custodian"] is None:
        by, blob = row["wrapped_by"], row["wrapped"]
    if not isinstance(blob, bytes):
        raise KeysUnavailable(
            f"the data key of {handle[:16]}… opens with the custodian only; have it unwrapped as a job"
        )
    wrapping = Wrapping(key_id=Text(str(by)), blob=blob)
    return place.transfer_wrapper().unwrap(wrapping, handle=handle, region=place.rules().region)
