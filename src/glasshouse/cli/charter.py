"""`glasshouse charter`: draft the first charter, vote, pin, amend, read."""

import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from glasshouse_verify.charter import Chain, Charter, apply_patch, entitled, verified_keyids
from glasshouse_verify.codec import encode
from glasshouse_verify.dsse import format_envelope, parse_envelope, statement_id
from glasshouse_verify.errors import QuorumError
from glasshouse_verify.region import regions_of
from glasshouse_verify.report import utc
from glasshouse_verify.sshsig import parse_public_line
from glasshouse_verify.statement import Use, parse_statement

from glasshouse.cli.wiring import (
    JsonOption,
    LedgerOption,
    NodeOption,
    PinOption,
    emit,
    follow_pin,
    open_session,
    read_pin,
)
from glasshouse.parties.card import CARD_FILE, parse_card
from glasshouse.parties.drafting import (
    draft_amendment,
    draft_developer,
    draft_first,
    draft_join,
    draft_nodes,
    draft_stop,
    parse_region_terms,
    parse_terms,
)
from glasshouse.parties.errors import SettingsError
from glasshouse.parties.node import open_node
from glasshouse.parties.region_terms import draft_countries, draft_regions
from glasshouse.parties.signer import add_signature, sign_statement
from glasshouse.storage import files

app = typer.Typer(no_args_is_help=True, help="Draft, vote on, amend and read the charter.")
NAME = "member"


@app.command()
def draft(
    terms: Annotated[Path, typer.Argument(help="the terms (TOML)", exists=True, dir_okay=False)],
    cards: Annotated[list[Path], typer.Argument(help="the parties' card.json files", exists=True, dir_okay=False)],
    out: Annotated[Path, typer.Option("--out", help="where to write the draft")] = Path("charter-draft.json"),
    as_json: JsonOption = False,
) -> None:
    """Make the first charter from the parties' cards and the terms they agreed on; nobody has signed it yet."""
    agreed = parse_terms(terms.read_bytes().decode(errors="replace"))
    payload = draft_first(agreed, [parse_card(card.read_bytes()) for card in cards], int(time.time()))
    files.write(out, payload)
    document = {"schema": "glasshouse.charter-draft/v1", "out": str(out), "id": statement_id(payload)}
    emit(document, f"Wrote {out}: charter {statement_id(payload)}", as_json=as_json)


@app.command()
def sign(
    document: Annotated[Path, typer.Argument(help="the draft, or its envelope so far", exists=True, dir_okay=False)],
    node: NodeOption = Path(),
    out: Annotated[Path, typer.Option("--out", help="the envelope to write")] = Path("charter-signed.json"),
    as_json: JsonOption = False,
) -> None:
    """Add this member's signature to a draft; members pass the envelope on until it has its quorum."""
    data = document.read_bytes().rstrip(b"\n")
    signer = open_node(node).signer(NAME)
    if data.startswith(b'{"payload":'):
        signed = parse_envelope(data)
        _check_regions(signed.payload)
        envelope = add_signature(signed, signer)
    else:
        _check_regions(data)
        envelope = sign_statement(data, signer)
    files.write(out, format_envelope(envelope))
    count = len(envelope.signatures)
    answer = {"schema": "glasshouse.charter-sign/v1", "out": str(out), "signatures": count}
    emit(answer, f"Wrote {out}: {count} signatures", as_json=as_json)


def _check_regions(payload: bytes) -> None:
    """Nobody signs regions that break a rule; the chain of charters carries them unread."""
    charter = parse_statement(payload).predicate
    if isinstance(charter, Charter):
        regions_of(charter)


@app.command()
def pin(
    document: Annotated[Path, typer.Argument(help="the signed first charter", exists=True, dir_okay=False)],
    out: Annotated[Path, typer.Option("--out", help="the pin to write")] = Path("charter.json"),
    as_json: JsonOption = False,
) -> None:
    """Check that a first charter carries its members' quorum and write it as the pin that customers keep."""
    envelope = parse_envelope(document.read_bytes())
    charter = Chain(envelope.payload).newest.charter
    signed = entitled(charter, verified_keyids(charter, envelope), Use.CHARTER)
    voters = set(signed) & set(charter.members.parties)
    if len(voters) < charter.members.quorum:
        raise QuorumError(f"the charter has {len(voters)} of the {charter.members.quorum} member votes it needs")
    files.write(out, envelope.payload)
    identity, names = statement_id(envelope.payload), sorted(voters)
    answer = {"schema": "glasshouse.charter-pin/v1", "out": str(out), "id": identity, "signed_by": names}
    emit(answer, f"Wrote {out}: charter {identity}, signed by {', '.join(names)}", as_json=as_json)


