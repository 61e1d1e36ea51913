"""`glasshouse relocate plan` and `commit`: what is to move, and the secrets that choose the sample."""

import hashlib
import itertools
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from glasshouse_verify.codec import Identifier, encode
from glasshouse_verify.region import Origin
from glasshouse_verify.relocation import Step
from glasshouse_verify.report import utc
from rich.console import Console

from glasshouse.cli.beside import open_beside
from glasshouse.cli.relocating.group import app
from glasshouse.cli.relocating.steps import MoveArgument, Mover, open_mover
from glasshouse.cli.relocating.tale import volume
from glasshouse.cli.wiring import JsonOption, NodeOption, emit
from glasshouse.parties.errors import SettingsError
from glasshouse.regions.sweeping import held_objects
from glasshouse.relocation.commitments import commit as make_commitment
from glasshouse.relocation.course import Course
from glasshouse.relocation.plan import (
    Scope,
    Word,
    format_scope,
    open_way,
    plan_path,
    read_plan,
    read_secret,
)
from glasshouse.relocation.stores.interface import Capabilities

# How much is read to see how fast it goes.
PROBE_OBJECTS, PROBE_BYTES = 256, 64 << 20
Objects = Iterator[tuple[int, Callable[[], Iterator[bytes]]]]


@app.command()
def plan(
    relocation: MoveArgument,
    node: NodeOption = Path(),
    log: Annotated[bool, typer.Option("--log", help="log it as the move's scope")] = False,
    as_json: JsonOption = False,
) -> None:
    """What will move, how much it is, how long it will take, and what the store honours (the old site).

    Reads moves/MOVE.toml in the node. With --log the scope is logged: what the old site says of its replicas, backups
    and caches is public from then on.
    """
    with open_mover(node, relocation, purpose="intake") as mover:
        course = mover.course()
        if course.moving.site != mover.site:
            fix = f"Run it at {course.moving.site}."
            raise SettingsError("site.id", f"{relocation} leaves {course.moving.site}, not {mover.site}", fix)
        scope = _scope(mover, course)
        document, entry = format_scope(scope), None
        if log:
            digest = hashlib.sha256(document).hexdigest()
            members: dict[str, Any] = {"site": mover.site, "to": scope.to, "source": scope.source, "document": digest}
            entry = mover.say(course, Step.SCOPE, {digest: document}, **members).entry
        due = course.moving.due
    told = {"schema": "glasshouse.relocation-plan/v1", "scope": encode(scope), "entry": entry, "due": utc(due)}
    emit(told, "\n".join(_lines(scope, due, entry)), as_json=as_json)


@app.command()
def commit(relocation: MoveArgument, node: NodeOption = Path(), as_json: JsonOption = False) -> None:
    """Log the digest of a secret that nobody can guess (the supervisor, and another member). It is kept in the node.

    Once everything has arrived, `relocate verify` reveals it; together the secrets choose the sample.
    """
    with open_mover(node, relocation) as mover:
        says = make_commitment(mover.course(), mover.place, party=mover.party, now=int(time.time()))
        said = mover.log(says)
    told = {"schema": "glasshouse.relocation-commitment/v1", "statement": said.statement, "entry": said.entry}
    emit(told, f"Committed at entry {said.entry}; the secret is in {mover.place}", as_json=as_json)


def _scope(mover: Mover, course: Course) -> Scope:
    directory, moving = mover.session.node.directory, course.moving
    plan = read_plan(directory, mover.relocation)
    word = plan.scope
    if word is None:
        fix = "Write replicas, backups and caches; empty lists where there are none."
        raise SettingsError(str(plan_path(directory, mover.relocation)), "has no table [scope]", fix)
    if moving.source == Origin.STORE:
        if plan.store is None:
            raise SettingsError("store", "is not named", "Write a table [store] with url, credentials and secret.")
        read_secret(directory, plan.store, make=True)
        store = open_way(directory, plan.store)
        shown = (version for version in store.list() if not version.marker)
        versions = ((version.size, partial(store.read, version)) for version in shown)
        return _counted(mover, course, word, versions, store.probe())
    with open_beside(directory, "relocation") as site:
        vault = site.place.vault
        held = ((size, partial(vault.stream, handle)) for handle, _, size in held_objects(site.place))
        return _counted(mover, course, word, held, None)


def _counted(mover: Mover, course: Course, word: Word, objects: Objects, able: Capabilities | None) -> Scope:
    """Count everything; read the first of it to see how fast that goes."""
    say = Console(stderr=True, log_path=False).log
    count = size = read = 0
    began = time.monotonic()
    for length, content in itertools.islice(objects, PROBE_OBJECTS):
        if read < PROBE_BYTES:
            read += sum(map(len, content()))
        count, size = count + 1, size + length
    probed, taken = count, time.monotonic() - began
    for length, _ in objects:
        count, size = count + 1, size + length
        if count % 100_000 == 0:
            say(f"{count:,} objects, {volume(size)}")
    # What takes time of a small object is the object, of a large one its bytes.
    each = taken * max(count / max(probed, 1), size / max(read, 1))
    moving = course.moving
    return Scope(
        assertion=True,
        relocation=Identifier(mover.relocation),
        region=Identifier(str(course.region)),
        source=moving.source,
        site=moving.site,
        to=tuple(sorted(course.destinations)),
        objects=count,
        size=size,
        seconds=round(each),
        store=able,
        replicas=word.replicas,
        backups=word.backups,
        caches=word.caches,
        note=word.note,
    )


def _lines(scope: Scope, due: int, entry: int | None) -> Iterator[str]:
    yield f"{scope.relocation}: {scope.region} leaves {scope.site} for {', '.join(scope.to)}; promised by {utc(due)}"
    yield f"{scope.objects:,} objects, {volume(scope.size)}; about {scope.seconds:,} s to read once at this rate"
    if scope.store is not None:
        able = {name: value for name, value in encode(scope.store).items() if name not in ("store", "notes")}
        yield f"{scope.store.store}: " + ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in able.items())
        yield from scope.store.notes
    for name in ("replicas", "backups", "caches"):
        yield f"{name} (its own word): {'; '.join(getattr(scope, name)) or 'none'}"
    yield "Not logged; log it with --log" if entry is None else f"Logged at entry {entry}"
