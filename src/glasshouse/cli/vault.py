"""`glasshouse vault`: what a site does with what it holds: legal holds, key epochs, scrubbing."""

import time
from pathlib import Path
from typing import Annotated

import typer
from glasshouse_verify.access import Access, Step
from rich.progress import Progress

from glasshouse.cli.beside import Beside, event_of, open_beside, say_and_see
from glasshouse.cli.wiring import JsonOption, NodeOption, emit
from glasshouse.regions.keeping import holds
from glasshouse.regions.keeping.rekey import rekey as rekey_site
from glasshouse.regions.keeping.scrub import scrub as scrub_site
from glasshouse.regions.keeping.wishes import wish

app = typer.Typer(no_args_is_help=True, help="Keep what a site holds: legal holds, key epochs, scrubbing.")
HandleArgument = Annotated[str, typer.Argument(help="the object's handle, as its receipt has it")]
PurposeOption = Annotated[str, typer.Option("--purpose", help="why, for everybody to read")]
_LATER = "once the site serves"


@app.command()
def hold(
    handle: HandleArgument, purpose: PurposeOption, node: NodeOption = Path(), as_json: JsonOption = False
) -> None:
    """Put an object on legal hold: nothing erases it until it is released. The ledger says so and why."""
    with open_beside(node, "hold") as site:
        _say_and_note(site, handle, holds.hold(site.place, handle, purpose, int(time.time())), as_json)


@app.command()
def release(
    handle: HandleArgument, purpose: PurposeOption, node: NodeOption = Path(), as_json: JsonOption = False
) -> None:
    """End a legal hold: what is due by then is erased at once."""
    with open_beside(node, "release") as site:
        _say_and_note(site, handle, holds.release(site.place, handle, purpose, int(time.time())), as_json)


def _say_and_note(site: Beside, handle: str, access: Access, as_json: bool) -> None:
    statement, entry = say_and_see(site.session, site.place.signer, access)
    with site.place.database.transaction() as connection:
        number = wish(connection, holds.noted(access, handle, statement))
    position = event_of(site.place, number)
    document = {
        "schema": "glasshouse.hold-object/v1",
        "handle": handle,
        "on_hold": access.step == Step.HOLD,
        "statement": statement,
        "entry": entry,
        "position": position,
    }
    when = _LATER if position is None else f"as event {position} of its journal"
    text = f"Logged {access.step} at entry {entry}; in force at every site {when}"
    emit(document, text, as_json=as_json)


@app.command()
def rekey(node: NodeOption = Path(), as_json: JsonOption = False) -> None:
    """Begin the next key epoch and destroy the older ones: what was removed before is irrecoverable from then on.

    Goes on where an earlier attempt was broken off. In dual custody the custodian opens and counts every data key.
    """
    with open_beside(node, "rekey") as site, Progress(disable=as_json, transient=True) as progress:
        task = progress.add_task("wrapping data keys anew", total=None)
        done = rekey_site(
            site.place, site.custodian, now=int(time.time()), progress=lambda count: progress.advance(task, count)
        )
        position = event_of(site.place, done.wish)
        enforced = site.place.keys.describe()
    document = {
        "schema": "glasshouse.rekey/v1",
        "epoch": done.epoch,
        "destroyed": list(done.destroyed),
        "wrapped": done.wrapped,
        "position": position,
        "keys": enforced,
    }
    said = f"the journal says so {_LATER}" if position is None else f"event {position} of the journal says so"
    text = (
        f"{done.wrapped} data keys are wrapped by {done.epoch} now; {', '.join(done.destroyed)} destroyed, {said}\n"
        f"Keys: {enforced}"
    )
    emit(document, text, as_json=as_json)


@app.command()
def scrub(node: NodeOption = Path(), as_json: JsonOption = False) -> None:
    """Read every object again, compare it with its digest, repair what is bad from another site, and log that.

    Exit 1 where an object is bad at every site that answers.
    """
    with open_beside(node, "scrub") as site, Progress(disable=as_json, transient=True) as progress:
        task = progress.add_task("reading", total=None)
        found = scrub_site(site.place, site.peers, now=time.time, progress=lambda _: progress.advance(task))
    document = {
        "schema": "glasshouse.scrub/v1",
        "read": found.read,
        "bytes": found.bytes,
        "repaired": found.repaired,
        "lost": found.lost,
    }
    lines = [f"{found.read} objects read, {len(found.repaired)} repaired, {len(found.lost)} bad at every site"]
    lines += [f"repaired {handle}" for handle in found.repaired]
    lines += [f"lost     {handle}" for handle in found.lost]
    emit(document, "\n".join(lines), as_json=as_json)
    if found.lost:
        raise typer.Exit(1)
