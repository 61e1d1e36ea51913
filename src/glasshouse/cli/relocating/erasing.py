"""`glasshouse relocate erase`: the quarantine, and then the erasure of what the old site holds."""

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from glasshouse_verify.codec import Identifier, encode
from glasshouse_verify.region import Origin
from glasshouse_verify.relocation import Fault, Relocation, Remaining, Step
from glasshouse_verify.report import utc
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from glasshouse.cli.relocating.group import app
from glasshouse.cli.relocating.steps import MoveArgument, Mover, open_mover
from glasshouse.cli.relocating.tale import volume
from glasshouse.cli.serving import open_state
from glasshouse.cli.siting import vault_of
from glasshouse.cli.wiring import JsonOption, NodeOption, emit
from glasshouse.parties.errors import SettingsError
from glasshouse.regions.keys.opening import open_keys
from glasshouse.regions.leaving import Premises
from glasshouse.relocation.catalogue import open_catalogue
from glasshouse.relocation.course import Course
from glasshouse.relocation.erasing import Emptied, erase_store, survey
from glasshouse.relocation.errors import AfterTheFence, NotYet
from glasshouse.relocation.giving import ROWS
from glasshouse.relocation.leaving import Bucket, erase_site, survey_site
from glasshouse.relocation.lists import check_list
from glasshouse.relocation.permit import permit, quarantine
from glasshouse.relocation.plan import open_way, read_plan, read_secret
from glasshouse.relocation.stores.addresses import read_credentials

_ALARM = 3


@app.command()
def erase(
    relocation: MoveArgument,
    node: NodeOption = Path(),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="show what would be erased, and erase nothing")] = False,
    as_json: JsonOption = False,
) -> None:
    """Begin the quarantine once the supervisor has countersigned, and erase once it is over (the old site).

    Erases only after the countersignature, the quarantine, and the members' amendment that closes the move; run it
    again until it has. Exit 0 erased, 1 not yet, 3 something came after the fence: nothing of that is erased.
    """
    with open_mover(node, relocation, purpose="intake") as mover:
        course = mover.course()
        if dry_run:
            told, lines = _survey(mover, course)
            emit(told, "\n".join(lines), as_json=as_json)
            return
        if course.last(Step.QUARANTINE) is None or any(one.step == Step.QUARANTINE for one in course.owed()):
            said = mover.log(quarantine(course, party=mover.party, now=int(time.time())))
            course = mover.course()
            until = course.need(Step.QUARANTINE).predicate.until
            if until > time.time():
                text = f"Nothing is erased before {utc(until)} (entry {said.entry}); run this again then"
                emit({"schema": "glasshouse.relocation-quarantine/v1", "until": utc(until)}, text, as_json=as_json)
                raise typer.Exit(1)
        try:
            done = _erase(mover)
        except AfterTheFence as error:
            raise typer.Exit(_tell_late(mover, error)) from error
        says = mover.log(done)
    remains = done.remains or ()
    counts = ", ".join(f"{count:,} {name}" for name, count in (done.erased or {}).items())
    told = {
        "schema": "glasshouse.relocation-erasure/v1",
        "entry": says.entry,
        "erased": dict(done.erased or {}),
        "remains": [encode(one) for one in remains],
    }
    lines = [f"Erased at entry {says.entry}: {counts}", *(f"remains: {one.name}" for one in remains)]
    emit(told, "\n".join(lines), as_json=as_json)


def _erase(mover: Mover) -> Relocation:
    def judge() -> Any:
        return permit(mover.course(), party=mover.party, now=int(time.time()))

    allowed = judge()
    with _bar(allowed.rows.size) as told:
        if mover.course().moving.source == Origin.STORE:
            return erase_store(_emptied(mover, mover.course()), judge, told=told)
        with premises_of(mover) as premises:
            return erase_site(premises, judge, bucket=_bucket(mover), asserted=_asserted(mover), told=told)


