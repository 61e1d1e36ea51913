"""`glasshouse relocate run`: a site's own part in a move, step by step, each as soon as those before it stand."""

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from glasshouse_verify.codec import Digest
from glasshouse_verify.region import Origin
from glasshouse_verify.relocation import Step
from glasshouse_verify.statement import Use

from glasshouse.cli.beside import open_beside
from glasshouse.cli.relocating.emptying import OldStoreSite, StoreDestination
from glasshouse.cli.relocating.group import app
from glasshouse.cli.relocating.steps import MoveArgument, Mover, Said, open_mover, patiently, stands
from glasshouse.cli.wiring import JsonOption, NodeOption, emit
from glasshouse.parties.errors import SettingsError
from glasshouse.regions.fences import Fence
from glasshouse.regions.keeping.fencing import fence, fence_of, lag
from glasshouse.regions.placing import Place
from glasshouse.relocation.course import Course
from glasshouse.relocation.errors import NotYet
from glasshouse.relocation.giving import SOURCE
from glasshouse.relocation.holding import Standing, content_size, inventory_of, keep_rows, keep_sealed, standing

# How far behind its successors may be when a site fences: what they lack then, they get while writes are refused.
NEAR_EVENTS = 1_000
Turn = Callable[[Course], Said]


@app.command()
def run(
    relocation: MoveArgument,
    node: NodeOption = Path(),
    once: Annotated[bool, typer.Option("--once", help="do what can be done now, and end")] = False,
    may_fence: Annotated[
        bool, typer.Option("--fence", help="where a store is emptied: have it refuse writes from now on")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Do this site's part: at the old site open, list and fence; at a new one copy, and say what arrived.

    Waits for the others' steps, and can be ended and begun again at any time. Exit 0 where all of this site's part up
    to the countersignature stands, 1 where --once ended before.
    """
    with open_mover(node, relocation, purpose="intake") as mover:
        course = mover.course()
        turns = _turns(mover, course, may_fence=may_fence)
        said = list(_run(mover, turns, once=once))
        waiting = next((step for step, _ in turns if not stands(mover, mover.course(), step)), None)
    steps = [{"step": one.step, "statement": one.statement, "entry": one.entry} for one in said]
    told = {"schema": "glasshouse.relocation-run/v1", "steps": steps, "waiting": waiting}
    lines = [f"{one.step} at entry {one.entry}" for one in said]
    emit(told, "\n".join(lines) or "nothing to be done now", as_json=as_json)
    raise typer.Exit(1 if waiting else 0)


def _turns(mover: Mover, course: Course, *, may_fence: bool) -> list[tuple[Step, Turn]]:
    """What a site has to say, in order, and how it comes to say it."""
    is_store = course.moving.source == Origin.STORE
    if mover.site == course.moving.site:
        site = OldStoreSite(mover, may_fence=may_fence) if is_store else OldSite(mover)
        return [(Step.OPEN, site.open), (Step.SOURCE, site.source), (Step.FENCE, site.fence)]
    if mover.site in course.destinations:
        return [(Step.ARRIVAL, StoreDestination(mover).arrive if is_store else NewSite(mover).arrive)]
    raise SettingsError("site.id", f"{mover.site} has no part in {course.id}", "Run it at one of its sites.")


def _run(mover: Mover, turns: list[tuple[Step, Turn]], *, once: bool) -> Iterator[Said]:
    for step, turn in turns:
        said = patiently(mover, lambda course, step=step: stands(mover, course, step), turn, once=once)  # type: ignore[misc]
        if said is not None:
            yield said


class OldSite:
    """The part of the site that is left: from the opening to the fence."""

    def __init__(self, mover: Mover) -> None:
        self._mover = mover

    def open(self, course: Course) -> Said:
        """Say where the move begins: at this site's newest inventory."""
        course.before(Step.OPEN, self._mover.party, self._mover.site)
        with place_of(self._mover) as place:
            now = _known(course, standing(place), self._mover.site)
        charter = Digest(course.opening.id)
        return self._mover.say(course, Step.OPEN, site=self._mover.site, epoch=now.epoch, charter=charter)

    def source(self, course: Course) -> Said:
        """Say what is held."""
        course.before(Step.SOURCE, self._mover.party, self._mover.site)
        with place_of(self._mover) as place:
            now = _known(course, standing(place), self._mover.site)
            kept = keep_rows(place, self._mover.place, SOURCE)
        if kept.sharded != now.rows:
            raise NotYet(f"{self._mover.site} has closed another inventory meanwhile")
        members: dict[str, Any] = {"site": self._mover.site, "epoch": now.epoch, "rows": now.rows, "size": now.size}
        return self._mover.say(course, Step.SOURCE, **members, inventory=now.statement)

    def fence(self, course: Course) -> Said:
        """Stop taking once the successors are near, and say what is held then: this site's last inventory."""
        course.before(Step.FENCE, self._mover.party, self._mover.site)
        with place_of(self._mover) as place:
            stopped = fence_of(place, course.id)
            if stopped is None:
                stopped = self._stop(place, course)
            last = standing(place)
            if last is None or last.cut.get(self._mover.site, 0) < stopped.position:
                raise NotYet(f"{self._mover.site} has not closed its last inventory yet")
            now = _known(course, last, self._mover.site)
        members: dict[str, Any] = {"site": self._mover.site, "epoch": now.epoch, "rows": now.rows, "size": now.size}
        members |= {"refused": stopped.refused, "at_ms": stopped.fenced_ms, "inventory": now.statement}
        return self._mover.say(course, Step.FENCE, **members)

    def _stop(self, place: Place, course: Course) -> Fence:
        behind = lag(place)
        missing = sorted(set(map(str, course.destinations)) - set(behind))
        if missing or max(behind.values()) > NEAR_EVENTS:
            told = ", ".join(f"{site} lacks {count:,} events" for site, count in behind.items())
            raise NotYet(f"the new sites catch up: {told or 'none of them has answered yet'}")
        fence(place, course.id)
        deadline = time.monotonic() + 60
        while (stopped := fence_of(place, course.id)) is None:
            if time.monotonic() > deadline:
                raise NotYet(f"{self._mover.site} does not serve: its journal has no fence yet")
            time.sleep(0.05)
        return stopped


class NewSite:
    """The part of a site that takes over: what has arrived."""

    def __init__(self, mover: Mover) -> None:
        self._mover = mover

    def arrive(self, course: Course) -> Said:
        """List and hash everything here, and say that it is what the fence left."""
        course.before(Step.ARRIVAL, self._mover.party, self._mover.site)
        left = course.need(Step.FENCE).predicate
        with place_of(self._mover) as place:
            stopped, inventory = fence_of(place, course.id), inventory_of(place, left.epoch)
            kept = self._mover.place / "rows"
            if stopped is None or stopped.opened_ms is None or inventory is None or not kept.exists():
                raise NotYet(f"{self._mover.site} has not closed inventory {left.epoch} yet")
            if inventory not in course.history.records:
                raise NotYet(f"the ledger does not show inventory {left.epoch} of {self._mover.site} yet")
            rows, sealed = keep_sealed(place, self._mover.place, left.rows)
            size = content_size(place, rows)
        members: dict[str, Any] = {
            "site": self._mover.site,
            "rows": rows.sharded,
            "size": size,
            "sealed": sealed.sharded,
        }
        return self._mover.say(course, Step.ARRIVAL, **members, at_ms=stopped.opened_ms, inventory=inventory)


@contextlib.contextmanager
def place_of(mover: Mover) -> Iterator[Place]:
    """The site beside the process that serves it."""
    with open_beside(mover.session.node.directory, "relocation") as site:
        yield site.place


def _known(course: Course, now: Standing | None, site: str) -> Standing:
    """The newest inventory, once the ledger shows it."""
    if now is None:
        raise NotYet(f"{site} has no inventory yet")
    record = course.history.records.get(now.statement)
    if record is None or record.statement.use != Use.INVENTORY:
        raise NotYet(f"the ledger does not show inventory {now.epoch} of {site} yet")
    return now
