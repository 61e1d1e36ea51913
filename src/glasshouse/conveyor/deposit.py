"""What a node keeps so that an old release can be rebuilt when nobody offers its inputs any more.

    <directory>/<sha256>              packages, wheels, package indexes, locks, source packs, shipped files
    <directory>/seen/<sha256>.json    that the public package index listed this wheel, and when this node saw it

Mirrors drop a package when its next version comes. The deposit is filled when a release is made and when one is
rebuilt, and is asked before any mirror. Nothing is believed for lying there: a file is hashed whenever it is taken out,
and the signatures on the indexes are checked again each time. Only that the package index, which signs nothing, listed
a wheel cannot be checked again once the index is gone; then this node's own note of it counts.
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from glasshouse.conveyor.lock import WheelRow
from glasshouse.conveyor.store import Store
from glasshouse.storage import files

SEEN = "seen"


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """The note of one wheel; `time` in Unix seconds."""

    name: str
    filename: str
    sha256: str
    time: int


class Deposit:
    """The deposit in one directory. Files in it are durable, and never removed or replaced while they are whole."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def has(self, sha256: str) -> bool:
        """Whether a file is there and still has its digest."""
        path = self.directory / sha256
        if not path.is_file():
            return False
        with path.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest() == sha256

    def keep(self, sha256: str, content: Path | bytes) -> None:
        """Have a file; `content` must have this digest. Raises StorageUnavailable."""
        if self.has(sha256):
            return
        files.make_directory(self.directory, mode=0o700)
        # What has rotten on the disk is of no use to anybody.
        (self.directory / sha256).unlink(missing_ok=True)
        files.create(self.directory / sha256, content)

    def read(self, sha256: str) -> bytes | None:
        """The bytes of a file, None where it is not there or damaged."""
        path = self.directory / sha256
        data = path.read_bytes() if path.is_file() else b""
        return data if hashlib.sha256(data).hexdigest() == sha256 else None

    def supply(self, sha256: str, store: Store) -> bool:
        """Put a file into a cache that does not have it; whether the cache has it now."""
        if store.has(sha256):
            return True
        return self.has(sha256) and store.take(sha256, self.directory / sha256)

    def note_listed(self, wheel: WheelRow) -> None:
        """Note that the public package index lists a wheel, with its digest, now."""
        if not self.was_listed(wheel):
            seen = _Seen(name=wheel.name, filename=wheel.filename, sha256=wheel.sha256, time=int(time.time()))
            files.make_directory(self.directory / SEEN, mode=0o700)
            files.write(self._note(wheel), json.dumps(asdict(seen), sort_keys=True).encode())

    def was_listed(self, wheel: WheelRow) -> bool:
        """Whether this node has seen the index list this very wheel."""
        path = self._note(wheel)
        if not path.is_file():
            return False
        noted = json.loads(path.read_bytes())
        expected = {"name": wheel.name, "filename": wheel.filename, "sha256": wheel.sha256}
        return {key: noted.get(key) for key in expected} == expected

    def _note(self, wheel: WheelRow) -> Path:
        return self.directory / SEEN / f"{wheel.sha256}.json"
