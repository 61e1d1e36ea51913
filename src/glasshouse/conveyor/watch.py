"""What a run uses, seen from outside and counted against its bounds.

No limit of a single process bounds what many processes hold together, and an unprivileged caller has no other limit to
set. So a run is looked at several times a second: time, processes, memory, and what no size of a work directory counts,
which is the number of its files and of the sockets that hold unread bytes.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

MAX_FILES = 1_000_000
MAX_SOCKETS = 4_096
_POLL_SECONDS = 0.25


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """What one run may use: wall-clock seconds, MiB of memory and of work directory, number of processes."""

    timeout_seconds: int
    memory_mib: int
    work_mib: int
    processes: int


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What the processes below and including one of them use; sockets and files are those of its namespaces."""

    processes: int
    resident_bytes: int
    sockets: int
    files: int


class Watch:
    """Kills a run that exceeds a bound; `broken` then says which.

    `first` is the run's first process, by its number here, or None where another machine has it: then the run is
    bounded by whoever runs it, and only its time is watched.
    """

    def __init__(
        self, process: subprocess.Popen[bytes], first: int | None, bounds: Bounds, kill: Callable[[], None]
    ) -> None:
        self._process = process
        self._first = first
        self._bounds = bounds
        self._kill = kill
        self.broken = ""

    def run(self) -> None:
        """Watch until the process has ended."""
        deadline = time.monotonic() + self._bounds.timeout_seconds
        while self._process.poll() is None:
            self.broken = self._breach(deadline)
            if self.broken:
                self._kill()
                return
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_POLL_SECONDS)

    def _breach(self, deadline: float) -> str:
        bounds = self._bounds
        if time.monotonic() > deadline:
            return f"it took longer than {bounds.timeout_seconds} seconds"
        if self._first is None:
            return ""
        usage = usage_of(self._first)
        if usage.resident_bytes > bounds.memory_mib << 20:
            return f"it used more than {bounds.memory_mib} MiB of memory"
        if usage.processes > bounds.processes:
            return f"it ran more than {bounds.processes} processes"
        if usage.sockets > MAX_SOCKETS:
            return f"it opened more than {MAX_SOCKETS} sockets"
        if usage.files > MAX_FILES:
            return f"it made more than {MAX_FILES} files"
        return ""


def usage_of(first: int) -> Usage:
    """What a process and its descendants use now; nothing where it has ended."""
    children, resident = _processes()
    found: list[int] = []
    todo = [first] if first in resident else []
    while todo:
        found.append(todo.pop())
        todo.extend(children.get(found[-1], []))
    return Usage(
        processes=len(found),
        resident_bytes=sum(resident[pid] for pid in found),
        sockets=_sockets(first),
        files=_files(first),
    )


def children_of(pid: int) -> list[int]:
    """The processes that a process has started, or inherited, and that have not ended."""
    return _processes()[0].get(pid, [])


def _processes() -> tuple[dict[int, list[int]], dict[int, int]]:
    """Every process: parent → children, and process → resident bytes."""
    children: dict[int, list[int]] = {}
    resident: dict[int, int] = {}
    page_bytes = os.sysconf("SC_PAGE_SIZE")
    for place in Path("/proc").iterdir():
        if place.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (place / "stat").read_text().rpartition(")")[2].split()
                resident[int(place.name)] = int(fields[21]) * page_bytes
                children.setdefault(int(fields[1]), []).append(int(place.name))
    return children, resident


def _sockets(first: int) -> int:
    """Sockets of every family in the network namespace of a process."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(Path(f"/proc/{first}/net/sockstat").read_text().split()[2])
    return 0


def _files(first: int) -> int:
    """Files in the work directory that a process sees, once it has a root of its own."""
    with contextlib.suppress(OSError):
        root = Path(f"/proc/{first}/root")
        if not root.samefile("/"):
            counted = os.statvfs(root / "build")
            return counted.f_files - counted.f_ffree
    return 0
