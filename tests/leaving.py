"""A region that leaves a site, in a ledger in memory: its charters, and the steps of a move as parties log them."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from glasshouse_verify.codec import encode
from glasshouse_verify.foreign import store_row
from glasshouse_verify.region import Custody, Mode, Moving, Origin, RegionSite
from glasshouse_verify.relocation import Fault, Relocation, Step, commitment_of
from glasshouse_verify.shards import Sharded
from glasshouse_verify.statement import Use, make_statement
from region_examples import region
from world import DAY, NOW, USES, World, charter_key, digest, seeded

from glasshouse.regions.keys.closing import Closed
from glasshouse.relocation.course import Course
from glasshouse.relocation.lists import RowList, in_order, keep_list
from glasshouse.relocation.permit import Permit, permit, quarantine
from glasshouse.relocation.stores.interface import Source

MOVE = "au-2026"
QUARANTINE, WATCH = 7 * DAY, 30 * DAY
SITE_USES = ["receipt", "inventory", "access", "relocation"]
TO = ("zurich-1", "zurich-2")
SECRET = bytes(range(32))


def place(name: str, **changes: Any) -> RegionSite:
    shown = RegionSite(
        party="acme",
        url=f"https://{name}.acme.example",
        peer=f"https://{name}.acme.example:8444",
        certificate=b"DER of the certificate",
    )
    return replace(shown, **changes)


def moving(source: Origin = Origin.SITE, **changes: Any) -> Moving:
    shown = Moving(
        id=MOVE,
        source=source,
        site="moscow",
        to={name: place(name) for name in TO} if source == Origin.SITE else {},
        replicas=2,
        due=NOW + 90 * DAY,
        quarantine=QUARANTINE,
        watch=WATCH,
        supervisor="lab",
    )
    return replace(shown, **changes)


class Leaving(World):
    """The initiative whose region `au` lies at moscow, or is to take in a store there, and may move to Zurich."""

    def __init__(self, source: Origin = Origin.SITE, **changes: Any) -> None:
        self.source = source
        keys = {site: seeded(f"site {site}") for site in ("moscow", *TO)}
        shown = {signer.keyid: charter_key(signer, site, SITE_USES) for site, signer in keys.items()}
        members = {name: [*USES[name], "relocation"] for name in ("lab", "ngo")}
        parties = {name: {"keys": {seeded(name).keyid: {"uses": uses}}} for name, uses in members.items()}
        self.before = replace(
            region(),
            sites={"moscow": place("moscow")} if source == Origin.SITE else {name: place(name) for name in TO},
            replicas=1,
            custody=Custody(mode=Mode.SITE),
        )
        sites = {"zurich-2": {"name": "Zurich, west", "jurisdiction": "CH"}}
        regions = {"au": encode(self.before)}
        super().__init__(parties={"acme": {"keys": shown}, **parties}, sites=sites, regions=regions, **changes)
        self.keys |= keys

    def open(self, **changes: Any) -> str:
        """The members open the move."""
        return self.amend({"regions": {"au": {"moving": encode(moving(self.source, **changes))}}})

    def closing(self) -> dict[str, Any]:
        """What the members amend to close it."""
        if self.source == Origin.STORE:
            return {"regions": {"au": {"moving": None}}}
        to = {name: encode(site) for name, site in moving().to.items()}
        return {"regions": {"au": {"moving": None, "replicas": 2, "sites": {"moscow": None, **to}}}}

    def closed(self) -> Closed:
        """The proof that they have."""
        return Closed(chain=self.history.chain, region="au", relocation=MOVE, site="moscow")

    # Steps

    @property
    def course(self) -> Course:
        """The move as everybody reads it now."""
        return Course(self.history, MOVE)

    def say(self, step: Step, party: str = "acme", signer: str = "moscow", **members: Any) -> str:
        """Log a step that names what it has to; the statement's id."""
        previous = members.pop("previous", None)
        if previous is None:
            previous = self.course.before(step, party, members.get("site"), self.now)
        shown = {"party": party, "region": "au", "relocation": MOVE, "step": step, "time": self.now}
        return self.log(Relocation(**shown, previous=previous, **members), signer)

    def log(self, says: Relocation, signer: str = "moscow") -> str:
        return self.post(make_statement(Use.RELOCATION, says), signer)

    def steps(self, rows: Sharded) -> list[Callable[[], object]]:
        """What honest parties do one after the other until the old site may be erased, each in an hour."""
        here = {"site": "moscow"}
        scope = {**here, "to": TO, "source": self.source, "document": digest(b"scope")}
        told = {**here, "epoch": 1, "rows": rows, "size": 5}
        here_at = {"at_ms": self.now * 1_000}
        arrived = {"rows": rows, "size": 5, "sealed": rows, **here_at}
        found: list[Callable[[], object]] = [
            lambda: self.say(Step.SCOPE, **scope),
            self.open,
            lambda: self.commit("lab"),
            lambda: self.commit("ngo"),
            lambda: self.say(Step.OPEN, **here, epoch=1, charter=self.history.chain.newest.id),
            lambda: self.say(Step.SOURCE, **told),
            lambda: self.say(Step.LISTING, "lab", "lab", **here, rows=rows),
            lambda: self.say(Step.FENCE, **told, refused=0, at_ms=self.now * 1_000),
            *(lambda name=name: self.say(Step.ARRIVAL, "acme", name, site=name, **arrived) for name in TO),
            lambda: self.reveal("lab"),
            lambda: self.reveal("ngo"),
            self.countersign,
            lambda: self.log(quarantine(self.course, party="acme", now=self.now)),
            lambda: self.later(QUARANTINE),
            lambda: self.amend(self.closing()),
        ]
        return found

    def come_to_erasure(self, rows: Sharded, *, but: Iterable[int] = ()) -> None:
        """Do all of it, without the steps of these numbers."""
        left_out = {number % len(self.steps(rows)) for number in but}
        for number, step in enumerate(self.steps(rows)):
            self.later(3_600)
            if number not in left_out:
                step()

    def later(self, seconds: int) -> None:
        self.now += seconds

    def commit(self, party: str) -> None:
        self.say(Step.COMMITMENT, party, party, commitment=commitment_of(MOVE, party, secret_of(party)))

    def reveal(self, party: str) -> None:
        self.say(Step.REVEAL, party, party, secret=secret_of(party))

    def countersign(self, **changes: Any) -> None:
        read = {"seed": self.course.seed(), "read": dict.fromkeys(TO, 5), "full": True}
        self.say(Step.COUNTERSIGN, "lab", "lab", **(read | changes))

    def refuse(self) -> None:
        fault = Fault(site="zurich-2", text="the content has another digest", handle=digest(b"handle"))
        self.say(Step.REFUSAL, "lab", "lab", faults=(fault,))

    def permit(self) -> Permit:
        """The permission to erase, as the old site's party has it now."""
        return permit(self.course, party="acme", now=self.now)


def secret_of(party: str) -> bytes:
    return bytes.fromhex(digest(f"secret of {party}".encode()))


def fenced_rows(store: Source, place: Path) -> RowList:
    """The rows of everything that a store holds now."""

    def rows() -> Iterable[dict[str, Any]]:
        for version in store.list():
            content = None if version.marker else b"".join(store.read(version))
            told = None if content is None else digest(content)
            yield dict(store_row(SECRET, version.key, version.ordinal, told, version.size))

    return keep_list(place / "rows", in_order(rows(), place))


def closed() -> Closed:
    """The proof that a region has left moscow, in a world of its own."""
    world = Leaving()
    world.open()
    world.amend(world.closing())
    return world.closed()
