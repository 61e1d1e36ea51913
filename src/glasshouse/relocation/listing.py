"""What a destination says of itself: it lists its archive with another client than the copier's, and reads all of it.

    listed handle + landed row → hash the ciphertext → open it → what it says of itself → row → compare

Nothing that the copier has noted is taken over: the row of each version is made anew of the opened object alone, and
has to be the one that landed. Delete markers have no object; their rows come from the database. Both go through in the
order of handles, so that a listing of any length needs the memory of one page, and of the rows of one shard.

What is listed and never landed was left by a worker that was killed, or by a version that has vanished: it is removed.
What landed and is missing, altered, or does not open is forgotten, so that the next pass copies it again.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Protocol

from glasshouse_verify.encoding import JSON, decode_base64
from glasshouse_verify.errors import FormatError
from glasshouse_verify.foreign import store_row
from glasshouse_verify.row import format_row

from glasshouse.regions.errors import KeyDestroyed, Unverifiable
from glasshouse.regions.seal import Opener
from glasshouse.relocation.archive import ArchiveDirectory, ArchivePlace
from glasshouse.relocation.copying import Destination
from glasshouse.relocation.errors import StoreLied
from glasshouse.relocation.landing import Landed
from glasshouse.relocation.lists import RowList, ciphertext_row, keep_list, keys_in_order
from glasshouse.relocation.pace import Meter
from glasshouse.storage import files
from glasshouse.storage.errors import ObjectMissing, from_os_error
from glasshouse.storage.objects import ObjectStore

_THREADS = 6
_PORTION = 32
_AHEAD = 3 * _THREADS
_NAMED = 5


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """What the destination has: rows of versions and of ciphertexts, bytes of content; what it removed as nobody's."""

    rows: RowList
    sealed: RowList
    size: int
    removed: int


def list_archive(to: Destination, directory: Path, meter: Meter | None = None) -> Arrival:
    """List and read everything; the two lists are kept as `rows` and `sealed` in `directory`.

    Raises StoreLied where something that landed is not there as it landed, after all of that was forgotten: copy and
    list again. StorageUnavailable. Only while nobody copies, and before `forget_transfers`.
    """
    shelf = open_shelf(to.archive)
    files.make_directory(directory, mode=0o700)
    # The rows of ciphertexts are found on the way, and wait in a file until those of versions are kept.
    waiting = directory / "sealed.waiting"
    try:
        with waiting.open("wb") as aside:
            checker = _Checker(to, shelf, meter or Meter(), directory, aside)
            rows = keep_list(directory / "rows", checker.lines())
        if checker.wrong:
            to.landings.drop([handle for handle, _ in checker.wrong])
            named = "; ".join(f"{handle[:16]}… {why}" for handle, why in checker.wrong[:_NAMED])
            raise StoreLied(f"{len(checker.wrong)} objects are not as they landed and have to be copied again: {named}")
        with waiting.open("rb") as found:
            sealed = keep_list(directory / "sealed", found)
    finally:
        waiting.unlink(missing_ok=True)
    return Arrival(rows=rows, sealed=sealed, size=checker.size, removed=checker.removed)


class Shelf(Protocol):
    """An archive as this listing sees it. Threads may share one."""

    def handles(self, scratch: Path) -> Iterator[str]:
        """Every handle, ascending. Raises StoreLied for a list out of order."""

    def read(self, handle: str) -> Iterator[bytes]:
        """An object in pieces. Raises ObjectMissing."""

    def remove(self, handle: str) -> None:
        """Remove an object that is nobody's."""


class _DirectoryShelf:
    """See Shelf."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def handles(self, scratch: Path) -> Iterator[str]:
        for digit in "0123456789abcdef":
            with os.scandir(self._root / digit) as entries:
                yield from keys_in_order((entry.name for entry in entries), scratch)

    def read(self, handle: str) -> Iterator[bytes]:
        try:
            file = (self._root / handle[0] / handle).open("rb", buffering=0)
        except FileNotFoundError:
            raise ObjectMissing(handle) from None
        except OSError as error:
            raise from_os_error(error, f"reading {handle}") from error
        with file:
            while piece := file.read(files.CHUNK_BYTES):
                yield piece

    def remove(self, handle: str) -> None:
        (self._root / handle[0] / handle).unlink(missing_ok=True)


class _BucketShelf:
    """See Shelf: obstore is faithful to handles, and lists fast."""

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects

    def handles(self, scratch: Path) -> Iterator[str]:  # noqa: ARG002  a bucket lists in order
        before = ""
        for key in self._objects.list(""):
            digit, _, handle = key.partition("/")
            if digit != handle[:1]:
                raise StoreLied(f"the archive lists {key!r}, which is no object of it")
            if handle <= before:
                raise StoreLied(f"the archive lists {handle[:16]}… after {before[:16]}…, out of order or twice")
            before = handle
            yield handle

    def read(self, handle: str) -> Iterator[bytes]:
        return self._objects.stream(f"{handle[0]}/{handle}")

    def remove(self, handle: str) -> None:
        self._objects.delete(f"{handle[0]}/{handle}")


def open_shelf(place: ArchivePlace) -> Shelf:
    """The archive by the listing's own client."""
    if isinstance(place, ArchiveDirectory):
        for digit in "0123456789abcdef":
            files.make_directory(place.path / digit, mode=0o700)
        return _DirectoryShelf(place.path)
    return _BucketShelf(place.objects())


