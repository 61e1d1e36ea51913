"""`glasshouse trap`: a release with wrong digests on purpose, which shows which rebuilders rebuild.

What opens a trap lies in one private file (`TrapFile`), which goes from member to member outside of the ledger.
"""

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer
from glasshouse_verify.charter import entitled, verified_keyids
from glasshouse_verify.codec import Identifier, decode, encode
from glasshouse_verify.dsse import Envelope, EnvelopeSignature, parse_envelope, statement_id
from glasshouse_verify.errors import QuorumError
from glasshouse_verify.statement import Release, Use, make_statement, parse_statement
from glasshouse_verify.trap import Trap, TrapOpening, is_trap
from rich.console import Console

from glasshouse.cli.conveyor import RecipeArgument, open_press
from glasshouse.cli.releasing import await_commits, lock_of
from glasshouse.cli.source import follows
from glasshouse.cli.wiring import JsonOption, NodeOption, Session, emit, open_session
from glasshouse.conveyor.recipe import read_recipe
from glasshouse.conveyor.release import Order, ReleaseRun
from glasshouse.conveyor.trap import RELEASE, lay_trap, publications
from glasshouse.ledger.history import Record
from glasshouse.parties.errors import SettingsError
from glasshouse.parties.node import open_node
from glasshouse.parties.signer import add_signature, sign_statement
from glasshouse.storage import files

app = typer.Typer(no_args_is_help=True, help="Make, commit to, release and open a trap for lazy rebuilders.")
SCHEMA = "glasshouse.trap/v1"
MEMBER = "member"
TrapArgument = Annotated[Path, typer.Argument(help="the trap's private file", exists=True, dir_okay=False)]


@dataclass(frozen=True, kw_only=True)
class TrapFile:
    """What the members know of a trap: its release, what opens it, and the commitment with their signatures."""

    release: str
    opening: TrapOpening
    commitment: str
    signatures: tuple[EnvelopeSignature, ...]
    schema: str = SCHEMA

    @property
    def envelope(self) -> Envelope:
        """The commitment, with the signatures so far."""
        return Envelope(payload=self.commitment.encode(), signatures=self.signatures)

    @property
    def released(self) -> Release:
        """What the trap releases."""
        release: Release = parse_statement(self.release.encode()).predicate
        return release


def read_trap(path: Path) -> TrapFile:
    """Read a trap's private file and check that it is a trap: the opening opens the commitment, the release is wrong.

    Raises FormatError, SettingsError.
    """
    try:
        document = json.loads(path.read_bytes())
    except ValueError as error:
        raise SettingsError(str(path), f"is not JSON: {error}", "Have it sent again.") from error
    trap: TrapFile = decode(TrapFile, document, "trap")
    commitment, release = parse_statement(trap.commitment.encode()), parse_statement(trap.release.encode())
    sound = isinstance(commitment.predicate, Trap) and isinstance(release.predicate, Release)
    if not sound or commitment.predicate.commitment != trap.opening.commitment:
        raise SettingsError(str(path), "does not hold what opens its commitment", "Have it sent again.")
    if statement_id(release.payload) != trap.opening.release or not is_trap(release.predicate, trap.opening):
        raise SettingsError(str(path), "is of a release that is no trap", "Do not sign it: it could be installed.")
    return trap


def _write(path: Path, trap: TrapFile) -> None:
    files.write(path, json.dumps(encode(trap), indent=2).encode(), mode=0o600)


@app.command()
def make(
    recipe: RecipeArgument,
    version: Annotated[str, typer.Option("--version", help="a version that will never be shipped")],
    locked: Annotated[
        Path | None, typer.Option("--lock", help="the environment lock; default: one made now", exists=True)
    ] = None,
    channel: Annotated[str, typer.Option("--channel", help="the channel to offer it on")] = "stable",
    out: Annotated[Path, typer.Option("--out", help="the private file to write")] = Path("trap.json"),
    node: NodeOption = Path(),
    as_json: JsonOption = False,
) -> None:
    """Build a release and give it wrong digests (vendor). Nothing is logged: the members have to sign first.

    The version is spent: once the trap is open, its release stands withdrawn for good.
    """
    with open_session(node) as session, open_press(session.node, session.agent) as press:
        charter = session.follow().chain.newest.charter
        _check_free(session, read_recipe(recipe).product, version)
        directory = _directory(session.node.data, read_recipe(recipe).product, version)
        lock = lock_of(directory / "lock.jsonl", recipe, locked, press)
        may_follow = follows(session.history, press.vendor, read_recipe(recipe))
        order = Order(recipe=recipe, version=version, channel=channel, lock=lock, follows=may_follow)
        run = ReleaseRun(directory, charter, order, press, Console(stderr=True, log_path=False).log)
        opening = lay_trap(run, int(time.time()))
        release = parse_envelope((directory / RELEASE).read_bytes()).payload
        said = Trap(party=Identifier(session.node.settings.party), commitment=opening.commitment, time=int(time.time()))
        envelope = Envelope(payload=make_statement(Use.TRAP, said), signatures=())
        if session.node.settings.member:
            envelope = add_signature(envelope, session.signer(MEMBER))
    trap = TrapFile(
        release=release.decode(),
        opening=opening,
        commitment=envelope.payload.decode(),
        signatures=envelope.signatures,
    )
    _write(out, trap)
    document = {"schema": "glasshouse.trap-make/v1", "trap": str(out), "release": opening.release}
    text = f"Wrote {out}, for the members' eyes only. Each of a quorum signs it: glasshouse trap sign {out}"
    emit(document, text, as_json=as_json)


