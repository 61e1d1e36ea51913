"""A relocation told in plain words, from the statements that stand in the ledger and nothing else."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from glasshouse_verify.charter import Charter
from glasshouse_verify.codec import Identifier
from glasshouse_verify.relocation import Relocation, Step
from glasshouse_verify.report import utc

from glasshouse.ledger.history import Record

_DAY = 86_400
_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")
# What the sample shows: with n draws, an object in 1/share is missed with (1 - 1/share)^n.
_SHARE = 1_000
LIMITS = (
    ("Copies.", "No cryptography shows that no copy was kept elsewhere, or that a key was never exported."),
    ("Scope.", "What the old site calls its replicas, backups and caches is its own word; the supervisor has not seen"
     " what it was not shown."),
    ("Sample.", "A sample finds loss or damage above a share with a probability. That nothing at all was lost, only"
     " a full reading shows."),
    ("Place.", "That a site stands where the charter says is the word of the parties; the time that an answer takes"
     " cannot tell one city from its neighbour."),
)  # fmt: skip
_TITLES = {
    Step.SCOPE: "What is to move",
    Step.COMMITMENT: "A secret is committed to",
    Step.OPEN: "The move is open",
    Step.SOURCE: "What the old site holds",
    Step.LISTING: "The supervisor has listed it",
    Step.FENCE: "The old site takes nothing more",
    Step.ARRIVAL: "It is there",
    Step.REVEAL: "A secret is revealed",
    Step.COUNTERSIGN: "The supervisor countersigns",
    Step.REFUSAL: "The supervisor refuses",
    Step.QUARANTINE: "Nothing is erased yet",
    Step.ERASURE: "The old site is empty",
    Step.RESAMPLE: "Read again, with the old site cut off",
    Step.WATCH: "The old site is watched",
    Step.ALARM: "Alarm",
}
_BAD = (Step.REFUSAL, Step.ALARM)


@dataclass(frozen=True, kw_only=True)
class Event:
    """One step: `state` is verified, or mismatch where the supervisor found something wrong."""

    time: int
    title: str
    text: str
    by: str
    entry: int
    statement: str
    state: str


@dataclass(frozen=True, kw_only=True)
class Place:
    """A site with its jurisdiction, and the objects that are there at the end; None where nobody has said."""

    site: str
    name: str
    jurisdiction: str
    objects: int | None


@dataclass(frozen=True, kw_only=True)
class Tale:
    """A whole move. `promised` and `ended` in Unix seconds; `now` is when it is told."""

    relocation: str
    region: str
    headline: str
    lead: str
    old: Place
    new: tuple[Place, ...]
    size: int | None
    supervisor: str
    events: tuple[Event, ...]
    promised: int | None
    ended: int | None
    now: int

    @property
    def late(self) -> bool:
        """Whether it ended after the promised date, or has not ended and the date has passed."""
        return self.promised is not None and (self.ended or self.now) > self.promised


def tell(records: Sequence[Record], charter: Charter, region: str, now: int, *, promised: int | None = None) -> Tale:
    """The move that these statements are the steps of, in the order of their entries; at least its scope.

    `promised`: the date that it is held to, in Unix seconds.
    """
    said: list[Relocation] = [record.predicate for record in records]
    scope = next(one for one in said if one.step == Step.SCOPE)
    newest = {step: [one for one in said if one.step == step] for step in Step}
    arrivals = {one.site: one for one in newest[Step.ARRIVAL]}
    erased = newest[Step.ERASURE]
    watch = newest[Step.WATCH][-1] if newest[Step.WATCH] else None
    bad = [one for one in said if one.step in _BAD]
    fence = newest[Step.FENCE][-1] if newest[Step.FENCE] else None
    start = fence or (newest[Step.SOURCE][-1] if newest[Step.SOURCE] else None)
    holds = next((one.rows for one in (*erased[-1:], start) if one is not None and one.rows is not None), None)
    names = _Names(charter)
    signed = [one.party for one in (*newest[Step.COUNTERSIGN], *newest[Step.LISTING])]
    new = [
        names.place(site, None if site not in arrivals or (rows := arrivals[site].rows) is None else rows.size)
        for site in scope.to or ()
    ]
    old = names.place(str(scope.site), None if holds is None else holds.size)
    return Tale(
        relocation=str(scope.relocation),
        region=region,
        headline=_headline(newest, bad, region),
        lead=_lead(old, new, start, region, names.party(signed[0]) if signed else None),
        old=old,
        new=tuple(new),
        size=None if start is None else start.size,
        supervisor=names.party(signed[0]) if signed else "",
        events=tuple(_events(records, names)),
        promised=promised,
        ended=erased[-1].time if erased and watch is not None else None,
        now=now,
    )


def volume(size: int) -> str:
    """A number of bytes for people."""
    amount, unit = float(size), _UNITS[0]
    for unit in _UNITS:
        if amount < 1024 or unit == _UNITS[-1]:
            break
        amount /= 1024
    return f"{amount:,.0f} {unit}" if unit == _UNITS[0] or amount >= 100 else f"{amount:,.1f} {unit}"


def chance(draws: int) -> float:
    """How likely so many draws find a loss of one in a thousand, from 0 to 1."""
    return float(1 - (1 - 1 / _SHARE) ** draws)


class _Names:
    """Parties and sites as the charter names them."""

    def __init__(self, charter: Charter) -> None:
        self._charter = charter

    def party(self, party: str) -> str:
        known = self._charter.parties.get(Identifier(party))
        return party if known is None else str(known.name)

    def place(self, site: str, objects: int | None = None) -> Place:
        known = self._charter.sites.get(Identifier(site))
        name, country = (site, "?") if known is None else (str(known.name), str(known.jurisdiction))
        return Place(site=site, name=name, jurisdiction=country, objects=objects)

    def at(self, site: object) -> str:
        return f"{site} ({self.place(str(site)).jurisdiction})"


def _headline(newest: dict[Step, list[Relocation]], bad: Sequence[Relocation], region: str) -> str:
    if newest[Step.ALARM]:
        return f"{region}: an alarm was raised at the old site"
    if newest[Step.WATCH]:
        return f"{region} has moved, and the old site is empty"
    if newest[Step.ERASURE]:
        return f"{region} has moved; the old site says that it is empty"
    if newest[Step.COUNTERSIGN]:
        return f"{region} has arrived, countersigned; the old copy is not erased yet"
    if bad:
        return f"{region}: the supervisor refuses"
    if newest[Step.FENCE]:
        return f"{region}: the old site takes nothing more; what arrived is being checked"
    return f"{region} is moving"


def _lead(old: Place, new: Sequence[Place], start: Relocation | None, region: str, supervisor: str | None) -> str:
    places = " and ".join(f"{place.name} ({place.jurisdiction})" for place in new)
    text = f"The data of {region} moves from {old.name} ({old.jurisdiction}) to {places}."
    if start is not None and start.rows is not None:
        text += f" {start.rows.size:,} objects, {volume(start.size or 0)}."
    if supervisor is not None:
        text += f" {supervisor}, who stands with none of these sites, lists, reads and countersigns."
    return text + " Everything told here is a signed statement in a public ledger."


def _events(records: Sequence[Record], names: _Names) -> Iterator[Event]:
    for record in records:
        says: Relocation = record.predicate
        yield Event(
            time=says.time,
            title=_TITLES[says.step],
            text=_text(says, names),
            by=names.party(says.party),
            entry=record.index,
            statement=record.id,
            state="mismatch" if says.step in _BAD else "verified",
        )


def _text(says: Relocation, names: _Names) -> str:
    rows = f"{says.rows.size:,} objects" if says.rows is not None else ""
    match says.step:
        case Step.SCOPE:
            return f"From {names.at(says.site)} to {' and '.join(map(names.at, says.to or ()))}."
        case Step.COMMITMENT:
            return (
                "A random number, of which only the digest is shown yet, so that nobody can know the sample beforehand."
            )
        case Step.OPEN:
            return f"The members' amendment is in force; inventory {says.epoch} is where it begins."
        case Step.SOURCE:
            return f"{rows}, {volume(says.size or 0)}, each by a commitment in one list."
        case Step.LISTING:
            return f"Its own list, made with its own access, has the same {rows}."
        case Step.FENCE:
            return f"The last {rows}, {volume(says.size or 0)}. {says.refused or 0:,} uploads were refused until then."
        case Step.ARRIVAL:
            return f"{names.at(says.site)} has listed and read for itself: the same {rows}, sealed under fresh keys."
        case Step.REVEAL:
            return "The random number that was committed to. Together they choose the sample."
        case Step.COUNTERSIGN | Step.RESAMPLE:
            return _read(says, names)
        case Step.QUARANTINE:
            return f"Nothing is erased before {utc(says.until or 0)}."
        case Step.ERASURE:
            return _erased(says)
        case Step.WATCH:
            tried = ", ".join(f"{count:,} {what}" for what, count in (says.tried or {}).items()) or "nothing"
            return f"Tried and failed: {tried}. The watch goes on until {utc(says.until or 0)}."
        case _:
            return " ".join(f"{names.at(fault.site)}: {fault.text}." for fault in says.faults or ())


def _read(says: Relocation, names: _Names) -> str:
    counts = dict(says.read or {})
    where = " and ".join(f"{count:,} at {names.at(site)}" for site, count in counts.items())
    if says.full:
        return f"Every object was read and compared: {where}."
    found = 100 * chance(min(counts.values(), default=0))
    return f"Drawn, read and compared: {where}. A loss of one in {_SHARE:,} would be found with {found:.1f} %."


def _erased(says: Relocation) -> str:
    parts = [f"{count:,} {what}" for what, count in (says.erased or {}).items() if count]
    text = f"Erased: {', '.join(parts) or 'nothing'}; {says.rows.size if says.rows else 0:,} objects are left."
    if says.remains:
        kept = [f"{one.name}" + (f" until {utc(one.until)}" if one.until else "") for one in says.remains]
        text += f" What a lock holds: {', '.join(kept)}."
    return text
