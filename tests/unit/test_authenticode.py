"""Windows files and their signatures: what is parsed, what is refused, and that no octet of a signature is free."""

import random
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from der_tree import Node, encoded_length
from glasshouse_verify.charter import Authenticode
from hypothesis import given
from hypothesis import strategies as st
from pe_image import CHECKSUM_AT, HEADER_AT, OPTIONAL_AT, SECURITY_AT, pe_image
from signatory import UNSIGNED, Signatory, signatory

from glasshouse.parties.certificates import fingerprint, load_certificates
from glasshouse.supervision.authenticode import check_modulo_signature
from glasshouse.supervision.der import GENERALIZED_TIME, INTEGER, SEQUENCE, UTC_TIME, Element, Fields, integer, parse
from glasshouse.supervision.errors import SignatureRefused
from glasshouse.supervision.pe import attach, authenticode_digest, extract, read_layout
from glasshouse.supervision.signed_data import read_time

NO_PINS = Authenticode(signers=(), timestampers=(), chain=())
MESSAGE = b"\x30\x03\x02\x01\x05"


@pytest.fixture(scope="module")
def vendor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Signatory]:
    with signatory(tmp_path_factory.mktemp("keys") / "acme") as opened:
        yield opened


@pytest.fixture(scope="module")
def signed(vendor: Signatory) -> bytes:
    return vendor.sign()


def put(image: bytes, at: int, form: str, *values: int) -> bytes:
    copy = bytearray(image)
    struct.pack_into(form, copy, at, *values)
    return bytes(copy)


# --- whole files ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("appended", [b"", b"x", bytes(7), b"12345678"])
def test_what_the_signing_program_makes_is_what_attach_makes(bits: int, appended: bytes, vendor: Signatory) -> None:
    """Padding, directory entry and checksum, for files of any length and both word sizes."""
    unsigned = pe_image({".text": b"\xc3", ".data": b"1" * 600}, bits=bits, appended=appended)
    shipped = vendor.sign(unsigned)
    assert attach(unsigned, extract(shipped)) == shipped
    assert authenticode_digest(unsigned) == authenticode_digest(shipped)
    assert check_modulo_signature(shipped, unsigned, vendor.pins).signer == vendor.pins.signers[0]


def test_a_chain_in_the_signature(vendor: Signatory, tmp_path: Path) -> None:
    """Certificates beside the signer's are pinned too; without time-stamp authorities there must be no stamp."""
    chain = tmp_path / "chain.pem"
    chain.write_bytes((vendor.keys / "codesign.pem").read_bytes() + (vendor.keys / "codesign-root.pem").read_bytes())
    shipped = vendor.sign_with("-certs", str(chain))
    leaf, root = (fingerprint(certificate) for certificate in load_certificates(chain))
    pins = Authenticode(signers=(leaf,), timestampers=(), chain=(root,))
    found = check_modulo_signature(shipped, UNSIGNED, pins)
    assert (found.signer, found.timestamper, found.stamped) == (leaf, None, None)
    with pytest.raises(SignatureRefused, match="does not pin"):
        check_modulo_signature(shipped, UNSIGNED, replace(pins, chain=()))
    with pytest.raises(SignatureRefused, match="is no time stamp"):
        check_modulo_signature(vendor.sign(), UNSIGNED, pins)


@pytest.mark.parametrize(
    ("options", "reason"),
    [(("-h", "sha1"), "another digest"), (("-h", "sha384"), "another digest"), (("-comm",), "no time stamp")],
)
def test_other_ways_to_sign(options: tuple[str, ...], reason: str, vendor: Signatory) -> None:
    with pytest.raises(SignatureRefused, match=reason):
        check_modulo_signature(vendor.sign_with(*options), UNSIGNED, vendor.pins)


def test_a_purpose_is_allowed(vendor: Signatory) -> None:
    shipped = vendor.sign_with("-comm", "-ts", vendor.url)
    assert check_modulo_signature(shipped, UNSIGNED, vendor.pins).timestamper == vendor.pins.timestampers[0]


