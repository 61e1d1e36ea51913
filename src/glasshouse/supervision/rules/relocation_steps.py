"""Relocation steps: each is said by whom it is for, and follows on those that have to come before it."""

from collections.abc import Iterable, Iterator

from glasshouse_verify.charter import side
from glasshouse_verify.relocation import Relocation, Step, commitment_of
from glasshouse_verify.relocation_check import FOLLOWS
from glasshouse_verify.statement import Use

from glasshouse.ledger.history import Record
from glasshouse.relocation.course import Course, courses
from glasshouse.supervision.rules.scene import Alarm, Scene

NAME = "relocation-steps"
# What may be said before the members have let the region move.
_EARLY = frozenset({Step.PROGRAMME, Step.SCOPE, Step.COMMITMENT})


def check(scene: Scene) -> Iterable[Alarm]:
    """Alarms for steps of nobody's move, in another party's place, out of order, or of a secret that is another."""
    known = {course.id: course for course in courses(scene.history)}
    for record in scene.history.standing(Use.RELOCATION):
        says: Relocation = record.predicate
        if says.relocation not in known and says.step not in _EARLY:
            text = f"{says.party} says {says.step} of {says.relocation}, which no charter has opened"
            yield Alarm(about=(record.id,), text=text)
    for course in known.values():
        for record in course.strays:
            said = f"{record.predicate.party} says {record.predicate.step} of {course.id}"
            yield Alarm(about=(record.id,), text=f"{said}, which is not for it to say, there and with that key")
        for step in Step:
            for record in course.records(step):
                for fault in _faults(course, record):
                    yield Alarm(about=(record.id,), text=f"{step} of {course.id} by {record.predicate.party}: {fault}")


def _faults(course: Course, record: Record) -> Iterator[str]:
    says: Relocation = record.predicate
    counted = {other.id: other for step in Step for other in course.records(step) if other.index < record.index}
    if set(says.previous) - set(counted):
        yield "it follows on what does not stand before it"
    before = [counted[identity] for identity in says.previous if identity in counted]
    follows = FOLLOWS.get(says.step)
    if follows is not None and not {follows, says.step} & {other.predicate.step for other in before}:
        yield f"there is no {follows} before it"
    if says.step == Step.OPEN:
        yield from _opened(course, record, before)
    elif says.step == Step.REVEAL:
        yield from _revealed(course, record, before)
    elif says.step == Step.COUNTERSIGN:
        yield from _countersigned(course, record, before)


def _opened(course: Course, record: Record, before: list[Record]) -> Iterator[str]:
    says: Relocation = record.predicate
    charter = course.history.chain.at(record.index).charter
    parties = [other.predicate.party for other in before if other.predicate.step == Step.COMMITMENT]
    if course.moving.supervisor not in parties or len({side(charter, party) for party in parties}) < 2:
        yield f"only {' and '.join(parties) or 'nobody'} had committed to a secret"
    if says.charter not in {link.id for link in course.links if link.index < record.index}:
        yield "it names a charter that does not let the region move so"
    if course.records(Step.OPEN)[0] is not record:
        yield "it was open already"


def _revealed(course: Course, record: Record, before: list[Record]) -> Iterator[str]:
    says: Relocation = record.predicate
    arrived = {other.predicate.site for other in before if other.predicate.step == Step.ARRIVAL}
    if missing := sorted(set(course.destinations) - arrived):
        yield f"nothing had been said to have arrived at {' and '.join(missing)}"
    made = course.commitments.get(says.party)
    if made is None:
        yield "it had committed to nothing that the opening names"
    elif says.secret is not None and commitment_of(course.id, says.party, says.secret) != made.predicate.commitment:
        yield "the secret is another than it had committed to"


def _countersigned(course: Course, record: Record, before: list[Record]) -> Iterator[str]:
    says: Relocation = record.predicate
    named = {other.id for other in before}
    newest = {r.predicate.site: r.id for r in course.records(Step.ARRIVAL) if r.index < record.index}
    if missing := sorted(site for site in course.destinations if newest.get(site) not in named):
        yield f"it does not follow on the newest arrival at {' and '.join(missing)}"
    refused = [other for other in course.records(Step.REFUSAL) if other.index < record.index]
    if {other.id for other in refused} - named:
        yield "it does not name the refusal before it"
    if refused and not says.full:
        yield "a sample that was refused is known to all, and it read no more than that"
