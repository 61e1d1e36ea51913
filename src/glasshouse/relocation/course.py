"""The course of a move: which of its statements stand, what each party owes next, what a step has to name.

A `Course` reads a `History` and asks nobody. A statement counts where it is its party's to make (`speaks`), with a key
at the site that it speaks for, by the charter that opened the move or amended its terms since.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from glasshouse_verify.charter import Link, side
from glasshouse_verify.codec import Digest, Identifier
from glasshouse_verify.errors import VerifyError
from glasshouse_verify.region import Moving, Region, RegionSite, regions_of
from glasshouse_verify.relocation import Relocation, Step, commitment_of, seed_of
from glasshouse_verify.relocation_check import OLD_SITE, speaks
from glasshouse_verify.report import utc
from glasshouse_verify.shards import Sharded
from glasshouse_verify.statement import Use

from glasshouse.ledger.history import History, Record
from glasshouse.relocation.errors import InvalidInput, NotYet

ENDED = "ended"


@dataclass(frozen=True, kw_only=True)
class Owed:
    """A step that is owed next: by whom, for which site where it speaks for one, and why it is not there."""

    step: Step
    party: Identifier
    site: Identifier | None
    why: str


@dataclass(frozen=True, kw_only=True)
class Line:
    """A region in the programme: what was promised first, and what has come of it. Times are Unix seconds.

    `relocation` is None where no charter has opened a move of it; `done` is when the sample after the erasure was read.
    """

    region: Identifier
    relocation: Identifier | None
    promised: int
    done: int | None
    late: bool
    state: str


class Course:
    """The statements of one move. `strays` are those in its name that are not their party's to make."""

    def __init__(self, history: History, relocation: str) -> None:
        self.history, self.id = history, relocation
        self._by_step: dict[Step, list[Record]] = {step: [] for step in Step}
        self.strays: list[Record] = []
        self.region, self._links = _links(history, relocation)
        for record in history.standing(Use.RELOCATION):
            says: Relocation = record.predicate
            if says.relocation == relocation and says.step != Step.PROGRAMME:
                kept = self._by_step[says.step] if self._counts(record) else self.strays
                kept.append(record)

    def _counts(self, record: Record) -> bool:
        says: Relocation = record.predicate
        if not self._links:
            return says.step == Step.SCOPE
        charter, region = self.history.chain.at(record.index).charter, self.terms_at(record.index)
        keys = self.history.chain.count(record.keyids, Use.RELOCATION, record.index).get(says.party, [])
        return says.region == self.region and speaks(charter, region, self.moving, says, keys)

    # The charter's word

    @property
    def opening(self) -> Link:
        """The amendment that opened it; raises NotYet."""
        if not self._links:
            raise NotYet(f"the members have not opened {self.id}: no charter in force has a region that moves so")
        return self._links[0][0]

    @property
    def links(self) -> list[Link]:
        """The charters that let the region move so, in order."""
        return [link for link, _ in self._links]

    @property
    def closing(self) -> Link | None:
        """The amendment that closed it: the first that has the region without this move and without the old site."""
        last = self._links[-1][0].index if self._links else self.history.size
        return next((link for link in self.history.chain.links if link.index > last and self.is_left(link)), None)

    def is_left(self, link: Link) -> bool:
        """Whether a charter has the region, and the old site not as one of its sites."""
        region = None if self.region is None else _regions(link).get(self.region)
        return region is not None and self.moving.site not in region.sites

    def terms_at(self, index: int) -> Region:
        """The region by the last charter in force at an entry that has this move, else by the first one."""
        found = [region for link, region in self._links if link.index < index]
        if not self._links:
            raise NotYet(f"the members have not opened {self.id}")
        return found[-1] if found else self._links[0][1]

    @property
    def terms(self) -> Region:
        """The region by the last charter that has this move; raises NotYet where none has."""
        return self.terms_at(self.history.size)

    @property
    def moving(self) -> Moving:
        """What the members agreed on; raises NotYet."""
        moving = self.terms.moving
        if moving is None:
            raise NotYet(f"the members have not opened {self.id}")
        return moving

    @property
    def destinations(self) -> Mapping[Identifier, RegionSite]:
        """The sites that the data goes to."""
        return self.moving.to or self.terms.sites

    @property
    def old_party(self) -> Identifier | None:
        """The party of the old site; where a store is emptied, whoever has spoken for it, None until then."""
        owner = self.terms.sites.get(self.moving.site)
        spoken = [record for step in OLD_SITE for record in self.records(step)]
        if owner is not None:
            return owner.party
        return min(spoken, key=lambda record: record.index).predicate.party if spoken else None

    # What stands

    def records(self, step: Step) -> list[Record]:
        """The statements of a step that count, in the ledger's order."""
        return list(self._by_step[step])

    def last(self, step: Step) -> Record | None:
        """The newest statement of a step."""
        return self._by_step[step][-1] if self._by_step[step] else None

    def need(self, step: Step) -> Record:
        """The newest statement of a step; raises NotYet where there is none."""
        record = self.last(step)
        if record is None:
            raise NotYet(f"{self.id}: {self._whose(step)} has not said {step}")
        return record

    def _whose(self, step: Step) -> str:
        if step in OLD_SITE:
            return f"{self.old_party or 'the party'} of {self.moving.site}"
        if step in (Step.COMMITMENT, Step.REVEAL):
            return f"{self.moving.supervisor} or another member"
        return "no destination" if step == Step.ARRIVAL else str(self.moving.supervisor)

    @property
    def commitments(self) -> dict[Identifier, Record]:
        """Party → its commitment: those that `open` names, else the first of each party so far."""
        opened, found = self.last(Step.OPEN), dict[Identifier, Record]()
        for record in self.records(Step.COMMITMENT):
            if opened is None or record.id in opened.predicate.previous:
                found.setdefault(record.predicate.party, record)
        return found

    @property
    def arrivals(self) -> dict[Identifier, Record]:
        """Destination → its newest arrival that follows on the newest fence."""
        fence = self.last(Step.FENCE)
        return {
            record.predicate.site: record
            for record in self.records(Step.ARRIVAL)
            if fence is not None and fence.id in record.predicate.previous
        }

    @property
    def reveals(self) -> dict[Identifier, Record]:
        """Party → its first reveal that opens the commitment it had made."""
        found = dict[Identifier, Record]()
        for record in self.records(Step.REVEAL):
            says, made = record.predicate, self.commitments.get(record.predicate.party)
            if made is not None and commitment_of(self.id, says.party, says.secret) == made.predicate.commitment:
                found.setdefault(says.party, record)
        return found

    @property
    def rows(self) -> Sharded:
        """The rows that the fence left; raises NotYet before it."""
        rows: Sharded = self.need(Step.FENCE).predicate.rows
        return rows

    def seed(self, after: str = "") -> Digest:
        """The seed of the sample, `after` an erasure where it is the second one; raises NotYet."""
        if not self.commitments:
            raise NotYet(f"{self.id}: nobody has committed to a secret")
        if missing := sorted(set(self.commitments) - set(self.reveals)):
            raise NotYet(f"{self.id}: {_list(missing)} has not revealed what it committed to")
        secrets = {str(party): record.predicate.secret for party, record in self.reveals.items()}
        return seed_of(self.rows, secrets, after)

    @property
    def state(self) -> str:
        """The step that it has come to: that of its newest statement; `programme` where there is none, at last `ended`.

        An alarm or a refusal shows until something follows it.
        """
        newest = max((records[-1] for records in self._by_step.values() if records), key=_index, default=None)
        if newest is None:
            return str(Step.PROGRAMME)
        step: Step = newest.predicate.step
        return ENDED if self.is_watched and self.last(Step.RESAMPLE) and step != Step.ALARM else str(step)

    @property
    def is_watched(self) -> bool:
        """Whether the old site has been watched for as long as the members asked."""
        last = self.last(Step.WATCH)
        return last is not None and last.predicate.time >= last.predicate.until

    # What is to come

    def before(self, step: Step, party: str, site: str | None = None, now: int | None = None) -> tuple[Digest, ...]:
        """The statements that a step has to name, sorted.

        Raises NotYet with whose step is missing, InvalidInput where the step is not this party's to take. An erasure
        is refused until `now` (Unix seconds) is past the quarantine.
        """
        if step in (Step.PROGRAMME, Step.SCOPE):
            return ()
        if step != Step.COMMITMENT:
            _ = self.opening
        self._check_speaker(step, party, site)
        return tuple(sorted(Digest(record.id) for record in self._before(step, party, now)))

    def _check_speaker(self, step: Step, party: str, site: str | None) -> None:
        if not self._links:
            return
        owner = self.destinations.get(Identifier(site or "")) if step == Step.ARRIVAL else None
        due = owner.party if owner is not None else self.old_party if step in OLD_SITE else self.moving.supervisor
        if step == Step.ARRIVAL and owner is None:
            raise InvalidInput("site", f"{site} is no destination of {self.id}", f"Name {_list(self.destinations)}.")
        members = {self.moving.supervisor, *self.history.chain.newest.charter.members.parties}
        free = step == Step.ALARM or due is None or (step in (Step.COMMITMENT, Step.REVEAL) and party in members)
        if not free and party != due:
            raise InvalidInput("party", f"{step} is not for {party} to say", f"{due} has to.")

    def _before(self, step: Step, party: str, now: int | None) -> Iterable[Record]:
        match step:
            case Step.COMMITMENT:
                return [self.need(Step.SCOPE)]
            case Step.OPEN:
                return self._committed()
            case Step.SOURCE:
                return [self.need(Step.OPEN)]
            case Step.LISTING:
                return [self.need(Step.SOURCE)]
            case Step.FENCE:
                return [self._agreed()]
            case Step.ARRIVAL:
                return [self.need(Step.FENCE)]
            case Step.REVEAL:
                if party not in self.commitments:
                    raise NotYet(f"{self.id}: {party} made no commitment that open names")
                return self._arrived()
            case Step.COUNTERSIGN:
                self.seed()
                return [*self._arrived(), *self.reveals.values(), *self.records(Step.REFUSAL)]
            case Step.QUARANTINE:
                return [self._countersigned()]
            case Step.ERASURE:
                return self._erasable(now)
            case Step.RESAMPLE:
                return [self.need(Step.ERASURE)]
            case Step.WATCH:
                return self._watched()
            case _:
                return self._newest_stage()

    def _committed(self) -> list[Record]:
        charter, supervisor, made = self.history.chain.newest.charter, self.moving.supervisor, self.commitments
        if supervisor not in made:
            raise NotYet(f"{self.id}: {supervisor} has made no commitment")
        if len({side(charter, party) for party in made}) < 2:
            raise NotYet(f"{self.id}: no member who stands apart from {supervisor} has made a commitment")
        return list(made.values())

    def _agreed(self) -> Record:
        listing, source = self.need(Step.LISTING), self.need(Step.SOURCE)
        if source.id not in listing.predicate.previous:
            raise NotYet(f"{self.id}: {self.moving.supervisor} has not listed what the newest source says")
        if listing.predicate.rows != source.predicate.rows:
            raise NotYet(f"{self.id}: {self.moving.supervisor} listed other rows than the source says")
        self._check_not_refused(listing)
        return listing

    def _check_not_refused(self, since: Record) -> None:
        refusal = self.last(Step.REFUSAL)
        if refusal is not None and refusal.index > since.index:
            raise NotYet(f"{self.id}: {self.moving.supervisor} has refused: {refusal.predicate.faults[0].text}")

    def _arrived(self) -> list[Record]:
        self.need(Step.FENCE)
        if missing := sorted(set(self.destinations) - set(self.arrivals)):
            raise NotYet(f"{self.id}: no arrival of {_list(missing)} follows the fence")
        return list(self.arrivals.values())

    def _countersigned(self) -> Record:
        countersign = self.need(Step.COUNTERSIGN)
        self._check_not_refused(countersign)
        return countersign

    def _quarantined(self) -> Record:
        countersign, quarantine = self.need(Step.COUNTERSIGN), self.need(Step.QUARANTINE)
        if countersign.id not in quarantine.predicate.previous:
            raise NotYet(f"{self.id}: no quarantine follows the newest countersignature")
        return quarantine

    def _erasable(self, now: int | None) -> list[Record]:
        countersign, quarantine = self._countersigned(), self._quarantined()
        until = max(quarantine.predicate.until, countersign.predicate.time + self.moving.quarantine)
        if now is None or now < until:
            raise NotYet(f"{self.id}: nothing is erased before {utc(until)}, the end of the quarantine")
        if self.closing is None:
            raise NotYet(f"{self.id}: the members have not closed it: {self.moving.site} is in the charter still")
        return [quarantine, *self.records(Step.ERASURE)]

    def _watched(self) -> list[Record]:
        start = self.last(Step.WATCH) or self.need(Step.ERASURE)
        return [start, *(alarm for alarm in self.records(Step.ALARM) if alarm.index > start.index)]

    def _newest_stage(self) -> list[Record]:
        """What a refusal or an alarm follows on: all arrivals, or the newest statement of the old site or the watch."""
        self.need(Step.SCOPE)
        newest = max((r for s in (*OLD_SITE, Step.LISTING, Step.WATCH) for r in self._by_step[s]), key=_index)
        arrived = [record for record in self.arrivals.values() if record.index > newest.index]
        return arrived or [newest]

    def owed(self) -> list[Owed]:
        """What is owed next, by whom; nothing where the move is at rest or has ended."""
        return list(self._owed())

    def _owed(self) -> Iterator[Owed]:
        if not self._links:
            yield Owed(step=Step.OPEN, party=Identifier("members"), site=None, why="no charter in force has opened it")
            return
        old, supervisor = self.old_party or Identifier("unknown"), self.moving.supervisor
        site = self.moving.site
        for step, party, where in (
            (Step.SCOPE, old, site),
            (Step.COMMITMENT, supervisor, None),
            (Step.OPEN, old, site),
            (Step.SOURCE, old, site),
            (Step.LISTING, supervisor, site),
            (Step.FENCE, old, site),
            (Step.ARRIVAL, supervisor, None),
            (Step.REVEAL, supervisor, None),
            (Step.COUNTERSIGN, supervisor, None),
            (Step.QUARANTINE, old, site),
            (Step.ERASURE, old, site),
            (Step.RESAMPLE, supervisor, None),
            (Step.WATCH, supervisor, site),
        ):
            if found := list(self._missing(step, party, where)):
                yield from found
                return

    def _missing(self, step: Step, party: Identifier, site: Identifier | None) -> Iterator[Owed]:
        if step == Step.COMMITMENT and self.last(Step.OPEN) is None:
            try:
                self._committed()
            except NotYet as error:
                yield Owed(step=step, party=party, site=None, why=str(error))
        elif step == Step.ARRIVAL:
            for name, place in self.destinations.items():
                if name not in self.arrivals:
                    yield Owed(step=step, party=place.party, site=name, why=f"{name} has not said what arrived")
        elif step == Step.REVEAL:
            for name in sorted(set(self.commitments) - set(self.reveals)):
                yield Owed(step=step, party=name, site=None, why=f"{name} has not revealed what it committed to")
        elif step in (Step.COUNTERSIGN, Step.QUARANTINE) and self.last(Step.ERASURE) is None:
            try:
                _ = self._countersigned() if step == Step.COUNTERSIGN else self._quarantined()
            except NotYet as error:
                yield Owed(step=step, party=party, site=site, why=str(error))
        elif step == Step.ERASURE and self.last(step) is None and self.closing is None:
            yield Owed(step=step, party=Identifier("members"), site=site, why="no charter in force has closed it")
        elif step == Step.WATCH:
            if not self.is_watched:
                yield Owed(step=step, party=party, site=site, why="the old site is to be watched until its period ends")
        elif step != Step.COMMITMENT and self.last(step) is None:
            yield Owed(step=step, party=party, site=site, why=f"{party} has not said {step}")


