"""One destination and a generated store in one process: python -m bench.relocating.alone DIRECTORY COUNT BYTES.

The store lists and gives COUNT objects of BYTES and holds none of them; everything else is the real code: the old
site's inventory, copying into a directory, the arrival. It answers a line of JSON: seconds and peak megabytes of each.
"""

import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from bench.upload_memory import peak_mb
from glasshouse.regions.keys.file_keyring import FileKeyring
from glasshouse.regions.wrapping import Wrapper
from glasshouse.relocation.archive import ArchiveDirectory
from glasshouse.relocation.copying import Destination, copy_all
from glasshouse.relocation.foreign import take_inventory
from glasshouse.relocation.landing import Landings
from glasshouse.relocation.listing import list_archive
from glasshouse.relocation.stores.interface import Version
from glasshouse.storage.db import Database
from glasshouse.storage.postgres import EmbeddedPostgres

SECRET = bytes(range(32))


class Generated:
    """A store of objects that are made when they are read. See Source."""

    url = "generated:"

    def __init__(self, count: int, size: int) -> None:
        self._count, self._size = count, size

    def list(self, after: bytes | None = None, upto: bytes | None = None) -> Iterator[Version]:
        for number in range(self._count):
            key = b"files/%03d/%09d" % (number * 1_000 // self._count, number)
            if key > (after or b"") and (upto is None or key <= upto):
                yield Version(
                    key=key, ordinal=0, version=None, marker=False, size=self._size, modified=0, tag="generated"
                )

    def read(self, version: Version) -> Iterator[bytes]:
        piece = hashlib.sha256(version.key).digest()
        yield (piece * (self._size // len(piece) + 1))[: self._size]


def main(place: str, count: str, size: str) -> None:
    directory, source = Path(place), Generated(int(count), int(size))
    told: dict[str, object] = {}
    with ExitStack() as stack:
        (directory / "keys").mkdir()
        keys = FileKeyring(directory / "keys")
        keys.next_epoch()
        server = stack.enter_context(EmbeddedPostgres(directory / "postgres"))
        landings = Landings(database=stack.enter_context(Database(server.dsn)), relocation="bench-2026")
        landings.prepare()
        to = Destination(
            landings=landings,
            archive=ArchiveDirectory(root=directory / "vault", relocation="bench-2026"),
            wrapper=Wrapper(keys, None),
            transfer=None,
            region="au",
            secret=SECRET,
        )
        start = time.perf_counter()
        there = take_inventory(source, directory / "source", SECRET)
        told["inventory"] = [time.perf_counter() - start, peak_mb_here()]
        start = time.perf_counter()
        copy_all(source, to)
        told["copy"] = [time.perf_counter() - start, peak_mb_here()]
        start = time.perf_counter()
        arrival = list_archive(to, directory / "lists")
        told["arrival"] = [time.perf_counter() - start, peak_mb_here()]
        if arrival.rows.sharded != there.rows.sharded or arrival.rows.sharded.size != int(count):
            raise RuntimeError("the destination does not have what the source has")
    print(json.dumps(told), flush=True)


def peak_mb_here() -> float:
    """The most memory that this process has had resident."""
    return peak_mb(os.getpid())


if __name__ == "__main__":
    main(*sys.argv[1:])
