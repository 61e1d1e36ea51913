"""What a running site takes up without a restart: peers that an amendment brings in or takes away, and fences."""

import logging
import threading

from glasshouse.regions import journal
from glasshouse.regions.errors import RegionError, SiteRefused
from glasshouse.regions.peering import Replication
from glasshouse.regions.placing import Place, State
from glasshouse.storage.errors import StorageError

_LOG = logging.getLogger(__name__)
POLL_SECONDS = 1.0
# A fence is felt by everybody who sends.
POLL_MOVING_SECONDS = 0.1


class Renewal:
    """Keeps a site's journals, replicators and fences in step, in a thread. Use as a context manager."""

    def __init__(self, place: Place, replication: Replication) -> None:
        self._place, self._replication = place, replication
        self._site = place.rules().site
        self._state: State | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="renewal", daemon=True)

    def step(self) -> None:
        """One turn. Raises RegionError, StorageError."""
        self._place.fences.refresh(self._place.database, self._site)
        rules = self._place.rules()
        if self._state not in (None, rules.state):
            _LOG.info("%s is %s now", rules.site, rules.state)
        self._state = rules.state
        if set(rules.peers) != self._replication.peers:
            journal.open_journals(self._place.database, rules.senders, rules.peers)
        self._replication.renew(rules.peers)

    def __enter__(self) -> "Renewal":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._pause()):
            try:
                self.step()
            except SiteRefused:
                # Said where the charter is followed; nobody is served meanwhile.
                continue
            except (RegionError, StorageError) as error:
                _LOG.warning("the site goes by what it knew: %s: %s", type(error).__name__, error)

    def _pause(self) -> float:
        return POLL_MOVING_SECONDS if self._state in (State.LEAVING, State.ARRIVING) else POLL_SECONDS
