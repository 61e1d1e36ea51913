"""`glasshouse relocate watch`: the supervisor tries the old site again and again; every attempt has to fail."""

import time
from pathlib import Path
from typing import Annotated

import typer
from glasshouse_verify.codec import Identifier
from glasshouse_verify.relocation import Step
from rich.console import Console

from glasshouse.cli.relocating.group import app
from glasshouse.cli.relocating.steps import POLL_SECONDS, MoveArgument, Mover, open_mover
from glasshouse.cli.wiring import JsonOption, NodeOption, emit
from glasshouse.parties.errors import SettingsError
from glasshouse.regions.peers import Credentials
from glasshouse.relocation.canaries import (
    UNREACHED,
    Canary,
    Known,
    intake_canaries,
    of_store,
    of_vault,
    peer_canaries,
    store_canaries,
)
from glasshouse.relocation.catalogue import open_catalogue
from glasshouse.relocation.course import Course
from glasshouse.relocation.descriptions import read_descriptions
from glasshouse.relocation.errors import Unavailable
from glasshouse.relocation.giving import ROWS
from glasshouse.relocation.lists import check_list
from glasshouse.relocation.plan import Plan, Way, open_way, read_plan, read_secret
from glasshouse.relocation.stores.addresses import read_credentials
from glasshouse.relocation.watching import EVERY_SECONDS, Watch

_ALARM = 3


@app.command()
def watch(
    relocation: MoveArgument,
    node: NodeOption = Path(),
    once: Annotated[bool, typer.Option("--once", help="try what is due now, and end")] = False,
    as_json: JsonOption = False,
) -> None:
    """Try to read from and write to the old site until the watch that the charter asks for ends (the supervisor).

    Reads [watch] in moves/MOVE.toml. What was refused is logged once a day and at the end. Exit 0 where everything
    failed, 3 where an attempt succeeded: the alarm is logged at once.
    """
    say = Console(stderr=True, log_path=False).log
    with open_mover(node, relocation) as mover:
        plan, tried, alarms, ended = read_plan(node, relocation), 0, 0, False
        every = EVERY_SECONDS if plan.watch is None or plan.watch.every is None else plan.watch.every
        state = mover.place / "watch.json"
        at_work = Watch(_canaries(mover, plan, mover.course()), state, party=mover.party, every_seconds=every)
        while not ended:
            turn = at_work.turn(mover.course, mover.log, int(time.time()))
            tried, alarms, ended = tried + turn.tried, alarms + len(turn.faults), turn.ended
            for fault in turn.faults:
                say(f"ALARM: {fault.text}")
            if once:
                break
            if not ended:
                time.sleep(POLL_SECONDS)
        last = mover.course().last(Step.WATCH)
    counts = {} if last is None else dict(last.predicate.tried or {})
    told = {"schema": "glasshouse.relocation-watch/v1", "turns": tried, "alarms": alarms, "ended": ended}
    lines = [f"{count:,} {kind}, all in vain" for kind, count in counts.items()]
    lines += [f"{alarms} alarms" if alarms else "no alarm", "the watch has ended" if ended else "the watch goes on"]
    emit(told | {"logged": counts}, "\n".join(lines), as_json=as_json)
    raise typer.Exit(_ALARM if alarms else 0)


def _canaries(mover: Mover, plan: Plan, course: Course) -> list[Canary]:
    """Every way in that this node has been given the means to try."""
    node, site, terms = mover.session.node.directory, course.moving.site, course.terms
    place, means = terms.places.get(site), plan.watch
    way: Way | None = (plan.sites or {}).get(site)
    if plan.store is not None:
        way = Way(url=plan.store.url, credentials=plan.store.credentials)
    fence = course.need(Step.FENCE).predicate
    found: list[Canary] = []
    if way is not None:
        credentials = None if way.credentials is None else read_credentials(node / way.credentials)
        erased = course.need(Step.ERASURE).predicate
        known = _known(mover, plan, course)
        try:
            reader = open_catalogue(way.url, credentials, mover.place / "scratch")
            writer = None if means is None or means.writer is None else open_way(node, means.writer)
            found += store_canaries(reader, writer, known, fenced_ms=fence.at_ms, remains=erased.rows.size)
        except Unavailable:
            # A directory that is gone; it may come back, and is looked for when the watch is begun again.
            found.append(Canary(kind=Identifier("store-list"), attempt=lambda: UNREACHED))
    if place is not None and means is not None and means.token is not None:
        if means.country is None or means.category is None:
            raise SettingsError("watch", "names a token alone", "Write country and category beside it.")
        token = (node / means.token).read_text().strip()
        found += intake_canaries(place.url, token, means.country, category=means.category, handles=())
    if place is not None and means is not None and means.certificate is not None and means.key is not None:
        own = Credentials(certificate=node / means.certificate, key=node / means.key)
        found += peer_canaries(str(course.region), site, terms, own, site)
    return found


def _known(mover: Mover, plan: Plan, course: Course) -> Known:
    """What to ask the old store for, as far as the supervisor's own lists say what it had."""
    node, store = mover.session.node.directory, plan.store
    if store is not None:
        described = () if store.description is None else read_descriptions(node / store.description)
        return of_store(described, read_secret(node, store))
    # Any destination's: they were found to be what the fence left.
    kept = sorted((mover.place / "lists").glob(f"*-{ROWS}-{course.rows.root[:16]}"))
    return of_vault(check_list(kept[0], course.rows, "the rows that the fence left")) if kept else ()
