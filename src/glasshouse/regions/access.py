"""Who may look at what is stored, and who looked: read from the ledger's access statements, and written into them.

    request   the site's party: purpose; about = SHA-256(handle ‖ nonce); how often (uses) and until when at most
    grant     the custodian of the charter: names the request; uses and until, not more than was asked for
    use       the site's party, logged before the custodian is asked: so no use can be missing that was counted
    close     either of them: what was granted ends early, was used up or has expired
    refusal   who refused: about = SHA-256 of the refused request (custodian), or as in a request (site)
    tally     the custodian: data keys it has unwrapped since its tally before, by job or grant, for one site

Every rule is judged by the charter in force where the statement stands, so that the custodian, the site and any auditor
who reads the same entries come to the same conclusion. Specification: docs/spec/access.md.
"""

import secrets
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from glasshouse_verify.access import Access, Step
from glasshouse_verify.codec import Digest, Identifier, Text
from glasshouse_verify.errors import VerifyError
from glasshouse_verify.region import Mode, Region, regions_of
from glasshouse_verify.statement import Use

from glasshouse.ledger.history import History, Record
from glasshouse.regions.custody_request import NONCE_BYTES, access_commitment
from glasshouse.regions.errors import CustodyRefused

MAX_PURPOSE = 500


@dataclass(frozen=True, kw_only=True)
class Course:
    """One request and what followed from it, each in the order of the ledger."""

    request: Record
    grants: list[Record] = field(default_factory=list)
    uses: list[Record] = field(default_factory=list)
    closes: list[Record] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Allowed:
    """A grant that counts: how many uses it gives, until when (Unix seconds)."""

    grant: Record
    uses: int
    until: int


@dataclass(frozen=True, kw_only=True)
class Opening:
    """What opens the commitment of a request; the site keeps it to itself."""

    handle: Digest
    nonce: bytes


