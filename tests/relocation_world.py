"""A move in memory beside the initiative of `world`: the old site, two destinations, a supervisor and a second member.

Every statement is signed by the keys a test chooses and names what `course` says it has to; an honest move is `run`, a
cheat passes changes, other signers or other predecessors. Nothing is stored anywhere: rows are roots and sizes.
"""

from dataclasses import replace
from typing import Any

from glasshouse_verify.charter import apply_patch
from glasshouse_verify.codec import encode
from glasshouse_verify.dsse import parse_envelope
from glasshouse_verify.region import Origin, Region, RegionSite
from glasshouse_verify.relocation import Fault, Relocation, Step, commitment_of
from glasshouse_verify.relocation_check import SAMPLE, RelocationEvidence, check_relocation
from glasshouse_verify.report import Report
from glasshouse_verify.shards import Sharded
from glasshouse_verify.statement import Use, make_statement, parse_statement
from onlookers import alarms
from region_examples import inventory, region, sharded
from world import DAY, NOW, USES, World, charter_key, digest, seeded

from glasshouse.ledger.history import History
from glasshouse.relocation.course import Course
from glasshouse.relocation.evidence import assemble_relocation

MOVE = "au-2026"
OLD, TO = "moscow", ("zurich-1", "zurich-2")
SITE_USES = ["relocation", "inventory", "receipt", "access"]
ORDER = (
    *(Step.SCOPE, Step.COMMITMENT, Step.OPEN, Step.SOURCE, Step.LISTING, Step.FENCE, Step.ARRIVAL, Step.REVEAL),
    *(Step.COUNTERSIGN, Step.QUARANTINE, Step.ERASURE, Step.RESAMPLE, Step.WATCH),
)
# Who says what in an honest move, and with which key.
PARTIES = dict.fromkeys(Step, ("lab", "lab"))
PARTIES |= dict.fromkeys((Step.SCOPE, Step.OPEN, Step.SOURCE, Step.FENCE, Step.QUARANTINE, Step.ERASURE), ("acme", OLD))


def rows(name: str, size: int) -> Sharded:
    return Sharded(root=digest(name.encode()), size=size, depth=4)


def secret_of(party: str) -> bytes:
    return bytes.fromhex(digest(f"secret of {party}".encode()))


def site_of(name: str) -> RegionSite:
    urls = {"url": f"https://{name}.acme.example", "peer": f"https://{name}.acme.example:8444"}
    return RegionSite(party="acme", certificate=b"DER of the certificate", **urls)


