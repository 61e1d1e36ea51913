"""Relocation erasure: nothing goes before countersignature, quarantine and closing; what remains is named."""

from collections.abc import Iterable, Iterator

from glasshouse_verify.relocation import Relocation, Step
from glasshouse_verify.report import utc

from glasshouse.ledger.history import Record
from glasshouse.relocation.course import Course, courses
from glasshouse.supervision.rules.scene import Alarm, Scene

NAME = "relocation-erasure"
# A lock ends at one moment, and what it held is erased at another.
LOCK_SECONDS = 86_400


def check(scene: Scene) -> Iterable[Alarm]:
    """Alarms for erasures before their time, for what remains without a reason, and for the watch's alarms."""
    for course in courses(scene.history):
        for record in course.records(Step.ERASURE):
            for fault in _faults(course, record):
                yield Alarm(about=(record.id,), text=f"{course.moving.site} erased for {course.id}: {fault}")
        yield from _remaining(course, scene.now)
        for record in course.records(Step.ALARM):
            for wrong in record.predicate.faults or ():
                about = (record.id,) if wrong.handle is None else (record.id, wrong.handle)
                text = f"{record.predicate.party} raises an alarm about {course.id}: {wrong.site}: {wrong.text}"
                yield Alarm(about=about, text=text)


def _faults(course: Course, record: Record) -> Iterator[str]:
    says: Relocation = record.predicate

    def named(step: Step, by: Record | None) -> Record | None:
        found = [r for r in course.records(step) if by is not None and r.id in by.predicate.previous]
        return found[-1] if found else None

    quarantine = named(Step.QUARANTINE, record)
    countersign = named(Step.COUNTERSIGN, quarantine)
    if quarantine is None:
        yield "no quarantine had been declared"
    elif countersign is None:
        yield f"{course.moving.supervisor} had not countersigned"
    else:
        until = max(quarantine.predicate.until, countersign.predicate.time + course.moving.quarantine)
        if says.time < until:
            yield f"on {utc(says.time)}, before the quarantine ended on {utc(until)}"
        if any(countersign.index < refusal.index < record.index for refusal in course.records(Step.REFUSAL)):
            yield f"{course.moving.supervisor} had refused since it countersigned"
    links = [link for link in course.history.chain.links if course.links[-1].index < link.index < record.index]
    if says.charter not in {link.id for link in links if course.is_left(link)}:
        yield "the members had not closed the move: no charter then in force does without the old site"
    if says.rows is not None and says.rows.size and not says.remains:
        yield f"{says.rows.size} objects remain, and nothing is said to hold them"


def _remaining(course: Course, now: int) -> Iterator[Alarm]:
    last = course.last(Step.ERASURE)
    if last is None or not last.predicate.rows.size:
        return
    for item in last.predicate.remains:
        if item.until is not None and now > item.until + LOCK_SECONDS:
            text = (
                f"{item.name} was held at {course.moving.site} until {utc(item.until)}, and nobody says that it is gone"
            )
            yield Alarm(about=(last.id,), text=text)