def test_every_octet_of_the_table_counts(vendor: Signatory, signed: bytes) -> None:
    """Any octet of the certificate table changed: refused, with the checksum left as it was and with it corrected."""
    chance, table = random.Random(7), read_layout(signed).table_offset
    for at in range(table, len(signed)):
        altered = bytearray(signed)
        altered[at] ^= chance.randrange(1, 256)
        with pytest.raises(SignatureRefused):
            check_modulo_signature(bytes(altered), UNSIGNED, vendor.pins)
    signature = extract(signed)
    for at in range(len(signature)):
        changed = bytearray(signature)
        changed[at] ^= chance.randrange(1, 256)
        with pytest.raises(SignatureRefused):
            check_modulo_signature(attach(UNSIGNED, bytes(changed)), UNSIGNED, vendor.pins)


def test_every_octet_of_the_file_counts(vendor: Signatory, signed: bytes) -> None:
    for at in range(read_layout(signed).table_offset):
        altered = bytearray(signed)
        altered[at] ^= 0x20
        with pytest.raises(SignatureRefused):
            check_modulo_signature(bytes(altered), UNSIGNED, vendor.pins)


def test_every_beginning_of_the_file_is_refused(vendor: Signatory, signed: bytes) -> None:
    for end in range(0, len(signed), 3):
        with pytest.raises(SignatureRefused):
            check_modulo_signature(signed[:end], UNSIGNED, vendor.pins)


def test_every_value_removed_doubled_or_exchanged(vendor: Signatory, signed: bytes) -> None:
    """The message as a tree: no field can be left out, repeated, or swapped with its neighbour."""
    tried = 0
    for path in paths(Node.load(extract(signed))):
        for change in ("remove", "double", "exchange"):
            tree = Node.load(extract(signed))
            siblings = tree[path[:-1]].children if path[:-1] else tree.children
            at = path[-1]
            if change == "remove":
                del siblings[at]
            elif change == "double":
                siblings.insert(at, siblings[at])
            elif at + 1 < len(siblings) and siblings[at].dump() != siblings[at + 1].dump():
                siblings[at : at + 2] = reversed(siblings[at : at + 2])
            else:
                continue
            tried += 1
            with pytest.raises(SignatureRefused):
                check_modulo_signature(attach(UNSIGNED, tree.dump()), UNSIGNED, vendor.pins)
    assert tried > 300


def paths(node: Node, here: tuple[int, ...] = ()) -> Iterator[tuple[int, ...]]:
    for n, child in enumerate(node.children):
        yield (*here, n)
        yield from paths(child, (*here, n))


@given(st.binary(max_size=300))
def test_any_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(SignatureRefused):
        check_modulo_signature(data, UNSIGNED, NO_PINS)
    with pytest.raises(SignatureRefused):
        check_modulo_signature(attach(UNSIGNED, data), UNSIGNED, NO_PINS)


# --- headers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (b"", "no PE file"),
        (b"MZ", "cut short"),
        (UNSIGNED[: OPTIONAL_AT + 4], "cut short"),
        (put(UNSIGNED, 0, "2s", b"ZM"), "no PE file"),  # type: ignore[arg-type]
        (put(UNSIGNED, 60, "<I", 4), "no PE file"),
        (put(UNSIGNED, 60, "<I", 2**32 - 1), "no PE file"),
        (put(UNSIGNED, OPTIONAL_AT, "<H", 0x107), "neither PE32"),
        (put(UNSIGNED, OPTIONAL_AT + 108, "<I", 15), "16 data directories"),
        (put(UNSIGNED, HEADER_AT + 20, "<H", 248), "16 data directories"),
        (put(UNSIGNED, HEADER_AT + 6, "<H", 0), "do not fit"),
        (put(UNSIGNED, HEADER_AT + 6, "<H", 97), "do not fit"),
        (put(UNSIGNED, OPTIONAL_AT + 60, "<I", 100), "do not fit"),
        (put(UNSIGNED, OPTIONAL_AT + 60, "<I", len(UNSIGNED) + 1), "do not fit"),
        (put(UNSIGNED, OPTIONAL_AT + 240 + 20, "<I", 0x100), "overlaps"),
        (put(UNSIGNED, OPTIONAL_AT + 280 + 20, "<I", 0x200), "overlaps"),
        (put(UNSIGNED, OPTIONAL_AT + 280 + 16, "<I", 0x10000), "overlaps"),
    ],
)
def test_headers_that_contradict_themselves(image: bytes, reason: str) -> None:
    with pytest.raises(SignatureRefused, match=reason):
        read_layout(image)