@app.command()
def amend(
    patch: Annotated[Path, typer.Argument(help="a JSON merge patch of the charter (RFC 7396)", exists=True)],
    node: NodeOption = Path(),
    as_json: JsonOption = False,
) -> None:
    """Propose the next version to the ledger: the newest charter with a merge patch, under this member's vote."""
    change = _read_patch(patch)
    with open_session(node) as session:
        newest = session.follow().chain.newest
        payload = draft_amendment(newest, change, session.node.settings.party, int(time.time()))
        index = session.post(sign_statement(payload, session.signer(NAME)))
    identity, version = statement_id(payload), newest.charter.version + 1
    document = {"schema": "glasshouse.charter-amend/v1", "id": identity, "version": version, "entry": index}
    emit(document, f"Proposed charter {version} at entry {index}: {identity}", as_json=as_json)


def _read_patch(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise SettingsError(str(path), f"is not JSON: {error}", "Mend the line named.") from error


@app.command()
def join(
    cards: Annotated[
        list[Path], typer.Argument(help="card.json of each party that joins or has new keys", exists=True)
    ],
    vouchers: Annotated[
        bool, typer.Option("--vouchers", help="also take over the log key and the witness that the cards name")
    ] = False,
    out: Annotated[Path, typer.Option("--out", help="the merge patch to write")] = Path("patch.json"),
    as_json: JsonOption = False,
) -> None:
    """Write the merge patch that adds parties, or new keys of known ones, to the charter; then: charter amend."""
    joining = [parse_card(path.read_bytes()) for path in cards]
    files.write(out, json.dumps(draft_join(joining, vouchers=vouchers), indent=2).encode())
    document = {"schema": "glasshouse.charter-join/v1", "out": str(out), "parties": [c.party for c in joining]}
    emit(document, f"Wrote {out}; propose it with: glasshouse charter amend {out}", as_json=as_json)


@app.command()
def stop(
    keyid: Annotated[str, typer.Argument(help="the id of the key, or enough of its beginning")],
    at: Annotated[
        int | None, typer.Option("--at", help="the first entry that it does not count for; default: the next", min=0)
    ] = None,
    node: NodeOption = Path(),
    patch: Annotated[Path, typer.Option("--patch", help="the merge patch to write, or to add to")] = Path("patch.json"),
    as_json: JsonOption = False,
) -> None:
    """Write into a merge patch that a key no longer counts; what it signed before stays valid. Then: charter amend."""
    with open_session(node) as session:
        history = session.follow()
        index = history.size if at is None else at
        change = draft_stop(history.chain.newest.charter, keyid, index)
    files.write(patch, json.dumps(apply_patch(_read_patch(patch) if patch.exists() else {}, change), indent=2).encode())
    document = {"schema": "glasshouse.charter-stop/v1", "out": str(patch), "stops": index}
    text = f"Wrote {patch}: from entry {index} on the key counts no more; propose it with: glasshouse charter amend"
    emit(document, f"{text} {patch}", as_json=as_json)


@app.command()
def country(
    countries: Annotated[list[str], typer.Argument(help="the countries (ISO 3166-1 codes, such as NZ)")],
    region: Annotated[str, typer.Option("--region", help="the region that takes their data, such as au")],
    node: NodeOption = Path(),
    out: Annotated[Path, typer.Option("--out", help="the merge patch to write")] = Path("patch.json"),
    as_json: JsonOption = False,
) -> None:
    """Write the merge patch that adds countries to a region of the charter; then: charter amend."""
    with open_session(node) as session:
        history = session.follow()
        closed = [r.predicate.epoch for r in history.standing(Use.INVENTORY) if r.predicate.region == region]
        epoch = max(closed) + 1 if closed else None
        patch = draft_countries(history.chain.newest.charter, region, countries, epoch)
    files.write(out, json.dumps(patch, indent=2).encode())
    document = {"schema": "glasshouse.charter-country/v1", "out": str(out), "region": region, "countries": countries}
    emit(document, f"Wrote {out}; propose it with: glasshouse charter amend {out}", as_json=as_json)


@app.command()
def region(
    terms: Annotated[Path, typer.Argument(help="tables [regions.ID] (TOML)", exists=True, dir_okay=False)],
    cards: Annotated[list[Path], typer.Argument(help="card.json of their sites and custodians", exists=True)],
    node: NodeOption = Path(),
    out: Annotated[Path, typer.Option("--out", help="the merge patch to write")] = Path("patch.json"),
    as_json: JsonOption = False,
) -> None:
    """Write the merge patch that brings regions and their sites into the charter, or gives a region other rules."""
    agreed = parse_region_terms(terms.read_bytes().decode(errors="replace"))
    shown = [parse_card(card.read_bytes()) for card in cards]
    with open_session(node) as session:
        newest = session.follow().chain.newest.charter
    patch = draft_nodes(newest, shown) | draft_regions(newest, agreed, shown)
    files.write(out, json.dumps(patch, indent=2).encode())
    document = {"schema": "glasshouse.charter-region/v1", "out": str(out), "regions": list(agreed)}
    emit(document, f"Wrote {out}; propose it with: glasshouse charter amend {out}", as_json=as_json)


@app.command()
def developer(
    product: Annotated[str, typer.Argument(help="the product, as vendor/product")],
    name: Annotated[str, typer.Argument(help="a short name, as releases will show it")],
    key: Annotated[
        Path | None, typer.Argument(help="the developer's public SSH key (ed25519); none: remove the developer")
    ] = None,
    node: NodeOption = Path(),
    patch: Annotated[Path, typer.Option("--patch", help="the merge patch to write, or to add to")] = Path("patch.json"),
    as_json: JsonOption = False,
) -> None:
    """Write into a merge patch with which key a developer signs commits and reviews. Then: charter amend."""
    public = None if key is None else parse_public_line(key.read_text())
    with open_session(node) as session:
        change = draft_developer(session.follow().chain.newest.charter, product, name, public)
    files.write(patch, json.dumps(apply_patch(_read_patch(patch) if patch.exists() else {}, change), indent=2).encode())
    document = {"schema": "glasshouse.charter-developer/v1", "out": str(patch), "developer": name}
    emit(document, f"Wrote {patch}; propose it with: glasshouse charter amend {patch}", as_json=as_json)


@app.command()
def vote(
    identity: Annotated[str, typer.Argument(help="the id of the proposed charter")],
    node: NodeOption = Path(),
    as_json: JsonOption = False,
) -> None:
    """Add this member's vote to a proposal in the ledger; with the last vote needed it comes into force."""
    with open_session(node) as session:
        history = session.follow()
        envelope = history.proposals.get(identity)
        if envelope is None or parse_statement(envelope.payload).use != Use.CHARTER:
            raise SettingsError(
                "id", f"no charter {identity[:16]}… is open for votes", "See: glasshouse charter history."
            )
        _check_regions(envelope.payload)
        index = session.post(add_signature(envelope, session.signer(NAME)))
    document = {"schema": "glasshouse.charter-vote/v1", "id": identity, "entry": index}
    emit(document, f"Voted at entry {index}. Where it stands: glasshouse charter history", as_json=as_json)


@app.command()
def history(
    ledger: LedgerOption,
    pin_file: PinOption = Path("charter.json"),
    as_json: JsonOption = False,
) -> None:
    """Follow a ledger from the pin and list every charter version, what is open for votes, and when each counted."""
    found = follow_pin(ledger, read_pin(pin_file))
    links = [
        {
            "version": link.charter.version,
            "id": link.id,
            "entry": max(link.index, 0),
            "time": utc(link.charter.time),
            "proposed_by": link.charter.party,
            "members": list(link.charter.members.parties),
        }
        for link in found.chain.links
    ]
    open_votes = [i for i, e in found.proposals.items() if parse_statement(e.payload).use == Use.CHARTER]
    lines = [f"{x['version']:>3}  {x['time']}  entry {x['entry']:<6} {x['id']}" for x in links]
    lines += [f"     open for votes: {identity}" for identity in open_votes]
    document = {"schema": "glasshouse.charter-history/v1", "charters": links, "open": open_votes}
    emit(document, "\n".join(lines), as_json=as_json)


@app.command()
def show(
    pin_file: Annotated[Path, typer.Argument(help="a charter: the pin, or an envelope")] = Path("charter.json"),
    card: Annotated[bool, typer.Option("--card", help="show this node's card instead")] = False,
) -> None:
    """Print a charter, indented for people."""
    if card:
        typer.echo((pin_file / CARD_FILE if pin_file.is_dir() else Path(CARD_FILE)).read_text())
        return
    data = pin_file.read_bytes().rstrip(b"\n")
    payload = parse_envelope(data).payload if data.startswith(b'{"payload":') else data
    typer.echo(json.dumps(encode(Chain(payload).newest.charter), indent=2, ensure_ascii=False))
