"""Container engines as executors: podman and docker, on the same root file system and under the same rules.

podman takes the unpacked root as it lies; docker, which knows images only, is given the same root as a tar and asked
each time for the digest of what it holds. Both set host name, user, work directory and limits, have no network, no
capability and no way to a new one, and the system-call filter of this package; the environment is set by the driver.

What is seen of the engine all the same: mount points, and in docker an empty /.dockerenv.

Docker is refused where it cannot limit memory and processes (its control groups lack a controller): nothing else would
hold back what runs under its daemon. Podman can do without, where the kernel counts the processes of the container's
own user namespace and the container can be watched from here.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import signal
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import IO, Any, assert_never

from glasshouse.conveyor.archive import Writable
from glasshouse.conveyor.errors import SandboxUnavailable
from glasshouse.conveyor.execution import MAX_OPEN_FILES, SHARED_MEMORY_MIB, Executor, Job, Running, driver_command
from glasshouse.conveyor.rootfs import HOST_NAME, UID, RootFs
from glasshouse.conveyor.sandbox import FORK_MARGIN, NOBODY_UIDS, Bubblewrap, affinity, other_account, within_reach
from glasshouse.conveyor.seccomp import filter_profile
from glasshouse.conveyor.watch import MAX_FILES

_CALL_SECONDS = 120
_START_SECONDS = 120
_LOOK_SECONDS = 0.05
_REMOVE_SECONDS = 30
# How many user numbers a container has.
_NUMBERS = 65_536
_IMAGE = "glasshouse-root"
# Hardware that the build would otherwise see; bubblewrap shows an empty directory too.
_EMPTY_SYS = {"podman": "type=tmpfs,destination=/sys,tmpfs-size=4096,tmpfs-mode=0555,ro=true,notmpcopyup"}
_EMPTY_SYS["docker"] = "/sys:ro,size=4096,mode=0555"


class ExecutorName(StrEnum):
    """What can isolate a build, as settings name it."""

    BUBBLEWRAP = "bubblewrap"
    PODMAN = "podman"
    DOCKER = "docker"


def executor_of(name: ExecutorName) -> Executor:
    """The executor of that name, whether or not it can be had here."""
    match name:
        case ExecutorName.BUBBLEWRAP:
            return Bubblewrap()
        case ExecutorName.PODMAN:
            return Podman()
        case ExecutorName.DOCKER:
            return Docker()
        case _:
            assert_never(name)


@dataclass(frozen=True, kw_only=True)
class _Ability:
    """What an engine says of itself: its version, and what its control groups can limit."""

    version: str
    limits: bool
    cpus: bool


@dataclass(frozen=True)
class Podman:
    """Runs podman from PATH, as root or as any user it is set up for; there is no daemon."""

    @property
    def pins_cpus(self) -> bool:
        """A container inherits the CPUs of its caller."""
        return True

    def describe(self) -> str:
        """Name and version. Raises `SandboxUnavailable`."""
        return f"podman {self._ability().version}"

    def probe(self) -> None:
        """Raise `SandboxUnavailable` when podman is missing, gives no answer or could not limit a build."""
        ability, account = self._ability(), other_account()
        if not ability.limits and os.geteuid() == 0 and (account is None or account.uid not in NOBODY_UIDS):
            raise _unlimited("podman")

    @contextlib.contextmanager
    def start(self, job: Job) -> Iterator[Running]:
        """Start the driver in a container that is gone at the end of the context."""
        ability, name = self._ability(), _new_name()
        work = f"type=tmpfs,destination=/build,tmpfs-size={job.bounds.work_mib << 20},tmpfs-mode=0755,U=true"
        limit = job.bounds.processes + FORK_MARGIN
        options = [*_options(job, name, ability), "--read-only-tmpfs=false", "--no-hosts", "--systemd=false"]
        options += ["--cap-drop", "all", "--umask", "0022", "--ulimit", f"nproc={limit}:{limit}"]
        options += ["--mount", f"{work},notmpcopyup", "--mount", _EMPTY_SYS["podman"]]
        if not ability.limits:
            options.append("--cgroups=disabled")
        prefix, root = list[str](), job.root.directory
        account = other_account()
        if account is not None and account.uid in NOBODY_UIDS:
            # Without it, the build would be user 1000 of this machine, who may be somebody.
            prefix, root = within_reach(root, account)
            numbers = f"0:{account.uid}:{_NUMBERS}"
            options += ["--uidmap", numbers, "--gidmap", numbers]
        command = [*options, "--rootfs", str(root), *driver_command(job, limit)]
        with _profile() as profile, affinity(job.cpus):
            yield from _contained([*prefix, "podman", *profile, *command], "podman", name, ability)

    def _ability(self) -> _Ability:
        said = _info("podman")
        try:
            groups = said["host"].get("cgroupControllers") or ()
            return _Ability(version=said["version"]["Version"], limits={"memory", "pids"} <= {*groups}, cpus=True)
        except (KeyError, TypeError, AttributeError) as error:
            raise SandboxUnavailable("podman describes itself in words that this version does not know") from error


@dataclass(frozen=True)
class Docker:
    """Runs docker from PATH, with whatever daemon it is set up for."""

    @property
    def pins_cpus(self) -> bool:
        """Only control groups reach what a daemon runs."""
        return self._ability().cpus

    def describe(self) -> str:
        """Name and the daemon's version. Raises `SandboxUnavailable`."""
        return f"docker {self._ability().version}"

    def probe(self) -> None:
        """Raise `SandboxUnavailable` when docker is missing, its daemon gives no answer or could not limit a build."""
        if not self._ability().limits:
            raise _unlimited("docker")

    @contextlib.contextmanager
    def start(self, job: Job) -> Iterator[Running]:
        """Start the driver in a container that is gone at the end of the context."""
        ability, name = self._ability(), _new_name()
        work = f"rw,exec,nosuid,nodev,size={job.bounds.work_mib << 20},mode=0755,uid={UID},gid={UID}"
        options = [*_options(job, name, ability), "--pull", "never", "--cap-drop", "ALL"]
        options += ["--tmpfs", f"/build:{work},nr_inodes={MAX_FILES}", "--tmpfs", _EMPTY_SYS["docker"]]
        for name_file in ("hosts", "resolv.conf"):
            # Docker would put this machine's resolvers there; in the root both are empty.
            options += ["--mount", f"type=bind,source=/dev/null,destination=/etc/{name_file},readonly"]
        if job.cpus is not None:
            options += ["--cpuset-cpus", ",".join(map(str, sorted(job.cpus)))]
        command = [*options, _image_of(job.root), *driver_command(job, None)]
        with _profile() as profile:
            yield from _contained(["docker", *profile, *command], "docker", name, ability)

    def _ability(self) -> _Ability:
        said = _info("docker")
        if said.get("ServerErrors") or not said.get("ServerVersion"):
            raise SandboxUnavailable("the docker daemon gives no answer: " + "; ".join(said.get("ServerErrors") or ()))
        limits = bool(said.get("MemoryLimit")) and bool(said.get("PidsLimit"))
        return _Ability(version=said["ServerVersion"], limits=limits, cpus=bool(said.get("CPUSet")))


