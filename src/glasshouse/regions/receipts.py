"""Receipts of objects: what an object's row says, as the statement that the sites sign.

`statement` writes the same bytes as `glasshouse_verify.statement.make_statement(Use.RECEIPT, …)`, without parsing what
it has just written: both sites make them for every object (a test compares the two). A receipt is signed by the site
that took the object, then by as many others as the charter asks for, and each of them has built the payload itself.

`stored_event` and `parse_stored` do the same for the event `stored`: the bytes of `Event.make`, and what `Event.parse`
makes of them, without a JSON value in between.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from glasshouse_verify.codec import Country, Digest, Identifier, PublicKey
from glasshouse_verify.dsse import PAYLOAD_TYPE
from glasshouse_verify.encoding import JSON, decode_base64, encode_base64
from glasshouse_verify.statement import STATEMENT_TYPE, Use, predicate_type

from glasshouse.regions.errors import InvalidInput, JournalConflict
from glasshouse.regions.journal import Event, Kind

SIGNATURE_BYTES = 64
KEYID_BYTES = 32
ENTRY_BYTES = KEYID_BYTES + SIGNATURE_BYTES
_PLAIN = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_KIND = predicate_type(Use.RECEIPT)
_ID, _HEX, _INTEGER = "([a-z0-9][a-z0-9._-]{0,63})", "([0-9a-f]{64})", "(0|[1-9][0-9]{0,14})"
_STORED = re.compile(
    rf'{{"category":"{_ID}","charter":"{_HEX}","country":"([A-Z]{{2}})","customer":"{_ID}",'
    rf'(?:"customer_key":"([A-Za-z0-9+/]{{43}}=)",)?"epoch":{_INTEGER},"handle":"{_HEX}","kind":"stored",'
    rf'"number":{_INTEGER},"party":"{_ID}","position":{_INTEGER},"retention":{_INTEGER},"salt":"{_HEX}",'
    rf'"sealed_sha256":"{_HEX}","sealed_size":{_INTEGER},"sha256":"{_HEX}","site":"{_ID}","size":{_INTEGER},'
    rf'"time":{_INTEGER}}}'
)


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known of an object beside its number and place in the journal. Digests, salt and charter are hex.

    `time` is in Unix seconds, `retention` in seconds; `customer_key` is the raw key; `sealed_…` is of the ciphertext.
    """

    customer: Identifier
    country: Country
    customer_key: PublicKey | None = None
    sha256: Digest
    size: int
    category: Identifier
    retention: int
    epoch: int
    charter: Digest
    party: Identifier
    salt: Digest
    time: int
    sealed_sha256: Digest
    sealed_size: int

    def __post_init__(self) -> None:
        # What `statement` writes without escaping must need none, whoever has made this.
        for name in ("customer", "category", "party"):
            if not _PLAIN.fullmatch(getattr(self, name)):
                raise InvalidInput(name, "is no id", "Use lowercase letters, digits, '.', '_' or '-', at most 64.")

    def body(self) -> dict[str, JSON]:
        """The members of the event `stored`."""
        value: dict[str, JSON] = dict(self.__dict__)
        if self.customer_key is None:
            del value["customer_key"]
        else:
            value["customer_key"] = encode_base64(self.customer_key)
        return value


def statement(facts: Facts, *, region: str, site: str, number: int, handle: str) -> bytes:
    """The payload of the receipt."""
    opened = (
        f'{{"category":"{facts.category}","customer":"{facts.customer}","region":"{region}",'
        f'"retention":{facts.retention},"sha256":"{facts.sha256}","size":{facts.size}}}'
    )
    commitment = hashlib.sha256(bytes.fromhex(facts.salt) + opened.encode()).hexdigest()
    key = "" if facts.customer_key is None else f'"customer_key":"{encode_base64(facts.customer_key)}",'
    # Canonical JSON without an encoder: the members stand in order, and none of these types has anything to escape.
    return (
        f'{{"_type":"{STATEMENT_TYPE}","predicate":{{"category":"{facts.category}","charter":"{facts.charter}",'
        f'"country":"{facts.country}","customer":"{facts.customer}",{key}"epoch":{facts.epoch},"handle":"{handle}",'
        f'"number":{number},"party":"{facts.party}","region":"{region}","retention":{facts.retention},'
        f'"salt":"{facts.salt}","sha256":"{facts.sha256}","site":"{site}","size":{facts.size},"time":{facts.time}}},'
        f'"predicateType":"{_KIND}","subject":[{{"digest":{{"sha256":"{commitment}"}},"name":"object"}}]}}'
    ).encode()


