"""`glasshouse conveyor` and `glasshouse release`: lock an environment, build in the sandbox, release."""

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from glasshouse.cli.wiring import JsonOption, emit
from glasshouse.conveyor.build import build as run_build
from glasshouse.conveyor.build import job_of, send_tree
from glasshouse.conveyor.deposit import Deposit
from glasshouse.conveyor.engine import ExecutorName, executor_of, write_layer
from glasshouse.conveyor.kubernetes import job_manifest
from glasshouse.conveyor.lock import Lock, parse_lock
from glasshouse.conveyor.origin import default_origins, fetch, resolve
from glasshouse.conveyor.recipe import Recipe, read_recipe
from glasshouse.conveyor.release import Press
from glasshouse.conveyor.rootfs import RootFs, make_root
from glasshouse.conveyor.signing import CodeSigner
from glasshouse.conveyor.source import FetchedSource, fetch_source
from glasshouse.conveyor.store import Store, http_client
from glasshouse.parties.certificates import CERTIFICATE_SUFFIX, Purpose
from glasshouse.parties.node import Node, open_node
from glasshouse.parties.signer import AgentSigner
from glasshouse.storage import files

app = typer.Typer(no_args_is_help=True, help="Lock an environment, build in the sandbox, release.")
RecipeArgument = Annotated[Path, typer.Argument(help="the recipe's directory", exists=True, file_okay=False)]
LockOption = Annotated[Path, typer.Option("--lock", help="the environment lock", dir_okay=False)]
CacheOption = Annotated[Path, typer.Option("--cache", help="where downloads and unpacked roots are kept")]
DEFAULT_CACHE = Path("~/.cache/glasshouse")
LOCK_FILE = Path("lock.jsonl")
DEFAULT_EXECUTOR = ExecutorName.BUBBLEWRAP


@app.command()
def lock(
    recipe: RecipeArgument,
    out: LockOption = LOCK_FILE,
    cache: CacheOption = DEFAULT_CACHE,
    node: Annotated[Path | None, typer.Option("--node", help="the node that will release: its cache is used")] = None,
    as_json: JsonOption = False,
) -> None:
    """Lock a recipe's environment: every package and wheel by digest, with the signed indexes that vouch for them."""
    cache = cache if node is None else open_node(node).cache
    parsed = read_recipe(recipe)
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
    executor: Annotated[ExecutorName, typer.Option("--executor", help="what isolates the build")] = DEFAULT_EXECUTOR,
    as_json: JsonOption = False,
) -> None:
    """Build a recipe in isolation, for oneself: nothing is signed and nothing is logged."""
    chosen = executor_of(executor)
    chosen.probe()
    with _prepared(recipe, locked, cache) as (parsed, _, source, root):
        result = run_build(source.tree, parsed, root, source.epoch, out, executor=chosen)
    outputs = [{"name": o.name, "sha256": o.sha256, "size": o.size} for o in result.outputs]
    document = {
        "schema": "glasshouse.build/v1",
        "outputs": outputs,
        "executor": result.executor,
        "seconds": result.finished - result.started,
    }
    emit(document, "\n".join(f"{o.sha256}  {out / o.name}" for o in result.outputs), as_json=as_json)


@app.command()
def job(
    recipe: RecipeArgument,
    image: Annotated[str, typer.Option("--image", help="the root as an image, by digest: registry/root@sha256:…")],
    locked: LockOption = LOCK_FILE,
    cache: CacheOption = DEFAULT_CACHE,
    parts: Annotated[
        Path | None, typer.Option("--parts", help="also write root.tar (the image) and tree.tar (the input) there")
    ] = None,
) -> None:
    """Print a Kubernetes Job that builds a recipe on the same root file system, as JSON, which is YAML.

    The Job waits for its input: kubectl attach -i job/NAME < tree.tar > output.tar
    """
    with _prepared(recipe, locked, cache) as (parsed, parsed_lock, source, root):
        manifest = job_manifest(job_of(parsed, root, source.epoch), parsed, parsed_lock, image)
        if parts is not None:
            files.make_directory(parts)
            with (parts / "root.tar").open("wb") as out:
                write_layer(root.directory, out)
            with (parts / "tree.tar").open("wb") as out:
                send_tree(source.tree, source.epoch, out)
    typer.echo(manifest.decode(), nl=False)


@contextlib.contextmanager
def _prepared(recipe: Path, locked: Path, cache: Path) -> Iterator[tuple[Recipe, Lock, FetchedSource, RootFs]]:
    """What a build needs: the recipe, its lock, its source and the unpacked root."""
    parsed, parsed_lock = read_recipe(recipe), parse_lock(locked.read_bytes())
    store = Store(cache.expanduser() / "downloads")
    with tempfile.TemporaryDirectory() as scratch, http_client() as client:
        origins = default_origins(client)
        source = fetch_source(parsed, recipe, parsed_lock, Path(scratch) / "source", store, origins)
        with progress() as report:
            fetch(parsed_lock, store, origins, report)
            root = make_root(parsed_lock, store, cache.expanduser() / "roots", report)
        yield parsed, parsed_lock, source, root


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
            origins=default_origins(client, node.settings.mirrors.debian, Deposit(node.archive)),
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
