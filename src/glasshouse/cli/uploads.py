"""`glasshouse uploads`: what a customer has sent, and what it allows: see, limit, switch off and on, erase."""

from pathlib import Path
from typing import Annotated, Any

import typer
from glasshouse_verify.report import utc

from glasshouse.cli.sending import CustomerOption, open_client
from glasshouse.cli.wiring import JsonOption, emit
from glasshouse.parties.errors import SettingsError
from glasshouse.regions.client import SiteClient
from glasshouse.storage import files

app = typer.Typer(no_args_is_help=True, help="See, limit, switch off and erase what you have sent.")
CategoriesArgument = Annotated[list[str] | None, typer.Argument(help="these categories alone; default: all uploads")]
HandleArgument = Annotated[str, typer.Argument(help="the object's handle, as its receipt and the list show it")]


@app.command("list")
def list_uploads(customer: CustomerOption = Path(), as_json: JsonOption = False) -> None:
    """List what you have sent, in order of time."""
    with open_client(customer) as (_, client):
        sent = list(client.sent())
    lines = [
        f"{utc(entry['time'])}  {entry['state']:<8}{'on hold ' if entry['on_hold'] else ''}{entry['site']:<14}"
        f"{entry['category']:<14}{entry['size']:>12}  {entry['handle']}"
        for entry in sent
    ]
    emit({"schema": "glasshouse.uploads/v1", "objects": sent}, "\n".join(lines) or "nothing yet", as_json=as_json)


@app.command()
def policy(customer: CustomerOption = Path(), as_json: JsonOption = False) -> None:
    """Show what each site of your region goes by for you."""
    with open_client(customer) as (_, client):
        _show(client, client.policies(), as_json=as_json)


@app.command()
def limit(
    size: Annotated[str, typer.Argument(help="at most so many bytes a day (UTC), or: none")],
    customer: CustomerOption = Path(),
    as_json: JsonOption = False,
) -> None:
    """Limit how much is taken from you a day, at each site."""
    if size != "none" and not (size.isascii() and size.isdecimal()):
        raise SettingsError("SIZE", f"{size} is no number of bytes", "Write a number, or: none.")
    with open_client(customer) as (_, client):
        _decide(client, {"bytes_per_day": None if size == "none" else int(size)}, as_json=as_json)


@app.command()
def off(categories: CategoriesArgument = None, customer: CustomerOption = Path(), as_json: JsonOption = False) -> None:
    """Switch your uploads off, altogether or by category."""
    with open_client(customer) as (_, client):
        change = {"off": True} if not categories else {"categories_off": sorted({*_decided(client)[0], *categories})}
        _decide(client, change, as_json=as_json)


@app.command()
def on(categories: CategoriesArgument = None, customer: CustomerOption = Path(), as_json: JsonOption = False) -> None:
    """Switch your uploads on again, altogether or by category."""
    with open_client(customer) as (_, client):
        left = [category for category in _decided(client)[0] if category not in (categories or [])]
        _decide(client, {"categories_off": left} if categories else {"off": False}, as_json=as_json)


def _decided(client: SiteClient) -> tuple[list[str], dict[str, Any]]:
    """The categories switched off at any site, and what one of the sites goes by."""
    policies = client.policies()
    return sorted({c for shown in policies.values() for c in shown["categories_off"]}), next(iter(policies.values()))


def _decide(client: SiteClient, change: dict[str, Any], *, as_json: bool) -> None:
    now = _decided(client)[1]
    kept = {name: now[name] for name in ("off", "categories_off", "bytes_per_day")}
    _show(client, client.decide(kept | change), as_json=as_json)


def _show(client: SiteClient, policies: dict[str, dict[str, Any]], *, as_json: bool) -> None:
    missing = sorted(set(client.destination.urls) - set(policies))
    lines = []
    for site, shown in policies.items():
        off = "all uploads" if shown["off"] else ", ".join(shown["categories_off"]) or "nothing"
        limit = shown["bytes_per_day"]
        most = "no limit" if limit is None else f"{shown['used_today']} of {limit} bytes used today"
        lines.append(f"{site}: switched off: {off}; {most}")
    lines += [f"{site}: does not answer; say it again later" for site in missing]
    document = {"schema": "glasshouse.uploads-policy/v1", "sites": policies, "missing": missing}
    emit(document, "\n".join(lines), as_json=as_json)
    if missing:
        raise typer.Exit(1)


@app.command()
def erase(
    handles: Annotated[list[str], typer.Argument(help="handles of objects", metavar="HANDLE")],
    customer: CustomerOption = Path(),
    as_json: JsonOption = False,
) -> None:
    """Have objects erased, under the signature of your key; the next inventory proves that they are gone."""
    with open_client(customer) as (_, client):
        for handle in handles:
            client.erase(handle)
    document = {"schema": "glasshouse.uploads-erase/v1", "handles": handles}
    emit(document, f"Removed: {', '.join(handles)}", as_json=as_json)


@app.command()
def receipt(
    handle: HandleArgument,
    out: Annotated[Path | None, typer.Option("--out", help="the file to write; default: receipts/HANDLE.json")] = None,
    customer: CustomerOption = Path(),
    as_json: JsonOption = False,
) -> None:
    """Fetch a receipt again."""
    with open_client(customer) as (profile, client):
        data = client.receipt(handle)
        place = out or profile.receipts / f"{handle}.json"
    files.make_directory(place.parent, mode=0o700)
    files.write(place, data)
    emit({"schema": "glasshouse.uploads-receipt/v1", "out": str(place)}, f"Wrote {place}", as_json=as_json)
