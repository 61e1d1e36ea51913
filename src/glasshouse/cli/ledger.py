"""`glasshouse ledger`: create a log, add to it, read it, check the whole of it."""

from pathlib import Path
from typing import Annotated, Any

import typer
from glasshouse_verify.charter import Chain
from glasshouse_verify.checkpoint import parse_checkpoint
from glasshouse_verify.codec import Digest, decode, encode
from glasshouse_verify.dsse import parse_envelope, statement_id
from glasshouse_verify.errors import FormatError
from glasshouse_verify.note import parse_note
from glasshouse_verify.policy import Policy
from glasshouse_verify.policy_file import parse_policy
from glasshouse_verify.statement import parse_statement
from glasshouse_verify.tlogproof import format_tlog_proof, parse_tlog_proof

from glasshouse.cli.wiring import JsonOption, LedgerOption, NodeOption, emit, follow_pin
from glasshouse.ledger.client import LedgerClient
from glasshouse.ledger.fsck import check_log
from glasshouse.parties.errors import SettingsError
from glasshouse.parties.node import open_node
from glasshouse.storage.objects import DirectoryStore

app = typer.Typer(no_args_is_help=True, help="Create, add to, read and check a transparency log.")


@app.command()
def create(
    founding: Annotated[Path | None, typer.Argument(help="the signed first charter, which becomes entry 0")] = None,
    node: NodeOption = Path(),
    as_json: JsonOption = False,
) -> None:
    """Create this node's log, once. Without a charter only a log set `open` can be created."""
    from glasshouse.cli.serving import create_ledger

    opened = open_node(node)
    if founding is None and opened.settings.ledger is not None and not opened.settings.ledger.open:
        raise SettingsError("founding", "is missing", "Give the signed first charter, or set open = true in [ledger].")
    log = create_ledger(opened, None if founding is None else founding.read_bytes().rstrip(b"\n"))
    emit(
        {"schema": "glasshouse.ledger-create/v1", "origin": log.origin},
        f"Created the log {log.origin}",
        as_json=as_json,
    )


@app.command()
def add(
    entry: Annotated[Path, typer.Argument(help="an envelope, or any bytes for an open log", exists=True)],
    ledger: LedgerOption,
    as_json: JsonOption = False,
) -> None:
    """Add an entry; prints its index once it is durable."""
    with LedgerClient(ledger) as client:
        index = client.add(entry.read_bytes())
    emit({"schema": "glasshouse.ledger-add/v1", "index": index}, str(index), as_json=as_json)


@app.command()
def checkpoint(ledger: LedgerOption, as_json: JsonOption = False) -> None:
    """Print the witnessed checkpoint."""
    with LedgerClient(ledger) as client:
        note = parse_note(client.checkpoint())
    head = parse_checkpoint(note.text)
    names = [signature.name for signature in note.signatures]
    document = {
        "schema": "glasshouse.checkpoint/v1",
        "origin": head.origin,
        "size": head.size,
        "root": head.root.hex(),
        "signatures": names,
    }
    signers = "".join(f"\n  signed by {name}" for name in names)
    emit(document, f"{head.origin}: {head.size} entries, root {head.root.hex()}{signers}", as_json=as_json)


@app.command()
def entry(
    index: Annotated[int, typer.Argument(help="the entry's index", min=0)],
    ledger: LedgerOption,
    as_json: JsonOption = False,
) -> None:
    """Print an entry as what it says; nothing is checked here."""
    with LedgerClient(ledger) as client:
        document = {"schema": "glasshouse.entry/v1", "index": index, **_describe(client.entry(index))}
    lines = [f"{name}: {value}" for name, value in document.items() if name != "schema"]
    emit(document, "\n".join(lines), as_json=as_json)


def _describe(data: bytes) -> dict[str, Any]:
    try:
        envelope = parse_envelope(data)
        statement = parse_statement(envelope.payload)
    except FormatError as error:
        return {"bytes": len(data), "statement": None, "reason": str(error)}
    return {
        "id": statement_id(envelope.payload),
        "kind": statement.use.value,
        "subject": [{"name": name, "sha256": sha256} for name, sha256 in statement.subject],
        "predicate": encode(statement.predicate),
        "signed_by": [signature.keyid for signature in envelope.signatures],
    }


@app.command()
def lookup(
    sha256: Annotated[str, typer.Argument(help="a SHA-256: of a file, a manifest, a statement")],
    ledger: LedgerOption,
    as_json: JsonOption = False,
) -> None:
    """List the entries that name a digest, or are the statement with this id."""
    decode(Digest, sha256, "sha256")
    with LedgerClient(ledger) as client:
        # An entry is found as soon as it is durable, and shown once a checkpoint has it.
        published = parse_checkpoint(parse_note(client.checkpoint()).text).size
        found = [(index, _describe(client.entry(index))) for index in client.lookup(sha256) if index < published]
    document = {
        "schema": "glasshouse.lookup/v1",
        "digest": sha256,
        "entries": [{"index": index, "kind": what.get("kind"), "id": what.get("id")} for index, what in found],
    }
    lines = [f"{index:>8}  {what.get('kind', '?'):<11} {what.get('id', '')}" for index, what in found]
    emit(document, "\n".join(lines) or "no entry names it", as_json=as_json)


@app.command()
def proof(
    index: Annotated[int, typer.Argument(help="the entry's index", min=0)],
    ledger: LedgerOption,
) -> None:
    """Print the c2sp.org/tlog-proof of an entry against the witnessed checkpoint."""
    with LedgerClient(ledger) as client:
        typer.echo(format_tlog_proof(parse_tlog_proof(client.proof(index))).decode(), nl=False)


def _policy(data: bytes, place: str) -> Policy:
    if not data.startswith(b"{"):
        return parse_policy(data)
    pin = data.rstrip(b"\n")
    chain = follow_pin(place, pin).chain if "://" in place else Chain(pin)
    return chain.newest.charter.policy


@app.command()
def fsck(
    place: Annotated[str, typer.Argument(help="a ledger's URL, or a directory of tiles")],
    policy: Annotated[
        Path, typer.Option("--policy", help="a c2sp.org/tlog-policy file, or the pinned charter", exists=True)
    ] = Path("charter.json"),
    as_json: JsonOption = False,
) -> None:
    """Check a whole log: every entry against every tile against the signed checkpoint.

    With a pin and a URL the amendments are followed, so that keys may have changed since; of a directory of tiles the
    pin knows the first keys only, and later ones take a policy file.
    """
    rules = _policy(policy.read_bytes(), place)
    if "://" in place:
        with LedgerClient(place) as client:
            report = check_log(client.get, rules)
    else:
        report = check_log(DirectoryStore(Path(place)).get, rules)
    head = report.checkpoint
    document = {
        "schema": "glasshouse.fsck/v1",
        "sound": report.sound,
        "size": None if head is None else head.size,
        "conclusion": report.conclusion,
        "findings": [{"path": finding.path, "text": finding.text} for finding in report.findings],
    }
    lines = [f"{finding.path}: {finding.text}" for finding in report.findings]
    counted = "" if head is None else f"{head.origin}, {head.size} entries: "
    emit(document, "\n".join([*lines, counted + report.conclusion]), as_json=as_json)
    if not report.sound:
        raise typer.Exit(1)