def _check_free(session: Session, product: str, version: str) -> None:
    wanted = (f"{session.node.settings.party}/{product}", version)
    for record in session.history.standing(Use.RELEASE):
        if (record.predicate.product, record.predicate.version) == wanted:
            raise SettingsError("--version", f"{version} is released already", "Choose one that is never shipped.")


def _directory(data: Path, product: str, version: str) -> Path:
    """Where the vendor's node keeps a trap: apart from its releases, which are shipped."""
    return data / "traps" / product / version


@app.command()
def sign(trap_file: TrapArgument, node: NodeOption = Path(), as_json: JsonOption = False) -> None:
    """Check that a trap is one and cannot be installed, and sign the commitment to it (member)."""
    trap = read_trap(trap_file)
    envelope = add_signature(trap.envelope, open_node(node).signer(MEMBER))
    _write(trap_file, replace(trap, signatures=envelope.signatures))
    count = len(envelope.signatures)
    document = {"schema": "glasshouse.trap-sign/v1", "trap": str(trap_file), "signatures": count}
    emit(document, f"Signed: {count} signatures in {trap_file}", as_json=as_json)


@app.command()
def commit(trap_file: TrapArgument, node: NodeOption = Path(), as_json: JsonOption = False) -> None:
    """Log the commitment, once a quorum of the members has signed it. It says nothing about which release it is."""
    trap = read_trap(trap_file)
    with open_session(node) as session:
        charter = session.follow().chain.newest.charter
        signed = entitled(charter, verified_keyids(charter, trap.envelope), Use.TRAP)
        members = sorted(set(signed) & set(charter.members.parties))
        if len(members) < charter.members.quorum:
            raise QuorumError(f"the trap has {len(members)} of the {charter.members.quorum} members' signatures")
        index = session.post(trap.envelope)
    document = {"schema": "glasshouse.trap-commit/v1", "entry": index, "members": members}
    text = (
        f"Committed at entry {index}, signed by {', '.join(members)}. Release it: glasshouse trap release {trap_file}"
    )
    emit(document, text, as_json=as_json)


@app.command()
def release(trap_file: TrapArgument, node: NodeOption = Path(), as_json: JsonOption = False) -> None:
    """Publish the trap like any release (vendor): its source first, then the wrong digests; there is no file."""
    trap = read_trap(trap_file)
    released, console = trap.released, Console(stderr=True, log_path=False)
    with open_session(node) as session:
        if not _is_committed(session, trap):
            raise SettingsError(str(trap_file), "is not committed to in the ledger", "First: glasshouse trap commit.")
        directory = _directory(session.node.data, released.product.split("/")[1], released.version)
        indexes = []
        for name, envelope, blobs in publications(directory):
            if name == RELEASE:
                await_commits(session, released.product, released.source, console.log)
            indexes.append(session.post(envelope, blobs))
    document = {"schema": "glasshouse.trap-release/v1", "entries": indexes, "release": trap.opening.release}
    text = f"Released the trap {released.product} {released.version} at entry {indexes[-1]}"
    emit(document, f"{text}. When the rebuilders have spoken: glasshouse trap open {trap_file}", as_json=as_json)


def _is_committed(session: Session, trap: TrapFile) -> bool:
    records = session.follow().standing(Use.TRAP)
    return any(r.predicate.opening is None and r.predicate.commitment == trap.opening.commitment for r in records)


@app.command("open")
def open_trap(
    trap_file: TrapArgument,
    early: Annotated[bool, typer.Option("--early", help="although a rebuilder has not spoken yet")] = False,
    node: NodeOption = Path(),
    as_json: JsonOption = False,
) -> None:
    """Show that the release was a trap (member): it stands withdrawn, and auditors name who fell into it."""
    trap = read_trap(trap_file)
    with open_session(node) as session:
        history = session.follow()
        record = history.records.get(trap.opening.release)
        if record is None or not _is_committed(session, trap):
            raise SettingsError(str(trap_file), "is not released", "First: glasshouse trap commit, then release.")
        silent = _silent(session, record)
        if silent and not early:
            raise SettingsError("trap", f"{', '.join(silent)} gave no verdict yet", "Wait, or open it --early.")
        said = Trap(
            party=Identifier(session.node.settings.party),
            commitment=trap.opening.commitment,
            time=int(time.time()),
            opening=trap.opening,
        )
        index = session.post(sign_statement(make_statement(Use.TRAP, said), session.signer(MEMBER)))
        verdicts = {
            party: [r.predicate.verdict.value for r in records] for party, records in history.verdicts(record).items()
        }
    document = {"schema": "glasshouse.trap-open/v1", "entry": index, "verdicts": verdicts, "silent": silent}
    lines = [f"{party}: {', '.join(spoken)}" for party, spoken in verdicts.items()]
    text = f"Opened at entry {index}; the release stands withdrawn. What was said of it (differs is right):"
    emit(document, "\n".join([text, *(f"  {line}" for line in lines)]), as_json=as_json)


def _silent(session: Session, record: Record) -> list[Identifier]:
    """The rebuilders that a release asks for and that have not spoken."""
    product = session.history.chain.at(record.index).charter.products[record.predicate.product]
    given = session.history.verdicts(record)
    return [party for party in product.gate.rebuilders if party not in given]