def test_a_signature_on_a_signed_file(signed: bytes) -> None:
    with pytest.raises(SignatureRefused, match="a signature already"):
        attach(signed, MESSAGE)
    with pytest.raises(SignatureRefused, match="has no signature"):
        extract(UNSIGNED)
    with pytest.raises(SignatureRefused, match="has a signature already"):
        attach(put(UNSIGNED, SECURITY_AT[64], "<II", 0, 8), MESSAGE)


def test_a_table_that_overlaps_a_section() -> None:
    image = attach(UNSIGNED, MESSAGE)
    moved = put(image, SECURITY_AT[64], "<II", 0x400, len(image) - 0x400)
    with pytest.raises(SignatureRefused, match="overlaps"):
        extract(moved)


def test_the_checksum_is_that_of_the_specification() -> None:
    """Small enough to add up by hand: the sum of 16-bit words with its carries folded in, plus the length."""
    image = attach(UNSIGNED, MESSAGE)
    blank = put(image, CHECKSUM_AT, "<I", 0)
    total = sum(int.from_bytes(blank[n : n + 2], "little") for n in range(0, len(blank), 2))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    assert struct.unpack_from("<I", image, CHECKSUM_AT) == (total + len(image),)


# --- DER -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [0, 1, 127, 128, 255, 256, 65_535, 65_536])
def test_one_spelling_of_each_length(length: int) -> None:
    encoded = b"\x30" + encoded_length(length) + bytes(length)
    assert parse(encoded, SEQUENCE, "test").content == bytes(length)
    longer = b"\x30" + bytes([0x84]) + length.to_bytes(4, "big") + bytes(length)
    with pytest.raises(SignatureRefused, match="not DER"):
        parse(longer, SEQUENCE, "test")


@pytest.mark.parametrize(
    "data",
    [b"", b"\x30", b"\x30\x01", b"\x30\x80\x00\x00", b"\x30\x81", b"\x30\x85\x00\x00\x00\x00\x00", b"\x3f\x21\x00"],
)
def test_what_is_no_der(data: bytes) -> None:
    with pytest.raises(SignatureRefused):
        parse(data, data[0] if data else SEQUENCE, "test")


def test_what_is_left_over_is_refused() -> None:
    with pytest.raises(SignatureRefused, match="holds more"):
        parse(b"\x30\x00\x00", SEQUENCE, "test")
    fields = Fields(b"\x02\x01\x05\x04\x00", "test")
    assert fields.take_optional(SEQUENCE) is None
    assert integer(fields.take(INTEGER), "test") == 5
    with pytest.raises(SignatureRefused, match="lacks a field"):
        fields.take(INTEGER)


@pytest.mark.parametrize("number", [0, 1, 127, 128, 255, 256, 2**64])
def test_one_spelling_of_each_number(number: int) -> None:
    content = number.to_bytes(number.bit_length() // 8 + 1, "big")
    assert integer(Element(tag=INTEGER, content=content, encoded=b""), "test") == number
    for other in (b"\0" + content, b"", b"\x80" + content):
        with pytest.raises(SignatureRefused):
            integer(Element(tag=INTEGER, content=other, encoded=b""), "test")


def test_times() -> None:
    def said(tag: int, text: str) -> str:
        element = Element(tag=tag, content=text.encode(), encoded=b"")
        return f"{read_time(element, 'test'):%Y-%m-%d %H:%M:%S %Z}"

    assert said(UTC_TIME, "231114221320Z") == "2023-11-14 22:13:20 UTC"
    assert said(GENERALIZED_TIME, "20261121181855Z") == "2026-11-21 18:18:55 UTC"
    assert said(GENERALIZED_TIME, "20261121181855.25Z") == "2026-11-21 18:18:55 UTC"
    for tag, text in (
        (UTC_TIME, "2311142213Z"),
        (UTC_TIME, "231114221320+0100"),
        (UTC_TIME, "231314221320Z"),
        (UTC_TIME, "231114221320.5Z"),
        (GENERALIZED_TIME, "231114221320Z"),
        (GENERALIZED_TIME, "20261121181855"),
        (GENERALIZED_TIME, "20261121181855.Z"),
        (GENERALIZED_TIME, "20261121181855.50Z"),
        (GENERALIZED_TIME, "20261121181855.5"),
        (GENERALIZED_TIME, "２0261121181855Z"),
    ):
        with pytest.raises(SignatureRefused):
            said(tag, text)
