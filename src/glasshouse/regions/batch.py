"""What one site sends another: a batch of its journal's events, with the objects and data keys that belong to them.

    length of the head (4 bytes, big-endian) ‖ head ‖ the sealed objects that ride along, in the order of their events

    {"after":2076,"chain":"…","events":[
        {"event":"{\"category\":\"suspicious\",…}","key":"<base64 data key>","rides":4215,"signature":"<base64>"},
        {"event":"{…,\"kind\":\"removed\",\"position\":2078,…}"}],
     "keyid":"…","region":"au","site":"zurich-1"}

`event` is the event's canonical JSON, of which the journal keeps the digest. `rides` is the size in bytes of the
object's ciphertext in this batch; where it is missing the peer has been sent the object before. A `stored` event whose
object was erased since is `gone`: {"digest","handle","number","position"}. Specification: docs/spec/peer-http.md.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import NoneType

from glasshouse_verify.codec import Digest, Identifier, Json, decode, encode, expect
from glasshouse_verify.encoding import JSON, decode_base64, encode_base64, format_json, parse_json
from glasshouse_verify.errors import FormatError

from glasshouse.regions.errors import JournalConflict
from glasshouse.regions.journal import Event, Kind
from glasshouse.regions.receipts import ENTRY_BYTES, SIGNATURE_BYTES, Facts, parse_stored

MAX_EVENTS = 512
MAX_HEAD_BYTES = 4 << 20
MAX_RIDING_BYTES = 16 << 20
# An object as long as this goes by itself before its event, so that a batch stays small in memory.
MAX_RIDER_BYTES = (1 << 20) + (1 << 16)
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_HELD = frozenset(("event", "key", "signature"))
_HELD_OR_RIDING = _HELD | {"rides"}
MAX_BATCH_BYTES = 4 + MAX_HEAD_BYTES + MAX_RIDING_BYTES + 2 * MAX_RIDER_BYTES


@dataclass(frozen=True, kw_only=True)
class Item:
    """An event and, for an object that is held, what the peer needs to hold it too.

    `signature` is the taker's over `receipt`, the payload; `sealed` the ciphertext, if it rides along. From a site that
    is left come the `signatures` of the receipt as it was given, as a row keeps them, in place of a signature of now.
    """

    event: Event
    facts: Facts | None = None
    data_key: bytes | None = None
    signature: bytes | None = None
    receipt: bytes | None = None
    sealed: bytes | None = None
    signatures: bytes | None = None


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Events of one site's journal that follow on position `after`, where the chain is `chain`.

    `keyid` names the key of the signatures, raw.
    """

    region: str
    site: str
    after: int
    chain: bytes
    keyid: bytes
    items: tuple[Item, ...]


@dataclass(frozen=True, kw_only=True)
class _Gone:
    digest: Digest
    handle: Digest
    number: int
    position: int


@dataclass(frozen=True, kw_only=True)
class _Event:
    event: str | None = None
    gone: _Gone | None = None
    key: bytes | None = None
    rides: int | None = None
    signature: bytes | None = None
    signatures: bytes | None = None


@dataclass(frozen=True, kw_only=True)
class _Head:
    after: int
    chain: Digest
    events: Json
    keyid: Digest
    region: Identifier
    site: Identifier


def format_batch(batch: Batch) -> list[bytes]:
    """The pieces of the request's body."""
    events: list[JSON] = []
    for item in batch.items:
        event = item.event
        value: dict[str, JSON] = {}
        if event.body is None:
            value["gone"] = {
                "digest": event.digest.hex(),
                "handle": event.handle,
                "number": event.number,
                "position": event.position,
            }
        else:
            value["event"] = event_text(event).decode()
        if item.data_key is not None:
            value["key"] = encode_base64(item.data_key)
        if item.sealed is not None:
            value["rides"] = len(item.sealed)
        if item.signature is not None:
            value["signature"] = encode_base64(item.signature)
        if item.signatures is not None:
            value["signatures"] = encode_base64(item.signatures)
        events.append(value)
    # Canonical, since the members stand in order, and the events' own texts are.
    head = _ENCODER.encode(
        {
            "after": batch.after,
            "chain": batch.chain.hex(),
            "events": events,
            "keyid": batch.keyid.hex(),
            "region": batch.region,
            "site": batch.site,
        }
    ).encode()
    riders = [item.sealed for item in batch.items if item.sealed is not None]
    return [len(head).to_bytes(4, "big"), head, *riders]


def parse_batch(data: bytes) -> Batch:
    """Read what `format_batch` wrote; digests of events are computed anew. Raises FormatError."""
    end = 4 + int.from_bytes(data[:4], "big")
    head: _Head = decode(_Head, _parse_head(data[4:end]), "batch")
    events = expect(list, head.events, "batch.events")
    if len(events) > MAX_EVENTS:
        raise FormatError("batch.events", f"{len(events)}, more than {MAX_EVENTS}")
    items, at = [], end
    for place, value in enumerate(events, start=head.after + 1):
        item = _stored(value, data, at) or _item(head.site, value, data, at)
        at += len(item.sealed or b"")
        if (item.event.site, item.event.position) != (head.site, place):
            raise FormatError("batch.events", f"position {item.event.position} where {place} follows")
        items.append(item)
    if at != len(data):
        raise FormatError("batch", "bytes follow the last object")
    return Batch(
        region=head.region,
        site=head.site,
        after=head.after,
        chain=bytes.fromhex(head.chain),
        keyid=bytes.fromhex(head.keyid),
        items=tuple(items),
    )


