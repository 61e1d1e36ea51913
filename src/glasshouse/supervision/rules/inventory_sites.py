"""Inventory sites: a site speaks of itself, of each epoch once, in order; the sites of a region say the same."""

from collections.abc import Iterable, Iterator

from glasshouse_verify.receipt import Inventory
from glasshouse_verify.statement import Use

from glasshouse.ledger.history import History, Record
from glasshouse.supervision.inventories import misplaced, series
from glasshouse.supervision.rules.scene import Alarm, Scene

NAME = "inventory-sites"
_COMMON = ("held", "erased", "delta", "journals", "receipts", "counts")


def check(scene: Scene) -> Iterable[Alarm]:
    """Alarms for inventories in another site's name, said twice, out of order, and for sites that disagree."""
    history, said = scene.history, dict[tuple[str, str, int], Record]()
    for record in history.standing(Use.INVENTORY):
        says: Inventory = record.predicate
        name = f"inventory {says.epoch} of {says.region} at {says.site}"
        if fault := misplaced(history, record):
            # What is not the site's to say contradicts nothing that it says.
            yield Alarm(about=(record.id,), text=f"{name} {fault}")
            continue
        first = said.setdefault((says.region, says.site, says.epoch), record)
        if first is not record:
            yield Alarm(about=(first.id, record.id), text=f"{name} was logged twice, with different contents")
        if says.charter not in {link.id for link in history.chain.links if link.index < record.index}:
            yield Alarm(about=(record.id,), text=f"{name} names a charter that is not in the chain")
        yield from (Alarm(about=(record.id,), text=f"{name} {fault}") for fault in _unchained(history, record, said))
    for region, epochs in series(history).items():
        for epoch, sites in epochs.items():
            yield from _disagreeing(region, epoch, list(sites.values()))


def _unchained(history: History, record: Record, said: dict[tuple[str, str, int], Record]) -> Iterator[str]:
    """An inventory follows on the site's own. The first that a site logs may follow on one that was not its to log."""
    says: Inventory = record.predicate
    joined = min(epoch for region, site, epoch in said if (region, site) == (says.region, says.site)) == says.epoch
    if says.previous is None or (joined and says.previous not in history.records):
        return
    before = history.records.get(says.previous)
    own = said.get((says.region, says.site, says.epoch - 1))
    if before is None or before.statement.use != Use.INVENTORY or before.index > record.index:
        yield "names no inventory before it"
    elif (before.predicate.region, before.predicate.epoch) != (says.region, says.epoch - 1):
        yield f"follows on inventory {before.predicate.epoch} of {before.predicate.region}"
    elif own is not None and own.id != before.id:
        yield "does not follow on the inventory that this site made before"
    elif before.predicate.time > says.time:
        yield "is dated before the one that it follows on"


def _disagreeing(region: str, epoch: int, records: list[Record]) -> Iterator[Alarm]:
    first = min(records, key=lambda record: record.index)
    for other in sorted(records, key=lambda record: record.index)[1:]:
        apart = [name for name in _COMMON if getattr(first.predicate, name) != getattr(other.predicate, name)]
        if apart:
            sites = f"{first.predicate.site} and {other.predicate.site}"
            text = f"inventory {epoch} of {region}: {sites} disagree about {', '.join(apart)}"
            yield Alarm(about=(first.id, other.id), text=text)
