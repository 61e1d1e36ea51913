"""Whether what the old site holds may be erased now; and the quarantine before that.

Nothing is erased before all of this stands in the eraser's own view of the ledger:

    countersign    the supervisor's, with no refusal since, naming an arrival of every destination with the fence's rows
    quarantine     that follows on it, and is over
    closing        the members' amendment: the move is gone from the charter, and the site that is left from its region
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from glasshouse_verify.codec import Digest, Identifier
from glasshouse_verify.relocation import Relocation, Remaining, Step
from glasshouse_verify.shards import Sharded

from glasshouse.regions.errors import InvalidInput as NotClosed
from glasshouse.regions.keys.closing import Closed
from glasshouse.relocation.course import Course
from glasshouse.relocation.errors import NotYet

JUDGED_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class Permit:
    """The old site's party may erase what it had at the fence: `rows`, as of `fenced_ms` (Unix milliseconds).

    `previous` are the statements that the erasure has to name.
    """

    party: Identifier
    region: Identifier
    relocation: Identifier
    site: Identifier
    previous: tuple[Digest, ...]
    rows: Sharded
    fenced_ms: int
    closed: Closed


def permit(course: Course, *, party: str, now: int) -> Permit:
    """The permission to erase at Unix time `now`; raises NotYet naming what is missing, InvalidInput for another party.

    How far the course is to be trusted is how far its history is: take the node's own verified view.
    """
    site = course.moving.site
    previous = course.before(Step.ERASURE, party, site, now)
    fence, countersign = course.need(Step.FENCE).predicate, course.need(Step.COUNTERSIGN)
    for name in course.destinations:
        arrival = course.arrivals.get(name)
        if arrival is None or arrival.id not in countersign.predicate.previous:
            raise NotYet(f"{course.id}: the countersignature does not name an arrival of {name} after the newest fence")
        if arrival.predicate.rows != fence.rows:
            raise NotYet(f"{course.id}: at {name} arrived other rows than the fence has")
    region = Identifier(str(course.region))
    try:
        closed = Closed(chain=course.history.chain, region=region, relocation=course.id, site=site)
    except NotClosed as error:
        raise NotYet(f"{course.id}: {error.reason}. {error.fix}") from error
    return Permit(
        party=Identifier(party),
        region=region,
        relocation=Identifier(course.id),
        site=site,
        previous=previous,
        rows=fence.rows,
        fenced_ms=fence.at_ms,
        closed=closed,
    )


class Permits:
    """The permission while an erasure goes on: asked for anew every minute, by `judge`. `clock` gives seconds."""

    def __init__(self, judge: Callable[[], Permit], clock: Callable[[], float]) -> None:
        self._judge, self._clock = judge, clock
        self._asked = clock()
        self._permit = judge()

    def now(self) -> Permit:
        """As of a minute ago at most. Raises NotYet once it does not stand any more."""
        if self._clock() - self._asked >= JUDGED_SECONDS:
            self._permit = self._judge()
            self._asked = self._clock()
        return self._permit


def erasure(
    permit: Permit, *, erased: Mapping[str, int], remains: tuple[Remaining, ...], rows: Sharded, now: int
) -> Relocation:
    """What the old site says once it is empty but for `remains`, of which `rows` are the rows at the fence."""
    return Relocation(
        party=permit.party,
        region=permit.region,
        relocation=permit.relocation,
        step=Step.ERASURE,
        time=now,
        previous=permit.previous,
        site=permit.site,
        charter=Digest(permit.closed.link.id),
        erased={Identifier(name): count for name, count in erased.items()},
        remains=remains,
        rows=rows,
    )


def quarantine(course: Course, *, party: str, now: int) -> Relocation:
    """What the old site says once the supervisor has countersigned, at Unix time `now`: until when nothing is erased.

    Raises NotYet, InvalidInput.
    """
    site = course.moving.site
    previous = course.before(Step.QUARANTINE, party, site)
    since = max(now, course.need(Step.COUNTERSIGN).predicate.time)
    return Relocation(
        party=Identifier(party),
        region=Identifier(str(course.region)),
        relocation=Identifier(course.id),
        step=Step.QUARANTINE,
        time=now,
        previous=previous,
        site=site,
        until=since + course.moving.quarantine,
    )
