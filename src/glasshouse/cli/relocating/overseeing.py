"""`glasshouse relocate verify`: what the supervisor of a move, and the other member with a secret, have to do."""

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import typer
from glasshouse_verify.receipt import Inspection
from glasshouse_verify.region import Origin
from glasshouse_verify.relocation import Relocation, Step
from glasshouse_verify.relocation_check import SAMPLE
from glasshouse_verify.shards import Sharded, verify_shard
from glasshouse_verify.statement import Use
from rich.console import Console

from glasshouse.cli.relocating.group import app
from glasshouse.cli.relocating.steps import MoveArgument, Mover, Said, open_mover, patiently, stands
from glasshouse.cli.wiring import JsonOption, NodeOption, emit
from glasshouse.parties.errors import SettingsError
from glasshouse.regions.inventory_client import fetch_proof
from glasshouse.relocation.catalogue import open_catalogue
from glasshouse.relocation.commitments import reveal
from glasshouse.relocation.course import Course
from glasshouse.relocation.errors import NotYet, Refused
from glasshouse.relocation.examining import Ciphertexts, Found, archive_prefix
from glasshouse.relocation.giving import ROWS, SOURCE
from glasshouse.relocation.opening_client import OpeningClient
from glasshouse.relocation.plan import Plan, open_way, read_plan, read_secret
from glasshouse.relocation.sampling import Destination, Sampled, Sampling, finds, resample, sample
from glasshouse.relocation.stores.addresses import read_credentials
from glasshouse.relocation.supervising import (
    Listed,
    SiteListing,
    StoreListing,
    check_extra,
    list_site,
    list_store,
    listing,
    refusal,
)

_REFUSED = 3


@app.command()
def verify(
    relocation: MoveArgument,
    node: NodeOption = Path(),
    full: Annotated[bool, typer.Option("--full", help="read every object, not a sample")] = False,
    once: Annotated[bool, typer.Option("--once", help="do what can be done now, and end")] = False,
    as_json: JsonOption = False,
) -> None:
    """List the source, reveal, read at each destination and countersign (the supervisor); reveal (another member).

    Reads moves/MOVE.toml in the node: its own way to every store. Waits for the others' steps; once the old site is
    erased, reads the second sample. Exit 0 where this party's part stands as far as it can now, 1 where --once ended
    before, 3 where something is wrong: the refusal is logged and names it.
    """
    with open_mover(node, relocation) as mover:
        course = mover.course()
        work = Overseer(mover, course, full=full) if mover.party == course.moving.supervisor else None
        turns = work.turns() if work is not None else [(Step.REVEAL, lambda there: _reveal(mover, there))]
        said: list[Said] = []
        for step, turn in turns:
            said += _do(mover, step, turn, once=once)
            if said and said[-1].step == Step.REFUSAL:
                break
        waiting = [step for step, _ in turns if not stands(mover, mover.course(), step)]
    steps = [{"step": one.step, "statement": one.statement, "entry": one.entry} for one in said]
    document = {"schema": "glasshouse.relocation-verify/v1", "steps": steps, "waiting": waiting}
    lines = [f"{one.step} at entry {one.entry}" for one in said] or ["nothing to be done now"]
    emit(document, "\n".join(lines), as_json=as_json)
    raise typer.Exit(_REFUSED if said and said[-1].step == Step.REFUSAL else 1 if waiting else 0)


def _do(mover: Mover, step: Step, turn: Callable[[Course], Said], *, once: bool) -> Iterator[Said]:
    def work(course: Course) -> Said:
        try:
            return turn(course)
        except Refused as error:
            Console(stderr=True, log_path=False).log(f"refused: {error}")
            return mover.log(refusal(course, error.faults, party=mover.party, now=int(time.time())))

    said = patiently(mover, lambda course: stands(mover, course, step), work, once=once)
    if said is not None:
        yield said


def _reveal(mover: Mover, course: Course) -> Said:
    return mover.log(reveal(course, mover.place, party=mover.party, now=int(time.time())))


