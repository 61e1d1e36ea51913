"""`glasshouse status`: what the oversight parties last signed, and recomputing it from the ledger."""

import tempfile
import time
from pathlib import Path
from typing import Any

import typer
from glasshouse_verify.report import utc
from glasshouse_verify.statement import Status, Use

from glasshouse.cli.wiring import JsonOption, LedgerOption, PinOption, emit, follow_pin, read_pin
from glasshouse.ledger.client import LedgerClient
from glasshouse.ledger.history import History
from glasshouse.supervision.auditor import blobs, documents, rows_of
from glasshouse.supervision.errors import StatusDisputed
from glasshouse.supervision.inventories import Books
from glasshouse.supervision.rules import RULES, Scene

app = typer.Typer(no_args_is_help=True, help="Read and recompute the status; run the auditor's rules.")


@app.command()
def show(ledger: LedgerOption, pin: PinOption = Path("charter.json"), as_json: JsonOption = False) -> None:
    """Follow a ledger from the pin and print what stands of every release, as anybody can compute it."""
    history = follow_pin(ledger, read_pin(pin))
    rows = list(history.status_rows())
    newest = _newest(history)
    signed = None
    if newest is not None:
        current = newest.rows == rows_of(history)[1]
        signed = {"time": utc(newest.time), "entries": newest.checkpoint.size, "rows_current": current}
    document = {"schema": "glasshouse.status/v1", "entries": history.size, "signed": signed, "rows": rows}
    emit(document, "\n".join(_line(row) for row in rows) or "nothing has been released", as_json=as_json)


def _line(row: dict[str, Any]) -> str:
    verdicts = ", ".join(f"{party}: {v.get('verdict', 'none')}" for party, v in row["verdicts"].items())
    holds = "".join(f"\n    {h['action']} by {h['party']}: {h['reason']} ({h['statement']})" for h in row["holds"])
    conflicts = f"\n    {len(row['conflicts'])} other releases bear this name" if row["conflicts"] else ""
    return f"{row['key']}\n    sha256 {row['sha256']}\n    {verdicts}{holds}{conflicts}"


@app.command()
def check(ledger: LedgerOption, pin: PinOption = Path("charter.json"), as_json: JsonOption = False) -> None:
    """Recompute the newest signed status from the entries it speaks of; exit 1 where it says anything else."""
    history = follow_pin(ledger, read_pin(pin))
    newest = _newest(history)
    if newest is None:
        raise StatusDisputed("the ledger holds no status with its quorum")
    again = History(history.pin)
    with LedgerClient(ledger) as client:
        for entry in client.entries(0, newest.checkpoint.size):
            again.feed(entry)
    data, tree = rows_of(again)
    if tree != newest.rows:
        raise StatusDisputed(f"the status of {utc(newest.time)} has other rows than follow from the ledger")
    document = {"schema": "glasshouse.status-check/v1", "time": utc(newest.time), "rows": tree.size, "bytes": len(data)}
    text = f"The status of {utc(newest.time)} over {newest.checkpoint.size} entries recomputes: {tree.size} rows"
    emit(document, text, as_json=as_json)


def scene_of(history: History, client: LedgerClient) -> Scene:
    """What the auditor's rules see of a ledger now; the rows of its inventories are rebuilt for this."""
    with tempfile.TemporaryDirectory() as scratch, Books(Path(scratch) / "books.sqlite3") as books:
        books.take(history, blobs(client.blob))
        rows, erasures = books.faults(), books.erasures()
    return Scene(
        history=history,
        now=int(time.time()),
        has_blob=client.has_blob,
        document=documents(client.blob),
        blob=blobs(client.blob),
        rows=rows,
        erasures=erasures,
    )


@app.command()
def alarms(ledger: LedgerOption, pin: PinOption = Path("charter.json"), as_json: JsonOption = False) -> None:
    """Run the auditor's rules over a ledger oneself and print every alarm."""
    history = follow_pin(ledger, read_pin(pin))
    with LedgerClient(ledger) as client:
        scene = scene_of(history, client)
        found = [
            {"rule": rule, "about": list(alarm.about), "text": alarm.text}
            for rule, rule_check in RULES.items()
            for alarm in rule_check(scene)
        ]
    document = {"schema": "glasshouse.alarms/v1", "alarms": found}
    lines = [f"{alarm['rule']}: {alarm['text']}" for alarm in found]
    emit(document, "\n".join(lines) or f"no alarm in {history.size} entries", as_json=as_json)


def _newest(history: History) -> Status | None:
    found: Status | None = None
    for record in history.standing(Use.STATUS):
        found = record.predicate
    return found
