"""R19 A payload in a valid signature, or two digests for one platform in one release.

Cheat: the vendor rebuilds honestly and hides the payload where a signature check does not look: in an attribute or a
    certificate that nothing signs, in the padding, behind the certificate, in a second entry, in the checksum. Windows
    calls each of these files validly signed. Or one release gives one platform two files.
Noticed by: every rebuilder, which puts the signature on its own build and accounts for each octet of it.
Seen: the verdict *differs* with a sentence; for the customer exit 3. A release with two digests is no statement at all.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from der_tree import Node
from glasshouse_verify.charter import Authenticode
from glasshouse_verify.codec import FileName, Identifier
from glasshouse_verify.errors import FormatError
from glasshouse_verify.report import Outcome
from glasshouse_verify.statement import ReleasedFile, Use, Verdict, make_statement
from signatory import NAME, UNSIGNED, Signatory, judge, release_signed, signatory, signing_world
from world import PLATFORM, World, digest

from glasshouse.supervision.pe import attach, checksum, extract, read_layout

PAYLOAD = b"a payload that no rebuild explains, 48 octets long"
OCTETS = Node(0x04, PAYLOAD)
# The signer's parts in the tree of a message: ContentInfo, [0], SignedData, then by field.
DATA = (1, 0)
TOKEN = (1, 0, 4, 0, 6, 0, 1, 0)


@pytest.fixture(scope="module")
def vendor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Signatory]:
    with signatory(tmp_path_factory.mktemp("keys") / "acme") as opened:
        yield opened


@pytest.fixture(scope="module")
def signed(vendor: Signatory) -> bytes:
    return vendor.sign()


def verdict(vendor: Signatory, shipped: bytes, place: Path, pins: Authenticode | None = None) -> tuple[Verdict, str]:
    world = signing_world(pins or vendor.pins)
    rebuild = judge(world, release_signed(world, shipped), place).rebuild
    return rebuild.verdict, rebuild.explanation


def edited(signed: bytes, edit: Callable[[Node], None]) -> bytes:
    """The file with its signature taken apart, changed and embedded again, lengths and checksum corrected."""
    tree = Node.load(extract(signed))
    edit(tree)
    return attach(UNSIGNED, tree.dump())


def test_control_signed_honestly(vendor: Signatory, signed: bytes, tmp_path: Path) -> None:
    """The signed file is the rebuilt one but for its signature, and passes the gate of a charter that lets it."""
    world = signing_world(vendor.pins)
    release = release_signed(world, signed)
    for party in ("lab", "second"):
        rebuild = judge(world, release, tmp_path / party, party=party).rebuild
        assert rebuild.verdict == Verdict.IDENTICAL_MODULO_SIGNATURE
        assert "time-stamped" in rebuild.explanation
        world.post(make_statement(Use.REBUILD, rebuild), party)
    world.status()
    report = world.verify(shipped=signed)
    assert report.outcome == Outcome.VERIFIED
    assert "the same bytes but for the signature inside" in next(c.text for c in report.claims if c.claim == "rebuild")


def test_control_a_signature_taken_apart_and_put_together(signed: bytes) -> None:
    """What the attacks below change it with changes nothing by itself."""
    assert edited(signed, lambda _: None) == signed


def _beside_the_token(tree: Node) -> None:
    oid = Node(0x06, bytes.fromhex("2b06010401823702017f"))
    tree[*DATA, 4, 0, 6].children.append(Node(0x30, children=[oid, Node(0x31, children=[OCTETS])]))


def _second_value_of_the_token(tree: Node) -> None:
    tree[*DATA, 4, 0, 6, 0, 1].children.append(OCTETS)


def _in_the_token(tree: Node) -> None:
    oid = Node(0x06, bytes.fromhex("2a864886f70d01090f"))
    attribute = Node(0x30, children=[oid, Node(0x31, children=[OCTETS])])
    tree[*DATA, *TOKEN[2:], *DATA, 4, 0].children.append(Node(0xA1, children=[attribute]))


def _beside_the_token_s_message(tree: Node) -> None:
    tree[*DATA, *TOKEN[2:]].children.append(OCTETS)


def _as_a_certificate(tree: Node) -> None:
    tree[*DATA, 3].children.append(Node(0x30, children=[OCTETS]))


def _certificate_twice(tree: Node) -> None:
    tree[*DATA, 3].children.append(tree[*DATA, 3, 0])


def _in_the_certificate(tree: Node) -> None:
    """An extension that no one checks: the certificate keeps its key, and Windows its trust in the signature."""
    tree[*DATA, 3, 0].children.append(OCTETS)


def _as_a_revocation_list(tree: Node) -> None:
    tree[DATA].children.insert(4, Node(0xA1, children=[Node(0x30, children=[OCTETS])]))


def _as_a_second_signer(tree: Node) -> None:
    tree[*DATA, 4].children.append(tree[*DATA, 4, 0])


def _as_a_second_digest_algorithm(tree: Node) -> None:
    tree[*DATA, 1].children.append(Node(0x30, children=[OCTETS]))


def _in_algorithm_parameters(tree: Node) -> None:
    tree[*DATA, 4, 0, 4].children[1] = OCTETS


def _behind_the_message(tree: Node) -> None:
    tree.children.append(OCTETS)


def _behind_the_signed_data(tree: Node) -> None:
    tree[1].children.append(OCTETS)


@pytest.mark.parametrize(
    "edit",
    [
        _beside_the_token,
        _second_value_of_the_token,
        _in_the_token,
        _beside_the_token_s_message,
        _as_a_certificate,
        _certificate_twice,
        _in_the_certificate,
        _as_a_revocation_list,
        _as_a_second_signer,
        _as_a_second_digest_algorithm,
        _in_algorithm_parameters,
        _behind_the_message,
        _behind_the_signed_data,
    ],
    ids=lambda edit: edit.__name__.strip("_"),
)
def test_attack_payload_where_nothing_is_signed(
    edit: Callable[[Node], None], vendor: Signatory, signed: bytes, tmp_path: Path
) -> None:
    """A field, attribute or certificate that the signature does not cover."""
    altered = edited(signed, edit)
    assert len(altered) > len(signed)
    assert verdict(vendor, altered, tmp_path)[0] == Verdict.DIFFERS


def _table(signed: bytes, table: bytes) -> bytes:
    """The file with other bytes as its certificate table, directory and checksum corrected."""
    layout = read_layout(signed)
    image = bytearray(signed[: layout.table_offset] + table)
    struct.pack_into("<II", image, layout.security_at, layout.table_offset, len(table))
    struct.pack_into("<I", image, layout.checksum_at, checksum(image, layout.checksum_at))
    return bytes(image)


def _entry(content: bytes, revision: int = 0x0200, kind: int = 2) -> bytes:
    return struct.pack("<IHH", 8 + len(content), revision, kind) + content


def tables(signed: bytes) -> dict[str, bytes]:
    """Certificate tables that hold the genuine signature and something else."""
    signature = extract(signed)
    padded = signature + bytes(-len(signature) % 8)
    return {
        "padding": _entry(signature + b"\x01" * (-len(signature) % 8 or 8)),
        "more padding than needed": _entry(padded + bytes(8)),
        "payload as padding": _entry(padded + PAYLOAD.ljust(56)),
        "second entry": _entry(padded) + _entry(PAYLOAD.ljust(56)),
        "first of two entries": _entry(PAYLOAD.ljust(56)) + _entry(padded),
        "entry shorter than the table": _entry(padded) + PAYLOAD.ljust(56),
        "other revision": _entry(padded, revision=0x0100),
        "other type": _entry(padded, kind=1),
        "indefinite length": _entry((b"\x30\x80" + signature[4:] + bytes(2)).ljust(len(padded) + 8, b"\0")),
        "length in more octets than needed": _entry(
            (b"\x30\x83" + len(signature[4:]).to_bytes(3, "big") + signature[4:]).ljust(len(padded) + 8, b"\0")
        ),
    }


def test_attack_payload_in_the_certificate_table(vendor: Signatory, signed: bytes, tmp_path: Path) -> None:
    """In the padding, behind the DER, in a second entry, or in a spelling that is no DER."""
    assert _table(signed, _entry(extract(signed) + bytes(-len(extract(signed)) % 8))) == signed
    for name, table in tables(signed).items():
        found = verdict(vendor, _table(signed, table), tmp_path / name)
        assert found[0] == Verdict.DIFFERS, name


def test_attack_payload_around_the_certificate_table(vendor: Signatory, signed: bytes, tmp_path: Path) -> None:
    """Behind the table, or between the last section and the table, where the directory still points right."""
    assert verdict(vendor, signed + PAYLOAD, tmp_path / "behind")[0] == Verdict.DIFFERS
    before = vendor.sign(UNSIGNED + PAYLOAD)
    found = verdict(vendor, before, tmp_path / "before")
    assert found[0] == Verdict.DIFFERS
    assert "differs from the rebuilt one" in found[1]


def test_attack_four_octets_in_the_checksum(vendor: Signatory, signed: bytes, tmp_path: Path) -> None:
    """Nothing signs the checksum, and Windows checks it for drivers only."""
    image = bytearray(signed)
    image[(at := read_layout(signed).checksum_at) : at + 4] = b"pay!"
    assert verdict(vendor, bytes(image), tmp_path)[0] == Verdict.DIFFERS


def test_attack_blob_that_a_signing_program_adds(vendor: Signatory, signed: bytes, tmp_path: Path) -> None:
    """`osslsigncode -addUnauthenticatedBlob`: made to carry data through a valid signature."""
    shipped = vendor.sign_with("-ts", vendor.url, "-addUnauthenticatedBlob")
    assert verdict(vendor, shipped, tmp_path)[0] == Verdict.DIFFERS


@pytest.mark.parametrize(
    "options",
    [("-n", "a name that nobody reviewed"), ("-i", "https://acme.example/u/customer-4711"), ("-ph",), ("-nest",)],
    ids=["description", "address", "page hashes", "nested"],
)
def test_attack_more_than_a_signature(
    options: tuple[str, ...], vendor: Signatory, signed: bytes, tmp_path: Path
) -> None:
    """Text, hashes and further signatures that a signing program puts in on request, signed though they are."""
    unsigned = signed if options == ("-nest",) else UNSIGNED
    shipped = vendor.sign_with("-ts", vendor.url, *options, unsigned=unsigned)
    assert verdict(vendor, shipped, tmp_path)[0] == Verdict.DIFFERS


def test_attack_time_stamps(vendor: Signatory, signed: bytes, tmp_path: Path) -> None:
    """No time stamp, one of an authority that the charter does not know, and one over another signature."""
    assert "asks for one" in verdict(vendor, vendor.sign_with(), tmp_path / "none")[1]
    strangers = replace(vendor.pins, timestampers=vendor.pins.signers)
    assert "does not pin" in verdict(vendor, signed, tmp_path / "stranger", strangers)[1]
    other = Node.load(extract(vendor.sign(UNSIGNED + bytes(8))))

    def transplant(tree: Node) -> None:
        tree[*DATA, 4, 0].children[6] = other[*DATA, 4, 0, 6]

    found = verdict(vendor, edited(signed, transplant), tmp_path / "other")
    assert found[0] == Verdict.DIFFERS
    assert "over another signature" in found[1]


def _files(*pairs: tuple[str, bytes]) -> tuple[ReleasedFile, ...]:
    return tuple(
        ReleasedFile(platform=Identifier(PLATFORM), name=FileName(name), sha256=digest(data), unsigned=digest(UNSIGNED))
        for name, data in pairs
    )


def test_attack_two_digests_for_one_file_of_one_platform(vendor: Signatory, signed: bytes) -> None:
    """Such a release has no form: it can be neither made nor read, so no ledger admits it."""
    again = vendor.sign_with("-time", "1700000000", "-ts", vendor.url)
    assert digest(again) != digest(signed)
    with pytest.raises(FormatError, match="each once"):
        World().release(files=_files((NAME, signed), (NAME, again)))


def test_attack_the_same_build_under_two_names(vendor: Signatory, signed: bytes, tmp_path: Path) -> None:
    """A second signature of one build for one customer needs a second name, and no build leaves that."""
    again = vendor.sign_with("-time", "1700000000", "-ts", vendor.url)
    world = signing_world(vendor.pins)
    files = _files(("customer.dll", again), (NAME, signed))
    world.blobs |= {digest(signed): signed, digest(again): again}
    rebuild = judge(world, world.release(files=files), tmp_path).rebuild
    assert [file.verdict for file in rebuild.files] == [Verdict.DIFFERS, Verdict.IDENTICAL_MODULO_SIGNATURE]
    assert rebuild.verdict == Verdict.DIFFERS
    assert "the build left no file of this name" in rebuild.explanation
