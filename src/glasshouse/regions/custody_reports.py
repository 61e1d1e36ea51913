"""What a custodian says in public: how many data keys it has unwrapped and for what, what it refused, what has ended.

Each function gives what is still to be logged, from the custodian's own counts and what the ledger has of it already.
So nothing is kept beside the two: after a crash the same question gives the same answer, provided that what was sent
before is seen first (see `outbox`).
"""

from collections import Counter

from glasshouse_verify.access import Access, Step
from glasshouse_verify.codec import Digest, Identifier, Text

from glasshouse.regions.access import Accesses, Course
from glasshouse.regions.custody import Custodian

MAX_AT_ONCE = 100


def tallies_to_log(custodian: Custodian, accesses: Accesses, party: str, now: int) -> list[Access]:
    """For each region and site what was counted since the tally before, dated Unix time `now`; none where nothing was.

    The sum of all tallies is what the custodian has counted since it began.
    """
    said, found = accesses.tallies(party), dict[tuple[str, str], Counter[str]]()
    for count in custodian.counts():
        more = count.items - said[count.region, count.site, count.reason]
        if more > 0:
            found.setdefault((count.region, count.site), Counter())[count.reason] = more
    return [
        Access(
            party=Identifier(party),
            region=Identifier(region),
            site=Identifier(site),
            step=Step.TALLY,
            counts=dict(sorted(counts.items())),
            time=now,
        )
        for (region, site), counts in sorted(found.items())
    ]


def refusals_to_log(custodian: Custodian, accesses: Accesses, party: str) -> list[Access]:
    """Refused requests of sites that the ledger does not have yet, oldest first, so many as MAX_AT_ONCE.

    `about` is the SHA-256 of the signed request, which names the objects and is random enough to hide them.
    """
    logged = {record.predicate.about for record in accesses.of(Step.REFUSAL) if record.predicate.party == party}
    found: list[Access] = []
    after = 0
    while kept := custodian.refusals(after):
        for refusal in kept:
            after = refusal.number
            if refusal.request not in logged and len(found) < MAX_AT_ONCE:
                found.append(
                    Access(
                        party=Identifier(party),
                        region=Identifier(refusal.region),
                        site=Identifier(refusal.site),
                        step=Step.REFUSAL,
                        about=Digest(refusal.request),
                        purpose=Text(f"{refusal.refusal}: {refusal.kind} {refusal.reason}"),
                        uses=refusal.items,
                        time=refusal.time,
                    )
                )
                logged.add(refusal.request)
    return found


def ended_accesses(custodian: Custodian, accesses: Accesses, party: str, now: int) -> list[Access]:
    """Closes what this party has granted and what has expired or is used up at Unix time `now`.

    Used up is what this custodian has counted: a site logs a use before it asks.
    """
    used = Counter[str]()
    for count in custodian.counts():
        used[count.reason] += count.items
    found = []
    for course in accesses.courses.values():
        allowed = accesses.allowed(course)
        if allowed is None or allowed.grant.predicate.party != party or accesses.ended(course) is not None:
            continue
        expired = allowed.until <= now
        if expired or used[allowed.grant.id] >= allowed.uses:
            found.append(_close(course, party, "expired" if expired else "used up", now))
    return found


def _close(course: Course, party: str, why: str, now: int) -> Access:
    asked: Access = course.request.predicate
    return Access(
        party=Identifier(party),
        region=asked.region,
        site=asked.site,
        step=Step.CLOSE,
        request=Digest(course.request.id),
        purpose=Text(why),
        time=now,
    )
