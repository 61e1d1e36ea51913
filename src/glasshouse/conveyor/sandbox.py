"""Running one command in bubblewrap, as if on a machine that is the same everywhere.

Fixed: user and group 1000, host name `builder`, paths below /build, environment, umask, resource limits, order and
times of the files in the work directory. Absent: network, other processes, devices beyond null, zero, random and the
like, the host's file system. A tree goes in as a tar stream and the output comes back as one, so that no directory is
shared with the host.

Not hidden, because user namespaces cannot: the clock, the kernel and its version, the model and number of CPUs, the
memory size, the order in which the host's file system lists the read-only root. There is no fallback without a
sandbox.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from glasshouse.conveyor.errors import BuildFailed, SandboxUnavailable
from glasshouse.conveyor.rootfs import UID, USER
from glasshouse.conveyor.seccomp import filter_program

HOST_NAME = "builder"
SOURCE_DIRECTORY = "/build/source"
OUTPUT_DIRECTORY = "/build/out"
MAX_LOG_BYTES = 16 << 20
LOG_TAIL_BYTES = 4_000
_POLL_SECONDS = 0.25
_PROBE_SECONDS = 20
_GRACE_SECONDS = 2
_NO_TREE = 125
# The watch counts processes; the kernel's own limit only has to slow a fork bomb down until the watch sees it.
_FORK_MARGIN = 2_000
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
# (KiB), file size (512-byte blocks), processes. What the build leaves running is killed before the output is read.
_DRIVER = f"""
set -eu
umask 022
ulimit -c 0; ulimit -l 64; ulimit -n 1024; ulimit -r 0; ulimit -s 8192
ulimit -d "$1"; ulimit -f "$2"; ulimit -p "$3"
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
class Bounds:
    """What one run may use: wall-clock seconds, MiB of memory and of work directory, number of processes."""

    timeout_seconds: int
    memory_mib: int
    work_mib: int
    processes: int


@dataclass(frozen=True, kw_only=True)
class Job:
    """One command to run on a root at commit time `epoch` (Unix seconds).

    `environment` adds to the fixed variables, `cpus` restricts the run to these CPUs.
    """

    root: Path
    command: Sequence[str]
    epoch: int
    environment: tuple[tuple[str, str], ...]
    bounds: Bounds
    cpus: frozenset[int] | None = None


def probe() -> None:
    """Raise `SandboxUnavailable`, with the reason and the way round it, unless a sandbox can be had here."""
    if shutil.which("bwrap") is None:
        raise SandboxUnavailable("bubblewrap is not installed", "install the package bubblewrap")
    with _filter_file() as seccomp:
        command = ["bwrap", *_isolation(seccomp.fileno()), "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev"]
        try:
            result = subprocess.run(
                [*command, "--size", "4096", "--tmpfs", "/tmp", "true"],  # noqa: S108
                capture_output=True,
                timeout=_PROBE_SECONDS,
                check=False,
                stdin=subprocess.DEVNULL,
                pass_fds=[seccomp.fileno()],
            )
        except subprocess.TimeoutExpired as error:
            raise SandboxUnavailable("bubblewrap does not start") from error
    if result.returncode:
        reason = result.stderr.decode(errors="replace").strip()
        raise SandboxUnavailable(f"bubblewrap cannot isolate a build here: {reason}", _way_round(reason))


def _way_round(reason: str) -> str:
    if _kernel_flag("kernel/apparmor_restrict_unprivileged_userns") == "1":
        return (
            "AppArmor forbids user namespaces to programs without a profile (Ubuntu 23.10 and later): give bwrap one"
            " that says `userns,`, or run `sysctl kernel.apparmor_restrict_unprivileged_userns=0` as root"
        )
    if _kernel_flag("kernel/unprivileged_userns_clone") == "0":
        return "run `sysctl kernel.unprivileged_userns_clone=1` as root"
    if _kernel_flag("user/max_user_namespaces") == "0":
        return "user namespaces are switched off: run `sysctl user.max_user_namespaces=10000` as root"
    if "nknown option" in reason:
        return "bubblewrap 0.8 or newer is needed"
    return "in a container, it has to be allowed user namespaces and the system calls mount and pivot_root"