def _options(job: Job, name: str, ability: _Ability) -> list[str]:
    """What both engines call by the same name."""
    bounds = job.bounds
    options = ["--rm", "--interactive", "--name", name, "--network", "none", "--read-only", "--hostname", HOST_NAME]
    options += ["--user", f"{UID}:{UID}", "--security-opt", "no-new-privileges", "--ipc", "private"]
    options += ["--log-driver", "none", "--oom-score-adj", "1000", "--shm-size", f"{SHARED_MEMORY_MIB}m"]
    options += ["--ulimit", f"nofile={MAX_OPEN_FILES}:{MAX_OPEN_FILES}", "--ulimit", "core=0:0", "--workdir", "/build"]
    if ability.limits:
        # What lies in the work directory counts as memory too; without swap, nothing evades the limit.
        memory = f"{bounds.memory_mib + bounds.work_mib + SHARED_MEMORY_MIB}m"
        options += ["--pids-limit", str(bounds.processes + FORK_MARGIN), "--memory", memory, "--memory-swap", memory]
    return options


def _new_name() -> str:
    return f"glasshouse-{secrets.token_hex(8)}"


@contextlib.contextmanager
def _profile() -> Iterator[list[str]]:
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        file.write(filter_profile())
        file.flush()
        yield ["run", "--security-opt", f"seccomp={file.name}"]


def _contained(command: list[str], engine: str, name: str, ability: _Ability) -> Iterator[Running]:
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )

    first: int | None = None

    def end() -> None:
        if first is not None:
            # The machine may be short of what starting another program needs.
            with contextlib.suppress(OSError):
                os.kill(first, signal.SIGKILL)
        _call(engine, ["kill", name])
        process.kill()

    with process:
        try:
            first = _first_inside(engine, name, process)
            if first is None and not ability.limits and process.poll() is None:
                raise _unlimited(engine)
            yield Running(process=process, first=first, end=end)
        finally:
            if process.poll() is None:
                end()
            process.wait()
            _remove(engine, name)


def _remove(engine: str, name: str) -> None:
    """Have a container gone; the engine may be at it already."""
    deadline = time.monotonic() + _REMOVE_SECONDS
    while _call(engine, ["container", "inspect", "--format", "there", name]) and time.monotonic() < deadline:
        _call(engine, ["rm", "--force", name])


