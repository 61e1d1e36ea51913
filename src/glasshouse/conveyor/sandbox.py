"""Bubblewrap as executor: namespaces that any user may make, and nothing to install beside one small program.

Where the caller is root, the run belongs to another user of the host, one that owns nothing: root's own processes are
exempt from the kernel's limit on their number, and root owns what lies below /proc/sys even where it has no rights
otherwise. That user may be unable to enter the directories above the root file system; then the root is mounted, in a
mount namespace of the run's own, where it can be reached. No permission is loosened for it.
"""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from glasshouse.conveyor.errors import SandboxUnavailable
from glasshouse.conveyor.execution import FIXED_ENVIRONMENT, SHARED_MEMORY_MIB, Job, Running, driver_command
from glasshouse.conveyor.rootfs import HOST_NAME, UID
from glasshouse.conveyor.seccomp import filter_program
from glasshouse.conveyor.watch import Bounds, children_of
from glasshouse.storage import files
from glasshouse.storage.accounts import Account, obstacle, state_directory

_PROBE_SECONDS = 20
_START_SECONDS = 30
_LOOK_SECONDS = 0.01
_NO_VARIABLES = {"PATH": FIXED_ENVIRONMENT["PATH"]}
# In systemd's table of user numbers those that no account and no container is given. A container may have 65,536 of
# them only; then one of those that Debian gives to nobody.
NOBODY_UIDS = range(0x70000000, 0x7FFF0000)
_RUN_UIDS = (NOBODY_UIDS.start, 64_000)
# The watch counts processes; the kernel's own limit only has to slow a fork bomb down until the watch sees it.
FORK_MARGIN = 64
# Before Linux 5.14 the kernel counts the processes that the user has anywhere on the machine.
_SHARED_FORK_MARGIN = 2_000


@dataclass(frozen=True)
class Bubblewrap:
    """Runs bwrap from PATH."""

    @property
    def pins_cpus(self) -> bool:
        """A run inherits the CPUs of its caller."""
        return True

    def describe(self) -> str:
        """Name and version. Raises `SandboxUnavailable`."""
        command = [found("bwrap"), "--version"]
        try:
            shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=_PROBE_SECONDS)
        except (OSError, subprocess.SubprocessError) as error:
            raise SandboxUnavailable(f"bubblewrap does not tell its version: {error}") from error
        return shown.stdout.strip()

    def probe(self) -> None:
        """See `probe`."""
        probe()

    @contextlib.contextmanager
    def start(self, job: Job) -> Iterator[Running]:
        """Start the driver; bwrap and everything below it dies with the context, and with this process."""
        account = other_account()
        prefix, root = ([], job.root.directory) if account is None else within_reach(job.root.directory, account)
        with _filled(filter_program()) as seccomp, affinity(job.cpus):
            options = [*_isolation(seccomp.fileno()), *_mounts(root, job.bounds)]
            # The build can read how its first process was started: options go in by a file, and no variable goes in.
            with _filled(b"".join(option.encode() + b"\0" for option in options)) as listed:
                program = [*_as_account(account), found("bwrap"), "--args", str(listed.fileno()), "--"]
                process = subprocess.Popen(
                    [*prefix, *program, *driver_command(job, _fork_limit(job.bounds, account))],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    pass_fds=[seccomp.fileno(), listed.fileno()],
                    start_new_session=True,
                    env=_NO_VARIABLES,
                    cwd="/",
                )
        running = Running(process=process, first=None, end=lambda: _kill(process))
        with process:
            try:
                _hand_over(process, account)
                running.first = _first_inside(process)
                yield running
            finally:
                _kill(process)


