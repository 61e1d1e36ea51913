"""What every foreign store can be asked. One file for each kind of store: s3.py, directory.py; opening.py opens one.

A store holds versions. A key is bytes, as the store has it, and never becomes a path or a text on the way: `a//b`,
`../up`, `/lead`, `dir/`, 1,024 bytes, any Unicode. Versions of a key are counted from the oldest, which is 0; a delete
marker is a version without content. A store without versions has one of each key, with the ordinal 0.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

# Whether a store does something: found out by doing it. UNKNOWN where these credentials may not find out.
Answer = StrEnum("Answer", "YES NO UNKNOWN")
MAX_KEY_BYTES = 1_024


@dataclass(frozen=True, kw_only=True, slots=True)
class Version:
    """One version of an object.

    `version` is the store's own id of it, None where the store has none. `size` is in bytes, `modified` in Unix
    milliseconds. `tag` is what the store says about the content (ETag, or inode and times): a hint, never evidence.
    """

    key: bytes
    ordinal: int
    version: str | None
    marker: bool
    size: int
    modified: int
    tag: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Upload:
    """A multipart upload that was begun and not finished; `begun` in Unix milliseconds."""

    key: bytes
    id: str
    begun: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Locked:
    """A version that the store did not erase, because it is locked; `until` in Unix seconds where the lock ends."""

    version: Version
    until: int | None
    reason: str


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """What a store honours, asked by doing.

    `readable`: it lists, and gives what it lists. `writable`: these credentials can write, which those of a destination
    and of a supervisor should not. The others are UNKNOWN where they cannot: `conditional_create` (If-None-Match holds
    back a second writer), `read_after_write`, `list_after_write`, `checksums` (content with a wrong checksum is
    refused). `versions`: what is overwritten or deleted stays as a version. `locks`: objects can be locked. `notes` say
    in words what a reader of a report should know.
    """

    store: str
    readable: Answer
    writable: Answer
    versions: Answer
    conditional_create: Answer
    read_after_write: Answer
    list_after_write: Answer
    checksums: Answer
    locks: Answer
    notes: tuple[str, ...] = ()


class Source(Protocol):
    """A store to read from. Threads may share one.

    Trust: none. What it lists and gives is what it says; who needs to know compares lists and digests with others'.
    Every method raises Unavailable where the store does not answer, and Forbidden where it says no.
    """

    url: str

    def list(self, after: bytes | None = None, upto: bytes | None = None) -> Iterator[Version]:
        """Every version of the keys in after < key <= upto, in the order of raw keys, each key's oldest first.

        Complete, or it raises: Unavailable, StoreLied for a list that contradicts itself (out of order, a key twice, a
        page that leads nowhere), InvalidInput for something that no store of this kind holds as an object.
        """

    def read(self, version: Version) -> Iterator[bytes]:
        """The content of this version, in pieces. Raises ObjectMissing at the call where it is gone."""


class Store(Source, Protocol):
    """A store that can be written to, watched and emptied. See Source; the same errors."""

    def write(self, key: bytes, data: bytes, *, once: bool = False, checksum: bytes | None = None) -> None:
        """Write a small object. `once`: raise ObjectConflict where there is one. `checksum`: its SHA-256, to check."""

    def erase(self, versions: Sequence[Version]) -> Sequence[Locked]:
        """Erase exactly these versions, markers too; those that a lock keeps. A version that is gone is no error."""

    def uploads(self) -> Iterator[Upload]:
        """Every unfinished upload."""

    def abort(self, upload: Upload) -> None:
        """Give up an unfinished upload, and its parts; nothing happens where it is gone."""

    def refuse_writes(self, *, deletes: bool = True) -> str:
        """Have the store refuse writes from everybody, and deletes too; in words, what was done and what it cannot do.

        It proves nothing: who fences tries a write afterwards (`probe.write_refused`). Before an erasure it is called
        again without `deletes`.
        """

    def accept_writes(self) -> None:
        """Undo `refuse_writes`; nothing happens where it was not done."""

    def probe(self) -> Capabilities:
        """What the store honours, by doing it under a key of its own that is gone afterwards."""
