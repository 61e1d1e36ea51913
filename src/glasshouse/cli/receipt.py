"""`glasshouse receipt`: what a receipt says, fetching its evidence, and checking it offline."""

import calendar
import json
import time
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from glasshouse_verify.cli import as_json as answer_json
from glasshouse_verify.cli import as_text as answer_text
from glasshouse_verify.codec import encode
from glasshouse_verify.dsse import MAX_ENTRY, Envelope, parse_envelope
from glasshouse_verify.errors import FormatError
from glasshouse_verify.evidence import MAX_EVIDENCE
from glasshouse_verify.receipt import Receipt
from glasshouse_verify.receipt_check import check_receipt, format_receipt_evidence, parse_receipt_evidence
from glasshouse_verify.region import regions_of
from glasshouse_verify.shards import ShardProof
from glasshouse_verify.statement import parse_statement

from glasshouse.cli.wiring import JsonOption, LedgerOption, PinOption, emit, follow_pin, read_pin
from glasshouse.ledger.client import LedgerClient
from glasshouse.ledger.receipt_evidence import assemble_receipt
from glasshouse.regions.errors import SiteUnavailable
from glasshouse.regions.inventory_client import Proven, fetch_proof
from glasshouse.storage import files

app = typer.Typer(no_args_is_help=True, help="Read receipts, fetch their evidence, check them offline.")
SUFFIX = ".evidence"
TIME = "%Y-%m-%dT%H:%M:%SZ"
ReceiptArgument = Annotated[Path, typer.Argument(help="a receipt", exists=True, dir_okay=False)]


@app.command()
def show(receipt: ReceiptArgument) -> None:
    """Print a receipt, indented for people. Nothing is checked: that is what glasshouse receipt check does."""
    said = _read(receipt)[1]
    typer.echo(json.dumps(encode(said) | {"commitment": said.commitment}, indent=2, ensure_ascii=False))


@app.command()
def evidence(
    receipt: ReceiptArgument,
    ledger: LedgerOption,
    pin: PinOption = Path("charter.json"),
    site: Annotated[str | None, typer.Option("--site", help="URL of a site; default: those of the charter")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="where to write it")] = None,
    as_json: JsonOption = False,
) -> None:
    """Fetch the evidence for a receipt from any ledger and a site of its region; then: glasshouse receipt check."""
    envelope, said = _read(receipt)
    payload = read_pin(pin)
    charter = follow_pin(ledger, payload).chain.newest.charter
    region = regions_of(charter).get(said.region)
    # While a region moves, the site that is left may know less than those that take over, or more.
    places = {} if region is None else {**({} if region.moving is None else region.moving.to), **region.sites}
    urls = [shown.url for shown in places.values()] if site is None else [site]
    proven = _proven(urls, said, newest=region is not None and region.moving is not None)

    def prove(_inventory: str, _handle: str) -> tuple[ShardProof, ShardProof]:
        return proven.held, proven.erased

    with LedgerClient(ledger) as source:
        data = format_receipt_evidence(assemble_receipt(source, payload, envelope, proven.inventory, prove))
    place = out or _beside(receipt)
    files.write(place, data)
    document = {
        "schema": "glasshouse.receipt-evidence-get/v1",
        "receipt": str(receipt),
        "evidence": str(place),
        "bytes": len(data),
        "site": proven.site,
        "epoch": proven.epoch,
    }
    text = f"Wrote {place}, {len(data):,} bytes, from inventory {proven.epoch} of {proven.site}. Check it with:"
    emit(document, f"{text}\n  glasshouse receipt check {receipt} --evidence {place} --charter {pin}", as_json=as_json)


@app.command()
def check(
    receipt: ReceiptArgument,
    proof: Annotated[
        Path | None, typer.Option("--evidence", help="its evidence file; default: beside it", dir_okay=False)
    ] = None,
    pin: PinOption = Path("charter.json"),
    at: Annotated[
        datetime | None,
        typer.Option("--at", formats=[TIME], metavar="TIME", help="judge at this time (UTC, 2026-11-21T12:00:00Z)"),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check offline that a receipt is honoured: the object is held, or was erased by right.

    Exit: 0 verified, 1 unparseable, 2 usage, 3 mismatch, 4 not authorised, 5 undecided.
    """
    envelope, said = _read(receipt)
    shown = parse_receipt_evidence(_bytes(proof or _beside(receipt), MAX_EVIDENCE))
    moment = int(time.time()) if at is None else calendar.timegm(at.timetuple())
    report = check_receipt(read_pin(pin), shown, envelope, moment)
    answer = answer_json if as_json else answer_text
    typer.echo(answer(str(receipt), said.sha256, moment, report))
    raise typer.Exit(int(report.outcome))


def _proven(urls: list[str], receipt: Receipt, *, newest: bool) -> Proven:
    """The first answer of the sites, or of all the one of the newest inventory. Raises SiteUnavailable."""
    if not any(urls):
        raise SiteUnavailable(f"the charter has no region {receipt.region} any more: name a site by --site")
    told, found = [], list[Proven]()
    for url in urls:
        try:
            found.append(fetch_proof(url, receipt.region, receipt.handle))
        except SiteUnavailable as error:
            told.append(str(error))
        if found and not newest:
            break
    if not found:
        raise SiteUnavailable("; ".join(told))
    return max(found, key=lambda proven: proven.epoch)


def _beside(receipt: Path) -> Path:
    return receipt.with_name(receipt.name + SUFFIX)


def _read(path: Path) -> tuple[Envelope, Receipt]:
    envelope = parse_envelope(_bytes(path, MAX_ENTRY).rstrip(b"\n"))
    said = parse_statement(envelope.payload).predicate
    if not isinstance(said, Receipt):
        raise FormatError("receipt", "is another kind of statement")
    return envelope, said


def _bytes(path: Path, limit: int) -> bytes:
    """No more of a file than its format allows, and one byte that makes too many."""
    with path.open("rb") as file:
        return file.read(limit + 1)
