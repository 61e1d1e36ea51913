"""diffoscope's report on two files, made in a sandbox and bounded in time, memory and length.

diffoscope runs dozens of parsers over files that a hostile vendor or a hostile build may have written, so it gets no
network, no other file of this machine than /usr, and no process beside its own. Where that cannot be had, there is no
report, and the reason is told instead.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO

PROGRAM = Path("/usr/bin/diffoscope")
TIMEOUT_SECONDS = 300
MAX_REPORT_BYTES = 1 << 20
MAX_MEMORY_BYTES = 4 << 30
MAX_WORK_BYTES = 4 << 30
_DIFFERENT = 1
_MERGED_FOLDERS = ("bin", "sbin", "lib", "lib32", "lib64")
_NEEDED_FROM_ETC = ("/etc/alternatives", "/etc/ld.so.cache", "/etc/magic")


@dataclass(frozen=True, kw_only=True)
class DiffoscopeReport:
    """`data` is the report as plain text, cut at its bound; None if there is none, and `reason` says why."""

    data: bytes | None
    reason: str = ""


def make_report(shipped: Path, rebuilt: Path, timeout_seconds: int = TIMEOUT_SECONDS) -> DiffoscopeReport:
    """Run diffoscope over two files; a missing program, a broken bound or a crash is a reason, not an error."""
    for program in (str(PROGRAM), "bwrap", "prlimit"):
        if shutil.which(program) is None:
            return DiffoscopeReport(data=None, reason=f"{Path(program).name} is not installed")
    # Names in the report are the same on every machine, and cannot be taken for an option.
    name = shipped.name if not shipped.name.startswith("-") else f"_{shipped.name}"
    command = _command(shipped, rebuilt, name, timeout_seconds)
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        status = _run(command, out, err, timeout_seconds)
        out.seek(0)
        err.seek(0)
        data, complaint = out.read(MAX_REPORT_BYTES), err.read(2_000).decode(errors="replace").strip()
    if status is None:
        return DiffoscopeReport(data=None, reason=f"diffoscope took longer than {timeout_seconds} seconds")
    if status == 0:
        return DiffoscopeReport(data=None, reason="diffoscope finds the files identical")
    if status != _DIFFERENT or not data:
        last = complaint.rpartition("\n")[2] or "no report"
        return DiffoscopeReport(data=None, reason=f"diffoscope failed with status {status}: {last[:200]}")
    return DiffoscopeReport(data=data)


def diffoscope_report(shipped: Path, rebuilt: Path) -> bytes | None:
    """The report alone, None if none could be made; `make_report` says why."""
    return make_report(shipped, rebuilt).data


def _run(command: list[str], out: IO[bytes], err: IO[bytes], timeout_seconds: int) -> int | None:
    """Exit status, or None when the time was up and everything it had started was killed."""
    # The variables of bwrap can be read inside, in the entry of its process in /proc.
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=err,
        start_new_session=True,
        env={"PATH": os.environ.get("PATH", os.defpath)},
    )
    try:
        return process.wait(timeout_seconds)
    except subprocess.TimeoutExpired:
        return None
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _command(shipped: Path, rebuilt: Path, name: str, timeout_seconds: int) -> list[str]:
    command = ["bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--clearenv", "--cap-drop", "ALL"]
    command += ["--uid", "1000", "--gid", "1000", "--hostname", "diffoscope", "--ro-bind", "/usr", "/usr"]
    for folder in _MERGED_FOLDERS:
        if Path("/", folder).is_symlink():
            command += ["--symlink", f"usr/{folder}", f"/{folder}"]
    for path in _NEEDED_FROM_ETC:
        command += ["--ro-bind-try", path, path]
    command += ["--proc", "/proc", "--dev", "/dev", "--size", str(MAX_WORK_BYTES), "--tmpfs", "/tmp"]  # noqa: S108
    command += ["--ro-bind", str(shipped.resolve()), f"/shipped/{name}"]
    command += ["--ro-bind", str(rebuilt.resolve()), f"/rebuilt/{name}", "--chdir", "/"]
    for key, value in {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "TZ": "UTC", "HOME": "/tmp"}.items():  # noqa: S108
        command += ["--setenv", key, value]
    command += [
        "prlimit",
        f"--as={MAX_MEMORY_BYTES}",
        f"--fsize={MAX_WORK_BYTES}",
        "--core=0",
        f"--cpu={timeout_seconds}",
    ]
    command += [str(PROGRAM), "--no-progress", "--text-color", "never", "--exclude-directory-metadata", "yes"]
    command += ["--timeout", str(timeout_seconds * 2 // 3), "--max-text-report-size", str(MAX_REPORT_BYTES)]
    return [*command, "--text", "-", f"/shipped/{name}", f"/rebuilt/{name}"]