class _Checker:
    """One walk through listing and database. `size`, `removed` and `wrong` (handle, why) hold once it has ended."""

    def __init__(self, to: Destination, shelf: Shelf, meter: Meter, scratch: Path, aside: BinaryIO) -> None:
        self._to, self._shelf, self._meter, self._scratch, self._aside = to, shelf, meter, scratch, aside
        self.size = self.removed = 0
        self.wrong: list[tuple[str, str]] = []

    def lines(self) -> Iterator[bytes]:
        """The rows of everything that landed and is right, ascending."""
        with ThreadPoolExecutor(_THREADS, thread_name_prefix="listing") as threads:
            pairs = self._pairs()
            waiting: list[Future[Sequence[_Checked]]] = []
            while portion := list(islice(pairs, _PORTION)):
                waiting.append(threads.submit(self._check_all, portion))
                if len(waiting) > _AHEAD:
                    yield from self._lines_of(waiting.pop(0).result())
            for portion_checked in waiting:
                yield from self._lines_of(portion_checked.result())

    def _lines_of(self, portion: "Sequence[_Checked]") -> Iterator[bytes]:
        for one in portion:
            if one.why is not None:
                self.wrong.append((one.handle, one.why))
            else:
                self.size += one.size
                self._aside.write(one.sealed)
                yield one.line
        self._meter.add(len(portion), sum(one.size for one in portion))

    def _pairs(self) -> Iterator[tuple[Landed, bool]]:
        """What landed, and whether it is listed; what is listed and never landed is removed on the way."""
        listed = self._shelf.handles(self._scratch)
        there = next(listed, None)
        for one in self._to.landings.everything():
            while there is not None and there < one.handle:
                self._remove(there)
                there = next(listed, None)
            found = there == one.handle
            if found:
                there = next(listed, None)
            yield one, found
        while there is not None:
            self._remove(there)
            there = next(listed, None)

    def _remove(self, handle: str) -> None:
        self._shelf.remove(handle)
        self.removed += 1

    def _check_all(self, portion: Iterable[tuple[Landed, bool]]) -> "Sequence[_Checked]":
        return [self._check(one, found) for one, found in portion]

    def _check(self, one: Landed, found: bool) -> "_Checked":
        if one.content is None:
            if found:
                return _Checked(handle=one.handle, why="is a delete marker, and an object stands there")
            marker = store_row(self._to.secret, one.key, one.ordinal, None, 0)
            return _Checked(handle=one.handle, line=format_row(marker) + b"\n")
        if not found:
            return _Checked(handle=one.handle, why="is not listed")
        try:
            return self._open(one)
        except ObjectMissing:
            return _Checked(handle=one.handle, why="is listed and not there")
        except (Unverifiable, KeyDestroyed, FormatError, _Wrong) as error:
            return _Checked(handle=one.handle, why=str(error))

    def _open(self, one: Landed) -> "_Checked":
        """Both rows, from the ciphertext alone."""
        to, wrapping = self._to, one.transfer or one.wrapping
        if wrapping is None:
            raise _Wrong("has no data key")
        key = to.wrapper.unwrap(wrapping, handle=one.handle, region=to.region)
        opener = Opener(key, handle=one.handle, region=to.region)
        ciphertext, content, size, sealed_size = hashlib.sha256(), hashlib.sha256(), 0, 0

        def pieces() -> Iterator[bytes]:
            nonlocal sealed_size
            for piece in self._shelf.read(one.handle):
                ciphertext.update(piece)
                sealed_size += len(piece)
                yield piece

        for opened in opener.open(pieces()):
            content.update(opened)
            size += len(opened)
        if ciphertext.hexdigest() != one.sealed:
            raise _Wrong("has other bytes than landed")
        place, ordinal = _said(opener.metadata, to.relocation)
        row = store_row(to.secret, place, ordinal, content.hexdigest(), size)
        if (row["key"], row["commitment"]) != (one.handle, one.commitment):
            raise _Wrong("opens as another version than landed")
        sealed = ciphertext_row(one.handle, ciphertext.hexdigest(), sealed_size)
        return _Checked(handle=one.handle, line=format_row(row) + b"\n", sealed=format_row(sealed) + b"\n", size=size)


class _Wrong(Exception):
    """An object that is not as it landed; the message follows its handle."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Checked:
    handle: str
    line: bytes = b""
    sealed: bytes = b""
    size: int = 0
    why: str | None = None


def _said(metadata: "dict[str, JSON]", relocation: str) -> tuple[bytes, int]:
    """Key and ordinal by the object's own metadata."""
    key, ordinal = metadata.get("key"), metadata.get("ordinal")
    if not isinstance(key, str) or not isinstance(ordinal, int) or metadata.get("relocation") != relocation:
        raise _Wrong("does not say which version of which object it is")
    return decode_base64(key, "key"), ordinal
