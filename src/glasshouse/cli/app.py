"""The command groups wired together, and how errors become sentences and exit codes.

Exit: 0 done · 1 refused or failed, the sentence says what to do · 2 usage. `verify` has codes of its own.
"""

import sys

import typer
from glasshouse_verify.errors import VerifyError

from glasshouse.cli import audit, charter, conveyor, evidence, hold, ledger, node, rebuild
from glasshouse.conveyor.errors import ConveyorError
from glasshouse.ledger.errors import LedgerError
from glasshouse.parties.errors import PartyError
from glasshouse.storage.errors import StorageError
from glasshouse.supervision.errors import SupervisionError

EXPECTED = (ConveyorError, LedgerError, PartyError, StorageError, SupervisionError, VerifyError)

app = typer.Typer(
    name="glasshouse",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Check for yourself that what a software vendor ships was built from the source it shows.",
)


@app.command(
    "verify", add_help_option=False, context_settings={"ignore_unknown_options": True, "allow_extra_args": True}
)
def verify(context: typer.Context) -> None:
    """Check a file offline against its evidence and the pinned charter (see: glasshouse verify --help)."""
    import time

    from glasshouse_verify.cli import main

    raise typer.Exit(main(context.args, int(time.time())))


node.register(app)
app.add_typer(charter.app, name="charter")
app.add_typer(ledger.app, name="ledger")
app.add_typer(conveyor.app, name="conveyor")
app.add_typer(evidence.app, name="evidence")
app.add_typer(hold.app, name="hold")
app.add_typer(audit.app, name="status")
rebuild.register(app)
app.command()(conveyor.release)


def run() -> int:
    """Run the command line and return the exit code."""
    try:
        result = app(standalone_mode=False)
    except EXPECTED as error:
        print(f"glasshouse: {error}", file=sys.stderr)
        return 1
    except typer.Abort:
        return 130
    except typer.Exit as stop:
        return stop.exit_code
    except typer.BadParameter as error:
        error.show()
        return 2
    return result if isinstance(result, int) else 0