def _unlimited(engine: str) -> SandboxUnavailable:
    return SandboxUnavailable(
        f"{engine} cannot limit the memory and the processes of a build here",
        "give it control groups with the controllers memory and pids",
    )


def _first_inside(engine: str, name: str, process: subprocess.Popen[bytes]) -> int | None:
    """The number here of a container's first process; it waits for its input. None where it is on another machine."""
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None:
        said = _call(engine, ["inspect", "--format", "{{.State.Pid}} {{.State.Running}}", name]).split()
        if said[1:] == ["true"]:
            return _if_inside(int(said[0]))
        if time.monotonic() > deadline:
            raise SandboxUnavailable(f"{engine} started nothing within {_START_SECONDS} seconds")
        time.sleep(_LOOK_SECONDS)
    return None


def _if_inside(pid: int) -> int | None:
    """A process of that number runs the driver here; on another machine it may be anybody's."""
    with contextlib.suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        namespaces = [Path(f"/proc/{at}/ns/pid").readlink() for at in (pid, "self")]
        if b"/bin/sh" in words and namespaces[0] != namespaces[1]:
            return pid
    return None


def _call(engine: str, arguments: list[str]) -> str:
    """What an engine answers; nothing where it refuses."""
    try:
        said = subprocess.run(
            [engine, *arguments],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=_CALL_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return said.stdout.strip() if said.returncode == 0 else ""


def _info(engine: str) -> Mapping[str, Any]:
    command = [engine, "info", "--format", "json" if engine == "podman" else "{{json .}}"]
    try:
        said = subprocess.run(
            command, capture_output=True, stdin=subprocess.DEVNULL, timeout=_CALL_SECONDS, check=True
        ).stdout
        answer = json.loads(said)
    except FileNotFoundError as error:
        raise SandboxUnavailable(f"{engine} is not installed", f"install the package {engine}") from error
    except subprocess.CalledProcessError as error:
        reason = error.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise SandboxUnavailable(f"{engine} gives no answer: {' '.join(reason)}") from error
    except (ValueError, subprocess.TimeoutExpired) as error:
        raise SandboxUnavailable(f"{engine} gives no answer: {error}") from error
    if not isinstance(answer, dict):
        raise SandboxUnavailable(f"{engine} describes itself in words that this version does not know")
    return answer


def _image_of(root: RootFs) -> str:
    """A docker image that holds exactly this root: the one it has, or made now. Raises `SandboxUnavailable`."""
    name = f"{_IMAGE}:{root.digest[:32]}"
    layer = hashlib.sha256()
    # The digest of the layer is that of the tar, so a hash tells whether the daemon holds these very bytes.
    write_layer(root.directory, _Hashing(layer.update))
    if _layers(name) != [f"sha256:{layer.hexdigest()}"]:
        _import(root.directory, name)
        if _layers(name) != [f"sha256:{layer.hexdigest()}"]:
            raise SandboxUnavailable(f"docker does not hold the root that it was given as {name}")
    return name


def _layers(image: str) -> list[str]:
    answer = _call("docker", ["image", "inspect", "--format", "{{json .RootFS.Layers}}", image])
    layers = json.loads(answer) if answer else None
    return layers if isinstance(layers, list) else []


def _import(directory: Path, name: str) -> None:
    with subprocess.Popen(
        ["docker", "import", "-", name], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        if process.stdin is None or process.stderr is None:
            raise RuntimeError("docker has no pipes")
        with contextlib.suppress(BrokenPipeError), process.stdin as pipe:
            write_layer(directory, pipe)
        complaint = process.stderr.read().decode(errors="replace").strip()
    if process.returncode:
        raise SandboxUnavailable(f"docker did not take the root: {complaint}")


@dataclass(frozen=True)
class _Hashing:
    update: Callable[[bytes], None]

    def write(self, data: bytes, /) -> int:
        self.update(data)
        return len(data)


def write_layer(root: Path, out: Writable | IO[bytes]) -> None:
    """A root file system as tar, sorted by name and owned by root: the same bytes for the same tree."""
    with tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT) as archive:  # type: ignore[call-overload]
        for name in sorted(_names(root, "")):
            info = archive.gettarinfo(root / name, name)
            info.uid = info.gid = 0
            info.uname = info.gname = ""
            info.mtime = int(info.mtime)
            if info.isreg():
                with (root / name).open("rb") as content:
                    archive.addfile(info, content)
            else:
                archive.addfile(info)


def _names(directory: Path, prefix: str) -> Iterator[str]:
    with os.scandir(directory) as entries:
        for entry in entries:
            yield prefix + entry.name
            if entry.is_dir(follow_symlinks=False):
                yield from _names(directory / entry.name, f"{prefix}{entry.name}/")
