"""The `glasshouse demo` command."""

import json
import sys
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from glasshouse.cli.demo.cheats import CHEATS, Played, play
from glasshouse.cli.demo.errors import DemoFailed
from glasshouse.cli.demo.report import write_report
from glasshouse.cli.demo.stage import Stage
from glasshouse.cli.demo.story import Proof, Story
from glasshouse.cli.demo.wares import small_ware, wares
from glasshouse.conveyor.sandbox import probe

SCHEMA = "glasshouse.demo/v1"


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(demo)


def demo(
    as_json: Annotated[bool, typer.Option("--json", help="end with one JSON object")] = False,
    cheat: Annotated[str | None, typer.Option("--cheat", help="play one cheat; 'list' names them")] = None,
    directory: Annotated[Path, typer.Option("--directory", help="where the demo lives")] = Path(".demo"),
) -> None:
    """Run the whole initiative on this machine: vendor, supervisor, rebuilder, witnesses and a customer."""
    if cheat is not None and cheat not in CHEATS:
        names = "\n".join(f"  {name:<18}{known.title}" for name, known in CHEATS.items())
        typer.echo(f"The cheats:\n{names}")
        raise typer.Exit(0 if cheat == "list" else 2)
    probe()
    console = Console(stderr=True)
    started = time.monotonic()
    with Stage(root=directory.absolute(), say=console.log) as stage:
        story = Story(stage, wares(), [small_ware("1.0")], console.log)
        ready = stage.pin.exists() and any(stage.evidence.glob("*.evidence"))
        if cheat is not None and ready:
            story.resume()
        else:
            story.found()
            story.release()
            story.oversee()
            story.check()
        played = [play(name, story) for name in (CHEATS if cheat is None else (cheat,))]
    seconds = round(time.monotonic() - started)
    page = write_report(directory.absolute(), story.proven, played, seconds)
    document = {
        "schema": SCHEMA,
        "seconds": seconds,
        "proven": [{"claim": p.claim, "by": p.by, "recheck": p.how} for p in story.proven],
        "cheats": [
            {"name": p.name, "row": p.row, "title": p.title, "caught": p.caught, "by": p.by, "seen": p.seen}
            for p in played
        ],
        "report": page.as_uri(),
    }
    _print_tables(Console(file=sys.stderr if as_json else sys.stdout), story.proven, played)
    if as_json:
        typer.echo(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        typer.echo(f"\nDone in {seconds} s. The pin, the files and their evidence are in {directory}/; the report:")
        typer.echo(f"  {page.as_uri()}")
    if not all(p.caught for p in played):
        raise DemoFailed("a cheat was not caught: " + ", ".join(p.name for p in played if not p.caught))


def _print_tables(console: Console, proven: list[Proof], played: list[Played]) -> None:
    if proven:
        table = Table("proven", "by", "check it again with", title="What was proven, and by whom")
        for proof in proven:
            table.add_row(proof.claim, proof.by, proof.how)
        console.print(table)
    table = Table("cheat", "caught", "by", "what they see", title="Cheats played")
    for cheat in played:
        table.add_row(f"{cheat.row} {cheat.title}", "yes" if cheat.caught else "NO", cheat.by, cheat.seen)
    console.print(table)
