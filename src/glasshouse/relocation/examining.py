"""Examining one object at a destination: its ciphertext, as the store gives it to the supervisor, up to its row.

    ciphertext   has the digest and the size that the destination listed in its arrival
    data key     opens it, and opens nothing that the old site or another destination has of the same object
    content      by SHA-256, size and what the site says of it, has the commitment of the row that the fence left

The supervisor reads ciphertexts with credentials of its own, so that the destination does not know which are looked at.
"""

import contextlib
import hashlib
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass

from glasshouse_verify.codec import Digest, Identifier, Text
from glasshouse_verify.foreign import store_row
from glasshouse_verify.relocation import Fault
from glasshouse_verify.row import Row

from glasshouse.regions.errors import SealBroken
from glasshouse.regions.inventory_tables import commitment_of
from glasshouse.regions.seal import SEALED_SEGMENT_BYTES, Opener
from glasshouse.regions.vault import digest_of
from glasshouse.relocation.errors import Unavailable
from glasshouse.relocation.openings import ObjectFacts, Opening
from glasshouse.relocation.stores.interface import Source, Version
from glasshouse.storage.errors import ObjectMissing

ATTEMPTS = 3
PAUSE_SECONDS = 2.0


def archive_prefix(relocation: str) -> bytes:
    """What the keys of an archive begin with, in a destination's vault (see archive.py)."""
    return f"archive/{relocation}/".encode()


@dataclass(frozen=True, kw_only=True)
class Ciphertexts:
    """A vault, read by a party that it does not belong to: each object lies under `prefix`, a digit and its handle."""

    store: Source
    prefix: bytes = b""

    def read(self, handle: str) -> Iterator[bytes]:
        """The ciphertext in pieces. Raises ObjectMissing at the call, Unavailable."""
        key = self.prefix + f"{handle[0]}/{handle}".encode()
        return self.store.read(Version(key=key, ordinal=0, version=None, marker=False, size=0, modified=0))

    def handles(self) -> Iterator[str]:
        """Every object that lies there, in the order of their handles. Raises Unavailable, StoreLied."""
        for version in self.store.list(self.prefix or None, self.prefix + b"\xff"):
            first, _, name = version.key.removeprefix(self.prefix).partition(b"/")
            text = name.decode("ascii", errors="replace")
            if len(text) == 64 and not text.strip("0123456789abcdef") and first == name[:1]:
                yield text

    def answers(self) -> bool:
        """Whether the store lists at all."""
        try:
            next(iter(self.store.list()), None)
        except (Unavailable, ObjectMissing):
            return False
        return True


@dataclass(frozen=True, kw_only=True)
class Expected:
    """An object as the ledger has it: its row, and its ciphertext by the destination's list, if it has one there."""

    row: Row
    sealed: Row | None

    @property
    def handle(self) -> str:
        """Its handle."""
        return str(self.row["key"])


@dataclass(frozen=True, kw_only=True)
class Found:
    """What came of one object. `fault` is empty where it is right; `erased` where its site has erased it since."""

    handle: str
    fault: str = ""
    sealed: str = ""
    size: int = 0
    erased: bool = False
    marker: bool = False


