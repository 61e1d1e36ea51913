"""Inventory dates: no region is without a new inventory for longer than its interval, and no site falls behind."""

from collections.abc import Iterable, Iterator, Mapping

from glasshouse_verify.errors import VerifyError
from glasshouse_verify.receipt import Inventory
from glasshouse_verify.region import Region, regions_of
from glasshouse_verify.report import utc

from glasshouse.ledger.history import History, Record
from glasshouse.supervision.inventories import series
from glasshouse.supervision.moving import owing, region_at
from glasshouse.supervision.rules.scene import Alarm, Scene

NAME = "inventory-dates"
# For closing an epoch, logging it, and clocks.
GRACE_SECONDS = 300


def check(scene: Scene) -> Iterable[Alarm]:
    """Alarms for inventories that came late or are overdue, and for sites that an epoch waits for."""
    history, found = scene.history, series(scene.history)
    for epochs in found.values():
        last: Record | None = None
        for sites in epochs.values():
            first = min(sites.values(), key=lambda record: record.index)
            if last is not None:
                yield from _late(history, last, first)
            yield from _missing(scene, sites)
            last = first
    newest = history.chain.newest
    try:
        regions = regions_of(newest.charter)
    except VerifyError as error:
        yield Alarm(about=(newest.id,), text=f"the regions of charter {newest.charter.version} break a rule: {error}")
        return
    for name, region in regions.items():
        records = [record for sites in found.get(name, {}).values() for record in sites.values()]
        yield from _overdue(scene, name, region, records)


def _late(history: History, before: Record, after: Record) -> Iterator[Alarm]:
    region = region_at(history.chain, before.index, before.predicate.region)
    said: Inventory = after.predicate
    if region is not None and said.time - before.predicate.time > region.interval + GRACE_SECONDS:
        due = utc(before.predicate.time + region.interval)
        text = f"inventory {said.epoch} of {said.region} is dated {utc(said.time)}, it was due by {due}"
        yield Alarm(about=(after.id,), text=text)


def _missing(scene: Scene, sites: Mapping[str, Record]) -> Iterator[Alarm]:
    first = min(sites.values(), key=lambda record: record.index)
    says: Inventory = first.predicate
    region = region_at(scene.history.chain, first.index, says.region)
    if region is None or scene.now - says.time <= region.interval + GRACE_SECONDS:
        return
    for site in sorted(owing(scene.history, first.index, says.region, says.epoch) - set(sites)):
        yield Alarm(about=(first.id,), text=f"{site} has not logged inventory {says.epoch} of {says.region}")


def _overdue(scene: Scene, name: str, region: Region, records: list[Record]) -> Iterator[Alarm]:
    """The first is due an interval after the charter that began the region; each other one after the one before."""
    chain = scene.history.chain
    since = next(link for link in chain.links if region_at(chain, link.index + 1, name) is not None)
    last = max(records, key=lambda record: record.predicate.time, default=None)
    start, about = (since.charter.time, since.id) if last is None else (last.predicate.time, last.id)
    if scene.now - start > region.interval + GRACE_SECONDS:
        text = f"{name} has had no inventory since {utc(start)}; its interval is {region.interval} s"
        yield Alarm(about=(about,), text=text)
