"""`glasshouse explain`: why a rebuilt file is not the shipped one, in words and as a page."""

from pathlib import Path
from typing import Annotated

import typer

from glasshouse.cli.wiring import JsonOption, emit
from glasshouse.storage import files
from glasshouse.supervision.compare import compare
from glasshouse.supervision.difference_page import Sides, difference_page
from glasshouse.supervision.diffoscope import make_report
from glasshouse.supervision.explain import describe, find_causes, told

_DIFFERS = 3


def register(app: typer.Typer) -> None:
    """Add the commands of this module to the application."""
    app.command()(explain)


def explain(
    shipped: Annotated[Path, typer.Argument(help="the file as shipped", exists=True, dir_okay=False)],
    rebuilt: Annotated[Path, typer.Argument(help="the file as rebuilt", exists=True, dir_okay=False)],
    html: Annotated[Path | None, typer.Option("--html", help="write the whole difference as one HTML file")] = None,
    as_json: JsonOption = False,
) -> None:
    """Say where a rebuilt file first differs from the shipped one, and what usually causes such a difference.

    Exit 0 the same bytes, 3 other bytes.
    """
    comparison = compare(shipped, rebuilt)
    text = describe(comparison)
    if html is not None:
        report = make_report(shipped, rebuilt)
        files.write(html, difference_page(Sides(shipped=shipped, rebuilt=rebuilt), comparison, report))
        text += f"\nWrote {html}."
    document = {
        "schema": "glasshouse.explain/v1",
        "identical": comparison.identical,
        "first": told(comparison.differences[0]) if comparison.differences else None,
        "causes": [finding.cause.value for finding in find_causes(comparison)],
        "html": None if html is None else str(html),
    }
    emit(document, text, as_json=as_json)
    raise typer.Exit(0 if comparison.identical else _DIFFERS)