def programme(history: History, now: int | None = None) -> list[Line]:
    """The regions that were promised to move or that the members have let move, by what was promised first.

    Late is what was done after its date, and what is not done at `now` (default: the newest time in a programme or a
    move) although its date has passed.
    """
    promised: dict[Identifier, int] = {}
    moves: dict[Identifier, Moving] = {}
    times = [0 if now is None else now]
    for record in history.standing(Use.RELOCATION):
        says: Relocation = record.predicate
        times += [says.time] if now is None else []
        if says.step == Step.PROGRAMME:
            for region, date in (says.promised or {}).items():
                promised.setdefault(region, date)
    for region, moving in _moves(history):
        promised.setdefault(region, moving.due)
        moves[region] = moving
    lines = [_line(history, region, date, moves.get(region), max(times)) for region, date in promised.items()]
    return sorted(lines, key=lambda line: (line.promised, line.region))


def _line(history: History, region: Identifier, promised: int, moving: Moving | None, now: int) -> Line:
    course = None if moving is None else Course(history, moving.id)
    read = None if course is None else course.last(Step.RESAMPLE)
    done = None if read is None else read.predicate.time
    return Line(
        region=region,
        relocation=None if moving is None else moving.id,
        promised=promised,
        done=done,
        late=(now if done is None else done) > promised,
        state=str(Step.PROGRAMME) if course is None else course.state,
    )


def courses(history: History) -> list[Course]:
    """The moves that some charter has opened, by when it did."""
    return [Course(history, move) for move in dict.fromkeys(moving.id for _, moving in _moves(history))]


def _moves(history: History) -> Iterator[tuple[Identifier, Moving]]:
    for link in history.chain.links:
        for region, rules in _regions(link).items():
            if rules.moving is not None:
                yield region, rules.moving


def _links(history: History, relocation: str) -> tuple[Identifier | None, list[tuple[Link, Region]]]:
    """The region that moves so, and the charters that say it."""
    found: list[tuple[Link, Region]] = []
    where: Identifier | None = None
    for link in history.chain.links:
        for name, rules in _regions(link).items():
            if rules.moving is not None and rules.moving.id == relocation and where in (None, name):
                where = name
                found.append((link, rules))
    return where, found


def _regions(link: Link) -> Mapping[Identifier, Region]:
    try:
        return regions_of(link.charter)
    except VerifyError:
        return {}


def _index(record: Record) -> int:
    return record.index


def _list(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