def _kernel_flag(name: str) -> str:
    with contextlib.suppress(OSError):
        return Path("/proc/sys", name).read_text().strip()
    return ""


@contextlib.contextmanager
def _filter_file() -> Iterator[IO[bytes]]:
    """The system-call filter as an open file at its beginning, as bwrap wants it."""
    with tempfile.TemporaryFile() as file:
        file.write(filter_program())
        file.seek(0)
        yield file


def _isolation(seccomp: int) -> list[str]:
    spaces = ("user", "ipc", "pid", "net", "uts", "cgroup")
    return [
        *(f"--unshare-{space}" for space in spaces),
        *("--disable-userns", "--die-with-parent", "--new-session", "--clearenv"),
        *("--cap-drop", "ALL", "--uid", str(UID), "--gid", str(UID), "--hostname", HOST_NAME),
        *("--seccomp", str(seccomp)),
    ]


def _command(job: Job, seccomp: int, status: int) -> list[str]:
    bounds = job.bounds
    command = ["bwrap", *_isolation(seccomp), "--ro-bind", str(job.root), "/", "--proc", "/proc", "--dev", "/dev"]
    command += ["--size", str(64 << 20), "--tmpfs", "/dev/shm", "--remount-ro", "/dev"]  # noqa: S108
    command += ["--perms", "0755", "--size", str(bounds.work_mib << 20), "--tmpfs", "/build", "--chdir", "/build"]
    fixed = {**FIXED_ENVIRONMENT, "SOURCE_DATE_EPOCH": str(job.epoch)}
    for key, value in sorted({**dict(job.environment), **fixed}.items()):
        command += ["--setenv", key, value]
    command += ["--json-status-fd", str(status)]
    limits = (bounds.memory_mib << 10, bounds.work_mib << 11, bounds.processes + _FORK_MARGIN)
    return [*command, "/bin/sh", "-c", _DRIVER, "sh", *map(str, limits), *job.command]


def run(job: Job, send: Callable[[IO[bytes]], None], receive: Callable[[IO[bytes]], None], log: Path) -> None:
    """Run a job: `send` writes the tree as tar below `source/`, `receive` reads the output directory as tar.

    The log file gets what the command prints, up to `MAX_LOG_BYTES`. Raises `SandboxUnavailable` when no sandbox can
    be had and `BuildFailed` when the command fails or breaks a bound. Errors of `send` and `receive` pass through,
    after the run was killed.
    """
    probe()
    with log.open("wb") as log_file, _spawn(job) as (process, status):
        stdin, stdout, stderr = _pipes(process)
        watch = _Watch(process, job.bounds)
        feed = _Feed(process, stdin, send)
        threads = [
            threading.Thread(target=feed.run),
            threading.Thread(target=_keep_log, args=(stderr, log_file)),
            threading.Thread(target=watch.run),
        ]
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
            _kill(process)
            exit_code = process.wait()
            for thread in threads:
                thread.join()
        status.seek(0)
        # bwrap reports the exit code of the command, and nothing when it did not get as far as starting it.
        started = b"exit-code" in status.read(4096)
    if exit_code > 0 and not started and not watch.broken:
        raise SandboxUnavailable(f"bubblewrap did not start the build: {log_tail(log)}")
    _judge(exit_code, watch.broken, feed.failure or failure, log)


