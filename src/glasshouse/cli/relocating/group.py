"""The command group `glasshouse relocate`; its commands are in the modules that `command` names."""

import typer

app = typer.Typer(no_args_is_help=True, help="Move a region's data to another jurisdiction, supervised, and prove it.")
