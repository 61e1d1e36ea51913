"""Relocation dates: what was promised by when, the second sample after the erasure, and a watch without gaps."""

from collections.abc import Iterable, Iterator
from itertools import pairwise

from glasshouse_verify.relocation import Relocation, Step
from glasshouse_verify.relocation_check import WATCH_SECONDS
from glasshouse_verify.report import utc
from glasshouse_verify.statement import Use

from glasshouse.ledger.history import History, Record
from glasshouse.relocation.course import Course, courses, programme
from glasshouse.supervision.rules.scene import Alarm, Scene

NAME = "relocation-dates"
RESAMPLE_SECONDS = 7 * 86_400


def check(scene: Scene) -> Iterable[Alarm]:
    """Alarms for promises missed or put off, for a second sample that is overdue, and for days nobody watched."""
    yield from _promises(scene.history, scene.now)
    for course in courses(scene.history):
        erased = course.records(Step.ERASURE)
        if erased:
            yield from _resample(course, erased[0], scene.now)
            yield from _watch(course, erased[0], scene.now)


def _promises(history: History, now: int) -> Iterator[Alarm]:
    first: dict[str, tuple[int, Record]] = {}
    for record in history.standing(Use.RELOCATION):
        says: Relocation = record.predicate
        for region, date in (says.promised or {}).items():
            promised, by = first.setdefault(region, (date, record))
            if date > promised:
                text = f"{says.party} puts off {region} from {utc(promised)} to {utc(date)}"
                yield Alarm(about=(by.id, record.id), text=text)
    for line in programme(history, now):
        if line.late:
            about = first[line.region][1].id if line.region in first else _opened(history, line.relocation)
            yield Alarm(about=(about,), text=f"{line.region} was to have moved by {utc(line.promised)}")


def _opened(history: History, relocation: str | None) -> str:
    return Course(history, relocation or "").opening.id


def _resample(course: Course, erased: Record, now: int) -> Iterator[Alarm]:
    due = erased.predicate.time + RESAMPLE_SECONDS
    read = course.last(Step.RESAMPLE)
    if (now if read is None else read.predicate.time) > due:
        text = f"{course.moving.supervisor} read no sample of {course.id} by {utc(due)}, with the old site cut off"
        yield Alarm(about=(erased.id,), text=text)


def _watch(course: Course, erased: Record, now: int) -> Iterator[Alarm]:
    watched = [erased, *course.records(Step.WATCH)]
    for before, after in pairwise(watched):
        if after.predicate.time - before.predicate.time > WATCH_SECONDS:
            yield _unwatched(course, before, f"until {utc(after.predicate.time)}")
    if not course.is_watched and now - watched[-1].predicate.time > WATCH_SECONDS:
        yield _unwatched(course, watched[-1], "for more than a day")


def _unwatched(course: Course, since: Record, until: str) -> Alarm:
    text = f"{course.moving.supervisor} did not watch {course.moving.site} from {utc(since.predicate.time)} {until}"
    return Alarm(about=(since.id,), text=text)
