"""Running one command in bubblewrap, as if on a machine that is the same everywhere.

Fixed: user and group 1000, host name `builder`, paths below /build, environment, umask, resource limits, order and times of the files
in the work directory. Absent: network, other processes, devices beyond null, zero, random and the like, the host's file system.
A tree goes in as a tar stream and the output comes back as one, so that no directory is shared with the host.

Not hidden, because user namespaces cannot: the clock, the kernel and its version, the model and number of CPUs, the memory size, the
order in which the host's file system lists the read-only root. There is no fallback without a sandbox.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from glasshouse.conveyor.errors import BuildFailed, SandboxUnavailable
from glasshouse.conveyor.rootfs import UID, USER

HOST_NAME = "builder"
SOURCE_DIRECTORY = "/build/source"
OUTPUT_DIRECTORY = "/build/out"
MAX_LOG_BYTES = 16 << 20
LOG_TAIL_BYTES = 4_000
_POLL_SECONDS = 0.2
_PROBE_SECONDS = 20
_DRIVER_FAILED = 125
_FIXED_ENVIRONMENT = {
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/build/home",
    "TMPDIR": "/build/tmp",
    "USER": USER,
    "LOGNAME": USER,
    "LANG": "C.UTF-8",
    "LC_ALL": "C.UTF-8",
    "TZ": "UTC",
}
# Runs inside, as the parent of the build. Limits are lowered here so that the child cannot raise them again. What the build leaves
# running is killed before the output is read.
_DRIVER = f"""
set -eu
umask 022
ulimit -c 0; ulimit -n 1024; ulimit -s 8192
ulimit -v "$1"; ulimit -t "$2"; ulimit -f "$3"; ulimit -p "$4" 2>/dev/null || :
shift 4
cd /build
mkdir out home tmp source
tar -x --no-same-owner -p -f - || exit {_DRIVER_FAILED}
exec </dev/null
cd {SOURCE_DIRECTORY}
"$@" >&2 3>&- || exit $?
kill -KILL -1 2>/dev/null || :
exec tar -c -f - --format=posix --sort=name -C {OUTPUT_DIRECTORY} .
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
    """One command to run on a root. `environment` adds to the fixed variables; `cpus` restricts the run to these CPU numbers."""

    root: Path
    command: Sequence[str]
    environment: tuple[tuple[str, str], ...]
    bounds: Bounds
    cpus: frozenset[int] | None = None


