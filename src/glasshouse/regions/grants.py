"""What a custodian goes by: charter and grants, from the ledger as it follows and verifies it itself."""

import threading
import time
from collections.abc import Callable

from glasshouse_verify.access import Access
from glasshouse_verify.errors import VerifyError

from glasshouse.ledger.errors import LedgerError
from glasshouse.ledger.history import History
from glasshouse.regions.access import Accesses
from glasshouse.regions.custody import Grant, charter_site_key
from glasshouse.regions.errors import CustodyUnavailable
from glasshouse.storage.errors import StorageError

FRESH_SECONDS = 2.0
RETRY_SECONDS = 60.0
STALE_SECONDS = 300.0


class LedgerGrants:
    """`Grants` by a ledger. Threads may share it.

    ``follow`` brings this party's history up to the newest witnessed checkpoint and returns it; it is called when the
    last time is more than FRESH_SECONDS ago, or when a grant is not there yet. Where it fails, what was seen before
    serves for STALE_SECONDS; then nothing is opened until it can be followed again.
    """

    def __init__(
        self, follow: Callable[[], History], *, custodian: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._follow, self._custodian, self._clock = follow, custodian, clock
        self._lock = threading.Lock()
        self._history: History | None = None
        self._failure = ""
        self._followed = self._next = float("-inf")

    def site_key(self, region: str, site: str, keyid: str) -> bytes | None:
        """By the charter in force. Raises CustodyUnavailable, also for regions that break a rule."""
        with self._lock:
            history = self._newest(FRESH_SECONDS)
            charter, size = history.chain.newest.charter, history.size
        try:
            return charter_site_key(charter, size, custodian=self._custodian, region=region, site=site, keyid=keyid)
        except VerifyError as error:
            raise CustodyUnavailable(f"the charter's regions break a rule: {error}") from error

    def grant(self, statement_id: str) -> Grant | None:
        """By the grant, signed by this party, and the request that it names, signed by the party of the region's site.

        None also where it gives more than was asked for, and once a statement of either party has closed the access.
        """
        with self._lock:
            found = _granted(self._newest(FRESH_SECONDS), statement_id, self._custodian)
            if found is None:
                found = _granted(self._newest(0.0), statement_id, self._custodian)
        return found

    def _newest(self, fresh_seconds: float) -> History:
        now = self._clock()
        if now >= self._next and now - self._followed > fresh_seconds:
            try:
                self._history, self._followed = self._follow(), now
            except (LedgerError, StorageError, VerifyError) as error:
                # An attempt may take long; those who wait for it do not all begin another one.
                self._failure, self._next = str(error), self._clock() + RETRY_SECONDS
        if self._history is None or now - self._followed > STALE_SECONDS:
            raise CustodyUnavailable(f"the ledger cannot be followed: {self._failure}")
        return self._history


def _granted(history: History, statement_id: str, custodian: str) -> Grant | None:
    accesses = Accesses(history)
    found = accesses.granted(statement_id)
    if found is None or found[1].grant.predicate.party != custodian:
        return None
    course, allowed = found
    request: Access = course.request.predicate
    if request.about is None:
        return None
    return Grant(region=request.region, about=request.about, uses=allowed.uses, until=allowed.until, site=request.site)
