"""Source packs: what goes in comes out, to the recipients alone; everything else is refused with its place."""

import contextlib
import io
import tarfile
import zlib
from pathlib import Path

import pyrage
import pytest
from glasshouse_verify.encoding import format_json
from workshop import tree_of

from glasshouse.conveyor.archive import TarWriter
from glasshouse.conveyor.errors import InvalidPack
from glasshouse.conveyor.manifest import new_secret, source_root
from glasshouse.conveyor.pack import new_identity, open_pack, seal_pack
from glasshouse.conveyor.tree import SourceTree, scan_tree

SECRET = bytes(range(32))


class Reader:
    """A party that packs can be encrypted to."""

    def __init__(self, directory: Path) -> None:
        secret, self.recipient = new_identity()
        self.identity = directory / f"{self.recipient}.txt"
        self.identity.write_text(f"# public: {self.recipient}\n{secret}\n")


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    return Reader(tmp_path)


@pytest.fixture
def tree(tmp_path: Path) -> SourceTree:
    tree_of(tmp_path / "tree", {"a": "one", "d/b": "two"})
    (tmp_path / "tree/d/b").chmod(0o755)
    (tmp_path / "tree/l").symlink_to("d/b")
    return scan_tree(tmp_path / "tree")


def test_every_recipient_opens_the_same_tree(tree: SourceTree, reader: Reader, tmp_path: Path) -> None:
    other = Reader(tmp_path)
    packed = seal_pack(tree, SECRET, [reader.recipient, other.recipient], tmp_path / "pack")
    assert packed.size == (tmp_path / "pack").stat().st_size
    for number, party in enumerate((reader, other)):
        opened, secret = open_pack(packed.path, party.identity, tmp_path / f"opened{number}")
        assert (opened.files, secret) == (tree.files, SECRET)
        assert source_root(opened, secret) == source_root(tree, SECRET)


def test_nobody_else_opens_it(tree: SourceTree, reader: Reader, tmp_path: Path) -> None:
    seal_pack(tree, SECRET, [reader.recipient], tmp_path / "pack")
    with pytest.raises(InvalidPack, match="cannot be decrypted") as caught:
        open_pack(tmp_path / "pack", Reader(tmp_path).identity, tmp_path / "opened")
    assert caught.value.field == "pack"
    assert b"one" not in (tmp_path / "pack").read_bytes()


def test_recipients_and_identities_are_checked(tree: SourceTree, reader: Reader, tmp_path: Path) -> None:
    for recipients in ([], ["age1nonsense"], [reader.recipient, "x"]):
        with pytest.raises(InvalidPack, match="recipients"):
            seal_pack(tree, SECRET, recipients, tmp_path / "pack")
    seal_pack(tree, SECRET, [reader.recipient], tmp_path / "pack")
    reader.identity.write_text("AGE-SECRET-KEY-nonsense")
    with pytest.raises(InvalidPack, match="identity"):
        open_pack(tmp_path / "pack", reader.identity, tmp_path / "opened")


def test_secrets_are_fresh() -> None:
    assert len({new_secret() for _ in range(100)}) == 100


def header(**changes: object) -> bytes:
    return format_json(
        {
            "schema": "glasshouse.source-pack/v1",
            "manifest": {"root": "0" * 64, "size": 1},
            "secret": SECRET.hex(),
            **changes,
        }
    )


def archive(*members: tuple[str, bytes]) -> bytes:
    out = io.BytesIO()
    writer = TarWriter(out, epoch=0)
    for name, content in members:
        writer.add(name, content)
    writer.finish()
    return out.getvalue()


def link(name: str, target: str) -> bytes:
    out = io.BytesIO()
    writer = TarWriter(out, epoch=0)
    writer.add("pack.json", header())
    writer.symlink(name, target)
    writer.finish()
    return out.getvalue()


def device() -> bytes:
    info = tarfile.TarInfo("source/null")
    info.type = tarfile.CHRTYPE
    return archive(("pack.json", header()))[:-1024] + info.tobuf() + bytes(1024)


def packed(plain: bytes, reader: Reader, place: Path) -> Path:
    place.write_bytes(pyrage.encrypt(plain, [pyrage.x25519.Recipient.from_str(reader.recipient)]))
    return place


def gzip(data: bytes) -> bytes:
    machine = zlib.compressobj(wbits=31)
    return machine.compress(data) + machine.flush()


@pytest.mark.parametrize(
    ("plain", "field"),
    [
        (b"", "pack"),
        (b"not gzip", "pack"),
        (gzip(b""), "pack"),
        (gzip(b"no tar" * 200), "pack"),
        (gzip(archive()), "pack"),
        (gzip(archive(("source/a", b""))), "pack"),
        (gzip(archive(("pack.json", b"{}"))), "pack.json.schema"),
        (gzip(archive(("pack.json", b"{ }"))), "pack.json"),
        (gzip(archive(("pack.json", header(extra=1)))), "pack.json.extra"),
        (gzip(archive(("pack.json", header(secret="00")))), "pack.json.secret"),
        (gzip(archive(("pack.json", header(schema="other")))), "schema"),
        (gzip(archive(("pack.json", b" " * 5000))), "pack"),
        (gzip(archive(("pack.json", header()), ("source/a", b""), ("source/a", b""))), "a"),
        (gzip(archive(("pack.json", header()), ("other/a", b""))), "archive"),
        (gzip(archive(("pack.json", header()), ("source/../../a", b""))), "archive"),
        (gzip(archive(("pack.json", header()), ("source/a", b"one"))), "manifest"),
        (gzip(link("source/l", "/etc/passwd")), "l"),
        (gzip(link("source/l", "../x")), "l"),
        (gzip(device()), "archive"),
        (gzip(archive(("pack.json", header()), ("source/a", b"x" * 9999)))[:-30], "archive"),
    ],
)
def test_a_hostile_pack_is_refused_by_its_place(plain: bytes, field: str, reader: Reader, tmp_path: Path) -> None:
    place = packed(plain, reader, tmp_path / "pack")
    with pytest.raises(InvalidPack) as caught:
        open_pack(place, reader.identity, tmp_path / "opened" / "source")
    assert caught.value.field == field
    assert {path.name for path in (tmp_path / "opened").iterdir()} <= {"source"}


def test_a_flipped_or_cut_pack_never_opens(tree: SourceTree, reader: Reader, tmp_path: Path) -> None:
    seal_pack(tree, SECRET, [reader.recipient], tmp_path / "pack")
    data = (tmp_path / "pack").read_bytes()
    place = tmp_path / "broken"
    for number, position in enumerate(range(0, len(data), 23)):
        for changed in (data[:position], data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]):
            place.write_bytes(changed)
            with contextlib.suppress(InvalidPack):
                open_pack(place, reader.identity, tmp_path / "opened" / f"{number}-{len(changed)}")
                pytest.fail(f"byte {position} does not matter")
