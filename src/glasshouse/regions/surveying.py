"""The surveyor: closes epochs when they are due and has their inventories logged, in the process that serves the site.

An inventory is posted once the ledger shows its statement and has its delta; until then it is tried again, also after a
restart. An entry that was sent twice counts once.
"""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from hashlib import sha256

from glasshouse_verify.dsse import parse_envelope, statement_id

from glasshouse.ledger.client import LedgerClient
from glasshouse.ledger.errors import LedgerError
from glasshouse.parties.errors import PartyError
from glasshouse.regions.errors import RegionError
from glasshouse.regions.inventory import Closed, Inventories, Unposted
from glasshouse.regions.journal import Event, Note
from glasshouse.regions.placing import Place
from glasshouse.storage.errors import StorageError

_LOG = logging.getLogger(__name__)
INTERVAL_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 30.0
# An entry that a ledger has taken and does not show after so long is sent again.
SHOWN_WITHIN_SECONDS = 60.0


class Surveyor:
    """Surveys one site, in a thread of its own. Use as a context manager, inside that of the site's intake.

    `append` puts an event into the site's journal (`Committer.append`), `ledger` gives the ledger's URL, `clock` Unix
    seconds; `ended` and `whole` as for Inventories.
    """

    def __init__(
        self,
        place: Place,
        append: Callable[[Note], "Future[Event]"],
        *,
        ledger: Callable[[], str],
        ended: Callable[[Closed], object] = lambda _: None,
        whole: Callable[[], bool] = lambda: True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.inventories = Inventories(place, append, ended=ended, whole=whole)
        self._ledger, self._clock = ledger, clock
        self._sent: dict[int, float] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="surveyor", daemon=True)

    def __enter__(self) -> "Surveyor":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def step(self) -> bool:
        """One turn; whether there was something to do. Raises RegionError, StorageError, LedgerError, PartyError."""
        closed = self.inventories.turn(int(self._clock()))
        waiting = self.inventories.unposted()
        if waiting:
            with LedgerClient(self._ledger()) as client:
                for found in waiting:
                    self._post(client, found)
        return closed or bool(waiting)

    def _post(self, client: LedgerClient, found: Unposted) -> None:
        if not client.lookup(statement_id(parse_envelope(found.entry).payload)):
            sent = self._sent.get(found.epoch)
            if sent is None or time.monotonic() - sent > SHOWN_WITHIN_SECONDS:
                client.add(found.entry)
                self._sent[found.epoch] = time.monotonic()
            return
        digest = sha256(found.delta).hexdigest()
        if not client.has_blob(digest):
            client.put_blob(digest, found.delta)
        self.inventories.posted(found.epoch)
        self._sent.pop(found.epoch, None)
        _LOG.info("inventory %d is logged", found.epoch)

    def _run(self) -> None:
        pause = INTERVAL_SECONDS
        while not self._stop.wait(pause):
            try:
                self.step()
                pause = INTERVAL_SECONDS
            except (RegionError, StorageError, LedgerError, PartyError) as error:
                _LOG.warning("inventories: %s", error)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
            except Exception:
                _LOG.exception("inventories")
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
