"""`glasshouse release`: from a git tag to published evidence, in one command that resumes where it was."""

import subprocess
import time
from hashlib import file_digest
from pathlib import Path
from typing import Annotated, Any

import typer
from glasshouse_verify.codec import Product, Version, decode
from glasshouse_verify.dsse import statement_id
from glasshouse_verify.evidence import format_evidence
from glasshouse_verify.statement import Use
from rich.console import Console

from glasshouse.cli.conveyor import RecipeArgument, open_press
from glasshouse.cli.source import check_history, follows, history_document, history_lines
from glasshouse.cli.wiring import JsonOption, NodeOption, Session, emit, open_session
from glasshouse.conveyor.manifest import source_root
from glasshouse.conveyor.origin import resolve
from glasshouse.conveyor.recipe import read_recipe
from glasshouse.conveyor.release import Order, Press, ReleaseRun, Say
from glasshouse.conveyor.tree import scan_tree
from glasshouse.ledger.evidence import assemble
from glasshouse.parties.errors import SettingsError
from glasshouse.storage import files
from glasshouse.supervision.auditor import rows_of
from glasshouse.supervision.errors import StatusDisputed

POLL_SECONDS = 0.5
GIT_SECONDS = 30


def register(application: typer.Typer) -> None:
    """Add the commands of this module to the application."""
    application.command()(release)


def release(
    recipe: RecipeArgument,
    version: Annotated[str | None, typer.Option("--version", help="the version; default: the git tag at HEAD")] = None,
    locked: Annotated[
        Path | None, typer.Option("--lock", help="the environment lock; default: one made now", exists=True)
    ] = None,
    channel: Annotated[str, typer.Option("--channel", help="the channel to offer it on")] = "stable",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="build and say what would be logged")] = False,
    flagged: Annotated[
        bool, typer.Option("--flagged", help="release although auditors will flag the history of the source")
    ] = False,
    evidence: Annotated[
        Path | None, typer.Option("--evidence", help="wait for the status, then write the evidence of each file here")
    ] = None,
    timeout: Annotated[int, typer.Option("--timeout", help="seconds to wait for the status", min=1)] = 3600,
    node: NodeOption = Path(),
    as_json: JsonOption = False,
) -> None:
    """Fetch the source, seal its pack, build, sign in processes of their own, log and publish. Resumes where it was."""
    version = version or tag_of(recipe)
    console = Console(stderr=True, log_path=False)
    with open_session(node) as session, open_press(session.node, session.agent) as press:
        session.follow()
        directory = session.node.data / "releases" / read_recipe(recipe).product / decode(Version, version, "--version")
        lock = lock_of(directory / "lock.jsonl", recipe, locked, press)
        may_follow = follows(session.history, press.vendor, read_recipe(recipe))
        order = Order(recipe=recipe, version=version, channel=channel, lock=lock, follows=may_follow)
        run = ReleaseRun(directory, session.history.chain.newest.charter, order, press, say=console.log)
        if dry_run:
            document = _rehearse(run)
        else:
            check_history(run, flagged=flagged)
            document = _publish(session, run)
            if evidence is not None:
                document["evidence"] = _await_evidence(session, run, evidence, timeout)
    emit(document, _text(document), as_json=as_json)


def lock_of(kept: Path, recipe: Path, given: Path | None, press: Press) -> bytes:
    """The lock of a release: the one it was begun with, the one given, or one made from today's package indexes."""
    if given is not None:
        return given.read_bytes()
    if kept.exists():
        return kept.read_bytes()
    return resolve(read_recipe(recipe), press.store, press.origins, press.progress).data


def tag_of(place: Path) -> str:
    """The version that the git tag at HEAD names, without its leading v; raises SettingsError where there is none."""
    command = ["git", "-C", str(place), "describe", "--tags", "--exact-match", "--dirty=+dirty"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=GIT_SECONDS, check=False)
    tag = done.stdout.strip()
    if done.returncode or not tag or tag.endswith("+dirty"):
        reason = "is missing, and HEAD is not exactly at a git tag with a clean work tree"
        raise SettingsError("--version", reason, "Tag the commit, or give --version.")
    return tag.removeprefix("v")


