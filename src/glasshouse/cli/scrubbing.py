"""A site's worker beside its server: a scrub of everything it holds, again and again."""

import logging
import time

from glasshouse.cli.beside import open_beside
from glasshouse.cli.wiring import Session
from glasshouse.cli.working import Job
from glasshouse.parties.errors import SettingsError
from glasshouse.regions.keeping.scrub import scrub

_LOG = logging.getLogger("glasshouse")
_MARK = "scrubbed"
POLL_SECONDS = 60.0


def scrubbing(session: Session) -> Job:
    """A turn scrubs where the last scrub ended longer ago than the settings say."""
    node = session.node
    settings, mark = node.settings.intake, node.data / _MARK
    if settings is None:
        raise SettingsError("intake", "is not switched on", "Add a table [intake].")
    pause_seconds = settings.scrub_hours * 3_600

    def turn() -> bool:
        if mark.exists() and time.time() - mark.stat().st_mtime < pause_seconds:
            return False
        with open_beside(node.directory, "work") as site:
            found = scrub(site.place, site.peers, now=time.time)
        mark.touch()
        text = "%d objects read again, %d repaired, %d bad at every site"
        _LOG.info(text, found.read, len(found.repaired), len(found.lost))
        return False

    return turn
