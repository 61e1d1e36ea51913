"""Keeping at two real sites: keepers that tests step, a custodian in their process, what is left of an object."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from glasshouse_verify.region import Category, Region
from sites import CUSTODIAN, REGION, Site

from glasshouse.regions.custody_request import Item, Reason
from glasshouse.regions.errors import CustodyUnavailable
from glasshouse.regions.keeping.keeper import Keeper
from glasshouse.regions.wrapping import open_custody
from glasshouse.storage.errors import ObjectMissing

YEAR = 31_536_000


def keeper(site: Site, *, after: int = 0, at: int | None = None, able: bool | None = None) -> Keeper:
    """A keeper whose thread is not started, and whose clock is ahead by so many seconds, or stands still."""
    return Keeper(
        site.place,
        site.intake.committer.append,
        able=(lambda: site.intake.replication.able) if able is None else (lambda: able),
        clock=lambda: time.time() + after if at is None else at,
    )


def amended(site: Site, change: Callable[[Region], Region]) -> Site:
    """A site that goes by other rules of its region."""
    now = site.place.rules()
    rules = replace(now, rules=change(now.rules))
    return replace(site, place=replace(site.place, rules=lambda: rules))


def without(category: str) -> Callable[[Region], Region]:
    return lambda region: replace(
        region, categories={name: kept for name, kept in region.categories.items() if name != category}
    )


def keeping_for(category: str, seconds: int) -> Callable[[Region], Region]:
    def change(region: Region) -> Region:
        shorter = Category(kind=region.categories[category].kind, retention=seconds)
        return replace(region, categories={**region.categories, category: shorter})

    return change


@dataclass
class Opener:
    """A custodian that counts, and does not answer after `patience` requests."""

    patience: int = 1_000
    counted: dict[str, int] = field(default_factory=dict)

    def unwrap(self, items: Sequence[Item], reason: Reason) -> tuple[bytes, ...]:
        if self.patience == 0:
            raise CustodyUnavailable("the custodian does not answer")
        self.patience -= 1
        job = reason.job or ""
        self.counted[job] = self.counted.get(job, 0) + len(items)
        return tuple(open_custody((CUSTODIAN,), item.blob, handle=item.handle, region=REGION) for item in items)


def has_ciphertext(site: Site, handle: str) -> bool:
    try:
        return bool(list(site.place.vault.stream(handle)))
    except ObjectMissing:
        return False


def state(site: Site, handle: str) -> tuple[str, bool]:
    """Its state here, and whether any data key of it is left in the row."""
    query = "select state, num_nonnulls(wrapped, transfer, salt, sha256) > 0 from regions.object where handle = %s"
    ((found, keyed),) = site.rows(query, bytes.fromhex(handle))
    return str(found), bool(keyed)


def events(site: Site, of: str, kind: str) -> list[tuple[int, str, bytes]]:
    """Position, handle and body of the events of a kind in the journal of a site, as another site has it."""
    query = "select position, encode(handle, 'hex'), body from regions.event where site = %s and kind = %s order by 1"
    return [(row[0], row[1], row[2]) for row in site.rows(query, of, kind)]
