"""`glasshouse custody`: what the custodian of a region says in public."""

import time
from contextlib import closing
from pathlib import Path

import typer
from glasshouse_verify.access import Step

from glasshouse.cli.beside import wait_for
from glasshouse.cli.reporting import Outbox, Reported, alone, books_of, report, settings_of
from glasshouse.cli.wiring import JsonOption, NodeOption, emit, open_session
from glasshouse.regions.errors import CustodyUnavailable

app = typer.Typer(no_args_is_help=True, help="The custodian's own words: tallies, refusals.")
_SESSION = "reports"


@app.command()
def tally(node: NodeOption = Path(), as_json: JsonOption = False) -> None:
    """Log now what was counted since the last tally, and refusals and ends (glasshouse work does it at intervals)."""
    said: list[Reported] = []
    with open_session(node, _SESSION) as session, closing(books_of(session)) as custodian:
        settings_of(session.node)
        outbox = Outbox(session)

        def done() -> bool:
            with alone(session.node):
                found = report(session, custodian, outbox, tally=True)
            said.extend(found or [])
            return found is not None

        if not wait_for(done, seconds=60):
            raise CustodyUnavailable("the ledger does not show yet what was sent before; try again later")
    document = {
        "schema": "glasshouse.custody-tally/v1",
        "time": int(time.time()),
        "entries": [
            {"entry": one.entry, "step": one.access.step.value, "site": one.access.site, "counts": one.access.counts}
            for one in said
        ],
    }
    emit(document, "\n".join(map(_line, said)) or "nothing to say since the last tally", as_json=as_json)


def _line(one: Reported) -> str:
    access = one.access
    if access.step != Step.TALLY:
        return f"entry {one.entry}: {access.step} at {access.site or '-'}: {access.purpose}"
    counts = ", ".join(f"{count} for {reason}" for reason, count in sorted((access.counts or {}).items()))
    return f"entry {one.entry}: data keys opened at {access.site}: {counts}"
