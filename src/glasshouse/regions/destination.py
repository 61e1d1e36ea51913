"""Where a country's data goes, by the newest charter that a customer knows: never by an address in an answer.

The charter comes from a copy of the ledger that this customer has verified itself, from the charter that it has pinned.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from glasshouse_verify.charter import Link
from glasshouse_verify.region import Region, region_of

from glasshouse.ledger.client import LedgerClient
from glasshouse.ledger.errors import LedgerError
from glasshouse.ledger.following import feed, follow
from glasshouse.ledger.history import History
from glasshouse.ledger.view import View
from glasshouse.storage import files

CACHED_SECONDS = 600.0
# Whoever wants to send a file does not wait long for news of the charter.
PATIENCE_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class Destination:
    """Where a country's data goes: its region, the sites with their countries, and the charter that says so.

    `earlier` are the charters before it, which receipts of that time name.
    """

    country: str
    region: str
    rules: Region
    jurisdictions: Mapping[str, str]
    link: Link
    earlier: tuple[Link, ...] = ()

    @property
    def urls(self) -> Mapping[str, str]:
        """Site → address for customers; where the region moves, the sites that take over come last."""
        return {str(name): site.url.rstrip("/") for name, site in self.rules.places.items()}

    @property
    def successors(self) -> frozenset[str]:
        """The sites that take over from another, as long as the charter has the region moving."""
        return frozenset(map(str, () if self.rules.moving is None else self.rules.moving.to))


def destination_of(link: Link, country: str, earlier: Sequence[Link] = ()) -> Destination:
    """Where the charter sends a country's data; raises CharterError where it names no region for it.

    `earlier` are the charters before it, for receipts that were given under them.
    """
    name, rules = region_of(link.charter, country)
    jurisdictions = {str(site): str(link.charter.sites[site].jurisdiction) for site in rules.places}
    return Destination(
        country=country,
        region=str(name),
        rules=rules,
        jurisdictions=jurisdictions,
        link=link,
        earlier=tuple(earlier),
    )


class Charters:
    """The charters that follow from a pin, by a copy of the ledger that this client has verified itself and keeps."""

    def __init__(self, pin: bytes, directory: Path, *, ledger: str | None = None) -> None:
        self._pin, self._directory, self._ledger = pin, directory, ledger

    def newest(self, *, now: float | None = None) -> Link:
        """The newest charter; see `links`."""
        return self.links(now=now)[-1]

    def links(self, *, now: float | None = None, at_once: bool = False) -> tuple[Link, ...]:
        """Every charter from the pin to the newest. The ledger is asked at most every ten minutes, or `at_once`.

        Where it does not answer, what is known counts; raises LedgerError where nothing is known yet.
        """
        moment = time.time() if now is None else now
        history = History(self._pin)
        with View(self._directory, history.chain.newest.charter.policy) as view:
            feed(view, history)
            asked = self._directory / "asked"
            if not at_once and view.size and 0 <= moment - _modified(asked) < CACHED_SECONDS:
                return tuple(history.chain.links)
            url = self._ledger or history.chain.newest.charter.ledger.url
            try:
                with LedgerClient(url, patience_seconds=PATIENCE_SECONDS) as client:
                    follow(client, view, history)
            except LedgerError:
                if not view.size:
                    raise
            else:
                files.write(asked, b"")
        return tuple(history.chain.links)


def _modified(path: Path) -> float:
    return path.stat().st_mtime if path.exists() else 0.0