def probe() -> None:
    """Raise `SandboxUnavailable`, with the reason and the way round it, unless a sandbox can be had here."""
    with _filled(filter_program()) as seccomp:
        bubblewrap = found("bwrap")
        command = [*_as_account(other_account()), bubblewrap, *_isolation(seccomp.fileno())]
        command += ["--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev"]
        try:
            result = subprocess.run(
                [*command, "--size", "4096", "--tmpfs", "/tmp", "true"],  # noqa: S108
                capture_output=True,
                timeout=_PROBE_SECONDS,
                check=False,
                stdin=subprocess.DEVNULL,
                pass_fds=[seccomp.fileno()],
                env=_NO_VARIABLES,
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


def found(program: str) -> str:
    """The path of a program of this machine. Raises `SandboxUnavailable`."""
    path = shutil.which(program)
    if path is None:
        package = "bubblewrap" if program == "bwrap" else "util-linux"
        raise SandboxUnavailable(f"{program} is not installed", f"install the package {package}")
    return path


@contextlib.contextmanager
def _filled(data: bytes) -> Iterator[IO[bytes]]:
    """An open file at its beginning, as bwrap wants its filter and its options."""
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.seek(0)
        yield file


@contextlib.contextmanager
def affinity(cpus: frozenset[int] | None) -> Iterator[None]:
    """Affinity belongs to the calling thread and is inherited by what it starts."""
    allowed = os.sched_getaffinity(0)
    try:
        if cpus is not None:
            os.sched_setaffinity(0, cpus)
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def _isolation(seccomp: int) -> list[str]:
    spaces = ("user", "ipc", "pid", "net", "uts", "cgroup")
    return [
        *(f"--unshare-{space}" for space in spaces),
        *("--disable-userns", "--die-with-parent", "--new-session", "--clearenv"),
        *("--cap-drop", "ALL", "--uid", str(UID), "--gid", str(UID), "--hostname", HOST_NAME),
        *("--seccomp", str(seccomp)),
    ]


def _mounts(root: Path, bounds: Bounds) -> list[str]:
    mounts = ["--ro-bind", str(root), "/", "--proc", "/proc", "--dev", "/dev"]
    mounts += ["--size", str(SHARED_MEMORY_MIB << 20), "--tmpfs", "/dev/shm", "--remount-ro", "/dev"]  # noqa: S108
    return [*mounts, "--perms", "0755", "--size", str(bounds.work_mib << 20), "--tmpfs", "/build", "--chdir", "/build"]


def _fork_limit(bounds: Bounds, account: Account | None) -> int:
    margin = FORK_MARGIN if account is not None or _counts_per_namespace() else _SHARED_FORK_MARGIN
    return bounds.processes + margin


def _counts_per_namespace() -> bool:
    major, minor = platform.release().split(".")[:2]
    return (int(major), int("".join(filter(str.isdigit, minor)))) >= (5, 14)


def other_account() -> Account | None:
    """Whom a run belongs to where the caller is root; None where it stays the caller's."""
    if os.geteuid() != 0:
        return None
    ranges = [tuple(map(int, line.split())) for line in Path("/proc/self/uid_map").read_text().splitlines()]
    for uid in _RUN_UIDS:
        if any(inside <= uid < inside + count for inside, _, count in ranges):
            return Account(name="build", uid=uid, gid=uid, switch=True)
    return None


def _as_account(account: Account | None) -> list[str]:
    if account is None:
        return []
    return [found("setpriv"), f"--reuid={account.uid}", f"--regid={account.gid}", "--clear-groups", "--"]


def within_reach(root: Path, account: Account) -> tuple[list[str], Path]:
    """Where an account can reach a root file system, and the beginning of the command that finds it there.

    Raises `SandboxUnavailable` where there is no such place.
    """
    if obstacle(root, account) is None:
        return [], root
    place = state_directory() / "root"
    files.make_directory(place)
    blocked = obstacle(place, account)
    if blocked is not None:
        raise SandboxUnavailable(
            f"user number {account.uid}, to whom builds belong here, cannot enter {blocked}",
            "set GLASSHOUSE_STATE to a directory that every account can enter",
        )
    script = 'mount --bind "$1" "$2" && shift 2 && exec "$@"'
    space = [found("unshare"), "--mount", "--propagation", "private", "--"]
    return [*space, "/bin/sh", "-c", script, "sh", str(root.resolve()), str(place)], place


def _hand_over(process: subprocess.Popen[bytes], account: Account | None) -> None:
    """Give the pipes to the run's user, who otherwise could not open them again, as with `> /dev/stderr`."""
    if account is not None:
        for pipe in filter(None, (process.stdin, process.stdout, process.stderr)):
            os.fchown(pipe.fileno(), account.uid, account.gid)


def _first_inside(process: subprocess.Popen[bytes]) -> int | None:
    """The number here of the run's first process: the only child of bwrap, which waits for it. None where it ended."""
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None:
        with contextlib.suppress(OSError):
            # The programs before bwrap have children too.
            if Path(f"/proc/{process.pid}/comm").read_text() == "bwrap\n" and (found := children_of(process.pid)):
                return found[0]
        if time.monotonic() > deadline:
            raise SandboxUnavailable(f"bubblewrap started nothing within {_START_SECONDS} seconds")
        time.sleep(_LOOK_SECONDS)
    return None


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill the process group; --die-with-parent takes the whole PID namespace along."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
