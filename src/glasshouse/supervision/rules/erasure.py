"""Erasure: tombstones say what can be true, as far as the public can see it in the inventories' deltas.

What only the holder of a receipt can tell (its own retention, its own signature) is for `glasshouse receipt check`.
"""

from collections.abc import Iterable

from glasshouse_verify.access import Access, Step
from glasshouse_verify.errors import VerifyError
from glasshouse_verify.receipt import Inventory
from glasshouse_verify.region import Mode, regions_of
from glasshouse_verify.relocation import Relocation
from glasshouse_verify.relocation import Step as Stage
from glasshouse_verify.statement import Use

from glasshouse.ledger.history import Record
from glasshouse.regions.jobs import REWRAP
from glasshouse.supervision.rules.scene import Alarm, Scene

NAME = "erasure"
# A key epoch is destroyed at one moment, and tallied and inventoried at others.
TALLY_SECONDS = 86_400


def check(scene: Scene) -> Iterable[Alarm]:
    """Alarms for reasons that cannot be, for residue that is overdue, or gone although no keys were wrapped anew."""
    for identity, erased in scene.erasures.items():
        record = scene.history.records.get(identity)
        if record is None:
            continue
        yield from (Alarm(about=(identity,), text=doubt) for doubt in erased.doubts)
        shown: Inventory = record.predicate
        if erased.irrecoverable and not _is_rewrapped(scene, record, erased.since - TALLY_SECONDS):
            what = f"{erased.irrecoverable} objects called irrecoverable, and the custodian has counted no data key"
            text = f"inventory {shown.epoch} of {shown.region}: {what} wrapped anew around then"
            yield Alarm(about=(identity,), text=text)


def _is_rewrapped(scene: Scene, record: Record, since: int) -> bool:
    """Whether the custodian, where there is one, has counted data keys that were wrapped anew, a day around.

    Or a site that the region has left has erased all of its keys then: theirs were the last copies.
    """
    shown: Inventory = record.predicate
    try:
        rules = regions_of(scene.history.chain.at(record.index).charter).get(shown.region)
    except VerifyError:
        return True
    end = shown.time + TALLY_SECONDS
    if rules is None or rules.custody.mode != Mode.DUAL or scene.now <= end:
        return True
    for tally in scene.history.standing(Use.ACCESS):
        said: Access = tally.predicate
        here = said.step == Step.TALLY and said.region == shown.region
        if here and since <= said.time <= end and (said.counts or {}).get(REWRAP):
            return True
    for step in scene.history.standing(Use.RELOCATION):
        says: Relocation = step.predicate
        if says.step == Stage.ERASURE and says.region == shown.region and since <= says.time <= end:
            return True
    return False
