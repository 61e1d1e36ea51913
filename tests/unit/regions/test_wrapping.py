"""Wrapped data keys: the site's layer, the custodian's layer, and that each is needed."""

from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from glasshouse_verify.errors import FormatError
from hypothesis import given
from hypothesis import strategies as st
from sealing import HANDLE, REGION

from glasshouse.regions.errors import InvalidInput, KeyDestroyed, WrappingBroken
from glasshouse.regions.keys.file_keyring import FileKeyring
from glasshouse.regions.wrapping import (
    Wrapper,
    Wrapping,
    custodian_id,
    format_wrapping,
    open_custody,
    parse_wrapping,
)

DATA_KEY = bytes(range(32))
OTHER_HANDLE = "5b" * 32
CUSTODIAN, OTHER = X25519PrivateKey.generate(), X25519PrivateKey.generate()


@pytest.fixture
def keys(tmp_path: Path) -> FileKeyring:
    made = FileKeyring(tmp_path)
    made.next_epoch()
    return made


@pytest.fixture
def dual(keys: FileKeyring) -> Wrapper:
    return Wrapper(keys, CUSTODIAN.public_key().public_bytes_raw())


def opened(wrapping: Wrapping, *keys: X25519PrivateKey, handle: str = HANDLE, region: str = REGION) -> bytes:
    return open_custody(keys or (CUSTODIAN,), wrapping.blob, handle=handle, region=region)


def test_site_custody(keys: FileKeyring) -> None:
    wrapper = Wrapper(keys, None)
    wrapping = wrapper.wrap(DATA_KEY, handle=HANDLE, region=REGION)
    assert (wrapping.key_id, wrapping.custodian) == ("wrap-1", None)
    assert wrapper.unwrap(wrapping, handle=HANDLE, region=REGION) == DATA_KEY
    for place in ({"handle": OTHER_HANDLE, "region": REGION}, {"handle": HANDLE, "region": "eu"}):
        with pytest.raises(WrappingBroken):
            wrapper.unwrap(wrapping, **place)
    with pytest.raises(InvalidInput, match="too much"):
        wrapper.unwrap(wrapping, handle=HANDLE, region=REGION, opened=wrapping.blob)


def test_dual_custody_takes_both(dual: Wrapper, keys: FileKeyring) -> None:
    wrapping = dual.wrap(DATA_KEY, handle=HANDLE, region=REGION)
    assert wrapping.custodian == custodian_id(CUSTODIAN.public_key().public_bytes_raw())
    inner = opened(wrapping)
    assert DATA_KEY not in inner
    assert dual.unwrap(wrapping, handle=HANDLE, region=REGION, opened=inner) == DATA_KEY
    # Without the custodian's part the site has nothing, whatever it passes in its stead.
    with pytest.raises(InvalidInput, match="the custodian's part is missing"):
        dual.unwrap(wrapping, handle=HANDLE, region=REGION)
    for guess in (wrapping.blob, wrapping.blob[32:], b"", bytes(60)):
        with pytest.raises(WrappingBroken):
            dual.unwrap(wrapping, handle=HANDLE, region=REGION, opened=guess)


def test_the_custodian_opens_nothing_for_another_object_or_region(dual: Wrapper) -> None:
    wrapping = dual.wrap(DATA_KEY, handle=HANDLE, region=REGION)
    for place in ({"handle": OTHER_HANDLE}, {"region": "eu"}, {"region": "a"}):
        with pytest.raises(WrappingBroken):
            opened(wrapping, **place)  # type: ignore[arg-type]


def test_every_damage_to_a_wrapping_is_noticed(dual: Wrapper) -> None:
    blob = dual.wrap(DATA_KEY, handle=HANDLE, region=REGION).blob
    for at in range(len(blob)):
        damaged = blob[:at] + bytes([blob[at] ^ 1]) + blob[at + 1 :]
        with pytest.raises(WrappingBroken):
            open_custody((CUSTODIAN,), damaged, handle=HANDLE, region=REGION)
        with pytest.raises(WrappingBroken):
            open_custody((CUSTODIAN,), blob[:at], handle=HANDLE, region=REGION)


def test_the_custodian_opens_by_any_of_its_keys(dual: Wrapper) -> None:
    wrapping = dual.wrap(DATA_KEY, handle=HANDLE, region=REGION)
    assert opened(wrapping, OTHER, CUSTODIAN) == opened(wrapping)
    for keys in ((OTHER,), (OTHER, X25519PrivateKey.generate())):
        with pytest.raises(WrappingBroken, match="sealed to another key"):
            opened(wrapping, *keys)
    with pytest.raises(WrappingBroken):
        open_custody((), wrapping.blob, handle=HANDLE, region=REGION)


def test_no_two_wrappings_are_alike(dual: Wrapper) -> None:
    made = {dual.wrap(DATA_KEY, handle=HANDLE, region=REGION).blob for _ in range(20)}
    assert len(made) == 20


def test_the_sites_layer_goes_with_its_key_epoch(dual: Wrapper, keys: FileKeyring) -> None:
    wrapping = dual.wrap(DATA_KEY, handle=HANDLE, region=REGION)
    inner = opened(wrapping)
    keys.next_epoch()
    renewed = dual.wrap(dual.unwrap(wrapping, handle=HANDLE, region=REGION, opened=inner), handle=HANDLE, region=REGION)
    keys.destroy("wrap-1")
    with pytest.raises(KeyDestroyed):
        dual.unwrap(wrapping, handle=HANDLE, region=REGION, opened=inner)
    assert renewed.key_id == "wrap-2"
    assert dual.unwrap(renewed, handle=HANDLE, region=REGION, opened=opened(renewed)) == DATA_KEY


@pytest.mark.parametrize("raw", [b"", bytes(31), bytes(32), b"\x01" + bytes(31)])
def test_a_public_key_that_is_none_is_refused(keys: FileKeyring, raw: bytes) -> None:
    with pytest.raises(InvalidInput, match="no X25519 public key"):
        Wrapper(keys, raw)


def test_only_data_keys_are_wrapped(dual: Wrapper) -> None:
    for key in (b"", bytes(16), bytes(33)):
        with pytest.raises(InvalidInput, match="data key"):
            dual.wrap(key, handle=HANDLE, region=REGION)
    with pytest.raises(InvalidInput, match="handle"):
        dual.wrap(DATA_KEY, handle="short", region=REGION)


@given(st.builds(Wrapping, key_id=st.text("abc-19", max_size=9), blob=st.binary(max_size=99)), st.booleans())
def test_a_wrapping_is_written_and_read(wrapping: Wrapping, is_dual: bool) -> None:
    value = Wrapping(key_id=wrapping.key_id, blob=wrapping.blob, custodian=custodian_id(bytes(32)) if is_dual else None)
    assert parse_wrapping(format_wrapping(value)) == value


@pytest.mark.parametrize(
    "data", [b"", b"{}", b'{"blob":"","key_id":"wrap-1","x":1}', b'{"blob":"", "key_id":"wrap-1"}', b'{"blob":"!"}']
)
def test_another_spelling_of_a_wrapping_is_refused(data: Any) -> None:
    with pytest.raises(FormatError):
        parse_wrapping(data)