def event_text(event: Event) -> bytes:
    """The canonical JSON of an event that has a body."""
    if event.text is not None:
        return event.text
    return event_again(event).text or b""


def event_again(event: Event) -> Event:
    """The event made anew from its members, with its text. Raises JournalConflict where its digest is another."""
    made = Event.make(event.site, event.position, event.kind, event.handle, event.number, event.body or {})
    if made.digest != event.digest:
        raise conflict(event.site, f"event {event.position} is not what was written")
    return made


def _parse_head(data: bytes) -> object:
    """JSON of any spelling: what the journal keeps of it are the events' own texts, which are canonical."""
    if len(data) > MAX_HEAD_BYTES:
        raise FormatError("batch", f"a head of more than {MAX_HEAD_BYTES} bytes")
    try:
        value: object = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise FormatError("batch", f"no JSON: {error}") from None
    return value


def _riding(rides: int | None, data: bytes, at: int) -> bytes | None:
    """The object that rides along, from this place of the batch on."""
    if rides is None:
        return None
    if rides < 1 or at + rides > len(data):
        raise FormatError("batch.events.rides", "the batch ends before the object that rides along")
    return data[at : at + rides]


def _stored(value: object, data: bytes, at: int) -> Item | None:
    """What `_item` makes of an object that is held, in a fraction of the time; None for anything else."""
    if not isinstance(value, dict) or not _HELD <= value.keys() <= _HELD_OR_RIDING:
        return None
    text, key, signature, rides = value["event"], value["key"], value["signature"], value.get("rides")
    if not (type(text) is type(key) is type(signature) is str) or type(rides) not in (int, NoneType):
        return None
    found = parse_stored(text)
    if found is None:
        return None
    return Item(
        event=found[0],
        facts=found[1],
        data_key=decode_base64(key, "batch.events.key"),
        signature=decode_base64(signature, "batch.events.signature", SIGNATURE_BYTES),
        sealed=_riding(rides, data, at),
    )


def _item(site: str, value: object, data: bytes, at: int) -> Item:
    entry: _Event = decode(_Event, value, "batch.events")
    sealed = _riding(entry.rides, data, at)
    if entry.gone is not None:
        gone = entry.gone
        event = Event(
            site=site,
            position=gone.position,
            kind=Kind.STORED,
            handle=gone.handle,
            number=gone.number,
            body=None,
            digest=bytes.fromhex(gone.digest),
        )
        if sealed is not None:
            raise FormatError("batch.events.gone", "an object rides along")
        return Item(event=event)
    if entry.event is None:
        raise FormatError("batch.events.event", "is missing")
    event = Event.parse(entry.event.encode())
    if event.kind != Kind.STORED:
        return Item(event=event, sealed=sealed)
    signature, signatures = entry.signature, entry.signatures
    if entry.key is None or event.handle is None or event.number is None or (signature is None) == (signatures is None):
        raise FormatError("batch.events", "an object comes without handle, number, key or signature")
    if len(signature or bytes(SIGNATURE_BYTES)) != SIGNATURE_BYTES or len(signatures or b"") % ENTRY_BYTES:
        raise FormatError("batch.events.signature", "is none")
    facts: Facts = decode(Facts, event.body, "batch.events.event")
    return Item(event=event, facts=facts, data_key=entry.key, signature=signature, sealed=sealed, signatures=signatures)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A peer's answer to a batch: how far its replica is, its signatures over the receipts, by position, with its key.

    `missing` are handles of objects that it needs first; then nothing was added.
    """

    position: int
    chain: Digest
    keyid: Digest
    signatures: Mapping[str, bytes]
    missing: tuple[Digest, ...]


def format_answer(answer: Answer) -> bytes:
    """Write an answer as canonical JSON."""
    return format_json(encode(answer))


def parse_answer(data: bytes) -> Answer:
    """Read an answer; raises FormatError."""
    answer: Answer = decode(Answer, parse_json(data, "answer", MAX_HEAD_BYTES), "answer")
    return answer


def split(items: Sequence[Item]) -> int:
    """How many of the items fit into one batch; at least one of them."""
    riding = 0
    for count, item in enumerate(items):
        riding += len(item.sealed or b"")
        if count and (count == MAX_EVENTS or riding > MAX_RIDING_BYTES):
            return count
    return len(items)


def conflict(site: str, text: str) -> JournalConflict:
    """The error for a replica that contradicts its journal."""
    return JournalConflict(f"the journal of {site}: {text}; one of the sites was rolled back, or lies")
