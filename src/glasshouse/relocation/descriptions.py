"""What a foreign store holds, version by version: what the old site hands to the supervisor beside its rows.

    {"content":"9f2c…","key":"YS8vYg==","ordinal":0,"size":1234}
    {"key":"YS8vYg==","ordinal":1,"size":0}                          a delete marker

Lines of canonical JSON, ascending by raw key and ordinal. They are just what the rows commit to
(`glasshouse_verify.relocation.store_row`), so that whoever has the secret of the move makes the rows of them. Keys are
names that their owners gave, so this goes to the supervisor and to nobody else.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from glasshouse_verify.codec import Digest, decode, encode
from glasshouse_verify.encoding import format_json, parse_json
from glasshouse_verify.errors import FormatError
from glasshouse_verify.foreign import store_row
from glasshouse_verify.row import Row

from glasshouse.relocation.errors import InvalidInput
from glasshouse.relocation.stores.interface import Source, Version
from glasshouse.storage import files
from glasshouse.storage.errors import ObjectMissing, from_os_error

# A key has at most 1,024 bytes.
_MAX_LINE = 2_048


@dataclass(frozen=True, kw_only=True)
class Described:
    """One version: its raw key, its ordinal (0 is the oldest), SHA-256 of its content and bytes; none of a marker."""

    key: bytes
    ordinal: int
    size: int
    content: Digest | None = None

    @property
    def place(self) -> tuple[bytes, int]:
        """Where it stands in the order of a listing."""
        return self.key, self.ordinal

    def row(self, secret: bytes) -> Row:
        """Its row, under the secret of the move."""
        return store_row(secret, self.key, self.ordinal, self.content, self.size)


def describe(source: Source, versions: Iterable[Version] | None = None) -> Iterator[Described]:
    """Everything that a store lists (or these versions of it), read to its end and hashed.

    What is gone when it is to be read is left out: a later listing does not have it either. Raises Unavailable,
    StoreLied where the store lists another size than it gives.
    """
    for version in source.list() if versions is None else versions:
        if version.marker:
            yield Described(key=version.key, ordinal=version.ordinal, size=0)
            continue
        try:
            content, size = read_content(source, version)
        except ObjectMissing:
            continue
        yield Described(key=version.key, ordinal=version.ordinal, size=size, content=content)


def read_content(source: Source, version: Version) -> tuple[Digest, int]:
    """SHA-256 and size of one version's content, as the store gives it. Raises ObjectMissing, Unavailable."""
    digest, size = hashlib.sha256(), 0
    for piece in source.read(version):
        digest.update(piece)
        size += len(piece)
    return Digest(digest.hexdigest()), size


def keep_descriptions(path: Path, described: Iterable[Described]) -> tuple[int, int]:
    """Durably write a list of versions, and return how many they are and the bytes of their content.

    It appears once it is whole. Raises InvalidInput where they do not ascend.
    """
    files.make_directory(path.parent, mode=0o700)
    partial, count, size = path.with_name(f".{path.name}.part"), 0, 0
    try:
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            for one in _ascending(described):
                file.write(format_json(encode(one)) + b"\n")
                count, size = count + 1, size + one.size
        files.adopt(path, partial)
    except OSError as error:
        raise from_os_error(error, f"writing {path}") from error
    finally:
        partial.unlink(missing_ok=True)
    return count, size


def read_descriptions(path: Path) -> Iterator[Described]:
    """The versions in a list, one line in memory at a time. Raises InvalidInput where it is none."""

    def lines() -> Iterator[Described]:
        with path.open("rb") as file:
            while line := file.readline(_MAX_LINE + 1):
                if not line.endswith(b"\n"):
                    raise FormatError("description", f"not a line of at most {_MAX_LINE} bytes that ends in a newline")
                yield decode(Described, parse_json(line[:-1], "description", _MAX_LINE), "description")

    try:
        yield from _ascending(lines())
    except FormatError as error:
        fix = "Ask the old site for the list that its source statement is made of."
        raise InvalidInput(str(path), str(error), fix) from error
    except OSError as error:
        raise from_os_error(error, f"reading {path}") from error


def _ascending(described: Iterable[Described]) -> Iterator[Described]:
    before: tuple[bytes, int] | None = None
    for one in described:
        if before is not None and one.place <= before:
            raise InvalidInput("description", f"{one.key!r} does not ascend", "List by raw key and ordinal.")
        before = one.place
        yield one
