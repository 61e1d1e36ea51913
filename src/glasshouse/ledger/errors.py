"""The errors of this package.

LedgerError
├── EntryRefused        an entry, batch or blob is malformed, too long or not what it should be; .field and .fix
│   └── EntryTooLong    longer than the limit
├── NotAdmitted         the entry is well formed, but nobody who may add to this log signed it
├── Busy                too much is waiting already; try again in .retry_after_seconds
├── LogMissing          there is no log of this origin; logs are never created implicitly
├── LogExists           the origin is taken, now or once; an origin is never reused
├── WriterConflict      another writer holds this log
├── LogAlarm            the log's own records contradict each other: it signs nothing more until a person has looked
├── UnknownLog          the witness does not serve a log of this origin
├── SignatureRefused    no key of the log signed the checkpoint, or a signature fails
├── SizeConflict        the witness has seen another size than the request starts from; .size
├── ProofRefused        the checkpoint does not extend what the witness has seen
├── WitnessFailed       a witness gives no cosignature, for whatever reason
├── Unavailable         the server (or network) does not answer, or is overloaded, after all retries
├── Refused             the server refuses the request; .status, .field and .fix
├── NotThere            the server has no such checkpoint, tile, entry or blob (yet)
├── EvidenceUnavailable the ledger does not hold what evidence for the file needs
├── PromiseBroken       an index that the ledger promised stands for another entry, or for none long afterwards
└── ViewError           what the server shows cannot be taken into a verified view; the view is unchanged
    ├── RolledBack      an older checkpoint than the view has verified
    ├── SplitView       another tree of a size the view has verified, or a tree that does not extend it
    ├── EntryAltered    served entries do not hash to what the witnessed tree says
    └── Stale           the witnesses' times are too old for the checkpoint to be taken as current
"""

from collections.abc import Sequence
from pathlib import Path


class LedgerError(Exception):
    """Base of every error raised by this package."""


class EntryRefused(LedgerError):
    """Input that this log takes from nobody: ``field`` names the part, ``fix`` says what to do about it."""

    def __init__(self, reason: str, *, field: str, fix: str) -> None:
        super().__init__(reason)
        self.field = field
        self.fix = fix


class EntryTooLong(EntryRefused):
    """Input longer than the limit stated in ``fix``."""


class NotAdmitted(LedgerError):
    """Nobody who may add to this log signed the entry."""

    def __init__(self, reason: str, *, field: str, fix: str) -> None:
        super().__init__(reason)
        self.field = field
        self.fix = fix


class Busy(LedgerError):
    """Too much is waiting already."""

    def __init__(self, reason: str, *, retry_after_seconds: int = 1) -> None:
        super().__init__(reason)
        self.retry_after_seconds = retry_after_seconds


class LogMissing(LedgerError):
    """There is no log of this origin."""


class LogExists(LedgerError):
    """The origin is taken, now or once."""


class WriterConflict(LedgerError):
    """Another writer holds this log."""


class LogAlarm(LedgerError):
    """The log's own records contradict each other. It signs nothing more until a person has looked."""


class UnknownLog(LedgerError):
    """The witness does not serve a log of this origin."""


class SignatureRefused(LedgerError):
    """No key of the log signed the checkpoint, or a signature fails."""


class SizeConflict(LedgerError):
    """The witness has seen another size than the request starts from."""

    def __init__(self, size: int) -> None:
        super().__init__(f"the newest tree cosigned for this log has {size} entries")
        self.size = size


class ProofRefused(LedgerError):
    """The checkpoint does not extend what the witness has seen."""


class WitnessFailed(LedgerError):
    """A witness gives no cosignature, for whatever reason."""


class Unavailable(LedgerError):
    """The server does not answer, or is overloaded, after all retries."""


class Refused(LedgerError):
    """The server refuses the request: the HTTP status, the field it names and the remedy it proposes."""

    def __init__(self, reason: str, *, status: int, field: str = "", fix: str = "") -> None:
        super().__init__(reason)
        self.status = status
        self.field = field
        self.fix = fix


class NotThere(LedgerError):
    """The server has no such checkpoint, tile, entry or blob (yet)."""


class EvidenceUnavailable(LedgerError):
    """The ledger does not hold what evidence for the file needs."""


class PromiseBroken(LedgerError):
    """An index that the ledger promised stands for another entry, or for none long afterwards."""


class ViewError(LedgerError):
    """What the server shows cannot be taken into a verified view. ``evidence`` are the files kept about it."""

    def __init__(self, reason: str, *, evidence: Sequence[Path] = ()) -> None:
        super().__init__(reason)
        self.evidence = tuple(evidence)


class RolledBack(ViewError):
    """An older checkpoint than the view has verified."""


class SplitView(ViewError):
    """Another tree of a size the view has verified, or a tree that does not extend the verified one."""


class EntryAltered(ViewError):
    """Served entries do not hash to what the witnessed tree says."""


class Stale(ViewError):
    """The witnesses' times are too old for the checkpoint to be taken as current."""
