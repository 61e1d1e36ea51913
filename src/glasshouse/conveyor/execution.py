"""Running one command as if on a machine that is the same everywhere, by whatever isolates it.

An executor (bubblewrap, podman, docker) starts the driver below on a root file system; this module feeds it a source
tree as a tar stream, takes the output back as one, keeps the log and enforces the bounds. No directory is shared with
the run. Whatever the executor, the command finds: user and group 1000, host name `builder`, paths below /build, one
environment, umask, resource limits, order and times of the files in the work directory, one system-call filter; and no
network, no other process, no device beyond null, zero, random and the like, no file of the host but the locked root.

Not hidden, because namespaces cannot: the clock, the kernel and its version, the model and number of CPUs, the memory
size, the order in which the host's file system lists the read-only root, who owns its files, and by which path the host
knows it. There is no fallback without isolation.
"""

from __future__ import annotations

import contextlib
import subprocess
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol

from glasshouse.conveyor.errors import BuildFailed, SandboxUnavailable
from glasshouse.conveyor.rootfs import USER, RootFs
from glasshouse.conveyor.watch import Bounds, Watch

SOURCE_DIRECTORY = "/build/source"
OUTPUT_DIRECTORY = "/build/out"
MAX_LOG_BYTES = 16 << 20
LOG_TAIL_BYTES = 4_000
SHARED_MEMORY_MIB = 64
MAX_OPEN_FILES = 1_024
_GRACE_SECONDS = 2
_NO_TREE = 125
_MAX_PREAMBLE_BYTES = 65_536
# The driver's first words: what stands before them on the same pipe was written by the executor.
_BEGINNING = b"-- the build begins --\n"
FIXED_ENVIRONMENT = {
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/build/home",
    "TMPDIR": "/build/tmp",
    "USER": USER,
    "LOGNAME": USER,
    "LANG": "C.UTF-8",
    "LC_ALL": "C.UTF-8",
    "TZ": "UTC",
}
# Runs inside, as the parent of the build. Limits are lowered here so that the child cannot raise them again: data
# (KiB), file size (512-byte blocks), processes. Where memory runs out, the kernel is to take the build first. What the
# build leaves running is killed before the output is read.
_DRIVER = f"""
set -eu
printf '%s' '{_BEGINNING.decode()}' >&2
umask 022
(echo 1000 > /proc/self/oom_score_adj) 2>/dev/null || :
ulimit -c 0; ulimit -l 64; ulimit -n {MAX_OPEN_FILES}; ulimit -r 0; ulimit -s 8192
ulimit -d "$1"; ulimit -f "$2"; [ "$3" = - ] || ulimit -p "$3"
shift 3
cd /build
mkdir out home tmp source
tar -x --no-same-owner -p -f - || exit {_NO_TREE}
exec </dev/null
touch -d "@$SOURCE_DATE_EPOCH" . home out tmp
cd {SOURCE_DIRECTORY}
unset OLDPWD
"$@" >&2 || exit $?
kill -KILL -1 2>/dev/null || :
exec tar -c -f - --format=posix --sort=name --hard-dereference -C {OUTPUT_DIRECTORY} .
"""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One command to run on a root at commit time `epoch` (Unix seconds).

    `environment` adds to the fixed variables, `cpus` restricts the run to these CPUs.
    """

    root: RootFs
    command: Sequence[str]
    epoch: int
    environment: tuple[tuple[str, str], ...]
    bounds: Bounds
    cpus: frozenset[int] | None = None


@dataclass(kw_only=True)
class Running:
    """A started run: the process that holds its pipes, the number here of its first process inside, how to end it all.

    `first` is None where the processes are not visible on this machine.
    """

    process: subprocess.Popen[bytes]
    first: int | None
    end: Callable[[], None]
    killed: bool = field(default=False, init=False)

    def kill(self) -> None:
        """End every process of the run."""
        if self.process.poll() is None:
            self.killed = True
            self.end()


class Executor(Protocol):
    """Isolates a run. It is trusted: what it lets through, a build can do."""

    @property
    def pins_cpus(self) -> bool:
        """Whether a run can be restricted to some of the CPUs."""

    def describe(self) -> str:
        """Name and version, as a verdict names it. Raises `SandboxUnavailable`."""

    def probe(self) -> None:
        """Raise `SandboxUnavailable`, with the reason and the way round it, unless it can isolate a build here."""

    def start(self, job: Job) -> AbstractContextManager[Running]:
        """Start the driver with all three pipes; at the end of the context nothing of the run is left."""


def driver_command(job: Job, processes: int | None) -> list[str]:
    """What an executor starts on the root: the driver in its environment, with the limits that it sets itself.

    `processes` is the kernel's limit on processes of the user; None where that would count other people's.
    """
    fixed = {**FIXED_ENVIRONMENT, "SOURCE_DATE_EPOCH": str(job.epoch)}
    variables = [f"{key}={value}" for key, value in sorted({**dict(job.environment), **fixed}.items())]
    limits = [job.bounds.memory_mib << 10, job.bounds.work_mib << 11, "-" if processes is None else processes]
    return ["/usr/bin/env", "-i", *variables, "/bin/sh", "-c", _DRIVER, "sh", *map(str, limits), *job.command]


def run(
    job: Job, executor: Executor, send: Callable[[IO[bytes]], None], receive: Callable[[IO[bytes]], None], log: Path
) -> None:
    """Run a job: `send` writes the tree as tar below `source/`, `receive` reads the output directory as tar.

    The log file gets what the command prints, up to `MAX_LOG_BYTES`. Raises `SandboxUnavailable` when it cannot be
    isolated and `BuildFailed` when the command fails or breaks a bound. Errors of `send` and `receive` pass through,
    after the run was killed.
    """
    executor.probe()
    with log.open("wb") as log_file, executor.start(job) as running:
        process = running.process
        stdin, stdout, stderr = _pipes(process)
        watch = Watch(process, running.first, job.bounds, running.kill)
        feed, record = _Feed(running, stdin, send), _Record(stderr, log_file)
        threads = [threading.Thread(target=work) for work in (feed.run, record.run, watch.run)]
        for thread in threads:
            thread.start()
        failure: Exception | None = None
        try:
            receive(stdout)
        except Exception as error:
            failure = error
            # A command that failed leaves no archive either; its own exit status is the better reason.
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_GRACE_SECONDS)
        else:
            process.wait()
        finally:
            running.kill()
            exit_code = process.wait()
            for thread in threads:
                thread.join()
    if not record.began and feed.failure is None:
        raise SandboxUnavailable(f"{executor.describe()} did not start the build: {log_tail(log) or watch.broken}")
    _judge(0 if running.killed else exit_code, watch.broken, feed.failure or failure, log)


def _judge(exit_code: int, broken: str, failure: Exception | None, log: Path) -> None:
    """The order matters: a killed run also breaks its pipes. The exit code is 0 of a run that we killed ourselves."""
    if broken:
        raise BuildFailed(f"the build was stopped: {broken}", None, log_tail(log))
    if failure is not None and exit_code == 0:
        raise failure
    if exit_code:
        number = exit_code - 128 if exit_code > 128 else -exit_code
        signalled = f"was killed by signal {number}" if number > 0 else f"exited with status {exit_code}"
        raise BuildFailed(f"the build command {signalled}", exit_code, log_tail(log))


def log_tail(log: Path) -> str:
    """The end of a build log as text."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - LOG_TAIL_BYTES))
        return file.read().decode(errors="replace").strip()


