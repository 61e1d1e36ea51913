"""The short way with events of stored objects leads where the long one does, and takes nothing that one refuses."""

from glasshouse_verify.codec import Country, Digest, Identifier, PublicKey, decode
from glasshouse_verify.encoding import format_json, parse_json
from glasshouse_verify.errors import FormatError
from hypothesis import given
from hypothesis import strategies as st

from glasshouse.regions.batch import Batch, Item, format_batch, parse_batch
from glasshouse.regions.journal import START, Event, Kind
from glasshouse.regions.receipts import Facts, parse_stored, stored_event

DIGESTS = st.binary(min_size=32, max_size=32).map(lambda data: Digest(data.hex()))
IDS = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,63}", fullmatch=True).map(Identifier)
NUMBERS = st.integers(0, 2**53 - 1)
FACTS = st.builds(
    Facts,
    customer=IDS,
    country=st.from_regex(r"[A-Z]{2}", fullmatch=True).map(Country),
    customer_key=st.none() | st.binary(min_size=32, max_size=32).map(PublicKey),
    sha256=DIGESTS,
    size=NUMBERS,
    category=IDS,
    retention=NUMBERS,
    epoch=NUMBERS,
    charter=DIGESTS,
    party=IDS,
    salt=DIGESTS,
    time=NUMBERS,
    sealed_sha256=DIGESTS,
    sealed_size=NUMBERS,
)


@given(FACTS, IDS, NUMBERS, NUMBERS, DIGESTS)
def test_both_ways_write_and_read_the_same(facts: Facts, site: str, position: int, number: int, handle: str) -> None:
    made = Event.make(site, position, Kind.STORED, handle, number, facts.body())
    event = stored_event(facts, site=site, position=position, number=number, handle=handle)
    assert (event, event.text) == (made, made.text)
    assert event.text is not None
    quick = parse_stored(event.text.decode())
    assert quick in (None, (Event.parse(event.text), facts))
    numbers = [position, number, *(value for value in facts.body().values() if isinstance(value, int))]
    # Numbers of more than fifteen digits go the long way.
    assert (quick is None) == (max(numbers) >= 10**15)


@given(FACTS, st.data())
def test_what_the_short_way_takes_the_long_one_takes(facts: Facts, data: st.DataObject) -> None:
    text = stored_event(facts, site="zurich-1", position=1, number=1, handle="ab" * 32).text or b""
    place = data.draw(st.integers(0, len(text) - 1))
    changed = (
        text[:place]
        + data.draw(st.sampled_from([b"", b"0", b"9", b"a", b"A", b" ", b"=", b'"', b","]))
        + text[place + data.draw(st.integers(0, 2)) :]
    )
    try:
        quick = parse_stored(changed.decode())
    except FormatError:
        return
    if quick is not None:
        event, found = quick
        assert Event.parse(changed) == event
        assert decode(Facts, event.body, "event") == found
        assert format_json(parse_json(changed, "event", len(changed))) == changed


@given(FACTS, st.binary(min_size=1, max_size=100), st.booleans())
def test_batches_come_back_as_they_were(facts: Facts, sealed: bytes, rides: bool) -> None:
    items = tuple(
        Item(
            event=stored_event(facts, site="zurich-1", position=position, number=position, handle=f"{position:064x}"),
            facts=facts,
            data_key=bytes(32),
            signature=bytes([position]) * 64,
            sealed=sealed if rides or position == 2 else None,
        )
        for position in (1, 2, 3)
    )
    batch = Batch(region="au", site="zurich-1", after=0, chain=START, keyid=bytes(32), items=items)
    written = format_batch(batch)
    assert parse_batch(b"".join(written)) == batch
    head = parse_json(written[1], "batch", len(written[1]))
    assert format_json(head) == written[1]
