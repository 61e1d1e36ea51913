"""`glasshouse hold`: stop, withdraw or supersede a release, or lift what one placed."""

import time
from pathlib import Path
from typing import Annotated

import typer
from glasshouse_verify.alarm import Hold
from glasshouse_verify.codec import Digest, Identifier, Text
from glasshouse_verify.dsse import statement_id
from glasshouse_verify.statement import Action, Release, Use, make_statement

from glasshouse.cli.wiring import JsonOption, NodeOption, Session, emit, open_session
from glasshouse.parties.errors import SettingsError
from glasshouse.parties.signer import sign_statement

app = typer.Typer(no_args_is_help=True, help="Hold, withdraw or supersede a release, or lift a hold.")
ReleaseArgument = Annotated[str, typer.Argument(help="the release's statement id, or PRODUCT@VERSION")]
ReasonOption = Annotated[str, typer.Option("--reason", help="why, for everybody to read")]


@app.command()
def place(
    release: ReleaseArgument, reason: ReasonOption, node: NodeOption = Path(), as_json: JsonOption = False
) -> None:
    """Hold a release: from the next status on, no customer's gate passes it."""
    _log(node, Action.HOLD, release, reason, as_json=as_json)


@app.command()
def withdraw(
    release: ReleaseArgument, reason: ReasonOption, node: NodeOption = Path(), as_json: JsonOption = False
) -> None:
    """Withdraw one's own release (vendor)."""
    _log(node, Action.WITHDRAW, release, reason, as_json=as_json)


@app.command()
def supersede(
    release: ReleaseArgument,
    reason: ReasonOption,
    successor: Annotated[str | None, typer.Option("--by", help="the release that takes its place")] = None,
    node: NodeOption = Path(),
    as_json: JsonOption = False,
) -> None:
    """Say that a release is superseded (vendor); it still verifies, and the status shows it."""
    _log(node, Action.SUPERSEDE, release, reason, successor=successor, as_json=as_json)


@app.command()
def lift(
    hold: Annotated[str, typer.Argument(help="the statement id of the hold")],
    reason: ReasonOption,
    node: NodeOption = Path(),
    as_json: JsonOption = False,
) -> None:
    """Lift a hold that this party placed."""
    _log(node, Action.LIFT, None, reason, lifts=hold, as_json=as_json)


def _log(
    directory: Path,
    action: Action,
    release: str | None,
    reason: str,
    successor: str | None = None,
    lifts: str | None = None,
    *,
    as_json: bool,
) -> None:
    with open_session(directory) as session:
        settings = session.node.settings
        target = _lifted(session, lifts) if release is None else _release(session, release)
        hold = Hold(
            party=Identifier(settings.party),
            action=action,
            release=Digest(target),
            reason=Text(reason),
            time=int(time.time()),
            lifts=None if lifts is None else Digest(lifts),
            successor=None if successor is None else Digest(_release(session, successor)),
        )
        signer = session.signer("audit" if settings.auditor else "release")
        payload = make_statement(Use.HOLD, hold)
        index = session.post(sign_statement(payload, signer))
    document = {"schema": "glasshouse.hold/v1", "action": action.value, "id": statement_id(payload), "entry": index}
    text = f"Logged {action} {statement_id(payload)} at entry {index}; it counts from the next status on"
    emit(document, text, as_json=as_json)


def _release(session: Session, name: str) -> str:
    for record in session.follow().standing(Use.RELEASE):
        release: Release = record.predicate
        if name in (record.id, f"{release.product}@{release.version}"):
            return record.id
    raise SettingsError("release", f"the ledger has no release {name}", "Name it as vendor/product@version.")


def _lifted(session: Session, identity: str | None) -> str:
    record = session.follow().records.get(identity or "")
    if record is None or not isinstance(record.predicate, Hold):
        raise SettingsError("hold", f"the ledger has no hold {identity}", "Give the id that glasshouse status shows.")
    return str(record.predicate.release)
