"""A foreign store and a destination that copies it, in tests: a directory or a versioned bucket into a directory."""

import os
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from glasshouse_verify.foreign import store_handle
from hypothesis import strategies as st

from glasshouse.regions.keys.file_keyring import FileKeyring
from glasshouse.regions.wrapping import Wrapper
from glasshouse.relocation.archive import ArchiveDirectory, ArchivePlace
from glasshouse.relocation.copying import Destination, copy_all, copy_pass
from glasshouse.relocation.foreign import SourceInventory, take_inventory
from glasshouse.relocation.landing import Landings
from glasshouse.relocation.listing import Arrival, list_archive
from glasshouse.relocation.stores.interface import Source, Version
from glasshouse.relocation.stores.opening import open_store
from glasshouse.storage.db import Database

SECRET = bytes(range(32))
REGION = "au"
CUSTODIAN = bytes.fromhex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a")


@dataclass
class Landing:
    """One destination of one move, in a directory and a database."""

    to: Destination
    directory: Path

    def copy(self, source: Source) -> int:
        """Passes until one finds nothing; how many versions landed in all of them."""
        return copy_all(source, self.to).landed

    def pass_number(self, source: Source, number: int) -> None:
        """One pass."""
        copy_pass(source, self.to, number)

    def arrival(self) -> Arrival:
        return list_archive(self.to, self.directory / "lists")

    def file_of(self, key: bytes, ordinal: int = 0) -> Path:
        handle = store_handle(SECRET, key, ordinal)
        return self.directory / "vault" / "archive" / self.to.relocation / handle[0] / handle


def landing(
    database: Database,
    directory: Path,
    *,
    archive: ArchivePlace | None = None,
    lease_seconds: float = 10.0,
    name: str = "",
) -> Landing:
    """A destination in dual custody. The database may be another's too: the move is a new one."""
    move = name or f"move-{secrets.token_hex(6)}"
    (directory / "keys").mkdir(parents=True, exist_ok=True)
    keys = FileKeyring(directory / "keys")
    if not keys.epochs():
        keys.next_epoch()
    landings = Landings(database=database, relocation=move, lease_seconds=lease_seconds)
    landings.prepare()
    to = Destination(
        landings=landings,
        archive=archive or ArchiveDirectory(root=directory / "vault", relocation=move),
        wrapper=Wrapper(keys, CUSTODIAN),
        transfer=Wrapper(keys, None),
        region=REGION,
        secret=SECRET,
    )
    return Landing(to=to, directory=directory)


def fill(root: Path, content: Mapping[bytes, bytes]) -> Source:
    """A directory with these files; a key that ends in a slash is an empty directory."""
    for key, data in content.items():
        path = root / os.fsdecode(key)
        (path if key.endswith(b"/") else path.parent).mkdir(parents=True, exist_ok=True)
        if not key.endswith(b"/"):
            path.write_bytes(data)
    return open_store(root.as_uri())


def inventory(source: Source, directory: Path, before: Path | None = None) -> SourceInventory:
    return take_inventory(source, directory, SECRET, before=before)


def some(count: int, size: int = 100) -> dict[bytes, bytes]:
    """Different files in a few directories."""
    return {b"d%02d/f%05d" % (n % 7, n): (b"%d " % n) * (size // 4) for n in range(count)}


def legal_keys() -> st.SearchStrategy[bytes]:
    """Keys as S3 takes them: 1 to 1,024 bytes of UTF-8, any characters, slashes and dots where they hurt."""
    awkward = st.sampled_from(
        ["/", "//", "..", "../", "./", " ", "+", "%2F", "%", "&", "<", "\x01", "\r", "\n", "é", "😀", "?", "#"]
    )
    text = st.lists(awkward | st.text(st.characters(codec="utf-8"), max_size=8), min_size=1, max_size=12).map("".join)
    return text.map(str.encode).filter(lambda key: 1 <= len(key) <= 1_024)


class Listed:
    """A store that lists some keys and has nothing else: what splitting a range asks of one."""

    url = "memory:"

    def __init__(self, keys: list[bytes]) -> None:
        self.keys = sorted(keys)

    def list(self, after: bytes | None = None, upto: bytes | None = None) -> Iterator[Version]:
        for key in self.keys:
            if key > (after or b"") and (upto is None or key <= upto):
                yield Version(key=key, ordinal=0, version=None, marker=False, size=len(key), modified=0)

    def read(self, version: Version) -> Iterator[bytes]:
        yield version.key