def _tell_late(mover: Mover, error: AfterTheFence) -> int:
    """Log the alarm: what was written after the fence is somebody's, and is left as it is."""
    course = mover.course()
    says = Relocation(
        party=mover.party,
        region=Identifier(str(course.region)),
        relocation=Identifier(mover.relocation),
        step=Step.ALARM,
        time=int(time.time()),
        previous=course.before(Step.ALARM, mover.party),
        faults=tuple(error.faults),
    )
    said = mover.log(says)
    typer.echo(f"glasshouse: {error} (alarm at entry {said.entry}; nothing of that was erased)", err=True)
    return _ALARM


def _survey(mover: Mover, course: Course) -> tuple[dict[str, Any], list[str]]:
    late: tuple[Fault, ...]
    if course.moving.source == Origin.STORE:
        found = survey(_emptied(mover, course), course)
        counts, late = {"objects": found.objects, "markers": found.markers, "uploads": found.uploads}, found.late
        size = found.size
    else:
        with premises_of(mover) as premises:
            held, late = survey_site(premises)
        counts, size = {"objects": held.objects, "customers": held.customers, "keys": len(held.keys)}, held.size
    try:
        permit(course, party=mover.party, now=int(time.time()))
        missing = ""
    except NotYet as error:
        missing = str(error)
    told = {
        "schema": "glasshouse.relocation-survey/v1",
        "would_erase": {**counts, "bytes": size},
        "late": [encode(one) for one in late],
        "not_yet": missing or None,
    }
    lines = ["would erase " + ", ".join(f"{n:,} {name}" for name, n in counts.items()) + f": {volume(size)}"]
    lines += [f"came after the fence: {one.handle} ({one.text})" for one in late]
    return told, [*lines, f"not yet: {missing}" if missing else "may be erased now"]


@contextlib.contextmanager
def premises_of(mover: Mover) -> Iterator[Premises]:
    """Where the site has what it holds, beside the process that serves it, or without one."""
    node = mover.session.node
    settings = node.settings.intake
    if settings is None:
        raise SettingsError("node.toml", "is not of a site of a region", "Run this in a node with a table [intake].")
    with open_state(node, join=True) as database:
        yield Premises(
            region=settings.region,
            site=node.settings.site.id,
            database=database,
            vault=vault_of(node, spool="erasing"),
            keys=open_keys(node, begin=False),
        )


def _bucket(mover: Mover) -> Bucket | None:
    """The vault's bucket, opened to see its versions, where the plan names one."""
    node = mover.session.node
    way = (read_plan(node.directory, mover.relocation).sites or {}).get(mover.site)
    prefix = (node.settings.objects.url or "").partition("://")[2].partition("/")[2]
    return None if way is None else Bucket(store=open_way(node.directory, way), prefix=prefix.encode())


def _asserted(mover: Mover) -> tuple[Remaining, ...]:
    """The backups of which the scope says that they are there: its own word, carried on."""
    word = read_plan(mover.session.node.directory, mover.relocation).scope
    return () if word is None else tuple(Remaining(name=backup) for backup in word.backups)


def _emptied(mover: Mover, course: Course) -> Emptied:
    node, plan = mover.session.node.directory, read_plan(mover.session.node.directory, mover.relocation).store
    if plan is None:
        raise SettingsError("store", "is not named", "Write a table [store] with url, credentials and secret.")
    credentials = None if plan.credentials is None else read_credentials(node / plan.credentials)
    return Emptied(
        store=open_way(node, plan),
        checking=open_catalogue(plan.url, credentials, mover.place / "scratch"),
        fenced=check_list(mover.place / ROWS, course.rows, "the rows that the fence left"),
        secret=read_secret(node, plan),
        place=mover.place,
    )


@contextlib.contextmanager
def _bar(total: int) -> Iterator[Callable[[int], object]]:
    columns = (TextColumn("erasing"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, transient=True) as progress:
        task = progress.add_task("erasing", total=total)
        yield lambda count: progress.advance(task, count)
