"""`glasshouse evidence`: fetch the evidence of a file, and read what it holds."""

from hashlib import file_digest
from pathlib import Path
from typing import Annotated

import typer
from glasshouse_verify.codec import encode
from glasshouse_verify.evidence import format_evidence, parse_evidence

from glasshouse.cli.wiring import JsonOption, LedgerOption, PinOption, emit, read_pin
from glasshouse.ledger.client import LedgerClient
from glasshouse.ledger.evidence import assemble
from glasshouse.storage import files

app = typer.Typer(no_args_is_help=True, help="Fetch and read evidence.")
SUFFIX = ".evidence"


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
def show(
    evidence: Annotated[Path, typer.Argument(help="an evidence file", exists=True, dir_okay=False)],
) -> None:
    """Print an evidence file, indented for people. Nothing is checked: that is what glasshouse verify does."""
    import json

    typer.echo(json.dumps(encode(parse_evidence(evidence.read_bytes())), indent=2, ensure_ascii=False))
