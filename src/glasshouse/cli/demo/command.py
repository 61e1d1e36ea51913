"""The `glasshouse demo` command."""

import contextlib
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from glasshouse.cli.demo.chapters import CHAPTERS, listing, tell
from glasshouse.cli.demo.cheats import CHEATS
from glasshouse.cli.demo.errors import DemoFailed
from glasshouse.cli.demo.record import Played, Proof, Told
from glasshouse.cli.demo.report import write_report
from glasshouse.cli.demo.stage import Stage
from glasshouse.cli.demo.story import Story
from glasshouse.cli.demo.wares import small_ware, wares
from glasshouse.conveyor.sandbox import probe

SCHEMA = "glasshouse.demo/v2"
ABOUT_CHEATS = "cheats"


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(epilog="\b\nThe chapters:\n" + "\n".join(f"  {line}" for line in listing()))(demo)


def _chapter(name: str | None) -> str | None:
    if name is not None and name not in CHAPTERS:
        raise typer.BadParameter(f"there is no chapter {name!r}. The chapters:\n  " + "\n  ".join(listing()))
    return name


def _cheat(name: str | None) -> str | None:
    if name in (None, "list") or name in CHEATS:
        return name
    raise typer.BadParameter(f"there is no cheat {name!r}. The cheats:\n" + _cheats())


def _cheats() -> str:
    return "\n".join(f"  {name:<18}{cheat.title}" for name, cheat in CHEATS.items())


def demo(
    chapter: Annotated[
        str | None,
        typer.Argument(
            help="one chapter, with what it needs; without it, all",
            metavar="CHAPTER",
            callback=_chapter,
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="end with one JSON object")] = False,
    cheat: Annotated[
        str | None, typer.Option("--cheat", help="play one cheat; 'list' names them", callback=_cheat)
    ] = None,
    stay: Annotated[bool, typer.Option("--stay", help="leave the parties running until Ctrl-C")] = False,
    directory: Annotated[Path, typer.Option("--directory", help="where the demo lives")] = Path(".demo"),
) -> None:
    """Run the whole initiative on this machine: vendor, supervisor, rebuilder, witnesses and a customer.

    A chapter alone goes on with the stage that an earlier run left in the directory, where that is sound.
    """
    if cheat == "list":
        typer.echo(f"The cheats:\n{_cheats()}")
        raise typer.Exit
    if cheat is not None and chapter not in (None, ABOUT_CHEATS):
        raise typer.BadParameter(f"cheats are played in the chapter {ABOUT_CHEATS}, not in {chapter}")
    probe()
    say = Console(stderr=True, log_path=False).log
    started = time.monotonic()
    with Stage(root=directory.absolute(), say=say) as stage:
        story = Story(stage, wares(), [small_ware("1.0")], say)
        story.cheat = cheat
        record, told = tell(story, chapter if cheat is None else ABOUT_CHEATS)
        page = write_report(stage.root, record, story.ground())
        _conclude(page, told, round(time.monotonic() - started), as_json=as_json)
        if stay:
            _stay(stage)
    missed = [played.name for one in told for played in one.played if not played.caught]
    if missed:
        raise DemoFailed(f"a cheat was not caught: {', '.join(missed)}")


def _conclude(page: Path, told: Sequence[Told], seconds: int, *, as_json: bool) -> None:
    proven, played = [p for one in told for p in one.proven], [p for one in told for p in one.played]
    document = {
        "schema": SCHEMA,
        "seconds": seconds,
        "chapters": [{"name": one.name, "title": one.title, "seconds": one.seconds} for one in told],
        "proven": [{"about": p.about, "claim": p.claim, "by": p.by, "recheck": p.how} for p in proven],
        "cheats": [
            {
                "name": p.name,
                "row": p.row,
                "title": p.title,
                "caught": p.caught,
                "by": p.by,
                "seen": p.seen,
                "exit": p.exit,
            }
            for p in played
        ],
        "report": page.as_uri(),
    }
    _print_tables(Console(file=sys.stderr if as_json else sys.stdout), proven, played)
    if as_json:
        typer.echo(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        typer.echo(f"\nDone in {seconds} s. The pin, the files and their evidence are in {page.parent}; the report:")
        typer.echo(f"  {page.as_uri()}")


def _stay(stage: Stage) -> None:
    """Keep the parties running for somebody who tries the commands."""
    typer.echo(f"The ledger answers at {stage.ledger_url} until Ctrl-C.", err=True)
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            stage.check_alive()
            time.sleep(1)


def _print_tables(console: Console, proven: Sequence[Proof], played: Sequence[Played]) -> None:
    last = None
    if proven:
        console.print("\n[bold]What was proven, and by whom")
    for proof in proven:
        if proof.about != last:
            console.print(f"\n  {proof.about}", style="bold", markup=False)
        last = proof.about
        console.print(Padding(Text(f"✔ {proof.claim}"), (0, 0, 0, 2)))
        console.print(Padding(Text(f"by {proof.by}; again: {proof.how}", style="dim"), (0, 0, 0, 6)))
    if played:
        console.print("\n[bold]Cheats played")
    for cheat in played:
        mark = "caught" if cheat.caught else "NOT CAUGHT"
        console.print(Padding(Text(f"{mark}  {cheat.row} {cheat.title}"), (0, 0, 0, 2)))
        seen = cheat.seen if cheat.exit is None else f"exit {cheat.exit}: {cheat.seen}"
        console.print(Padding(Text(f"by {cheat.by}: {seen.splitlines()[0]}", style="dim"), (0, 0, 0, 10)))