def stored_event(facts: Facts, *, site: str, position: int, number: int, handle: str) -> Event:
    """The event of an object that `site` took."""
    key = "" if facts.customer_key is None else f'"customer_key":"{encode_base64(facts.customer_key)}",'
    text = (
        f'{{"category":"{facts.category}","charter":"{facts.charter}","country":"{facts.country}",'
        f'"customer":"{facts.customer}",{key}"epoch":{facts.epoch},"handle":"{handle}","kind":"stored",'
        f'"number":{number},"party":"{facts.party}","position":{position},"retention":{facts.retention},'
        f'"salt":"{facts.salt}","sealed_sha256":"{facts.sealed_sha256}","sealed_size":{facts.sealed_size},'
        f'"sha256":"{facts.sha256}","site":"{site}","size":{facts.size},"time":{facts.time}}}'
    ).encode()
    return Event(
        site=site,
        position=position,
        kind=Kind.STORED,
        handle=handle,
        number=number,
        body=facts.body(),
        digest=hashlib.sha256(text).digest(),
        text=text,
    )


def parse_stored(text: str) -> tuple[Event, Facts] | None:
    """The event of an object from its canonical JSON; None for any other text, which `Event.parse` is for.

    Raises FormatError for a key that is no canonical base64.
    """
    found = _STORED.fullmatch(text)
    if found is None:
        return None
    (category, charter, country, customer, key, epoch, handle, number, party, position, retention, salt) = (
        found.groups()[:12]
    )
    sealed_sha256, sealed_size, sha256, site, size, time = found.groups()[12:]
    facts = Facts(
        customer=Identifier(customer),
        country=Country(country),
        customer_key=None if key is None else PublicKey(decode_base64(key, "batch.events.event.customer_key", 32)),
        sha256=Digest(sha256),
        size=int(size),
        category=Identifier(category),
        retention=int(retention),
        epoch=int(epoch),
        charter=Digest(charter),
        party=Identifier(party),
        salt=Digest(salt),
        time=int(time),
        sealed_sha256=Digest(sealed_sha256),
        sealed_size=int(sealed_size),
    )
    written = text.encode()
    event = Event(
        site=site,
        position=int(position),
        kind=Kind.STORED,
        handle=handle,
        number=int(number),
        body=facts.body(),
        digest=hashlib.sha256(written).digest(),
        text=written,
    )
    return event, facts


def envelope(payload: bytes, signatures: bytes) -> bytes:
    """The envelope of a payload with the signatures of a row: key id (32 bytes) ‖ signature (64 bytes), repeated."""
    entries = (signatures[start : start + ENTRY_BYTES] for start in range(0, len(signatures), ENTRY_BYTES))
    signed = ",".join(
        f'{{"keyid":"{entry[:KEYID_BYTES].hex()}","sig":"{encode_base64(entry[KEYID_BYTES:])}"}}' for entry in entries
    )
    text = f'{{"payload":"{encode_base64(payload)}","payloadType":"{PAYLOAD_TYPE}","signatures":[{signed}]}}'
    return text.encode()


def signers(signatures: bytes | None) -> int:
    """How many sites have signed."""
    return len(signatures or b"") // ENTRY_BYTES


def facts_of_row(row: Mapping[str, object]) -> Facts:
    """From the columns of `regions.object`. Raises JournalConflict where one is not what the schema says."""
    key = row["customer_key"]
    return Facts(
        customer=Identifier(str(row["customer"])),
        country=Country(str(row["country"])),
        customer_key=None if key is None else PublicKey(_bytes(key)),
        sha256=Digest(_bytes(row["sha256"]).hex()),
        size=_int(row["size"]),
        category=Identifier(str(row["category"])),
        retention=_int(row["retention"]),
        epoch=_int(row["epoch"]),
        charter=Digest(_bytes(row["charter"]).hex()),
        party=Identifier(str(row["party"])),
        salt=Digest(_bytes(row["salt"]).hex()),
        time=_int(row["taken"]),
        sealed_sha256=Digest(_bytes(row["sealed_sha256"]).hex()),
        sealed_size=_int(row["sealed_size"]),
    )


def named(columns: Sequence[str], row: Sequence[object]) -> dict[str, object]:
    """A row by the names of its columns."""
    return dict(zip(columns, row, strict=True))


def _bytes(value: object) -> bytes:
    if not isinstance(value, bytes):
        raise JournalConflict("a column of an object that is held is empty")
    return value


def _int(value: object) -> int:
    if not isinstance(value, int):
        raise JournalConflict("a column of an object that is held is empty")
    return value
