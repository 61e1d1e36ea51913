"""Durable files: the only place in the project that writes a file which must survive a crash.

A write goes to a temporary file in the same directory, is flushed to the disk, takes its final name in one step, and
the directory is flushed too. A reader sees the old content or the new, never a mixture; once a function here has
returned, the content survives a power cut as far as the disk keeps its word.

    write(path, data)      replace whatever is there
    create(path, data)     write once: the same content again is accepted, other content is refused
    adopt(path, source)    move a finished file to its place
    write_fresh(contents)  many files at once that nobody reads before this has returned
"""

import contextlib
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path

from glasshouse.storage.errors import ObjectConflict, from_os_error

CHUNK_BYTES = 1 << 20
_TEMPORARY_SUFFIX = ".tmp"
# A hand-over to a thread costs as much processor time as several flushes; more threads than these gain nothing.
_MOST_FLUSHERS, _FLUSHED_BY_ONE = 16, 8


def write(path: Path, data: bytes | Path, *, mode: int = 0o644) -> None:
    """Durably put ``data`` (bytes, or the content of another file) at ``path``, replacing what is there.

    Raises StorageUnavailable; then nothing changed.
    """
    try:
        with _temporary(path, data, mode) as temporary:
            temporary.replace(path)
            sync_directory(path.parent)
    except OSError as error:
        raise from_os_error(error, f"writing {path}") from error


def create(path: Path, data: bytes | Path, *, mode: int = 0o644) -> bool:
    """Durably put ``data`` (bytes, or the content of another file) at ``path`` unless the path is taken.

    True if this call created it, False if the same content was there already. Raises ObjectConflict if other content
    is there, StorageUnavailable if the disk refuses.
    """
    try:
        with _temporary(path, data, mode) as temporary:
            try:
                # A hard link fails where a rename would silently replace.
                os.link(temporary, path)
            except FileExistsError:
                if not _same_content(temporary, path):
                    raise ObjectConflict(str(path)) from None
                # The process that created it may have died before its directory was flushed.
                sync_directory(path.parent)
                return False
        sync_directory(path.parent)
    except OSError as error:
        raise from_os_error(error, f"creating {path}") from error
    return True


def adopt(path: Path, source: Path) -> None:
    """Durably move a file of the same file system to ``path``, replacing what is there. Raises StorageUnavailable."""
    try:
        with source.open("rb") as file:
            os.fsync(file.fileno())
        source.replace(path)
        sync_directory(path.parent)
    except OSError as error:
        raise from_os_error(error, f"moving {source.name} to {path}") from error


def write_fresh(contents: Mapping[str, bytes], threads: Executor) -> None:
    """Durably write many files, whose names nobody looks for before this has returned.

    So they need no temporary names, and are flushed at the same time: a disk flushes many as fast as one. After a
    crash some of them may be there, half-written. Raises StorageUnavailable (StorageFull), and ObjectConflict where a
    name is taken; then none of them is left.
    """
    descriptors: list[int] = []
    created: list[str] = []
    try:
        for path, data in contents.items():
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            descriptors.append(descriptor)
            created.append(path)
            written = os.write(descriptor, data)
            while written < len(data):
                written += os.write(descriptor, memoryview(data)[written:])
            # Begins to write it out, so that all files get their place on the disk in one transaction of its journal.
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        for directory in {os.path.dirname(path) for path in contents}:  # noqa: PTH120  many, and strings already
            descriptors.append(os.open(directory, os.O_RDONLY | os.O_DIRECTORY))
        parts = min(_MOST_FLUSHERS, -(-len(descriptors) // _FLUSHED_BY_ONE))
        for _ in threads.map(_flush, [descriptors[part::parts] for part in range(parts)]):
            continue
    except OSError as error:
        for path in created:
            Path(path).unlink(missing_ok=True)
        if isinstance(error, FileExistsError):
            raise ObjectConflict(str(error.filename)) from error
        raise from_os_error(error, f"writing {len(contents)} files") from error
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def _flush(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        os.fsync(descriptor)


def make_directory(path: Path, *, mode: int = 0o755) -> None:
    """Durably create ``path`` and its missing parents; the mode applies to each directory created."""
    missing = []
    place = path
    while not place.is_dir():
        missing.append(place)
        place = place.parent
    try:
        for directory in reversed(missing):
            with contextlib.suppress(FileExistsError):
                directory.mkdir(mode=mode)
            sync_directory(directory.parent)
    except OSError as error:
        raise from_os_error(error, f"making the directory {path}") from error


def sync_directory(path: Path | str) -> None:
    """Flush a directory, so that names created or removed in it survive a power cut. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_temporary(path: Path) -> bool:
    """Whether the name is one of an unfinished write, which a reader or a listing must pass over."""
    return path.name.startswith(".") and path.name.endswith(_TEMPORARY_SUFFIX)


def chunks(path: Path) -> Iterator[bytes]:
    """The content of a file in pieces of at most CHUNK_BYTES."""
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


@contextlib.contextmanager
def _temporary(path: Path, data: bytes | Path, mode: int) -> Iterator[Path]:
    """A flushed temporary file beside ``path`` holding ``data``; gone afterwards unless it was renamed away."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}{_TEMPORARY_SUFFIX}")
    # The mode is set before the first byte is written: a secret is never readable, not even for a moment.
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            for chunk in (data,) if isinstance(data, bytes) else chunks(data):
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def _same_content(one: Path, other: Path) -> bool:
    if one.stat().st_size != other.stat().st_size:
        return False
    return all(left == right for left, right in zip(chunks(one), chunks(other), strict=True))
