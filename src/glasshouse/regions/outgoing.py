"""What this site's own journal has for its peers: read back from the database and the vault, as it was taken.

In good order the committer hands every event over in memory. This is for what was not acknowledged when the process
ended, or while a peer was away: the same events, keys and objects, and the same signatures, since Ed25519 has one.
"""

from collections.abc import Sequence

from glasshouse_verify.codec import Text
from glasshouse_verify.dsse import pae

from glasshouse.regions.batch import MAX_EVENTS, MAX_RIDER_BYTES, MAX_RIDING_BYTES, Item
from glasshouse.regions.journal import QUERIES, Event, Kind, parse_body
from glasshouse.regions.placing import Place, SiteRules, State
from glasshouse.regions.receipts import Facts, facts_of_row, named, statement
from glasshouse.regions.unwrapping import Unwrapping
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


def read_items(place: Place, after: int, before: int, unwrapping: Unwrapping | None = None) -> list[Item]:
    """What follows in this site's own journal on position `after`, below `before`, as much as one batch holds.

    A data key that this site cannot open by itself any more is opened by `unwrapping`. Raises what that raises, and
    ObjectMissing for an object that the vault has lost.
    """
    rules = place.rules()
    found, riding = [], 0
    for event, facts, row in read_events(place, rules.site, after, min(MAX_EVENTS, before - after - 1)):
        if facts is not None and facts.sealed_size <= MAX_RIDER_BYTES:
            if riding and riding + facts.sealed_size > MAX_RIDING_BYTES:
                break
            riding += facts.sealed_size
        found.append((event, facts, row))
    keys = _data_keys(place, [(event, row) for event, facts, row in found if facts is not None], unwrapping)
    return [
        Item(event=event) if facts is None else _held_item(place, rules, event, facts, row, keys[event.handle or ""])
        for event, facts, row in found
    ]


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


def _held_item(
    place: Place, rules: SiteRules, event: Event, facts: Facts, row: dict[str, object], data_key: bytes
) -> Item:
    handle, signature, signatures = event.handle or "", None, None
    receipt = statement(facts, region=rules.region, site=rules.site, number=event.number or 0, handle=handle)
    if rules.state in (State.LEAVING, State.LEFT):
        # What was signed then, perhaps by a key that does not count any more.
        signatures = row["signatures"] if isinstance(row["signatures"], bytes) else b""
    else:
        signature = place.signer.sign(pae(receipt))
    small = facts.sealed_size <= MAX_RIDER_BYTES
    return Item(
        event=event,
        facts=facts,
        data_key=data_key,
        signature=signature,
        signatures=signatures,
        receipt=receipt,
        sealed=b"".join(place.vault.stream(handle)) if small else None,
    )


def _data_keys(
    place: Place, rows: Sequence[tuple[Event, dict[str, object]]], unwrapping: Unwrapping | None
) -> dict[str, bytes]:
    region, wrapper = place.rules().region, place.transfer_wrapper()
    keys, closed = {}, {}
    for event, row in rows:
        handle, by, blob = event.handle or "", row["transfer_by"], row["transfer"]
        if blob is None and row["custodian"] is None:
            by, blob = row["wrapped_by"], row["wrapped"]
        if isinstance(blob, bytes):
            keys[handle] = wrapper.unwrap(Wrapping(key_id=Text(str(by)), blob=blob), handle=handle, region=region)
        else:
            closed[handle] = row
    return keys | (unwrapping or Unwrapping(place)).open(closed)