def _judge(exit_code: int, broken: str, failure: Exception | None, log: Path) -> None:
    """The order matters: a killed run also breaks its pipes, and a run we killed has an exit code that says nothing."""
    if broken:
        raise BuildFailed(f"the build was stopped: {broken}", None, log_tail(log))
    if failure is not None and exit_code in (0, -signal.SIGKILL):
        raise failure
    if exit_code:
        signalled = f"was killed by signal {exit_code - 128}" if exit_code > 128 else f"exited with status {exit_code}"
        raise BuildFailed(f"the build command {signalled}", exit_code, log_tail(log))


def log_tail(log: Path) -> str:
    """The end of a build log as text."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - LOG_TAIL_BYTES))
        return file.read().decode(errors="replace").strip()


@contextlib.contextmanager
def _spawn(job: Job) -> Iterator[tuple[subprocess.Popen[bytes], IO[bytes]]]:
    """Start the job; the second item tells, at its end, what bwrap reports about itself."""
    allowed = os.sched_getaffinity(0)
    with _filter_file() as seccomp, tempfile.TemporaryFile() as status:
        descriptors = [seccomp.fileno(), status.fileno()]
        try:
            if job.cpus is not None:
                # Affinity belongs to the calling thread and is inherited by what it starts.
                os.sched_setaffinity(0, job.cpus)
            process = subprocess.Popen(
                _command(job, *descriptors),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=descriptors,
                start_new_session=True,
            )
        finally:
            os.sched_setaffinity(0, allowed)
        with process:
            try:
                yield process, status
            finally:
                _kill(process)


def _pipes(process: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes], IO[bytes]]:
    if process.stdin is None or process.stdout is None or process.stderr is None:
        raise RuntimeError("a process was started without its pipes")
    return process.stdin, process.stdout, process.stderr


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill the process group; --die-with-parent takes the whole PID namespace along."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


class _Feed:
    """Writes the tree into the sandbox; `failure` is what stopped it, unless the sandbox itself went away."""

    def __init__(self, process: subprocess.Popen[bytes], pipe: IO[bytes], send: Callable[[IO[bytes]], None]) -> None:
        self._process = process
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
            _kill(self._process)


def _keep_log(pipe: IO[bytes], log: IO[bytes]) -> None:
    left = MAX_LOG_BYTES
    while chunk := pipe.read(1 << 16):
        log.write(chunk[:left])
        left = max(0, left - len(chunk))
    if not left:
        log.write(b"\n(the log was cut here)\n")


class _Watch:
    """Kills a run that exceeds its time, memory or number of processes; `broken` then says which."""

    def __init__(self, process: subprocess.Popen[bytes], bounds: Bounds) -> None:
        self._process = process
        self._bounds = bounds
        self.broken = ""

    def run(self) -> None:
        """Watch until the process has ended."""
        deadline = time.monotonic() + self._bounds.timeout_seconds
        while self._process.poll() is None:
            self.broken = self._breach(deadline)
            if self.broken:
                _kill(self._process)
                return
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_POLL_SECONDS)

    def _breach(self, deadline: float) -> str:
        bounds = self._bounds
        count, resident_bytes = _usage(self._process.pid)
        if time.monotonic() > deadline:
            return f"it took longer than {bounds.timeout_seconds} seconds"
        if resident_bytes > bounds.memory_mib << 20:
            return f"it used more than {bounds.memory_mib} MiB of memory"
        if count > bounds.processes:
            return f"it ran more than {bounds.processes} processes"
        return ""


def _usage(root_pid: int) -> tuple[int, int]:
    """Number and resident bytes of the descendants of a process."""
    children: dict[int, list[tuple[int, int]]] = {}
    page_bytes = os.sysconf("SC_PAGE_SIZE")
    for place in Path("/proc").iterdir():
        if place.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (place / "stat").read_text().rpartition(")")[2].split()
                children.setdefault(int(fields[1]), []).append((int(place.name), int(fields[21]) * page_bytes))
    count, resident_bytes = 0, 0
    todo = [root_pid]
    while todo:
        for pid, size in children.get(todo.pop(), []):
            count += 1
            resident_bytes += size
            todo.append(pid)
    return count, resident_bytes
