"""Regions whose data moves to other sites: which of all these sites owe an inventory, and which has said its last.

Up to the number that the old site's fence names, the old site owes inventories; that one all of them owe, made of the
same journals; from the next one on those that take over. They may log earlier ones: whoever does has to agree.
"""

from dataclasses import dataclass

from glasshouse_verify.charter import Chain
from glasshouse_verify.codec import Identifier
from glasshouse_verify.errors import VerifyError
from glasshouse_verify.region import Origin, Region, regions_of
from glasshouse_verify.relocation import Relocation, Step
from glasshouse_verify.statement import Use

from glasshouse.ledger.history import History


@dataclass(frozen=True, kw_only=True)
class Fence:
    """The old site takes nothing more: its last inventory is number `epoch`."""

    site: Identifier
    epoch: int


def region_at(chain: Chain, index: int, name: str) -> Region | None:
    """A region by the charter in force at an entry; None where that charter has none of that name that parses."""
    try:
        return regions_of(chain.at(index).charter).get(Identifier(name))
    except VerifyError:
        return None


def fence_of(history: History, name: str, region: Region) -> Fence | None:
    """The fence of the move that a region's rules speak of; None before it, and where no site is left."""
    moving = region.moving
    if moving is None or moving.source != Origin.SITE:
        return None
    for record in history.standing(Use.RELOCATION):
        says: Relocation = record.predicate
        about = (says.step, says.region, says.relocation, says.site, says.party)
        if about == (Step.FENCE, name, moving.id, moving.site, region.sites[moving.site].party):
            return Fence(site=moving.site, epoch=says.epoch or 0)
    return None


def owing(history: History, index: int, name: str, epoch: int) -> frozenset[Identifier]:
    """The sites that owe inventory `epoch` of a region by the charter in force at an entry."""
    region = region_at(history.chain, index, name)
    if region is None:
        return frozenset()
    fence = fence_of(history, name, region)
    if fence is None or epoch < fence.epoch:
        return frozenset(region.sites)
    return frozenset(region.places) - ({fence.site} if epoch > fence.epoch else set())
