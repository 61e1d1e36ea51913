"""Erasure: tombstones say what can be true, as far as the public can see it in the inventories' deltas.

What only the holder of a receipt can tell (its own retention, its own signature) is for `glasshouse receipt check`.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from glasshouse_verify.errors import FormatError, VerifyError
from glasshouse_verify.receipt import Access, Inventory, Reason, Step
from glasshouse_verify.region import Mode, Region, regions_of
from glasshouse_verify.report import utc
from glasshouse_verify.statement import Use

from glasshouse.ledger.history import Record
from glasshouse.regions.delta import Delta, parse_delta
from glasshouse.regions.jobs import REWRAP
from glasshouse.supervision.rules.scene import Alarm, Scene

NAME = "erasure"
SKEW_SECONDS = 300
# A key epoch is destroyed at one moment, and tallied and inventoried at others.
TALLY_SECONDS = 86_400
NAMED = 3

Fault = tuple[str, str]
"""What is wrong, and with which object."""


@dataclass(kw_only=True)
class _Site:
    """What one site's inventories have said so far."""

    since: int
    # Handle → the earliest moment at which the object can have been taken.
    taken: dict[str, int] = field(default_factory=dict)
    residue: dict[str, int] = field(default_factory=dict)


def check(scene: Scene) -> Iterable[Alarm]:
    """Alarms for what was removed as due too early, and for residue that is overdue, or gone with no keys destroyed."""
    sites: dict[tuple[str, str], _Site] = {}
    unknown: set[tuple[str, str]] = set()
    for record in scene.history.standing(Use.INVENTORY):
        shown: Inventory = record.predicate
        place = (shown.region, shown.site)
        delta = None if place in unknown else _delta(scene, shown)
        if delta is None:
            # That it cannot be had or read is an alarm of the rules on inventories; what follows cannot be judged.
            unknown.add(place)
            continue
        site = sites.setdefault(place, _Site(since=scene.history.chain.links[0].charter.time))
        faults = [*_too_early(scene, record, site, delta), *_residue(scene, record, site, delta)]
        site.since = shown.time
        for text, handles in _grouped(faults):
            yield Alarm(about=(record.id, *handles), text=f"inventory {shown.epoch} of {shown.site}: {text}")


def _delta(scene: Scene, shown: Inventory) -> Delta | None:
    data = scene.blob(shown.delta)
    try:
        return None if data is None else parse_delta(data)
    except FormatError:
        return None


def _too_early(scene: Scene, record: Record, site: _Site, delta: Delta) -> Iterator[Fault]:
    site.taken |= {row.key: site.since for row in delta.added}
    kept = _shortest_retention(scene, record)
    for row in delta.removed:
        due = site.taken.pop(row.key, site.since) + kept
        if row.reason == Reason.RETENTION and row.removed < due - SKEW_SECONDS:
            yield "removed as due, before the shortest retention of any category had passed", row.key


def _shortest_retention(scene: Scene, record: Record) -> int:
    """In seconds, of all categories that the region has had; 0 where it never had one."""
    found: set[int] = set()
    for link in scene.history.chain.links:
        if link.index < record.index:
            rules = _regions(scene, link.index + 1).get(record.predicate.region)
            found |= set() if rules is None else {category.retention for category in rules.categories.values()}
    return min(found, default=0)


def _residue(scene: Scene, record: Record, site: _Site, delta: Delta) -> Iterator[Fault]:
    shown: Inventory = record.predicate
    rows = (*delta.removed, *delta.changed)
    for row in rows:
        site.residue.pop(row.key, None)
        if row.residue_until is not None:
            site.residue[row.key] = row.residue_until
    if any(row.residue_until is None for row in rows) and shown.counts.held and not _is_rewrapped(scene, record):
        for row in rows:
            if row.residue_until is None:
                yield "called irrecoverable, and the custodian has counted no data key wrapped anew there", row.key
    for key, until in sorted(site.residue.items()):
        if until < shown.time:
            yield f"was to be irrecoverable by {utc(until)}", key


def _is_rewrapped(scene: Scene, record: Record) -> bool:
    """Whether the keys of what is still held went through the custodian to be wrapped anew, where there is one."""
    shown: Inventory = record.predicate
    rules = _regions(scene, record.index).get(shown.region)
    if rules is None or rules.custody.mode != Mode.DUAL or scene.now <= shown.time + TALLY_SECONDS:
        return True
    for tally in scene.history.standing(Use.ACCESS):
        said: Access = tally.predicate
        here = said.step == Step.TALLY and (said.region, said.site) == (shown.region, shown.site)
        if here and said.time <= shown.time + TALLY_SECONDS and (said.counts or {}).get(REWRAP):
            return True
    return False


def _regions(scene: Scene, index: int) -> Mapping[str, Region]:
    try:
        return {str(name): rules for name, rules in regions_of(scene.history.chain.at(index).charter).items()}
    except VerifyError:
        return {}


def _grouped(faults: Iterable[Fault]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each kind of fault once, with how many objects it is about and the first of them."""
    found: dict[str, list[str]] = {}
    for text, key in faults:
        found.setdefault(text, []).append(key)
    for text, keys in found.items():
        yield f"{len(keys)} objects {text}" if len(keys) > 1 else f"an object {text}", tuple(sorted(keys)[:NAMED])
