"""A site's worker beside its server: scrubs of everything it holds, and new key epochs, when they are due."""

import logging
import time

from glasshouse.cli.beside import open_beside
from glasshouse.cli.wiring import Session
from glasshouse.cli.working import Job
from glasshouse.parties.errors import SettingsError
from glasshouse.regions.keeping.rekey import is_due, rekey
from glasshouse.regions.keeping.scrub import scrub

_LOG = logging.getLogger("glasshouse")
_MARK = "scrubbed"
POLL_SECONDS = 300.0


def upkeep(session: Session) -> Job:
    """A turn begins a key epoch where one is due, and scrubs where the last scrub is longer ago than settings say."""
    node = session.node
    settings, mark = node.settings.intake, node.data / _MARK
    if settings is None:
        raise SettingsError("intake", "is not switched on", "Add a table [intake].")
    pause_seconds, rekey_seconds = settings.scrub_hours * 3_600, settings.rekey_days * 86_400

    def turn() -> bool:
        renew()
        if mark.exists() and time.time() - mark.stat().st_mtime < pause_seconds:
            return False
        with open_beside(node.directory, "work", started=True) as site:
            found = scrub(site.place, site.peers, now=time.time)
        mark.touch()
        text = "%d objects read again, %d repaired, %d bad at every site"
        _LOG.info(text, found.read, len(found.repaired), len(found.lost))
        return False

    def renew() -> None:
        with open_beside(node.directory, "work", started=True) as site:
            now = int(time.time())
            if is_due(site.place, now, rekey_seconds):
                done = rekey(site.place, site.custodian, now=now)
                text = "%d data keys are wrapped by %s now; destroyed: %s"
                _LOG.info(text, done.wrapped, done.epoch, ", ".join(done.destroyed))

    return turn
