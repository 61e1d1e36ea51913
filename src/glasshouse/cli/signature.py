"""`glasshouse signature`: check a detached signature."""

from pathlib import Path
from typing import Annotated

import typer
from glasshouse_verify.charter import Chain

from glasshouse.cli.wiring import JsonOption, PinOption, emit, read_pin
from glasshouse.conveyor.detached import SUFFIX, check_detached
from glasshouse.parties.errors import SettingsError

app = typer.Typer(no_args_is_help=True, help="Check the signature file beside a download.")


@app.callback()
def _group() -> None:
    """With a callback, a single command keeps its name."""


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="the file in hand", exists=True, dir_okay=False)],
    signature: Annotated[Path | None, typer.Option("--signature", help="its signature, FILE.sig by default")] = None,
    pin: PinOption = Path("charter.json"),
    as_json: JsonOption = False,
) -> None:
    """Check who signed a file. Whether it was logged and rebuilt, only its evidence shows (glasshouse verify)."""
    place = signature or file.with_name(file.name + SUFFIX)
    if not place.exists():
        raise SettingsError("signature", f"there is no file {place}", "Name it with --signature.")
    release = check_detached(place.read_bytes(), file, Chain(read_pin(pin)).newest.charter)
    document = {
        "schema": "glasshouse.signature/v1",
        "party": release.party,
        "product": release.product,
        "version": release.version,
    }
    text = f"{file.name}: signed by {release.party} as {release.product} {release.version}"
    emit(document, f"{text}. Not shown by a signature: that it was logged, rebuilt and not held", as_json=as_json)
