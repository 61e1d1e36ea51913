"""Ranges of keys are cut so that every key is in one of them, and any legal key survives the way onto the wire."""

from urllib.parse import unquote_to_bytes

from foreign_stores import Listed, legal_keys
from hypothesis import given, settings
from hypothesis import strategies as st

from glasshouse.relocation.copying import BATCH_BYTES, BATCH_OBJECTS, batches_of, metadata_of
from glasshouse.relocation.ranges import between, middle_key
from glasshouse.relocation.stores.interface import Version
from glasshouse.relocation.stores.pages import parse_page
from glasshouse.relocation.stores.wire import path_of


@given(legal_keys())
def test_a_key_is_itself_on_the_wire(key: bytes) -> None:
    path = path_of("/bucket/", key)
    assert path.isascii()
    assert not any(mark in path for mark in " ?#\r\n")
    assert unquote_to_bytes(path.removeprefix("/bucket/")) == key


@given(legal_keys())
def test_a_listed_key_is_itself(key: bytes) -> None:
    from urllib.parse import quote_plus

    date = "<LastModified>2026-11-21T10:00:00.000Z</LastModified><Size>1</Size>"
    for spelled in (quote_plus(key), quote_plus(key, safe="/")):
        body = f"<R><EncodingType>url</EncodingType><Contents><Key>{spelled}</Key>{date}</Contents></R>"
        assert parse_page(body.encode()).entries[0].key == key


@given(st.binary(max_size=40), st.binary(max_size=40) | st.none())
def test_a_guess_lies_between(low: bytes, high: bytes | None) -> None:
    text = between(low, high)
    if text is not None:
        assert text > low
        assert high is None or text < high
        assert text.decode().encode() == text


@settings(max_examples=60)
@given(st.sets(legal_keys(), min_size=1, max_size=60), st.integers(min_value=0, max_value=20), st.data())
def test_ranges_cover_every_key_once(keys: set[bytes], cuts: int, data: st.DataObject) -> None:
    source = Listed(sorted(keys))
    ranges: list[tuple[bytes, bytes | None]] = [(b"", None)]
    for _ in range(cuts):
        place = data.draw(st.integers(min_value=0, max_value=len(ranges) - 1))
        after, upto = ranges[place]
        at = middle_key(source, after, upto)
        if at is not None:
            assert at in keys
            assert after < at
            assert upto is None or at < upto
            ranges[place : place + 1] = [(after, at), (at, upto)]
    assert [upto for _, upto in ranges[:-1]] == [after for after, _ in ranges[1:]]
    found = [version.key for after, upto in ranges for version in source.list(after, upto)]
    assert found == sorted(keys)


def test_keys_with_a_long_common_prefix_are_cut_near_the_middle() -> None:
    keys = [b"customers/au/2026/11/%08d" % number for number in range(1_000)]
    at = middle_key(Listed(keys), keys[0], None)
    assert at is not None
    assert middle_key(Listed(keys), keys[0], keys[-1]) in keys[250:750]


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 2 * BATCH_BYTES)), max_size=80))
def test_batches_never_part_the_versions_of_a_key(shape: list[tuple[int, int]]) -> None:
    versions = [
        Version(key=b"k%05d" % number, ordinal=ordinal, version=None, marker=False, size=size, modified=0)
        for number, (count, size) in enumerate(shape)
        for ordinal in range(count)
    ]
    batches = list(batches_of(iter(versions)))
    assert [one for batch in batches for one in batch] == versions
    keys = [{one.key for one in batch} for batch in batches]
    assert sum(map(len, keys)) == len({one.key for one in versions})
    for batch, names in zip(batches, keys, strict=True):
        assert len(names) == 1 or (len(batch) <= BATCH_OBJECTS and sum(one.size for one in batch) <= BATCH_BYTES)


@given(legal_keys(), st.integers(min_value=0, max_value=1 << 31))
def test_what_an_object_says_of_itself_is_short(key: bytes, ordinal: int) -> None:
    assert set(metadata_of("au-2026", key, ordinal)) == {"key", "ordinal", "relocation"}
