"""`glasshouse certificate`: certificates for signing Windows files, and for a time-stamp authority."""

import time
from pathlib import Path
from typing import Annotated

import typer

from glasshouse.cli.wiring import JsonOption, NodeOption, emit
from glasshouse.parties.certificates import Purpose, create_chain, fingerprint, load_certificates
from glasshouse.parties.node import open_node

app = typer.Typer(no_args_is_help=True, help="Make and read certificates for code signing and time-stamping.")
Certificates = list[Path]


@app.command()
def create(
    purpose: Annotated[Purpose, typer.Argument(help="what the certificate is for")],
    node: NodeOption = Path(),
    as_json: JsonOption = False,
) -> None:
    """Make a root, and under it a key and certificate for this node; the root's own key is not kept."""
    opened = open_node(node)
    made = create_chain(opened.keys, purpose, opened.settings.name, int(time.time()))
    document = {"schema": "glasshouse.certificate/v1", "purpose": purpose.value, "sha256": made}
    emit(document, f"Made {opened.keys / purpose}.pem: {made}", as_json=as_json)


@app.command()
def pins(
    signers: Annotated[
        Certificates, typer.Option("--signer", help="certificates (PEM) that sign; those after the first are its chain")
    ],
    timestampers: Annotated[
        Certificates, typer.Option("--timestamper", help="certificates (PEM) of time-stamp authorities, likewise")
    ],
    as_json: JsonOption = False,
) -> None:
    """Print what a product's gate in the charter says of these certificates, as a line for its terms."""
    chains = {"signers": signers, "timestampers": timestampers}
    found: dict[str, list[str]] = {"chain": []}
    for name, paths in chains.items():
        loaded = [[fingerprint(certificate) for certificate in load_certificates(path)] for path in paths]
        found[name] = [prints[0] for prints in loaded]
        found["chain"] += [print_ for prints in loaded for print_ in prints[1:] if print_ not in found["chain"]]
    rows = (f"{name} = [{', '.join(repr(x) for x in found[name])}]" for name in ("signers", "timestampers", "chain"))
    emit({"schema": "glasshouse.pins/v1", **found}, f"authenticode = {{ {', '.join(rows)} }}", as_json=as_json)