def probe() -> None:
    """Raise `SandboxUnavailable`, with the reason and the way round it, unless a sandbox can be had here."""
    if shutil.which("bwrap") is None:
        raise SandboxUnavailable("bubblewrap is not installed", "install the package bubblewrap")
    command = ["bwrap", *_isolation(), "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "true"]
    try:
        result = subprocess.run(
            command, capture_output=True, timeout=_PROBE_SECONDS, check=False, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired as error:
        raise SandboxUnavailable("bubblewrap does not start") from error
    if result.returncode:
        reason = result.stderr.decode(errors="replace").strip()
        raise SandboxUnavailable(f"bubblewrap cannot isolate a build here: {reason}", _way_round(reason))


def _way_round(reason: str) -> str:
    if Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns").is_file() and _read_flag(
        "kernel/apparmor_restrict_unprivileged_userns"
    ):
        return (
            "AppArmor forbids user namespaces to unconfined programs (Ubuntu 23.10 and later): give bwrap a profile with"
            " `userns,` or run `sysctl kernel.apparmor_restrict_unprivileged_userns=0` as root"
        )
    if Path("/proc/sys/kernel/unprivileged_userns_clone").is_file() and not _read_flag(
        "kernel/unprivileged_userns_clone"
    ):
        return "run `sysctl kernel.unprivileged_userns_clone=1` as root"
    if not _read_flag("user/max_user_namespaces"):
        return "user namespaces are switched off: run `sysctl user.max_user_namespaces=10000` as root"
    if "Unknown option" in reason:
        return "bubblewrap 0.8 or newer is needed"
    return "in a container, allow user namespaces and the mount and pivot_root system calls to it"


def _read_flag(name: str) -> bool:
    with contextlib.suppress(OSError):
        return (Path("/proc/sys") / name).read_text().strip() != "0"
    return True


def _isolation() -> list[str]:
    return [
        "--unshare-user",
        "--unshare-ipc",
        "--unshare-pid",
        "--unshare-net",
        "--unshare-uts",
        "--unshare-cgroup",
        "--disable-userns",
        "--die-with-parent",
        "--new-session",
        "--clearenv",
        "--cap-drop",
        "ALL",
        "--uid",
        str(UID),
        "--gid",
        str(UID),
        "--hostname",
        HOST_NAME,
    ]


def _command(job: Job) -> list[str]:
    bounds = job.bounds
    size = str(bounds.work_mib << 20)
    command = ["bwrap", *_isolation(), "--ro-bind", str(job.root), "/", "--proc", "/proc", "--dev", "/dev"]
    command += ["--size", str(64 << 20), "--tmpfs", "/dev/shm", "--remount-ro", "/dev"]  # noqa: S108
    command += ["--perms", "0755", "--size", size, "--tmpfs", "/build", "--chdir", "/build"]
    for key, value in sorted({**dict(job.environment), **_FIXED_ENVIRONMENT}.items()):
        command += ["--setenv", key, value]
    limits = [bounds.memory_mib << 10, bounds.timeout_seconds * 2 * (os.cpu_count() or 1), size_blocks(bounds.work_mib)]
    return [*command, "/bin/sh", "-c", _DRIVER, "sh", *map(str, limits), str(bounds.processes), *job.command]


def size_blocks(mib: int) -> int:
    """MiB in the 512-byte blocks that `ulimit -f` counts."""
    return mib << 11


def run(job: Job, send: Callable[[IO[bytes]], None], receive: Callable[[IO[bytes]], None], log: Path) -> None:
    """Run a job: `send` writes the tree as tar below `source/`, `receive` reads the output directory as tar.

    The log file gets what the command prints, up to `MAX_LOG_BYTES`. Raises `SandboxUnavailable` when no sandbox can be had and
    `BuildFailed` when the command fails or breaks a bound. Errors of `send` and `receive` pass through, after the run was killed.
    """
    probe()
    with log.open("wb") as log_file, _spawn(job) as process:
        watch = _Watch(process, job.bounds)
        failures: list[BaseException] = []
        threads = [
            threading.Thread(target=_feed, args=(process, send, failures)),
            threading.Thread(target=_keep_log, args=(process.stderr, log_file)),
            threading.Thread(target=watch.run),
        ]
        for thread in threads:
            thread.start()
        try:
            assert_pipe(process.stdout)
            receive(process.stdout)  # type: ignore[arg-type]
        except BaseException as error:
            failures.append(error)
            _kill(process)
        exit_code = process.wait()
        for thread in threads:
            thread.join()
    _judge(exit_code, watch.broken, failures, log)


def assert_pipe(pipe: IO[bytes] | None) -> None:
    """Popen opened every pipe."""
    if pipe is None:
        raise RuntimeError("the sandbox has no pipe")


def _judge(exit_code: int, broken: str, failures: list[BaseException], log: Path) -> None:
    if broken:
        raise BuildFailed(f"the build was stopped: {broken}", exit_code, log_tail(log))
    if exit_code:
        what = f"was killed by signal {exit_code - 128}" if exit_code > 128 else f"exited with status {exit_code}"
        raise BuildFailed(f"the build command {what}", exit_code, log_tail(log))
    for failure in failures:
        raise failure


def log_tail(log: Path) -> str:
    """The end of a build log as text."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - LOG_TAIL_BYTES))
        return file.read().decode(errors="replace").strip()


@contextlib.contextmanager
def _spawn(job: Job) -> Iterator[subprocess.Popen[bytes]]:
    allowed = os.sched_getaffinity(0)
    try:
        if job.cpus is not None:
            # Affinity belongs to the calling thread and is inherited by what it starts.
            os.sched_setaffinity(0, job.cpus)
        process = subprocess.Popen(
            _command(job),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            env={"PATH": os.environ.get("PATH", os.defpath)},
        )
    finally:
        os.sched_setaffinity(0, allowed)
    with process:
        try:
            yield process
        finally:
            _kill(process)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill the process group; --die-with-parent takes the whole PID namespace along."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _feed(process: subprocess.Popen[bytes], send: Callable[[IO[bytes]], None], failures: list[BaseException]) -> None:
    assert_pipe(process.stdin)
    try:
        with contextlib.closing(process.stdin) as pipe:  # type: ignore[type-var]
            send(pipe)  # type: ignore[arg-type]
    except BrokenPipeError:
        # The driver ended early; its exit status says why.
        return
    except Exception as error:
        failures.append(error)
        _kill(process)


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
            count, resident_bytes = _usage(self._process.pid)
            if time.monotonic() > deadline:
                self.broken = f"it took longer than {self._bounds.timeout_seconds} seconds"
            elif resident_bytes > self._bounds.memory_mib << 20:
                self.broken = f"it used more than {self._bounds.memory_mib} MiB of memory"
            elif count > self._bounds.processes:
                self.broken = f"it ran more than {self._bounds.processes} processes"
            if self.broken:
                _kill(self._process)
                return
            time.sleep(_POLL_SECONDS)


def _usage(root_pid: int) -> tuple[int, int]:
    """Number and resident bytes of a process and its descendants."""
    parents: dict[int, list[tuple[int, int]]] = {}
    page = os.sysconf("SC_PAGE_SIZE")
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):
                fields = Path("/proc", name, "stat").read_text().rpartition(")")[2].split()
                parents.setdefault(int(fields[1]), []).append((int(name), int(fields[21]) * page))
    count, resident = 0, 0
    todo = [root_pid]
    while todo:
        for pid, size in parents.get(todo.pop(), []):
            count += 1
            resident += size
            todo.append(pid)
    return count, resident
