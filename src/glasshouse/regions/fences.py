"""Fences: which sites have stopped taking, because their region has moved away.

The event `fenced` in the journal of the site that is left says so, and nothing that it stores may follow on it: the
database refuses that, at the site itself and in the replicas of its journal. Those that take over begin to take with
that event, of which each learns by replication. What a running process goes by is read again many times a second.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from glasshouse.regions.errors import JournalConflict
from glasshouse.regions.journal import FENCES
from glasshouse.storage.db import Database


@dataclass(frozen=True, kw_only=True)
class Fence:
    """A site has stopped taking. Times are in Unix milliseconds, each by the clock of its site.

    `position` is of the event in the journal of `site`; `fenced_ms` when that stopped. Kept where this is read: since
    when the own intake was allowed to take (`opened_ms`; None at the site that was left), when it took its first object
    (`first_ms`), and how many uploads the site that was left has refused since (`refused`; 0 elsewhere).
    """

    relocation: str
    site: str
    position: int
    fenced_ms: int
    opened_ms: int | None
    first_ms: int | None
    refused: int


Known = Mapping[tuple[str, str], Fence]
"""Fences by relocation and site."""


def read_fences(database: Database) -> Known:
    """Every fence that the journals kept here speak of."""
    with database.transaction() as connection:
        rows = connection.execute(FENCES["fences"]).fetchall()
    found = {}
    for relocation, site, position, fenced_ms, opened_ms, first_ms, refused in rows:
        fence = Fence(
            relocation=str(relocation),
            site=str(site),
            position=_int(position),
            fenced_ms=_int(fenced_ms),
            opened_ms=None if opened_ms is None else _int(opened_ms),
            first_ms=None if first_ms is None else _int(first_ms),
            refused=_int(refused),
        )
        found[fence.relocation, fence.site] = fence
    return MappingProxyType(found)


class Fences:
    """The fences as they were read last. Threads may share it."""

    def __init__(self, known: Known = MappingProxyType({})) -> None:
        self._lock = threading.Lock()
        self._known = known
        self._refused = 0

    @property
    def known(self) -> Known:
        """All of them; another object whenever there is one more."""
        with self._lock:
            return self._known

    def refused(self) -> None:
        """Count an upload that the fence of this site has refused."""
        with self._lock:
            self._refused += 1

    def refresh(self, database: Database, site: str) -> None:
        """Read them again, and write down what this process at `site` has refused. Raises StorageError."""
        with self._lock:
            refused, self._refused = self._refused, 0
        try:
            if refused:
                with database.transaction() as connection:
                    connection.execute(FENCES["count_refused"], {"site": site, "refused": refused})
            found = read_fences(database)
        except BaseException:
            with self._lock:
                self._refused += refused
            raise
        with self._lock:
            if found.keys() != self._known.keys():
                self._known = found


def _int(value: object) -> int:
    if not isinstance(value, int):
        raise JournalConflict("the database holds something else than a fence")
    return value