class MoveWorld(World):
    """The initiative with the region `au`, of which a site or a store in Moscow is to be emptied."""

    def __init__(self, source: Origin = Origin.SITE, **changes: Any) -> None:
        self.source_kind = source
        sites = (OLD,) if source == Origin.SITE else TO
        keys = {name: charter_key(seeded(name), name, SITE_USES) for name in (OLD, *TO)}
        at_bern = {seeded("acme-moves").keyid: charter_key(seeded("acme-moves"), "bern", ["relocation"])}
        watching = {
            name: {"keys": {seeded(name).keyid: {"uses": [*USES[name], "relocation"]}}}
            for name in ("lab", "second", "ngo")
        }
        patch = {
            "parties": {
                "acme": {"keys": {seeded(name).keyid: key for name, key in keys.items()} | at_bern},
                "council": {"name": "Council", "roles": [], "keys": {}},
                **watching,
            },
            "sites": {"zurich-2": {"name": "Zurich, west", "jurisdiction": "CH"}},
            "regions": {"au": encode(self.region(sites))},
        }
        super().__init__(**apply_patch(patch, changes))
        self.keys |= {name: seeded(name) for name in (*keys, "acme-moves")}
        self.rows, self.size = rows("rows", 20_000), 81_920_000

    def region(self, sites: tuple[str, ...]) -> Region:
        return replace(region(), sites={name: site_of(name) for name in sites}, replicas=len(sites))

    # What the members do

    def moving(self, **changes: Any) -> dict[str, Any]:
        to = TO if self.source_kind == Origin.SITE else ()
        members = {
            "id": MOVE,
            "source": str(self.source_kind),
            "site": OLD,
            "to": {name: encode(site_of(name)) for name in to},
            "replicas": 2,
            "due": NOW + 30 * DAY,
            "quarantine": 7 * DAY,
            "watch": 3 * DAY,
            "supervisor": "lab",
        }
        return members | changes

    def open(self, **changes: Any) -> str:
        """The members let the data go."""
        return self.amend({"regions": {"au": {"moving": self.moving(**changes)}}})

    def close(self) -> str:
        """The members take the old site out of the region."""
        patch: dict[str, Any] = {"moving": None}
        if self.source_kind == Origin.SITE:
            patch |= {"sites": self.sites_after(), "replicas": 2}
        return self.amend({"regions": {"au": patch}})

    def sites_after(self) -> dict[str, Any]:
        """The change of the region's sites that closes the move of a site."""
        return {OLD: None, **{name: encode(site_of(name)) for name in TO}}

    # What the parties say

    @property
    def course(self) -> Course:
        return Course(self.history, MOVE)

    def say(self, step: Step, party: str = "", signer: str = "", **changes: Any) -> str:
        """Log a step as its party would, but for `changes`; it names what it has to, or `previous`."""
        spoken, key = PARTIES[step]
        site = changes.get("site")
        party = party or ("acme" if step == Step.ARRIVAL else spoken)
        signer = signer or (site if step == Step.ARRIVAL else key if party == spoken else party)
        if "previous" not in changes:
            changes["previous"] = self.course.before(step, party, site, self.now)
        changes["previous"] = tuple(sorted(changes["previous"]))
        fields = {"party": party, "region": "au", "relocation": MOVE, "step": step, "time": self.now}
        said = Relocation(**(fields | self.members(step, party, site, changes) | changes))
        return self.post(make_statement(Use.RELOCATION, said), signer)

    def members(self, step: Step, party: str, site: str | None, given: dict[str, Any]) -> dict[str, Any]:
        """What an honest party says in a step, of what is not `given`."""
        course, here = self.course, {"site": OLD}
        held = {"rows": self.rows, "size": self.size}
        match step:
            case Step.SCOPE:
                return {**here, "to": TO, "source": self.source_kind, "document": digest(b"scope document")}
            case Step.COMMITMENT:
                return {"commitment": commitment_of(MOVE, party, secret_of(party))}
            case Step.OPEN:
                return {**here, "epoch": 7, "charter": self.history.chain.newest.id}
            case Step.SOURCE:
                return {**here, **held, "epoch": 7} | self.inventory_in(given, OLD, 7)
            case Step.LISTING:
                return {**here, "rows": self.rows}
            case Step.FENCE:
                now = {"refused": 41, "at_ms": self.now * 1_000}
                return {**here, **held, "epoch": 8, **now} | self.inventory_in(given, OLD, 8)
            case Step.ARRIVAL:
                sealed = rows(f"sealed at {site}", self.rows.size)
                arrived = {"site": site, "sealed": sealed, "at_ms": self.now * 1_000 + 800}
                return {**arrived, **held} | self.inventory_in(given, str(site), 8)
            case Step.REVEAL:
                return {"secret": secret_of(party)}
            case Step.COUNTERSIGN:
                seed = given.get("seed") or course.seed()
                return {"seed": seed, "read": dict.fromkeys(TO, SAMPLE), "full": False}
            case Step.QUARANTINE:
                return {**here, "until": self.now + 7 * DAY}
            case Step.ERASURE:
                erased = {"objects": self.rows.size, "keys": 2}
                link = self.history.chain.newest
                return {**here, "charter": link.id, "erased": erased, "remains": (), "rows": sharded([])}
            case Step.RESAMPLE:
                seed = given.get("seed") or course.seed(course.need(Step.ERASURE).id)
                return {"seed": seed, "read": dict.fromkeys(TO, SAMPLE), "full": False}
            case Step.WATCH:
                if "until" in given:
                    return here
                until = course.records(Step.ERASURE)[0].predicate.time + course.moving.watch
                count = 96 * (1 + len(course.records(Step.WATCH)))
                return {**here, "tried": {"reads": count, "writes": count}, "until": until}
            case _:
                return {"faults": (Fault(site="zurich-2", text="other bytes", handle=digest(b"handle")),)}

    def honest(self, step: Step) -> tuple[str, str | None]:
        """Who says a step, and for which site where one of several does."""
        arriving = step == Step.ARRIVAL
        return ("acme", TO[0]) if arriving else (PARTIES[step][0], None)

    def enough(self, step: Step, site: str | None) -> dict[str, Any]:
        """What a step says of what is not there yet, when it comes before its time."""
        found: dict[str, Any] = {} if site is None else {"site": site}
        if step in (Step.COUNTERSIGN, Step.RESAMPLE):
            found["seed"] = digest(b"seed")
        if step == Step.WATCH:
            found |= {"tried": {"reads": 1}, "until": self.now}
        return found

    def programme(self, promised: int) -> str:
        """The vendor promises that Australia's data will have moved."""
        members = {"party": "acme", "region": "au", "relocation": MOVE, "step": Step.PROGRAMME, "time": self.now}
        said = Relocation(previous=(), promised={"au": promised}, **members)
        return self.post(make_statement(Use.RELOCATION, said), OLD)

    def inventory(self, site: str, epoch: int, **changes: Any) -> dict[str, Any]:
        """The inventory that a site logs before it says the same in a step; a store logs none."""
        if self.source_kind == Origin.STORE:
            return {}
        fields = {"site": site, "epoch": epoch, "held": self.rows, "time": self.now, "previous": digest(b"before")}
        said = replace(inventory(), charter=self.history.chain.newest.id, **(fields | changes))
        return {"inventory": self.post(make_statement(Use.INVENTORY, said), site)}

    def inventory_in(self, given: dict[str, Any], site: str, epoch: int) -> dict[str, Any]:
        return {} if "inventory" in given else self.inventory(site, epoch)

    def take(self, step: Step) -> None:
        """One step of an honest move, by everybody who has to say it, an hour after the one before."""
        self.later(3_600)
        if step in (Step.COMMITMENT, Step.REVEAL):
            for party in ("lab", "ngo"):
                self.say(step, party)
        elif step == Step.ARRIVAL:
            for site in TO:
                self.say(step, site=site)
        elif step == Step.ERASURE:
            self.close()
            self.later(7 * DAY)
            self.say(step)
        elif step == Step.WATCH:
            for _ in range(4):
                self.say(step)
                self.later(DAY)
        else:
            self.say(step)
        if step == Step.SCOPE:
            self.open()

    def run(self, until: Step = Step.WATCH, since: Step = Step.SCOPE) -> None:
        """An honest move from one step to another."""
        for step in ORDER[ORDER.index(since) : ORDER.index(until) + 1]:
            self.take(step)

    def later(self, seconds: int) -> None:
        self.now += seconds

    # What others see

    hidden: Step | None = None

    def hide(self, step: Step) -> None:
        """Whoever assembles evidence from now on leaves a step out."""
        self.hidden = step

    def evidence_of_move(self) -> RelocationEvidence:
        history = self.history
        if self.hidden is not None:
            history = History(self.pin)
            for entry in self.entries:
                said = parse_statement(parse_envelope(entry).payload).predicate
                hidden = isinstance(said, Relocation) and said.step == self.hidden
                history.feed(b"hidden" if hidden else entry)
        return assemble_relocation(self, history, MOVE)

    def judge(self, evidence: RelocationEvidence | None = None, at: int | None = None) -> Report:
        return check_relocation(self.pin, evidence or self.evidence_of_move(), self.now if at is None else at)

    def said(self) -> dict[str, list[str]]:
        """Rule → what an auditor's rules on moves say."""
        return {rule: found for rule, found in alarms(self).items() if rule.startswith("relocation")}


def pages() -> dict[str, Any]:
    """Name → what a page of the specification shows of a move: its evidence, as far as the supervisor's listing."""
    world = MoveWorld()
    world.run(until=Step.LISTING)
    return {"relocation-evidence": encode(world.evidence_of_move())}


__all__ = ["DAY", "MOVE", "NOW", "OLD", "ORDER", "TO", "MoveWorld", "pages", "rows", "secret_of"]