class Overseer:
    """The supervisor's steps. Each does its work and logs what came of it."""

    def __init__(self, mover: Mover, course: Course, *, full: bool) -> None:
        self._mover, self._draws = mover, None if full else SAMPLE
        self._plan: Plan = read_plan(mover.session.node.directory, mover.relocation)
        self._is_site = course.moving.source == Origin.SITE

    def turns(self) -> list[tuple[Step, Callable[[Course], Said]]]:
        """What it has to say, in order; the second sample only once the old site says that it is empty."""
        first: list[tuple[Step, Callable[[Course], Said]]] = [
            (Step.LISTING, self._list),
            (Step.REVEAL, lambda course: _reveal(self._mover, course)),
            (Step.COUNTERSIGN, self._sample),
        ]
        erased = self._mover.course().last(Step.ERASURE) is not None
        return [*first, (Step.RESAMPLE, self._resample)] if erased else first

    # --- the source ----------------------------------------------------------------------------------------------

    def _list(self, course: Course) -> Said:
        course.before(Step.LISTING, self._mover.party)
        says = course.need(Step.SOURCE).predicate
        listed = self._list_site(course, SOURCE, says) if self._is_site else self._list_store(says.rows, says.time)
        return self._mover.log(listing(course, listed, party=self._mover.party, now=int(time.time())))

    def _list_site(self, course: Course, name: str, says: Relocation) -> Listed:
        """Hold the old site's vault against its rows, and these against the books; at the fence to the last object."""
        booked = self._booked(course, says)
        extra, fenced = self._mover.place / "extra", name == ROWS
        # What the fence left is the same at every destination, or is no arrival.
        with self._asks(course, next(iter(course.destinations)) if fenced else course.moving.site) as asks:
            rows = asks.list(name, says.rows or course.rows)
        how = SiteListing(
            site=course.moving.site,
            rows=rows,
            booked=booked,
            scratch=self._mover.place / "scratch",
            buried=lambda handle: self._buried(course, handle),
            extra=None if fenced else extra,
        )
        if fenced and extra.exists():
            check_extra(extra, rows, course.moving.site, how.buried)
        return list_site(self._vault(course.moving.site), how)

    def _booked(self, course: Course, says: Relocation) -> Sharded | None:
        """What this party's auditor found that inventory to be; None where it audits nothing."""
        history = course.history
        if self._mover.party not in history.chain.newest.charter.status.parties:
            return None
        for record in history.standing(Use.INSPECTION):
            found: Inspection = record.predicate
            if (found.party, found.region, found.epoch) == (self._mover.party, course.region, says.epoch):
                return found.held
        raise NotYet(f"{course.id}: the auditor of {self._mover.party} has not inspected inventory {says.epoch} yet")

    def _list_store(self, said: Sharded, since: int | None) -> Listed:
        node, plan = self._mover.session.node.directory, self._plan.store
        if plan is None or plan.description is None:
            fix = "Write a table [store] with url, credentials, secret, and description, the old site's list."
            raise SettingsError("store", "is not named", fix)
        scratch = self._mover.place / "scratch"
        credentials = None if plan.credentials is None else read_credentials(node / plan.credentials)
        how = StoreListing(
            site=self._mover.course().moving.site,
            secret=read_secret(node, plan),
            scratch=scratch,
            reads=self._draws,
            since=since,
        )
        return list_store(open_catalogue(plan.url, credentials, scratch), node / plan.description, said, how)

    # --- the destinations ----------------------------------------------------------------------------------------

    def _sample(self, course: Course) -> Said:
        course.before(Step.COUNTERSIGN, self._mover.party)
        fence = course.need(Step.FENCE).predicate
        if self._is_site:
            self._list_site(course, ROWS, fence)
        else:
            self._list_store(fence.rows, None)
        old = self._vault(course.moving.site) if self._is_site else None
        return self._read(course, lambda to, how: sample(course, to, party=self._mover.party, now=_now(), how=how), old)

    def _resample(self, course: Course) -> Said:
        def again(to: list[Destination], how: Sampling) -> Sampled:
            return resample(course, to, self._cut(course), party=self._mover.party, now=_now(), how=how)

        return self._read(course, again, None)

    def _cut(self, course: Course) -> list[str]:
        """The addresses of the old site, which must not answer any more."""
        place = course.terms.places.get(course.moving.site)
        urls = [] if place is None else [place.url, place.peer]
        store = self._plan.store
        return [*urls, *([] if store is None else [store.url])]

    def _read(
        self, course: Course, work: Callable[[list[Destination], Sampling], Sampled], old: Ciphertexts | None
    ) -> Said:
        plan, node = self._plan, self._mover.session.node.directory
        with contextlib.ExitStack() as stack, _reading() as seen:
            to = [
                Destination(site=site, vault=self._vault(site), asks=stack.enter_context(self._asks(course, site)))
                for site in course.destinations
            ]
            how = Sampling(
                draws=self._draws,
                old=old,
                secret=None if plan.store is None else read_secret(node, plan.store),
                buried=lambda handle: self._buried(course, handle),
                progress=seen,
            )
            found = work(to, how)
        Console(stderr=True, log_path=False).log(finds(self._draws, course.rows.size))
        document = found.statement.document
        return self._mover.log(found.statement, None if document is None else {document: found.document})

    def _asks(self, course: Course, site: str) -> OpeningClient:
        place = course.terms.places[site]  # type: ignore[index]
        return OpeningClient(
            place.url, course=course, site=site, signer=self._mover.signer, directory=self._mover.place / "lists"
        )

    def _vault(self, site: str) -> Ciphertexts:
        way = (self._plan.sites or {}).get(site)  # type: ignore[call-overload]
        if way is None:
            fix = f"Write [sites.{site}] with the url of its vault, and credentials that can read it."
            raise SettingsError(f"moves/{self._mover.relocation}.toml", f"has no way to {site}", fix)
        prefix = b"" if self._is_site else archive_prefix(self._mover.relocation)
        return Ciphertexts(store=open_way(self._mover.session.node.directory, way), prefix=prefix)

    def _buried(self, course: Course, handle: str) -> bool:
        """Whether the newest inventory of a site that stands in the ledger has a tombstone of it."""
        for place in course.destinations.values():
            proven = fetch_proof(place.url, str(course.region), handle)
            record = course.history.records.get(proven.inventory)
            if record is not None and verify_shard(record.predicate.erased, handle, proven.erased) is not None:
                return True
        return False


@contextlib.contextmanager
def _reading() -> Iterator[Callable[[str, Found], object]]:
    """A line now and then of how many objects have been read."""
    say, count, last = Console(stderr=True, log_path=False).log, 0, time.monotonic()

    def seen(site: str, _found: Found) -> None:
        nonlocal count, last
        count += 1
        if time.monotonic() - last > 2:
            last = time.monotonic()
            say(f"{count:,} objects read, now at {site}")

    yield seen


def _now() -> int:
    return int(time.time())
