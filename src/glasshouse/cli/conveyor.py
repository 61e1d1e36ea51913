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
from glasshouse.conveyor.deposit import Deposit
from glasshouse.conveyor.lock import parse_lock
from glasshouse.conveyor.origin import default_origins, fetch, resolve
from glasshouse.conveyor.recipe import read_recipe
from glasshouse.conveyor.release import Press
from glasshouse.conveyor.rootfs import make_root
from glasshouse.conveyor.sandbox import probe
from glasshouse.conveyor.signing import CodeSigner
from glasshouse.conveyor.source import fetch_source
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
    as_json: JsonOption = False,
) -> None:
    """Build a recipe in the sandbox, for oneself: nothing is signed and nothing is logged."""
    probe()
    parsed, parsed_lock = read_recipe(recipe), parse_lock(locked.read_bytes())
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
