"""What a custodian goes by: charter and grants, from the ledger as it follows and verifies it itself."""

import threading
import time
from collections.abc import Callable, Iterator

from glasshouse_verify.errors import VerifyError
from glasshouse_verify.receipt import Access, Step
from glasshouse_verify.statement import Use

from glasshouse.ledger.errors import LedgerError
from glasshouse.ledger.history import History, Record
from glasshouse.regions.custody import Grant, charter_site_key
from glasshouse.regions.errors import CustodyUnavailable
from glasshouse.storage.errors import StorageError

FRESH_SECONDS = 2.0
STALE_SECONDS = 300.0


class LedgerGrants:
    """`Grants` by a ledger. Threads may share it.

    ``follow`` brings this party's history up to the newest witnessed checkpoint and returns it; it is called when the
    last time is more than FRESH_SECONDS ago, or when a grant is not there yet. Where it fails, what was seen before
    serves for STALE_SECONDS; then nothing is opened any more.
    """

    def __init__(
        self, follow: Callable[[], History], *, custodian: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._follow, self._custodian, self._clock = follow, custodian, clock
        self._lock = threading.Lock()
        self._history: History | None = None
        self._followed = 0.0

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
        """By the grant, signed by this party, and the request that it names, signed by the region's site's party.

        None also where a statement of either party has closed the access.
        """
        with self._lock:
            found = _granted(self._newest(FRESH_SECONDS), statement_id, self._custodian)
            if found is None:
                found = _granted(self._newest(0.0), statement_id, self._custodian)
        return found

    def _newest(self, fresh_seconds: float) -> History:
        now = self._clock()
        if self._history is None or now - self._followed > fresh_seconds:
            try:
                self._history, self._followed = self._follow(), now
            except (LedgerError, StorageError, VerifyError) as error:
                if self._history is None or now - self._followed > STALE_SECONDS:
                    raise CustodyUnavailable(f"the ledger cannot be followed: {error}") from error
        return self._history


def _granted(history: History, statement_id: str, custodian: str) -> Grant | None:
    standing = {record.id: record for record in _accesses(history)}
    granted = standing.get(statement_id)
    if granted is None or granted.predicate.step != Step.GRANT or granted.predicate.party != custodian:
        return None
    grant: Access = granted.predicate
    asked = standing.get(grant.request or "")
    if asked is None or asked.predicate.step != Step.REQUEST or asked.predicate.region != grant.region:
        return None
    request: Access = asked.predicate
    parties = {request.party, custodian}
    if any(_closes(record.predicate, asked.id, parties) for record in standing.values()):
        return None
    if request.about is None or grant.uses is None or grant.until is None:
        return None
    return Grant(region=grant.region, about=request.about, uses=grant.uses, until=grant.until, site=request.site)


def _accesses(history: History) -> Iterator[Record]:
    return history.standing(Use.ACCESS)


def _closes(access: Access, request: str, parties: set[str]) -> bool:
    return access.step == Step.CLOSE and access.request == request and access.party in parties
