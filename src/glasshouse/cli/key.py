"""`glasshouse key`: list a node's keys, and make the next one when a key is to be replaced."""

from pathlib import Path
from typing import Annotated, Any

import typer
from glasshouse_verify.charter import Charter
from glasshouse_verify.ed25519 import keyid
from glasshouse_verify.encoding import encode_base64

from glasshouse.cli.wiring import JsonOption, NodeOption, emit, open_session
from glasshouse.parties.card import CARD_FILE, create_key, key_text, purposes_of
from glasshouse.parties.errors import PartyError, SettingsError
from glasshouse.parties.hardware import TokenKey, is_never_extractable
from glasshouse.parties.node import KEY_USES, KeySettings, Node, open_node

app = typer.Typer(no_args_is_help=True, help="List a node's keys and make further ones, in files or in tokens.")


@app.command("list")
def list_keys(
    node: NodeOption = Path(),
    standing: Annotated[
        bool, typer.Option("--standing", help="also follow the ledger and say which keys its charter counts")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """List the keys of a node: where each is, what it signs, its public half."""
    opened, charter = open_node(node), None
    if standing:
        with open_session(node) as session:
            charter = session.follow().chain.newest.charter
    keys = [
        _describe(opened, purpose, name, charter)
        for purpose in purposes_of(opened)
        for name in opened.key_names(purpose)
    ]
    lines = [f"{key['name']:<12} {key.get('keyid') or key.get('fault')}\n{_told(key)}" for key in keys]
    emit({"schema": "glasshouse.keys/v1", "keys": keys}, "\n".join(lines) or "no keys yet", as_json=as_json)


def _describe(node: Node, purpose: str, name: str, charter: Charter | None) -> dict[str, Any]:
    place = node.key_place(name)
    key: dict[str, Any] = {"name": name, "uses": [use.value for use in KEY_USES[purpose]]}
    key |= {"place": str(place) if isinstance(place, TokenKey) else f"file {place}"}
    try:
        public = node.signer(name).public
        if isinstance(place, TokenKey):
            key["never_extractable"] = is_never_extractable(place)
    except PartyError as error:
        return key | {"fault": str(error)}
    key |= {"public": encode_base64(public), "keyid": keyid(public)}
    if (text := key_text(node, purpose, public)) is not None:
        key["vkey"] = text
    return key if charter is None else key | {"standing": _standing(charter, public, key.get("vkey"))}


def _standing(charter: Charter, public: bytes, vkey: str | None) -> str:
    ledger = charter.ledger
    if vkey is not None:
        named = vkey == ledger.key or any(vkey == witness.key for witness in ledger.witnesses.values())
        return "counts" if named else "not named"
    key = charter.key(keyid(public))
    if key is None:
        return "not named"
    return "counts" if key.stops is None else f"counts below entry {key.stops}"


def _told(key: dict[str, Any]) -> str:
    facts = [key["place"], f"signs {', '.join(key['uses']) or 'checkpoints'}"]
    if "never_extractable" in key:
        facts.append("never extractable" if key["never_extractable"] else "the token does not say never extractable")
    if "standing" in key:
        facts.append(key["standing"])
    return f"{'':<12} {'; '.join(facts)}"


@app.command()
def new(
    purpose: Annotated[str, typer.Argument(help=f"what it signs: one of {', '.join(KEY_USES)}")],
    node: NodeOption = Path(),
    module: Annotated[
        Path | None, typer.Option("--module", help="the PKCS#11 library of a token to make it in", exists=True)
    ] = None,
    token: Annotated[str | None, typer.Option("--token", help="the token's label, with --module")] = None,
    label: Annotated[
        str | None, typer.Option("--label", help="the key's label in the token; default: its name")
    ] = None,
    pin_file: Annotated[
        str | None, typer.Option("--pin-file", help="the file with the token's PIN, as seen from the node's directory")
    ] = None,
    pin_variable: Annotated[
        str | None, typer.Option("--pin-variable", help="or the environment variable with the token's PIN")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make the next key of a purpose and add it to the card; it counts once the charter names it."""
    opened, held = open_node(node), None
    if module is not None:
        held = _held(module, token, label or opened.next_key_name(purpose), pin_file, pin_variable)
    elif token or label or pin_file or pin_variable:
        raise SettingsError(
            "--module", "is missing", "Name the token's PKCS#11 library, or leave out its other options."
        )
    name, public = create_key(opened, purpose, held)
    card = opened.directory / CARD_FILE
    document: dict[str, Any] = {
        "schema": "glasshouse.key-new/v1",
        "name": name,
        "public": encode_base64(public),
        "keyid": keyid(public),
        "card": str(card),
    }
    vkey, vouchers = key_text(opened, purpose, public), ""
    if vkey is not None:
        document["vkey"], vouchers = vkey, " --vouchers"
    text = f"Made {name}: {vkey or document['public']} (id {document['keyid']})\n"
    text += f"Have the charter name it with: glasshouse charter join {card}{vouchers}"
    emit(document, text, as_json=as_json)


def _held(module: Path, token: str | None, label: str, pin_file: str | None, pin_variable: str | None) -> KeySettings:
    if token is None:
        raise SettingsError("--token", "is missing", "Name the token by its label.")
    if (pin_file is None) == (pin_variable is None):
        raise SettingsError("--pin-file", "or --pin-variable is missing, or both are given", "Give one of the two.")
    return KeySettings(
        module=str(module.absolute()), token=token, label=label, pin_file=pin_file, pin_variable=pin_variable
    )
