"""The keeper: removes what is due, grants wishes, deletes what was removed; in the process that serves the site.

    1. `removed` enters this site's journal: the wrapped data key is wiped in the same transaction
    2. the event is replicated to the peers, which wipe theirs as they take it
    3. the ciphertext is deleted: here once every peer has the event, at a peer once it has it itself

What is due is removed only while enough peers answer, so that no site forgets alone. Whatever crashes, the next start
goes on where the journal is: step 3 is found from it, up to a position that is kept, and may be done twice.
"""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future

from glasshouse.parties.errors import PartyError
from glasshouse.regions import journal
from glasshouse.regions.errors import RegionError
from glasshouse.regions.journal import Event, Kind, Note
from glasshouse.regions.keeping.retention import due
from glasshouse.regions.keeping.wishes import QUERIES, fulfil, open_wishes
from glasshouse.regions.placing import Place, State
from glasshouse.storage.errors import StorageError

_LOG = logging.getLogger(__name__)
INTERVAL_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 30.0
PATIENCE_SECONDS = 30.0
MAX_CLEARED = 1_000
_NOT_AFTER_THE_FENCE = (Kind.REMOVED, Kind.HELD, Kind.RELEASED)


class Keeper:
    """Keeps one site, in a thread of its own. Use as a context manager, inside that of the site's intake.

    `append` puts an event into the site's journal (`Committer.append`), `able` says whether enough peers answer;
    `clock` gives Unix seconds.
    """

    def __init__(
        self,
        place: Place,
        append: Callable[[Note], "Future[Event]"],
        *,
        able: Callable[[], bool],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._place, self._append, self._able, self._clock = place, append, able, clock
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)

    def __enter__(self) -> "Keeper":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def step(self) -> bool:
        """One turn; whether there was something to do. Raises RegionError, StorageError."""
        wished = self._grant_wishes()
        removed = self.remove_due() if self._able() else 0
        return bool(wished + removed + self.clear())

    def remove_due(self) -> int:
        """Remove what is due now; how many objects. See `retention.due`."""
        notes = due(self._place, int(self._clock()))
        for future in [self._append(note) for note in notes]:
            future.result(PATIENCE_SECONDS)
        if notes:
            _LOG.info("%d objects were due and are removed", len(notes))
        return len(notes)

    def clear(self) -> int:
        """Delete the ciphertexts of objects that were removed, as far as their removal is where it has to be."""
        heads = journal.heads(self._place.database)
        return sum(self._clear(site, self._known_everywhere(site, head.position)) for site, head in heads.items())

    def _grant_wishes(self) -> int:
        wishes = open_wishes(self._place.database)
        if self._place.rules().state == State.LEFT:
            # What came too late stays a wish: it has to be asked for again where the object is now.
            wishes = [(number, note) for number, note in wishes if note.kind not in _NOT_AFTER_THE_FENCE]
        futures = [(number, self._append(note)) for number, note in wishes]
        for number, future in futures:
            fulfil(self._place.database, number, future.result(PATIENCE_SECONDS).position)
        return len(wishes)

    def _known_everywhere(self, site: str, position: int) -> int:
        """Up to where all sites that have to know a journal have it: this site's own is with its peers only later."""
        rules = self._place.rules()
        if site != rules.site or not rules.peers:
            return position
        with self._place.database.transaction() as connection:
            row = connection.execute(QUERIES["acknowledged_by_all"], {"peers": list(rules.peers)}).fetchone()
        return row[0] if row is not None and isinstance(row[0], int) else 0

    def _clear(self, site: str, until: int) -> int:
        with self._place.database.transaction() as connection:
            row = connection.execute(QUERIES["cleared"], {"site": site}).fetchone()
            after = int(str(row[0])) if row is not None else 0
            query = {"site": site, "after": after, "until": until, "limit": MAX_CLEARED}
            rows = connection.execute(QUERIES["removed_after"], query).fetchall() if after < until else []
        for _, handle in rows:
            if isinstance(handle, bytes):
                self._place.vault.delete(handle.hex())
        reached = int(str(rows[-1][0])) if len(rows) == MAX_CLEARED else until
        if rows:
            with self._place.database.transaction() as connection:
                connection.execute(QUERIES["clear"], {"site": site, "position": reached})
        return len(rows)

    def _run(self) -> None:
        pause = INTERVAL_SECONDS
        while not self._stop.is_set():
            try:
                busy = self.step()
                pause = INTERVAL_SECONDS
            except (RegionError, StorageError, PartyError, TimeoutError) as error:
                _LOG.warning("keeping waits: %s: %s", type(error).__name__, error)
                busy, pause = False, min(2 * pause, LONGEST_PAUSE_SECONDS)
            if not busy:
                self._stop.wait(pause)
