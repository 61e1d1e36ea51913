"""Which inventories an auditor signs that it has inspected: those against which no rule about them has anything."""

from collections.abc import Iterable, Iterator, Mapping

from glasshouse_verify.charter import Charter, side
from glasshouse_verify.codec import Digest, Identifier
from glasshouse_verify.receipt import Inspection, Inventory
from glasshouse_verify.region import Region
from glasshouse_verify.statement import Use

from glasshouse.ledger.history import History
from glasshouse.supervision.inventories import Books, series
from glasshouse.supervision.moving import owing, region_at
from glasshouse.supervision.rules import inventory_counts, inventory_rows, inventory_sites
from glasshouse.supervision.rules.scene import Alarm

# An inventory that comes late is as right as another.
_RULES = (inventory_sites.NAME, inventory_rows.NAME, inventory_counts.NAME)


def inspections(
    history: History, books: Books, alarms: Mapping[str, Iterable[Alarm]], party: str, now: int
) -> Iterator[Inspection]:
    """The inspections that a party owes: of each epoch that all sites have logged and its books have taken in.

    One more where a site that takes over has spoken since. `alarms` are what each rule says of this history.
    """
    doubted = {identity for rule in _RULES for alarm in alarms.get(rule, ()) for identity in alarm.about}
    mine = [record.predicate for record in history.standing(Use.INSPECTION) if record.predicate.party == party]
    done = {inventory for says in mine for inventory in says.inventories}
    charter = history.chain.newest.charter
    for name, epochs in series(history).items():
        for epoch, sites in epochs.items():
            records = list(sites.values())
            if epoch > books.epoch(name) or {record.id for record in records} <= done:
                continue
            newest = max(record.index for record in records)
            region = region_at(history.chain, newest, name)
            if region is None or owing(history, newest, name, epoch) - set(sites):
                continue
            if not _is_independent(charter, region, party):
                continue
            if not doubted & {record.id for record in records}:
                says: Inventory = records[0].predicate
                yield Inspection(
                    party=Identifier(party),
                    region=says.region,
                    epoch=epoch,
                    inventories=tuple(sorted(Digest(record.id) for record in records)),
                    held=says.held,
                    erased=says.erased,
                    time=now,
                )


def _is_independent(charter: Charter, region: Region, party: str) -> bool:
    """Whether a customer would count the inspection: the party signs the status and stands with none of the sites."""
    if party not in charter.status.parties:
        return False
    at_sites = {site.party for site in region.places.values() if site.party in charter.parties}
    return side(charter, Identifier(party)) not in {side(charter, site) for site in at_sites}
