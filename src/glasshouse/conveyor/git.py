"""Git repositories, read by git itself with nobody's configuration, hooks, filters or attributes in force.

    with fetched("../repository", beside, 40) as repository:
        commit = resolve(repository, "tags/v1.0")
        check_out(repository, commit, destination)

A repository or bundle is fetched into a temporary bare one, all its refs below refs/fetched/, so that what is read is
objects by their ids and never the work tree or the configuration of somebody else.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from glasshouse.conveyor.archive import ArchiveError, normal_path
from glasshouse.conveyor.errors import InvalidSource, OriginUnavailable, ToolUnavailable
from glasshouse.conveyor.tree import check_target, make_place, write_file

FETCHED = "refs/fetched"
_GIT_SECONDS = 600
# Neither the machine's nor the user's git configuration may change what is checked out, and nothing may ask for a
# password. Replacement objects would show another history than the ids say.
_ENVIRONMENT = {
    "PATH": os.environ.get("PATH", os.defpath),
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_ALLOW_PROTOCOL": "file:https:ssh:git",
    "HOME": os.devnull,
    "LC_ALL": "C",
}


@contextmanager
def fetched(location: str, beside: Path) -> Iterator[Path]:
    """A temporary bare repository with all that `location`, a URL or a path from `beside`, has; OriginUnavailable."""
    place = location if "://" in location else str((beside / location).resolve())
    if "://" not in place and not Path(place).exists():
        raise OriginUnavailable(f"there is no repository or bundle at {location!r}")
    with tempfile.TemporaryDirectory(prefix="glasshouse-git-") as name:
        repository = Path(name)
        shown = git(repository, "ls-remote", "--", place).split(b"\t")[0]
        git(repository, "init", "-q", "--bare", f"--object-format={'sha256' if len(shown) == 64 else 'sha1'}", ".")
        git(repository, "fetch", "-q", "--no-tags", "--", place, f"+refs/*:{FETCHED}/*")
        yield repository


def resolve(repository: Path, name: str) -> str | None:
    """The commit that a fetched ref such as tags/v1.0 leads to, or None where there is no such ref."""
    try:
        return git(repository, "rev-parse", "-q", "--verify", f"{FETCHED}/{name}^{{commit}}").decode().strip()
    except OriginUnavailable:
        return None


def is_ancestor(repository: Path, ancestor: str, commit: str) -> bool:
    """Whether `commit` is `ancestor` or descends from it; False too where the repository lacks `ancestor`."""
    if not has(repository, ancestor):
        return False
    return not git(repository, "rev-list", "-n1", ancestor, "--not", commit, "--")


def has(repository: Path, commit: str) -> bool:
    """Whether the repository holds this commit."""
    kind = git(repository, "cat-file", "--batch-check=%(objecttype)", given=f"{commit}\n".encode())
    return kind == b"commit\n"


def commit_time(repository: Path, commit: str) -> int:
    """The committer's time, in Unix seconds."""
    return int(git(repository, "show", "-s", "--format=%ct", commit))


def check_out(repository: Path, commit: str, destination: Path) -> None:
    """Write the tree of a commit into the new directory `destination`, blob by blob; raises InvalidSource."""
    destination.mkdir(parents=True)
    entries = list(_tree_entries(git(repository, "ls-tree", "-r", "-z", "--full-tree", f"{commit}^{{tree}}")))
    command = ["git", "-C", str(repository), "cat-file", "--batch"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=_ENVIRONMENT
    ) as process:
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("git has no pipes")
        for mode, blob, path in entries:
            process.stdin.write(f"{blob}\n".encode())
            process.stdin.flush()
            size = int(process.stdout.readline().split()[2])
            _write_blob(mode, path, _Blob(process.stdout, size), destination)
            process.stdout.read(1)
        process.stdin.close()


class _Blob:
    """The content of one object in the output of git cat-file --batch."""

    def __init__(self, stream: IO[bytes], size: int) -> None:
        self._stream = stream
        self._left = size

    def read(self, size: int = -1, /) -> bytes:
        data = self._stream.read(self._left if size < 0 else min(size, self._left))
        self._left -= len(data)
        return data


def _tree_entries(listing: bytes) -> Iterator[tuple[str, str, str]]:
    for entry in listing.split(b"\0")[:-1]:
        head, _, name = entry.partition(b"\t")
        mode, kind, blob = head.decode("ascii").split()
        try:
            path = normal_path(name.decode("utf-8"))
        except (UnicodeDecodeError, ArchiveError) as error:
            raise InvalidSource(name.decode(errors="backslashreplace"), str(error)) from error
        if kind != "blob":
            raise InvalidSource(path, "is a submodule; its files have to be part of the repository")
        yield mode, blob, path


def _write_blob(mode: str, path: str, content: _Blob, destination: Path) -> None:
    place = make_place(destination, path)
    if mode == "120000":
        target = content.read().decode("utf-8", errors="surrogateescape")
        check_target(path, target)
        place.symlink_to(target)
    else:
        write_file(place, content, mode == "100755")


def git(repository: Path, *arguments: str, given: bytes = b"") -> bytes:
    """What git prints when it is `given` this input; raises ToolUnavailable, and OriginUnavailable where it fails."""
    command = ["git", "-C", str(repository), *arguments]
    try:
        return subprocess.run(
            command,
            capture_output=True,
            check=True,
            timeout=_GIT_SECONDS,
            env=_ENVIRONMENT,
            input=given,
        ).stdout
    except FileNotFoundError as error:
        raise ToolUnavailable("git is not installed", "install the package git") from error
    except subprocess.TimeoutExpired as error:
        raise OriginUnavailable(f"git {arguments[0]} did not finish within {_GIT_SECONDS} seconds") from error
    except subprocess.CalledProcessError as error:
        reason = error.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise OriginUnavailable(f"git {arguments[0]} failed: {' '.join(reason)}") from error