def _pipes(process: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes], IO[bytes]]:
    if process.stdin is None or process.stdout is None or process.stderr is None:
        raise RuntimeError("a process was started without its pipes")
    return process.stdin, process.stdout, process.stderr


class _Feed:
    """Writes the tree into the run; `failure` is what stopped it, unless the run itself went away."""

    def __init__(self, running: Running, pipe: IO[bytes], send: Callable[[IO[bytes]], None]) -> None:
        self._running = running
        self._pipe = pipe
        self._send = send
        self.failure: Exception | None = None

    def run(self) -> None:
        """Send everything, then close the pipe."""
        try:
            with self._pipe:
                self._send(self._pipe)
        except BrokenPipeError:
            # The exit status of the run says why it stopped reading.
            return
        except Exception as error:
            self.failure = error
            self._running.kill()


class _Record:
    """Keeps what a run prints, up to the bound. `began` says that the driver came to speak at all.

    What the executor prints before is left out, unless nothing else comes: then it is the reason.
    """

    def __init__(self, pipe: IO[bytes], log: IO[bytes]) -> None:
        self._pipe = pipe
        self._log = log
        self._left = MAX_LOG_BYTES
        self.began = False

    def run(self) -> None:
        """Read to the end."""
        preamble = b""
        while chunk := self._pipe.read(1 << 16):
            if self.began:
                self._keep(chunk)
                continue
            before, self.began, after = _split(preamble + chunk)
            preamble = before[-_MAX_PREAMBLE_BYTES:]
            self._keep(after)
        if not self.began:
            self._keep(preamble)
        if not self._left:
            self._log.write(b"\n(the log was cut here)\n")

    def _keep(self, data: bytes) -> None:
        self._log.write(data[: self._left])
        self._left = max(0, self._left - len(data))


def _split(printed: bytes) -> tuple[bytes, bool, bytes]:
    before, mark, after = printed.partition(_BEGINNING)
    return before, bool(mark), after