@dataclass(frozen=True, kw_only=True)
class Examiner:
    """Examines the objects of one destination. Threads may share it.

    `others` are vaults where no object may open with a data key of this destination's: the other destinations', and the
    old site's while it is there. `secret` is that of the move where a store is emptied. `buried` tells whether an
    inventory since the fence shows the tombstone of a handle.
    """

    site: Identifier
    region: str
    here: Ciphertexts
    others: Mapping[str, Ciphertexts]
    secret: bytes | None
    buried: Callable[[str], bool]
    pause_seconds: float = PAUSE_SECONDS

    def examine(self, expected: Expected, opening: Opening) -> Found:
        """What one object is found to be. Raises Unavailable where the store does not answer at all."""
        if opening.erased:
            fault = "" if self.buried(expected.handle) else "is erased, says the site, and no inventory shows it"
            return Found(handle=expected.handle, fault=fault, erased=True)
        if opening.version is not None and opening.version.marker:
            return Found(handle=expected.handle, fault=self._check_row(expected, opening, None, 0), marker=True)
        for attempt in range(ATTEMPTS):
            try:
                return self._read(expected, opening)
            except Unavailable as error:
                if not self.here.answers():
                    raise
                told = f"its store lists, and does not give it: {error}"
            time.sleep(self.pause_seconds * attempt)
        return Found(handle=expected.handle, fault=told)

    def fault(self, found: Found) -> Fault:
        """What is said in public of an object that is not right."""
        return Fault(site=self.site, text=Text(found.fault[:500]), handle=Digest(found.handle))

    def _read(self, expected: Expected, opening: Opening) -> Found:
        handle, sealed = expected.handle, expected.sealed
        if sealed is None or opening.data_key is None:
            return Found(handle=handle, fault="has no ciphertext in the list of its arrival")
        opener, content = Opener(opening.data_key, handle=handle, region=self.region), _Content()
        try:
            with _reading(self.here.read(handle)) as pieces:
                found = digest_of(pieces, lambda piece: content.take(opener.update(piece)))
            content.take(opener.finish())
        except ObjectMissing:
            if not self.here.answers():
                raise Unavailable(f"the store of {self.site} is not there") from None
            return Found(handle=handle, fault="is not in the store")
        except SealBroken as error:
            return Found(handle=handle, fault=f"does not open with the data key that the site gave: {error}")
        if found != (sealed["sha256"], sealed["size"]) or opening.sealed != found[0]:
            return Found(handle=handle, fault="has another ciphertext than its arrival lists")
        fault = self._check_row(expected, opening, content.digest.hexdigest(), content.size)
        return Found(
            handle=handle, fault=fault or self._check_keys(expected, opening), sealed=found[0], size=content.size
        )

    def _check_row(self, expected: Expected, opening: Opening, content: str | None, size: int) -> str:
        """Why the content is not that of the row; empty where it is."""
        if self._row(opening, content, size) == expected.row:
            return ""
        if content is None:
            return "is a delete marker, says the site, and its row says something else"
        return f"has content ({size} bytes) that is not what its row commits to"

    def _row(self, opening: Opening, content: str | None, size: int) -> Row | None:
        if opening.version is not None and self.secret is not None:
            return store_row(self.secret, opening.version.key, opening.version.ordinal, content, size)
        if opening.object is None or content is None:
            return None
        return {"commitment": _commitment(self.region, opening.object, content, size), "key": opening.handle}

    def _check_keys(self, expected: Expected, opening: Opening) -> str:
        """Whether its data key opens what another vault has of it, and so was not made anew. In words, or empty."""
        for name, vault in self.others.items():
            try:
                with _reading(vault.read(expected.handle)) as pieces:
                    if _opens(opening.data_key or b"", expected.handle, self.region, pieces):
                        return f"has a data key that opens what {name} has of it: it was not sealed anew"
            except ObjectMissing:
                continue
        return ""


def _opens(data_key: bytes, handle: str, region: str, pieces: Iterator[bytes]) -> bool:
    """Whether a data key opens the first segment of a ciphertext."""
    start = bytearray()
    for piece in pieces:
        start += piece
        if len(start) > SEALED_SEGMENT_BYTES:
            break
    opener = Opener(data_key, handle=handle, region=region)
    try:
        opener.update(start)
        if len(start) <= SEALED_SEGMENT_BYTES:
            opener.finish()
    except SealBroken:
        return False
    return True


def _commitment(region: str, facts: ObjectFacts, content: str, size: int) -> str:
    digest, salt = bytes.fromhex(content), bytes.fromhex(facts.salt)
    return commitment_of(region, (facts.customer, facts.category, facts.retention, digest, size, salt))


class _Content:
    """SHA-256 and size of content that comes in pieces."""

    def __init__(self) -> None:
        self.digest, self.size = hashlib.sha256(), 0

    def take(self, piece: bytes) -> None:
        self.digest.update(piece)
        self.size += len(piece)


@contextlib.contextmanager
def _reading(pieces: Iterator[bytes]) -> Iterator[Iterator[bytes]]:
    """The pieces of an object, which may be left before they end."""
    try:
        yield pieces
    finally:
        if isinstance(pieces, Generator):
            pieces.close()
