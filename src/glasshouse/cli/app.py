"""The command groups wired together, and how errors become sentences and exit codes.

A group is imported only when it is called: the whole of them takes a second to load.
Exit: 0 done · 1 refused or failed, the sentence says what to do · 2 usage. `verify` has codes of its own.
"""

import json
import sys
import time
from importlib import import_module, metadata
from typing import Annotated

import typer
from glasshouse_verify.errors import VerifyError

from glasshouse.cli.demo.errors import DemoFailed
from glasshouse.conveyor.errors import ConveyorError
from glasshouse.ledger.errors import LedgerError
from glasshouse.parties.errors import PartyError
from glasshouse.regions.errors import RegionError
from glasshouse.relocation.errors import RelocationError
from glasshouse.storage.errors import StorageError
from glasshouse.supervision.errors import SupervisionError

EXPECTED = (
    ConveyorError,
    DemoFailed,
    LedgerError,
    PartyError,
    RegionError,
    RelocationError,
    StorageError,
    SupervisionError,
    VerifyError,
)
# Commands by the module that registers them, in the order of the help.
COMMANDS = {
    "init": "node",
    "serve": "node",
    "work": "node",
    "release": "releasing",
    "rebuild": "rebuild",
    "explain": "explain",
    "submit": "sending",
    "reputation": "sending",
    "demo": "demo.command",
}
GROUPS = {
    "charter": "charter",
    "key": "key",
    "ledger": "ledger",
    "conveyor": "moving",
    "evidence": "evidence",
    "receipt": "receipt",
    "status": "audit",
    "hold": "hold",
    "customer": "customer",
    "uploads": "uploads",
    "access": "access",
    "relocate": "relocating.command",
    "vault": "vault",
    "custody": "custody",
    "source": "source",
    "trap": "trap",
    "certificate": "certificate",
    "signature": "signature",
}


def build(only: str | None = None) -> typer.Typer:
    """The application: with every command, or with the one that is called."""
    app = typer.Typer(
        name="glasshouse",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        help="Check for yourself that what a software vendor ships was built from the source it shows.",
    )
    # With a callback, a single command stays a command instead of becoming the whole application.
    app.callback()(_root)
    app.command("verify", context_settings={"ignore_unknown_options": True, "allow_extra_args": True})(verify)
    everything = only not in COMMANDS and only not in GROUPS
    for module in dict.fromkeys(COMMANDS[name] for name in COMMANDS if everything or name == only):
        import_module(f"glasshouse.cli.{module}").register(app)
    for name in GROUPS:
        if everything or name == only:
            app.add_typer(import_module(f"glasshouse.cli.{GROUPS[name]}").app, name=name)
    return app


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"glasshouse {metadata.version('glasshouse')}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", help="print the version and end", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """The application's own options."""


def verify(context: typer.Context) -> None:
    """Check a file, or a relocation, offline against its evidence and the pinned charter (glasshouse verify --help)."""
    from glasshouse.cli.verifying import main

    raise typer.Exit(main(context.args, int(time.time())))


def run() -> None:
    """Run the command line; ends the process with its exit code."""
    try:
        build(next(iter(sys.argv[1:]), None))()
    except BrokenPipeError:
        raise
    except (*EXPECTED, OSError) as error:
        if "--json" in sys.argv:
            print(json.dumps({"schema": "glasshouse.error/v1", "error": str(error)}, ensure_ascii=False))
        print(f"glasshouse: {error}", file=sys.stderr)
        sys.exit(1)
