"""The `glasshouse demo` command."""

import contextlib
import json
import sys
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

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
    stay: Annotated[bool, typer.Option("--stay", help="leave the parties running until Ctrl-C")] = False,
    directory: Annotated[Path, typer.Option("--directory", help="where the demo lives")] = Path(".demo"),
) -> None:
    """Run the whole initiative on this machine: vendor, supervisor, rebuilder, witnesses and a customer."""
    if cheat is not None and cheat not in CHEATS:
        names = "\n".join(f"  {name:<18}{known.title}" for name, known in CHEATS.items())
        typer.echo(f"The cheats:\n{names}")
        raise typer.Exit(0 if cheat == "list" else 2)
    probe()
    say = Console(stderr=True, log_path=False).log
    started = time.monotonic()
    with Stage(root=directory.absolute(), say=say) as stage:
        story = Story(stage, wares(), [small_ware("1.0")], say)
        _tell(story, alone=cheat is not None)
        played = [play(name, story) for name in (CHEATS if cheat is None else (cheat,))]
        _conclude(story, played, round(time.monotonic() - started), as_json=as_json)
        if stay:
            _stay(stage)
    if not all(p.caught for p in played):
        raise DemoFailed("a cheat was not caught: " + ", ".join(p.name for p in played if not p.caught))


def _tell(story: Story, *, alone: bool) -> None:
    """The honest story; where a cheat is played alone, an earlier run's stage will do."""
    if alone and story.stage.pin.exists() and any(story.stage.evidence.glob("*.evidence")):
        story.resume()
        return
    story.found()
    story.release()
    story.oversee()
    story.check()


def _conclude(story: Story, played: list[Played], seconds: int, *, as_json: bool) -> None:
    directory = story.stage.root
    page = write_report(directory, story.proven, played, seconds)
    document = {
        "schema": SCHEMA,
        "seconds": seconds,
        "proven": [{"file": p.file, "claim": p.claim, "by": p.by, "recheck": p.how} for p in story.proven],
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
        typer.echo(f"\nDone in {seconds} s. The pin, the files and their evidence are in {directory}; the report:")
        typer.echo(f"  {page.as_uri()}")


def _stay(stage: Stage) -> None:
    """Keep the parties running for somebody who tries the commands."""
    typer.echo(f"The ledger answers at {stage.ledger_url} until Ctrl-C.", err=True)
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            stage.check_alive()
            time.sleep(1)


def _print_tables(console: Console, proven: list[Proof], played: list[Played]) -> None:
    last = None
    if proven:
        console.print("\n[bold]What was proven, and by whom")
    for proof in proven:
        if proof.file != last:
            console.print(f"\n  {proof.file}", style="bold", markup=False)
        last = proof.file
        console.print(Padding(Text(f"✔ {proof.claim}"), (0, 0, 0, 2)))
        console.print(Padding(Text(f"by {proof.by}; again: {proof.how}", style="dim"), (0, 0, 0, 6)))
    console.print("\n[bold]Cheats played")
    for cheat in played:
        mark = "caught" if cheat.caught else "NOT CAUGHT"
        console.print(Padding(Text(f"{mark}  {cheat.row} {cheat.title}"), (0, 0, 0, 2)))
        console.print(Padding(Text(f"by {cheat.by}: {cheat.seen.splitlines()[0]}", style="dim"), (0, 0, 0, 10)))
