"""`glasshouse conveyor` and `glasshouse release`: lock an environment, build in the sandbox, release."""

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import typer
from glasshouse_verify.dsse import statement_id
from glasshouse_verify.statement import Use
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from glasshouse.cli.wiring import JsonOption, NodeOption, Session, emit, open_session
from glasshouse.conveyor.build import build as run_build
from glasshouse.conveyor.lock import parse_lock
from glasshouse.conveyor.origin import default_origins, fetch, resolve
from glasshouse.conveyor.recipe import parse_recipe
from glasshouse.conveyor.release import Order, Press, ReleaseRun
from glasshouse.conveyor.rootfs import make_root
from glasshouse.conveyor.sandbox import probe
from glasshouse.conveyor.signing import CodeSigner
from glasshouse.conveyor.source import fetch_source
from glasshouse.conveyor.store import Store, http_client
from glasshouse.parties.certificates import CERTIFICATE_SUFFIX, Purpose
from glasshouse.parties.node import Node
from glasshouse.parties.signer import AgentSigner
from glasshouse.storage import files

app = typer.Typer(no_args_is_help=True, help="Lock an environment, build in the sandbox, release.")
RecipeArgument = Annotated[Path, typer.Argument(help="the recipe's directory", exists=True, file_okay=False)]
LockOption = Annotated[Path, typer.Option("--lock", help="the environment lock", dir_okay=False)]
CacheOption = Annotated[Path, typer.Option("--cache", help="where downloads and unpacked roots are kept")]
DEFAULT_CACHE = Path("~/.cache/glasshouse")
LOCK_FILE = Path("lock.jsonl")


@app.command()
def lock(
    recipe: RecipeArgument, out: LockOption = LOCK_FILE, cache: CacheOption = DEFAULT_CACHE, as_json: JsonOption = False
) -> None:
    """Lock a recipe's environment: every package and wheel by digest, with the signed indexes that vouch for them."""
    parsed = parse_recipe((recipe / "recipe.toml").read_bytes())
    with http_client() as client, progress() as report:
        made = resolve(parsed, Store(cache.expanduser() / "downloads"), default_origins(client), report)
    files.write(out, made.data)
    document = {
        "schema": "glasshouse.lock-summary/v1",
        "lock": str(out),
        "root": made.root.root.hex(),
        "rows": made.root.size,
        "packages": len(made.debs),
        "wheels": len(made.wheels),
    }
    emit(
        document,
        f"Wrote {out}: {len(made.debs)} packages, {len(made.wheels)} wheels, root {document['root']}",
        as_json=as_json,
    )


@app.command()
def build(
    recipe: RecipeArgument,
    out: Annotated[Path, typer.Option("--out", help="a new directory for the output files")],
    locked: LockOption = LOCK_FILE,
    cache: CacheOption = DEFAULT_CACHE,
    as_json: JsonOption = False,
) -> None:
    """Build a recipe in the sandbox, for oneself: nothing is signed and nothing is logged."""
    probe()
    parsed, parsed_lock = parse_recipe((recipe / "recipe.toml").read_bytes()), parse_lock(locked.read_bytes())
    store = Store(cache.expanduser() / "downloads")
    with tempfile.TemporaryDirectory() as scratch, http_client() as client:
        origins = default_origins(client)
        source = fetch_source(parsed, recipe, parsed_lock, Path(scratch) / "source", store, origins)
        with progress() as report:
            fetch(parsed_lock, store, origins, report)
            root = make_root(parsed_lock, store, cache.expanduser() / "roots", report)
        result = run_build(source.tree, parsed, root, source.epoch, out)
    outputs = [{"name": o.name, "sha256": o.sha256, "size": o.size} for o in result.outputs]
    document = {"schema": "glasshouse.build/v1", "outputs": outputs, "seconds": result.finished - result.started}
    emit(document, "\n".join(f"{o.sha256}  {out / o.name}" for o in result.outputs), as_json=as_json)


