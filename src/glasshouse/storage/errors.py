"""The errors of this package.

StorageError
├── StorageUnavailable      a disk, database or object store does not answer, or refuses
│   ├── StorageFull         no space is left; nothing was changed
│   └── DatabaseUnavailable PostgreSQL is down, restarting or unreachable
├── ObjectMissing           no object has this key
├── ObjectConflict          a write-once file or object exists with other content
├── SchemaError             the database's schema is not the one this code was written for
└── LauncherError           the embedded PostgreSQL cannot run here; the message says what to change
    └── ClusterInUse        another node holds this cluster
"""

import errno

_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class StorageError(Exception):
    """Base of every error raised by this package."""


class StorageUnavailable(StorageError):
    """A disk, database or object store does not answer, or refuses; trying again later may help."""


class StorageFull(StorageUnavailable):
    """No space is left. Nothing was changed."""


class DatabaseUnavailable(StorageUnavailable):
    """PostgreSQL is down, restarting or unreachable. A transaction under way may or may not have been committed."""


class ObjectMissing(StorageError):
    """No object has this key."""

    def __init__(self, key: str) -> None:
        super().__init__(f"no object {key!r}")
        self.key = key


class ObjectConflict(StorageError):
    """A write-once file or object exists with other content."""

    def __init__(self, key: str) -> None:
        super().__init__(f"{key} exists already, with other content")
        self.key = key


class SchemaError(StorageError):
    """The database's schema is not the one this code was written for."""


class LauncherError(StorageError):
    """The embedded PostgreSQL cannot run here. The message says what to change."""


class ClusterInUse(LauncherError):
    """Another running node holds this cluster."""


def from_os_error(error: OSError, doing: str) -> StorageUnavailable:
    """The storage error for a failed system call; ``doing`` says in words what was attempted."""
    kind = StorageFull if error.errno in _NO_SPACE else StorageUnavailable
    return kind(f"{doing}: {error.strerror or error}")
