"""Access: nobody looks without a request and the custodian's grant; its tallies stay within what was allowed."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator

from glasshouse_verify.access import Access, Step
from glasshouse_verify.receipt import Inventory
from glasshouse_verify.region import Mode, Region
from glasshouse_verify.statement import Use

from glasshouse.ledger.history import Record
from glasshouse.regions.access import Accesses, Course
from glasshouse.regions.jobs import JOBS, RELOCATION, RELOCATION_SAMPLE
from glasshouse.supervision.rules.scene import Alarm, Scene

NAME = "access"
# An answer that got lost is asked for again, and counted again.
ATTEMPTS_PER_OBJECT = 2


def check(scene: Scene) -> Iterable[Alarm]:
    """Alarms for uses without a grant, beyond it or after its end, for grants that are none, and for tallies."""
    accesses = Accesses(scene.history)
    for course in accesses.courses.values():
        yield from _course(accesses, course)
    for record in accesses.of(Step.GRANT, Step.USE):
        if record.predicate.request not in accesses.courses:
            text = f"{record.predicate.party} says {record.predicate.step} of a request that is not in the ledger"
            yield Alarm(about=(record.id, record.predicate.request), text=text)
    for record in accesses.of(Step.REFUSAL, Step.CLOSE, Step.HOLD, Step.RELEASE):
        if not (accesses.may_ask(record) or accesses.guards(record)):
            text = (
                f"{record.predicate.party} says {record.predicate.step}, and has no part in {record.predicate.region}"
            )
            yield Alarm(about=(record.id,), text=text)
    yield from _tallies(scene, accesses)


def _course(accesses: Accesses, course: Course) -> Iterator[Alarm]:
    request = course.request
    if not accesses.may_ask(request):
        text = f"{request.predicate.party} asks for what lies at a site that is not its own"
        yield Alarm(about=(request.id,), text=text)
    for grant in course.grants:
        if fault := accesses.fault(course, grant):
            yield Alarm(about=(grant.id, request.id), text=fault)
    for use in course.uses:
        if fault := _use_fault(accesses, course, use):
            yield Alarm(about=(use.id, request.id), text=fault)


def _use_fault(accesses: Accesses, course: Course, use: Record) -> str:
    said: Access = use.predicate
    rules = accesses.rules(use)
    if not accesses.may_ask(use) or said.region != course.request.predicate.region:
        return f"{said.party} uses what was granted to another"
    if accesses.ended(course, below=use.index) is not None:
        return f"{said.party} looked at an object after the access was closed"
    if rules is not None and rules.custody.mode == Mode.SITE:
        return "" if course.request.index < use.index else f"{said.party} looked at an object before it said why"
    allowed = accesses.allowed(course, below=use.index)
    if allowed is None:
        return f"{said.party} looked at an object without a grant by the custodian"
    if said.time > allowed.until:
        return f"{said.party} looked at an object after the grant had ended"
    if accesses.used(course, below=use.index) + (said.uses or 1) > allowed.uses:
        return f"{said.party} looked at an object more often than the {allowed.uses} times granted"
    return ""


def _tallies(scene: Scene, accesses: Accesses) -> Iterator[Alarm]:
    granted = {grant.id: course for course in accesses.courses.values() for grant in course.grants}
    inventories: dict[str, list[Record]] = {}
    for shown in scene.history.standing(Use.INVENTORY):
        inventories.setdefault(shown.predicate.region, []).append(shown)
    counted: Counter[str] = Counter()
    for record in accesses.of(Step.TALLY):
        said: Access = record.predicate
        if not accesses.guards(record):
            yield Alarm(about=(record.id,), text=f"{said.party} tallies keys that it does not guard")
            continue
        for reason, count in sorted((said.counts or {}).items()):
            course = granted.get(reason)
            if course is not None:
                counted[reason] += count
                text = _grant_tally(accesses, course, reason, counted[reason], record)
            else:
                text = _job_tally(accesses.rules(record), inventories.get(said.region, []), record, reason, count)
            if text:
                yield Alarm(about=(record.id,), text=text)


def _grant_tally(accesses: Accesses, course: Course, grant: str, total: int, record: Record) -> str:
    allowed, used = accesses.allowed(course, below=record.index), accesses.used(course, below=record.index)
    limit = 0 if allowed is None or allowed.grant.id != grant else allowed.uses
    name = f"the grant {grant[:16]}…"
    if total > limit:
        return f"{total} data keys were opened under {name}, which allows {limit}"
    return f"{total} data keys were opened under {name}, of which {used} uses are logged" if total > used else ""


def _job_tally(rules: Region | None, inventories: list[Record], record: Record, job: str, count: int) -> str:
    said: Access = record.predicate
    if job not in JOBS:
        return f"{count} data keys were opened at {said.site} for {job}, which is neither a job nor a grant"
    # What had been stored when the keys were counted, the first inventory after that shows.
    place = bisect_right(inventories, record.index, key=lambda shown: shown.index)
    if place == len(inventories):
        return ""
    following: Inventory = inventories[place].predicate
    stored = following.counts.stored
    # A move hands every object over, or has it read, once for each of the sites.
    times = len(rules.places) if rules is not None and job in (RELOCATION, RELOCATION_SAMPLE) else 1
    if count > ATTEMPTS_PER_OBJECT * times * stored:
        return f"{count} data keys were opened at {said.site} for {job}, where {stored} objects were ever stored"
    return ""