def _rehearse(run: ReleaseRun) -> dict[str, Any]:
    """Everything up to the signatures; the directory is kept, and a release goes on from it."""
    run.say("fetching and sealing the source")
    run.fetch()
    run.seal()
    run.say("building in the sandbox")
    run.build()
    tree = scan_tree(run.directory / "tree")
    root = source_root(tree, (run.directory / "secret").read_bytes())
    return {
        "schema": "glasshouse.release-rehearsal/v1",
        "product": run.product,
        "version": run.order.version,
        "source": {"root": root.root.hex(), "files": root.size, "recipients": run.recipients},
        "lock": {"root": run.lock.root.root.hex(), "rows": run.lock.root.size},
        "history": history_document(run),
        "files": [{"name": name, "sha256": sha256} for name, sha256 in run.built],
    }


def _publish(session: Session, run: ReleaseRun) -> dict[str, Any]:
    source = run.publish_source(int(time.time()))
    indexes = [session.post(source.envelope, source.blobs)]
    run.say("building in the sandbox")
    run.build()
    await_commits(session, run.product, statement_id(source.envelope.payload), run.say)
    released = run.sign_release(int(time.time()))
    indexes.append(session.post(released.envelope, released.blobs))
    return {
        "schema": "glasshouse.release/v1",
        "product": run.product,
        "version": run.order.version,
        "entries": indexes,
        "files": [str(path) for path in run.shipped],
        "signatures": [str(path) for path in run.detach()],
    }


def await_commits(session: Session, product: Product, source: str, say: Say) -> None:
    """Wait until every rebuilder has committed to its own build of the source, at most for the charter's window."""
    gate = session.history.chain.newest.charter.products[product].gate
    waiting = set(gate.rebuilders) if gate.blind_window else set()
    deadline = time.monotonic() + (gate.blind_window or 0)
    if waiting:
        say(f"waiting for the commitments of {', '.join(sorted(waiting))}")
    while waiting and time.monotonic() < deadline:
        records = session.follow().standing(Use.COMMIT)
        waiting -= {record.predicate.party for record in records if record.predicate.source == source}
        time.sleep(POLL_SECONDS if waiting else 0)


def _await_evidence(session: Session, run: ReleaseRun, place: Path, seconds: int) -> list[str]:
    """Wait until the status shows every rebuilder's verdict on the release, then write the evidence of its files."""
    run.say("waiting for the verdicts and the status")
    deadline, prefix = time.monotonic() + seconds, f"{run.product}/{run.order.version}/"
    while not _is_judged(session, prefix):
        if time.monotonic() > deadline:
            raise StatusDisputed(f"no status shows every verdict on {prefix[:-1]} after {seconds} s")
        time.sleep(POLL_SECONDS)
    written = []
    for path in run.shipped:
        target = place / f"{path.name}.evidence"
        files.make_directory(place)
        files.write(target, format_evidence(assemble(session.client, session.node.pin, _digest(path), path.name)))
        written.append(str(target))
    return written


def _is_judged(session: Session, prefix: str) -> bool:
    history = session.follow()
    rows = [row for row in history.status_rows() if row["key"].startswith(prefix)]
    signed = [record.predicate for record in history.standing(Use.STATUS)]
    spoken = bool(rows) and all(v.get("verdict") for row in rows for v in row["verdicts"].values())
    return spoken and bool(signed) and signed[-1].rows == rows_of(history)[1]


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def _text(document: dict[str, Any]) -> str:
    name = f"{document['product']} {document['version']}"
    if "entries" not in document:
        source, lock = document["source"], document["lock"]
        lines = [
            f"Nothing was logged. A release of {name} would log",
            f"  source   root {source['root']}, {source['files']} files, for {', '.join(source['recipients'])}",
            f"  lock     root {lock['root']}, {lock['rows']} rows",
            *history_lines(document["history"]),
            *(f"  file     {file['sha256']}  {file['name']}" for file in document["files"]),
        ]
        return "\n".join(lines)
    first = f"Released {name}: source at entry {document['entries'][0]}, release at entry {document['entries'][1]}"
    paths = (*document["files"], *document["signatures"], *document.get("evidence", ()))
    return "\n".join([first, *(f"  {path}" for path in paths)])
