"""Whether a relocation was done as its statements say: decided offline from the pin, its evidence and a time."""

from collections.abc import Iterable

from glasshouse_verify.charter import Charter
from glasshouse_verify.region import Region
from glasshouse_verify.relocation import Relocation, Step

# So many draws find 0.1 % of bad objects with 99 %; whoever reads fewer reads everything.
SAMPLE = 4_603
# A day, and an hour for who is late: the longest time between two statements of the watch.
WATCH_SECONDS = 90_000
OLD_SITE = frozenset({Step.SCOPE, Step.OPEN, Step.SOURCE, Step.FENCE, Step.QUARANTINE, Step.ERASURE})


def speaks(charter: Charter, region: Region, says: Relocation, keyids: Iterable[str]) -> bool:
    """Whether the step is this party's to take, at this site, with these keys, as the region's `moving` has it."""
    moving, at = region.moving, {key.site for key in map(charter.key, keyids) if key is not None}
    if moving is None or (says.step in {*OLD_SITE, Step.LISTING, Step.WATCH} and says.site != moving.site):
        return False
    if says.step in OLD_SITE:
        owner = region.sites.get(moving.site)
        return moving.site in at and (owner is None or owner.party == says.party)
    if says.step == Step.ARRIVAL:
        place = (moving.to or region.sites).get(says.site or moving.site)
        return place is not None and place.party == says.party and says.site in at
    if says.step in (Step.COMMITMENT, Step.REVEAL):
        return says.party in {moving.supervisor, *charter.members.parties}
    return says.step == Step.ALARM or says.party == moving.supervisor
