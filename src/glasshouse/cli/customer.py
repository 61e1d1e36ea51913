"""`glasshouse customer`: enrol customers at a site's node, and make a customer's own directory."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from glasshouse_verify.encoding import decode_base64, encode_base64
from glasshouse_verify.region import region_of
from glasshouse_verify.report import utc

from glasshouse.cli.wiring import JsonOption, NodeOption, emit, open_session, read_pin
from glasshouse.parties.errors import SettingsError
from glasshouse.parties.node import Node, open_node
from glasshouse.regions.customers.accounts import Accounts, Customer, token_digest
from glasshouse.regions.customers.profile import create_profile
from glasshouse.storage import files

app = typer.Typer(no_args_is_help=True, help="Enrol customers at a site, revoke and list them; a customer's directory.")
NameArgument = Annotated[str, typer.Argument(help="the customer's id, such as kookaburra")]


@contextmanager
def _accounts(node: Node) -> Iterator[Accounts]:
    from glasshouse.cli.serving import open_state

    if node.settings.intake is None:
        raise SettingsError("intake", "this node is no site of a region", "Use the node of a site.")
    with open_state(node, join=True) as database:
        yield Accounts(database)


@app.command()
def add(
    name: NameArgument,
    country: Annotated[str, typer.Option("--country", help="decides the region, for good (ISO 3166-1, such as AU)")],
    key: Annotated[
        str | None, typer.Option("--key", help="the customer's public key (base64), which signs requests to erase")
    ] = None,
    token_sha256: Annotated[
        str | None, typer.Option("--token-sha256", help="enrol the token that another site of the region has given")
    ] = None,
    token_out: Annotated[
        Path | None, typer.Option("--token-out", help="write the token to this file instead of showing it")
    ] = None,
    node: NodeOption = Path(),
    as_json: JsonOption = False,
) -> None:
    """Enrol a customer at this site. Its token is shown once, and kept nowhere; take the digest to the other sites."""
    opened = open_node(node)
    _check_country(opened, country)
    public = None if key is None else decode_base64(key, "--key", 32)
    with _accounts(opened) as accounts:
        token = accounts.enrol(name, country, public, token_sha256)
    digest = token_sha256 if token is None else token_digest(token).hex()
    document = {"schema": "glasshouse.customer-add/v1", "customer": name, "country": country, "token_sha256": digest}
    lines = [f"Enrolled {name} for {country}."]
    if token is not None and token_out is not None:
        files.create(token_out, token.encode(), mode=0o600)
        lines.append(f"Wrote its token to {token_out}; at the region's other sites: --token-sha256 {digest}")
    elif token is not None:
        document["token"] = token
        lines += [f"Its token, shown this once: {token}", f"At the region's other sites: --token-sha256 {digest}"]
    emit(document, "\n".join(lines), as_json=as_json)


def _check_country(node: Node, country: str) -> None:
    """Nobody is enrolled where its data does not belong."""
    with open_session(node.directory, "customers") as session:
        charter = session.follow().chain.newest.charter
    name, region = region_of(charter, country)
    mine = node.settings.intake
    if mine is not None and name != mine.region:
        sites = ", ".join(f"{site} ({shown.url})" for site, shown in region.sites.items())
        raise SettingsError("--country", f"data of {country} belongs to the region {name}", f"Enrol it at: {sites}.")


@app.command()
def revoke(name: NameArgument, node: NodeOption = Path(), as_json: JsonOption = False) -> None:
    """Make a customer's token worthless, at this site, within a second."""
    with _accounts(open_node(node)) as accounts:
        accounts.revoke(name)
    emit({"schema": "glasshouse.customer-revoke/v1", "customer": name}, f"Revoked {name}.", as_json=as_json)


@app.command("list")
def list_customers(node: NodeOption = Path(), as_json: JsonOption = False) -> None:
    """List the customers of this site and what they have decided."""
    with _accounts(open_node(node)) as accounts:
        found = [_shown(customer) for customer in accounts.all()]
    lines = [f"{c['customer']:<24} {c['country']}  {c['enrolled']}  {_state(c)}" for c in found]
    emit({"schema": "glasshouse.customers/v1", "customers": found}, "\n".join(lines) or "none yet", as_json=as_json)


def _shown(customer: Customer) -> dict[str, Any]:
    decided = customer.decisions
    return {
        "customer": customer.id,
        "country": customer.country,
        "enrolled": utc(customer.enrolled),
        "revoked": None if customer.revoked is None else utc(customer.revoked),
        "key": None if customer.public_key is None else encode_base64(customer.public_key),
        "off": decided.off,
        "categories_off": list(decided.categories_off),
        "bytes_per_day": decided.bytes_per_day,
    }


def _state(customer: dict[str, Any]) -> str:
    if customer["revoked"] is not None:
        return f"revoked {customer['revoked']}"
    if customer["off"]:
        return "uploads off"
    off = [f"{category} off" for category in customer["categories_off"]]
    limit = customer["bytes_per_day"]
    return ", ".join([*off, *([] if limit is None else [f"at most {limit} bytes a day"])])


@app.command()
def profile(
    directory: Annotated[Path, typer.Argument(help="the customer's directory to make")],
    country: Annotated[str, typer.Option("--country", help="the customer's country, such as AU")],
    pin: Annotated[Path, typer.Option("--charter", help="the pinned first charter", exists=True, dir_okay=False)],
    as_json: JsonOption = False,
) -> None:
    """Make a customer's directory: its country, its pin, and a key that signs requests to erase."""
    public = encode_base64(create_profile(directory, country, read_pin(pin)))
    document = {"schema": "glasshouse.customer-profile/v1", "directory": str(directory), "key": public}
    lines = (
        f"Made {directory}. Public key: {public}",
        f"The site's operator enrols it: glasshouse customer add NAME --country {country} --key {public}",
        f"Put the token into {directory / 'token'} (mode 0600).",
    )
    emit(document, "\n".join(lines), as_json=as_json)