class Accesses:
    """The access statements of a history, put in relation. A snapshot: make another one when the history has grown."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._regions: dict[str, Mapping[Identifier, Region]] = {}
        self.courses: dict[str, Course] = {}
        self.records = list(history.standing(Use.ACCESS))
        for record in self.records:
            said: Access = record.predicate
            if said.step == Step.REQUEST:
                self.courses[record.id] = Course(request=record)
        lists = {Step.GRANT: "grants", Step.USE: "uses", Step.CLOSE: "closes"}
        for record in self.records:
            course = self.courses.get(record.predicate.request or "")
            if course is not None and record.predicate.step in lists:
                getattr(course, lists[record.predicate.step]).append(record)

    def of(self, *steps: Step) -> Iterator[Record]:
        """The statements of these steps, by index."""
        return (record for record in self.records if record.predicate.step in steps)

    def rules(self, record: Record) -> Region | None:
        """The rules of a statement's region by the charter in force at its entry; None where there are none."""
        link = self._history.chain.at(record.index)
        if link.id not in self._regions:
            try:
                self._regions[link.id] = regions_of(link.charter)
            except VerifyError:
                self._regions[link.id] = {}
        return self._regions[link.id].get(record.predicate.region)

    def may_ask(self, record: Record) -> bool:
        """Whether a statement comes from the party of the site that it names, or of any where it names none.

        A site that takes over from another is one of the region, for what it holds already.
        """
        rules, said = self.rules(record), record.predicate
        if rules is None or (said.site is not None and said.site not in rules.places):
            return False
        sites = rules.places.values() if said.site is None else [rules.places[said.site]]
        return said.party in {site.party for site in sites}

    def guards(self, record: Record) -> bool:
        """Whether a statement comes from the party that guards its region's keys."""
        rules = self.rules(record)
        return rules is not None and rules.custody.mode == Mode.DUAL and rules.custody.party == record.predicate.party

    def fault(self, course: Course, grant: Record) -> str:
        """Why a grant does not count, in words; empty where it does."""
        asked, given = course.request.predicate, grant.predicate
        if not self.guards(grant):
            return f"{given.party} grants what it does not guard"
        if asked.region != given.region or not self.may_ask(course.request):
            return f"{given.party} grants what no site of the region has asked for"
        if grant.index < course.request.index:
            return f"{given.party} grants what had not been asked for yet"
        if given.uses is None or given.until is None:
            return f"{given.party} grants without saying how often or until when"
        if given.uses > (asked.uses or given.uses) or given.until > (asked.until or given.until):
            return f"{given.party} grants more than was asked for"
        return ""

    def ended(self, course: Course, below: int | None = None) -> Record | None:
        """The statement that closed an access below an index, if there is one: of either of the two parties."""
        for record in course.closes:
            if below is not None and record.index >= below:
                continue
            if record.predicate.party == course.request.predicate.party or self.guards(record):
                return record
        return None

    def allowed(self, course: Course, below: int | None = None) -> Allowed | None:
        """The first grant of a request that counts, of those below an index."""
        for grant in course.grants:
            if (below is None or grant.index < below) and not self.fault(course, grant):
                return Allowed(grant=grant, uses=grant.predicate.uses, until=grant.predicate.until)
        return None

    def granted(self, grant: str) -> tuple[Course, Allowed] | None:
        """The access that a grant is for, by the grant's statement id, while it counts and nobody has closed it."""
        for course in self.courses.values():
            for record in course.grants:
                if record.id == grant and not self.fault(course, record) and self.ended(course) is None:
                    said: Access = record.predicate
                    return course, Allowed(grant=record, uses=said.uses or 0, until=said.until or 0)
        return None

    def used(self, course: Course, below: int | None = None) -> int:
        """How many uses are logged."""
        return sum(r.predicate.uses or 1 for r in course.uses if below is None or r.index < below)

    def state(self, course: Course, now: int) -> str:
        """In a word, at Unix time `now`: requested, granted, used up, expired or closed."""
        if self.ended(course) is not None:
            return "closed"
        allowed = self.allowed(course)
        if allowed is None:
            return "requested"
        if allowed.until <= now:
            return "expired"
        return "granted" if self.used(course) < allowed.uses else "used up"

    def tallies(self, party: str) -> Counter[tuple[str, str, str]]:
        """What a party has tallied so far: (region, site, job or grant) → data keys."""
        found: Counter[tuple[str, str, str]] = Counter()
        for record in self.of(Step.TALLY):
            said: Access = record.predicate
            if said.party == party:
                for reason, count in (said.counts or {}).items():
                    found[said.region, said.site or "", reason] += count
        return found


def new_nonce() -> bytes:
    """What hides an object behind a commitment, made afresh for each."""
    return secrets.token_bytes(NONCE_BYTES)


def ask(
    handle: str, *, party: str, region: str, site: str, purpose: str, uses: int, until: int, now: int
) -> tuple[Access, Opening]:
    """A request for access to one object, and what opens its commitment."""
    opening = Opening(handle=Digest(handle), nonce=new_nonce())
    request = Access(
        party=Identifier(party),
        region=Identifier(region),
        site=Identifier(site),
        step=Step.REQUEST,
        about=access_commitment(opening.handle, opening.nonce),
        purpose=Text(purpose[:MAX_PURPOSE]),
        uses=uses,
        until=until,
        time=now,
    )
    return request, opening


def check_standing(accesses: Accesses, course: Course, now: int) -> Allowed:
    """The grant under which an object may be read now; raises CustodyRefused as the custodian would."""
    allowed, state = accesses.allowed(course), accesses.state(course, now)
    if allowed is None or state == "closed":
        raise CustodyRefused("no-grant", f"the access is {state}, not granted", fix="Have it granted first.")
    if state == "expired":
        raise CustodyRefused("expired", "the grant has ended", fix="Request access again.")
    if state == "used up":
        raise CustodyRefused("used-up", "the grant has no uses left", fix="Request access again.")
    return allowed