def register(application: typer.Typer) -> None:
    """Add the commands of this module that stand outside its group."""
    application.command()(release)


def release(
    recipe: RecipeArgument,
    version: Annotated[str, typer.Option("--version", help="the version to release")],
    locked: LockOption = LOCK_FILE,
    channel: Annotated[str, typer.Option("--channel", help="the channel to offer it on")] = "stable",
    node: NodeOption = Path(),
    as_json: JsonOption = False,
) -> None:
    """Fetch the source, seal its pack, build, sign in processes of their own, log and publish. Resumes where it was."""
    console = Console(stderr=True)
    with open_session(node) as session, open_press(session.node, session.agent) as press:
        session.follow()
        order = Order(
            recipe=recipe,
            version=version,
            channel=channel,
            lock=locked.read_bytes(),
        )
        directory = (
            session.node.data / "releases" / parse_recipe((recipe / "recipe.toml").read_bytes()).product / version
        )
        run = ReleaseRun(directory, session.history.chain.newest.charter, order, press, say=console.log)
        source = run.publish_source(int(time.time()))
        indexes = [session.post(source.envelope, source.blobs)]
        run.say("building in the sandbox")
        run.build()
        _await_commits(session, run, statement_id(source.envelope.payload))
        released = run.sign_release(int(time.time()))
        indexes.append(session.post(released.envelope, released.blobs))
        signatures = run.detach()
    document = {
        "schema": "glasshouse.release/v1",
        "product": run.product,
        "version": version,
        "entries": indexes,
        "files": [str(path) for path in run.shipped],
        "signatures": [str(path) for path in signatures],
    }
    text = f"Released {run.product} {version}: source at entry {indexes[0]}, release at entry {indexes[1]}"
    emit(document, "\n".join([text, *(f"  {path}" for path in (*run.shipped, *signatures))]), as_json=as_json)


def _await_commits(session: Session, run: ReleaseRun, source: str) -> None:
    """Wait until every rebuilder has committed to its own build of the source, at most for the charter's window."""
    gate = session.history.chain.newest.charter.products[run.product].gate
    waiting = set(gate.rebuilders) if gate.blind_window else set()
    deadline = time.monotonic() + (gate.blind_window or 0)
    if waiting:
        run.say(f"waiting for the commitments of {', '.join(sorted(waiting))}")
    while waiting and time.monotonic() < deadline:
        records = session.follow().standing(Use.COMMIT)
        waiting -= {record.predicate.party for record in records if record.predicate.source == source}
        time.sleep(0.5 if waiting else 0)


@contextlib.contextmanager
def open_press(node: Node, agent: Callable[[str], AgentSigner] | None = None) -> Iterator[Press]:
    """The conveyor of a node: its caches, and its keys in processes of their own, which `agent` starts."""
    agent = agent or node.agent
    with (
        http_client() as client,
        agent("conveyor") as conveyor,
        agent("release") as releaser,
        progress() as report,
    ):
        yield Press(
            vendor=node.settings.party,
            store=Store(node.cache / "downloads"),
            origins=default_origins(client),
            roots=node.cache / "roots",
            conveyor=conveyor,
            releaser=releaser,
            code_signer=_code_signer(node),
            progress=report,
        )


def _code_signer(node: Node) -> CodeSigner | None:
    key = node.key_path(Purpose.CODE_SIGNING)
    settings = node.settings.conveyor
    if settings is None or not key.exists():
        return None
    certificates = node.keys / f"{Purpose.CODE_SIGNING}{CERTIFICATE_SUFFIX}"
    return CodeSigner(key=key, certificates=certificates, timestamps=settings.timestamps)


@contextlib.contextmanager
def progress() -> Iterator[Callable[[str, int, int], None]]:
    """A progress bar on standard error for downloads and unpacking."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)

        def report(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=total)

        yield report
