"""Building a product: source tree + root file system → output files, in the sandbox, hashed outside of it."""

from __future__ import annotations

import fnmatch
import hashlib
import os
import platform
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from glasshouse.conveyor.archive import ArchiveError, Kind, Limits, Member, Readable, TarWriter, read_members
from glasshouse.conveyor.errors import BuildFailed
from glasshouse.conveyor.execution import Executor, Job, log_tail, run
from glasshouse.conveyor.recipe import Recipe
from glasshouse.conveyor.rootfs import RootFs
from glasshouse.conveyor.sandbox import Bubblewrap
from glasshouse.conveyor.tree import SourceTree, write_tree
from glasshouse.conveyor.watch import Bounds

MAX_OUTPUT_FILES = 1_000
LOG_NAME = "build.log"
NOT_VARIED = (
    "the kernel and its version",
    "the model and features of the CPU",
    "the clock, apart from the time that passed between the builds",
    "the order in which the host lists the read-only root",
)
CPUS_NOT_VARIED = "the number of CPUs"


@dataclass(frozen=True, kw_only=True)
class Output:
    """One file that a build left: its name, where it was copied to, SHA-256 in lowercase hex, and size in bytes."""

    name: str
    path: Path
    sha256: str
    size: int


@dataclass(frozen=True, kw_only=True)
class BuildResult:
    """A finished build. Times are Unix seconds. `variations` says what this build did otherwise than the default.

    `executor` names what isolated it, with its version.
    """

    outputs: tuple[Output, ...]
    log: Path
    started: int
    finished: int
    executor: str
    variations: Mapping[str, str]
    not_varied: tuple[str, ...]


def build(
    tree: SourceTree,
    recipe: Recipe,
    root: RootFs,
    epoch: int,
    destination: Path,
    cpus: Sequence[int] | None = None,
    executor: Executor | None = None,
) -> BuildResult:
    """Build a tree in isolation and copy output files and build.log to `destination`, a new directory.

    `epoch` is the commit time, which the build sees as SOURCE_DATE_EPOCH and as the time of every file; `cpus` lets a
    rebuilder vary the CPUs used, where its `executor` (bubblewrap by default) can. Raises `BuildFailed` when the
    command fails, breaks a bound or leaves other files than the recipe says, `SandboxUnavailable` when the machine
    cannot isolate it.
    """
    executor = executor or Bubblewrap()
    step = recipe.build
    destination.mkdir(parents=True)
    log = destination / LOG_NAME
    outputs: list[Output] = []
    job = job_of(recipe, root, epoch, cpus if executor.pins_cpus else None)
    limits = Limits(members=MAX_OUTPUT_FILES, total_bytes=(step.output_mib << 20) + (MAX_OUTPUT_FILES << 11))
    started = int(time.time())
    run(
        job,
        executor,
        lambda pipe: send_tree(tree, epoch, pipe),
        lambda pipe: _receive(pipe, destination, limits, outputs),
        log,
    )
    finished = int(time.time())
    outputs.sort(key=lambda output: output.name.encode())
    _check_outputs([output.name for output in outputs], step.outputs, log)
    return BuildResult(
        outputs=tuple(outputs),
        log=log,
        started=started,
        finished=finished,
        executor=executor.describe(),
        variations=_variations(job.cpus, executor, started),
        not_varied=not_varied(job.cpus),
    )


def job_of(recipe: Recipe, root: RootFs, epoch: int, cpus: Sequence[int] | None = None) -> Job:
    """What a recipe asks to be run on a root."""
    step = recipe.build
    return Job(
        root=root,
        command=step.command,
        epoch=epoch,
        environment=step.env,
        bounds=Bounds(
            timeout_seconds=step.timeout_seconds,
            memory_mib=step.memory_mib,
            work_mib=step.work_mib,
            processes=step.processes,
        ),
        cpus=None if cpus is None else frozenset(cpus),
    )


def not_varied(cpus: Collection[int] | None) -> tuple[str, ...]:
    """What a build with these CPUs, or all, had in common with the default one on such a machine."""
    same = cpus is None or set(cpus) == os.sched_getaffinity(0)
    return (*NOT_VARIED, CPUS_NOT_VARIED) if same else NOT_VARIED


def _variations(cpus: Collection[int] | None, executor: Executor, started: int) -> dict[str, str]:
    used = sorted(cpus) if cpus is not None else sorted(os.sched_getaffinity(0))
    return {
        "cpus": ",".join(map(str, used)),
        "executor": executor.describe(),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "started": str(started),
    }


def send_tree(tree: SourceTree, epoch: int, pipe: IO[bytes]) -> None:
    """Write a tree as the tar stream that a run takes as its input."""
    writer = TarWriter(pipe, epoch)
    write_tree(tree, writer, "source/")
    # Adding a file changes the time of its directory: the top one is set last.
    writer.directory("source")
    writer.finish()


def _receive(pipe: IO[bytes], destination: Path, limits: Limits, outputs: list[Output]) -> None:
    try:
        for member, content in read_members(pipe, limits):
            if member.kind is Kind.DIRECTORY and not member.path:
                continue
            if content is None or "/" in member.path:
                raise ArchiveError(f"{member.path!r} is not a plain file directly in the output directory")
            if member.path == LOG_NAME:
                raise ArchiveError(f"{LOG_NAME!r} is the name of the build's own log")
            outputs.append(_copy_out(member, content, destination / member.path))
    except ArchiveError as error:
        raise BuildFailed(f"the output of the build is refused: {error}") from error
    while pipe.read(1 << 16):
        pass


def _copy_out(member: Member, content: Readable, place: Path) -> Output:
    digest = hashlib.sha256()
    size = 0
    with place.open("xb") as out:
        # For whoever tries the file out; a release names its bytes only.
        os.fchmod(out.fileno(), 0o755 if member.executable else 0o644)
        while chunk := content.read(1 << 20):
            digest.update(chunk)
            size += len(chunk)
            out.write(chunk)
    return Output(name=member.path, path=place, sha256=digest.hexdigest(), size=size)


def _check_outputs(names: Sequence[str], patterns: Sequence[str], log: Path) -> None:
    for pattern in patterns:
        if not fnmatch.filter(names, pattern):
            raise BuildFailed(f"the build left no file {pattern!r}", 0, log_tail(log))
    for name in names:
        if not any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns):
            raise BuildFailed(f"the build left {name!r}, which the recipe does not name", 0, log_tail(log))
