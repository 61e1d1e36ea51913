"""`glasshouse evidence`: fetch the evidence of a file, read what it holds, and make a page of it for people."""

import calendar
import time
from datetime import datetime
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Annotated

import typer
from glasshouse_verify.codec import encode
from glasshouse_verify.evidence import format_evidence, parse_evidence

from glasshouse.cli.page.writing import write_page
from glasshouse.cli.wiring import JsonOption, LedgerOption, PinOption, emit, read_pin
from glasshouse.ledger.client import LedgerClient
from glasshouse.ledger.evidence import assemble
from glasshouse.storage import files

app = typer.Typer(no_args_is_help=True, help="Fetch and read evidence.")
SUFFIX = ".evidence"
EvidenceArgument = Annotated[Path, typer.Argument(help="an evidence file", exists=True, dir_okay=False)]
TIME = "%Y-%m-%dT%H:%M:%SZ"


@app.command()
def get(
    file: Annotated[Path, typer.Argument(help="the file in hand", exists=True, dir_okay=False)],
    ledger: LedgerOption,
    pin: PinOption = Path("charter.json"),
    out: Annotated[Path | None, typer.Option("--out", help="where to write it")] = None,
    as_json: JsonOption = False,
) -> None:
    """Fetch the evidence for a file from any ledger, by the file's digest; then check it with: glasshouse verify."""
    with file.open("rb") as stream:
        digest = file_digest(stream, "sha256").hexdigest()
    with LedgerClient(ledger) as source:
        data = format_evidence(assemble(source, read_pin(pin), digest, file.name))
    place = out or file.with_name(file.name + SUFFIX)
    files.write(place, data)
    document = {"schema": "glasshouse.evidence-get/v1", "file": str(file), "evidence": str(place), "bytes": len(data)}
    command = f"glasshouse verify {file} --evidence {place} --charter {pin}"
    text = f"Wrote {place}, {len(data):,} bytes. Check it with:\n  {command}"
    emit(document, text, as_json=as_json)


@app.command()
def show(evidence: EvidenceArgument) -> None:
    """Print an evidence file, indented for people. Nothing is checked: that is what glasshouse verify does."""
    import json

    typer.echo(json.dumps(encode(parse_evidence(evidence.read_bytes())), indent=2, ensure_ascii=False))


@app.command()
def html(
    evidence: EvidenceArgument,
    pin: PinOption = Path("charter.json"),
    out: Annotated[Path | None, typer.Option("--out", help="where to write it")] = None,
    at: Annotated[
        datetime | None,
        typer.Option("--at", formats=[TIME], metavar="TIME", help="judge at this time (UTC, 2026-11-21T12:00:00Z)"),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write evidence as one HTML file that shows the claims and checks a file itself, in any browser, offline.

    The same evidence, charter, file name and time give the same bytes, so that a page can be made again and compared.
    """
    moment = int(time.time()) if at is None else calendar.timegm(at.timetuple())
    page = write_page(evidence.read_bytes(), read_pin(pin), moment, evidence.name)
    place = out or evidence.with_name(evidence.name.removesuffix(SUFFIX) + ".html")
    files.write(place, page.html)
    outcome, digest = page.report.outcome, sha256(page.html).hexdigest()
    document = {
        "schema": "glasshouse.evidence-html/v1",
        "page": str(place),
        "bytes": len(page.html),
        "sha256": digest,
        "outcome": outcome.name.lower().replace("_", "-"),
    }
    found = "everything but the file itself verified" if outcome == 0 else outcome.name.lower().replace("_", " ")
    text = f"Wrote {place}, {len(page.html):,} bytes, SHA-256 {digest}\nWhen it was written: {found}."
    emit(document, text, as_json=as_json)
