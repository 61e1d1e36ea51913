"""The errors of this package.

SupervisionError
├── StatusDisputed    the signed status is not what follows from the ledger, or there is none
├── SourceFlagged     a source's history does not show what the charter asks for
├── SignatureRefused  a file is more than the rebuilt one with an embedded signature that the charter pins
└── Unreadable        a file that is to be compared cannot be read: .path, .reason
"""

from pathlib import Path


class SupervisionError(Exception):
    """Base of every error raised by this package."""


class StatusDisputed(SupervisionError):
    """The signed status is not what follows from the ledger, or there is none."""


class SourceFlagged(SupervisionError):
    """A source's history does not show what the charter asks for."""


class SignatureRefused(SupervisionError):
    """A file is more than the rebuilt one with an embedded signature that the charter pins; the sentence says why."""


class Unreadable(SupervisionError):
    """A file that is to be compared cannot be read; nothing is known about it."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path.name} cannot be read: {reason}")
        self.path, self.reason = path, reason
