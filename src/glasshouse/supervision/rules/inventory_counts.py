"""Inventory counts: they reconcile, with the rows and the receipts too, and what has been counted stays counted."""

from collections.abc import Iterable, Iterator

from glasshouse_verify.receipt import Inventory
from glasshouse_verify.statement import Use

from glasshouse.supervision.rules.scene import Alarm, Scene

NAME = "inventory-counts"
_ONLY_GROW = ("received", "refused", "stored", "analysed", "erased_before_analysis", "erased")


def check(scene: Scene) -> Iterable[Alarm]:
    """Alarms for counts that do not reconcile, and for counts, receipts and journals that go back."""
    for record in scene.history.standing(Use.INVENTORY):
        says: Inventory = record.predicate
        before = None if says.previous is None else scene.history.records.get(says.previous)
        faults = list(_unreconciled(says))
        if before is not None and isinstance(before.predicate, Inventory):
            faults += _gone_back(before.predicate, says)
        for fault in faults:
            text = f"inventory {says.epoch} of {says.region} at {says.site}: {fault}"
            yield Alarm(about=(record.id,), text=text)


def _unreconciled(says: Inventory) -> Iterator[str]:
    counts = says.counts
    if fault := counts.reconcile():
        yield fault
    for name, size, count in (("held", says.held.size, counts.held), ("erased", says.erased.size, counts.erased)):
        if size != count:
            yield f"{count} {name}, but {size} rows of them"
    if (receipts := sum(says.receipts.values())) != counts.stored:
        yield f"{counts.stored} stored, but {receipts} receipts"
    if counts.on_hold > counts.held:
        yield f"{counts.on_hold} on hold of {counts.held} held"
    for site, number in says.receipts.items():
        if number > says.journals.get(site, 0):
            yield f"{number} receipts of {site} in {says.journals.get(site, 0)} events of its journal"


def _gone_back(before: Inventory, says: Inventory) -> Iterator[str]:
    for name in _ONLY_GROW:
        old, new = getattr(before.counts, name), getattr(says.counts, name)
        if new < old:
            yield f"{name} went back from {old} to {new}"
    pairs = (("last receipt", before.receipts, says.receipts), ("journal", before.journals, says.journals))
    for name, olds, news in pairs:
        for site, old in olds.items():
            if news.get(site, 0) < old:
                yield f"the {name} of {site} went back from {old} to {news.get(site, 0)}"
