"""Relocation rows: source and listing, fence and arrivals say the same; what was read was drawn from the right seed."""

from collections.abc import Iterable, Iterator

from glasshouse_verify.receipt import Inventory
from glasshouse_verify.region import Origin
from glasshouse_verify.relocation import Relocation, Step, seed_of
from glasshouse_verify.relocation_check import SAMPLE

from glasshouse.ledger.history import Record
from glasshouse.relocation.course import Course, courses
from glasshouse.supervision.rules.scene import Alarm, Scene

NAME = "relocation-rows"


def check(scene: Scene) -> Iterable[Alarm]:
    """Alarms for rows that differ, for ciphertexts that are missing or shared, for wrong seeds, and for refusals."""
    for course in courses(scene.history):
        yield from _compared(course, Step.LISTING, Step.SOURCE)
        yield from _compared(course, Step.ARRIVAL, Step.FENCE)
        yield from _sealed_alike(course)
        for step in (Step.SOURCE, Step.FENCE, Step.ARRIVAL):
            for record in course.records(step):
                yield from (_alarm(course, record, fault) for fault in _of_inventory(course, record))
        for step in (Step.COUNTERSIGN, Step.RESAMPLE):
            for record in course.records(step):
                yield from (_alarm(course, record, fault) for fault in _of_reading(course, record))
        for record in course.records(Step.REFUSAL):
            for fault in record.predicate.faults or ():
                about = (record.id,) if fault.handle is None else (record.id, fault.handle)
                yield Alarm(
                    about=about, text=f"{record.predicate.party} refuses {course.id}: {fault.site}: {fault.text}"
                )


def _alarm(course: Course, record: Record, fault: str) -> Alarm:
    says: Relocation = record.predicate
    place = f" at {says.site}" if says.site else ""
    return Alarm(about=(record.id,), text=f"{says.step}{place} of {course.id} by {says.party}: {fault}")


def _compared(course: Course, step: Step, first: Step) -> Iterator[Alarm]:
    """Each statement of a step against the one that it follows on."""
    for record in course.records(step):
        says: Relocation = record.predicate
        for other in (r for r in course.records(first) if r.id in says.previous):
            left: Relocation = other.predicate
            if says.rows != left.rows:
                text = f"{_size(says)} rows that are not the {_size(left)} of the {first}"
                yield Alarm(about=(record.id, other.id), text=_alarm(course, record, text).text)
            elif step == Step.ARRIVAL and says.size != left.size:
                yield _alarm(course, record, f"{says.size} bytes, and the {first} left {left.size}")
    for record in course.records(step) if step == Step.ARRIVAL else []:
        bare = _size(record.predicate) - record.predicate.sealed.size
        if bare < 0 or (bare and course.moving.source == Origin.SITE):
            yield _alarm(
                course, record, f"{record.predicate.sealed.size} ciphertexts for {_size(record.predicate)} rows"
            )


def _size(says: Relocation) -> int:
    return 0 if says.rows is None else says.rows.size


def _sealed_alike(course: Course) -> Iterator[Alarm]:
    seen: dict[str, Record] = {}
    for site, record in course.arrivals.items():
        sealed = record.predicate.sealed
        first = seen.setdefault(sealed.root, record)
        if first is not record and sealed.size:
            text = (
                f"{first.predicate.site} and {site} have the same ciphertexts of {course.id}: one sealed nothing itself"
            )
            yield Alarm(about=(first.id, record.id), text=text)


def _of_inventory(course: Course, record: Record) -> Iterator[str]:
    """What a site says of its rows, it says in an inventory as well; a store has none."""
    says: Relocation = record.predicate
    if course.moving.source != Origin.SITE:
        return
    shown = course.history.records.get(says.inventory or "")
    if shown is None or not isinstance(shown.predicate, Inventory) or shown.index > record.index:
        yield "it names no inventory before it"
        return
    listed: Inventory = shown.predicate
    if (listed.region, listed.site) != (says.region, says.site) or says.epoch not in (None, listed.epoch):
        yield f"it names inventory {listed.epoch} of {listed.region} at {listed.site}"
    elif listed.held != says.rows:
        yield f"inventory {listed.epoch} there has {listed.held.size} rows, and other ones"


def _of_reading(course: Course, record: Record) -> Iterator[str]:
    says: Relocation = record.predicate
    fences = [fence for fence in course.records(Step.FENCE) if fence.index < record.index]
    if not fences or set(course.commitments) - set(course.reveals):
        yield "it was read before every secret was revealed that opens a commitment"
        return
    rows = fences[-1].predicate.rows
    secrets = {str(party): reveal.predicate.secret for party, reveal in course.reveals.items()}
    erased = [erasure.id for erasure in course.records(Step.ERASURE) if erasure.id in says.previous]
    after = erased[-1] if says.step == Step.RESAMPLE and erased else ""
    if says.seed != seed_of(rows, secrets, after):
        yield "it was drawn from another seed than the secrets and the rows make"
    enough = rows.size if says.full else SAMPLE
    for site in sorted(course.destinations):
        if (count := (says.read or {}).get(site, 0)) < enough:
            yield f"{count} objects were read at {site}, and {enough} were to be"
